"""One zone that comes from primaries is kept up to date: by its refresh, retry and expire, and by NOTIFY.

RFC 1034 §4.3.5, RFC 1996.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import aclosing, suppress
from ipaddress import IPv4Address, IPv6Address
from random import Random
from time import time

from dnslb.config.nameserver import Nameserver
from dnslb.dns import rrtype, soa
from dnslb.dns.name import Name
from dnslb.system.wall_clock import look_in
from dnslb.transfer import copy_file, fetching
from dnslb.transfer.copy_file import Copy
from dnslb.transfer.exchange import Exchange
from dnslb.transfer.fetching import told
from dnslb.transfer.messages import Arrived, Asked, Expired, Following
from dnslb.transfer.receipt import Broken, Current, Receipt
from dnslb.transfer.serial import is_newer
from dnslb.transfer.standing import Standing

_PATIENCE = 2.0                       # seconds for a reply over UDP
_LEAST, _MOST = 1.0, 4 * 7 * 86400.0  # seconds of refresh and retry, whatever a primary says
_FIRST, _LAST = 1.0, 60.0             # seconds from one attempt to the next while nothing is held: ever longer
_PAUSE = 1.0                          # seconds from one attempt to the next, however often we are notified
_EARLIER = 0.1                        # share by which an attempt may come early, lest all zones be asked for at once
_AT_ONCE = 10                         # transfers
_OF_ONE = 3                           # of these, from one primary: it may be slow


class Shared:
    """What all zones share."""

    def __init__(self, exchange: Exchange, tell: Callable[[Arrived | Asked | Expired], None]) -> None:
        self.exchange = exchange
        self.tell = tell
        self.room = asyncio.Semaphore(_AT_ONCE)
        self.room_of = defaultdict[IPv4Address | IPv6Address, asyncio.Semaphore](lambda: asyncio.Semaphore(_OF_ONE))
        self.rng = Random()


class Follower:
    """``live`` until cancelled."""

    def __init__(self, apex: Name, following: Following, shared: Shared) -> None:
        self.following = following
        self._apex = apex
        self._shared = shared
        self._copy: Copy | None = None
        self._expiry: asyncio.TimerHandle | None = None
        if following.is_held:
            self._hold(copy_file.look(following.path))
        self._standing = Standing(refreshed=None if self._copy is None else self._copy.refreshed)
        self._first: IPv4Address | IPv6Address | None = None  # the primary to be asked first
        self._news = asyncio.Event()
        self._verdict: asyncio.Future[str] | None = None      # on what has arrived
        self._refused: tuple[int | None, str] = None, ""      # the serial of what was not taken, and why
        self._pause = _FIRST

    @property
    def is_holding(self) -> bool:
        """Whether there is a copy that is answered from."""
        return self._copy is not None

    def notify(self, by: IPv4Address | IPv6Address) -> None:
        """It says that the zone has changed."""
        self._first = by
        self._news.set()

    def decide(self, error: str) -> None:
        """What has arrived is answered from; or why not."""
        if self._verdict is not None and not self._verdict.done():
            self._verdict.set_result(error)

    async def live(self, pause: float) -> None:
        """``pause``: seconds until the first attempt."""
        due = time() + pause
        while True:
            await self._wait(due)
            began = time()
            is_current = await self._attempt()
            due = began + self._until_next(is_current)
            await asyncio.sleep(max(0.0, began + _PAUSE - time()))

    async def _wait(self, due: float) -> None:
        """Until an attempt is due, or there is news."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due - time())):
                await self._news.wait()
        self._news.clear()

    def stop(self) -> None:
        """It is not followed any more."""
        if self._expiry is not None:
            self._expiry.cancel()

    def _hold(self, copy: Copy | None) -> None:
        """From now on this is answered from, until it expires."""
        self.stop()
        self._copy = copy
        if self._expires is not None:
            self._expiry = look_in(self._expires - time(), self._look)

    def _look(self) -> None:
        """It may have expired."""
        if self._expires is not None and self._expires > time():
            self._hold(self._copy)
            return
        self._copy = None
        self._shared.tell(Expired(self._apex))
        self._news.set()

    @property
    def _expires(self) -> float | None:
        if self._copy is None:
            return None
        numbers = soa.read(self._copy.soa)
        return self._copy.refreshed + max(numbers.expire, numbers.refresh + numbers.retry)

    def _until_next(self, is_current: bool) -> float:
        """Seconds."""
        if self._copy is None:
            self._pause = min(2 * self._pause, _LAST)
            return self._pause / 2
        self._pause = _FIRST
        numbers = soa.read(self._copy.soa)
        seconds = min(max(_LEAST, numbers.refresh if is_current else numbers.retry), _MOST)
        return seconds * (1 - _EARLIER * self._shared.rng.random())

    async def _attempt(self) -> bool:
        """Ask the primaries in turn, until one has a newer version, or all were asked; whether we have the last one."""
        first, self._first = self._first, None
        errors = []
        heard = ""
        for primary in sorted(self.following.primaries, key=lambda one: one.address != first):
            try:
                if await self._bring(primary):
                    heard = str(primary)
                    break
                heard = heard or str(primary)
            except (Broken, OSError, TimeoutError) as error:
                errors.append(f"{primary}: {told(error)}")
        if heard and self._copy is not None:
            now = time()
            with suppress(OSError):  # after a restart it will be asked for earlier
                copy_file.refresh(self.following.path, now)
            self._hold(Copy(self._copy.soa, now))
        last = heard or self._standing.primary
        refreshed = self._standing.refreshed if self._copy is None else self._copy.refreshed
        self._standing = Standing(last, refreshed, self._expires, "" if heard else "; ".join(errors))
        self._shared.tell(Asked(self._apex, self._standing))
        return bool(heard)

    async def _bring(self, primary: Nameserver) -> bool:
        """Whether there was a newer version, which is held now.  Raises Broken, OSError, TimeoutError."""
        if self._copy is None:
            return await self._fetch(primary, None)
        held = soa.read(self._copy.soa).serial
        serial = await self._serial(primary)
        if serial == held:
            return False
        if serial is not None and serial == self._refused[0]:
            raise Broken(self._refused[1])
        if serial is not None:
            self._check_newer(serial, held)
        try:
            return await self._fetch(primary, self._copy)
        except Broken:
            # It may know no IXFR, or no way from what we have.
            return await self._fetch(primary, None)

    @staticmethod
    def _check_newer(serial: int, held: int) -> None:
        """Raises Broken."""
        if not is_newer(serial, held):
            raise Broken(f"it has serial {serial}, which is older than {held}")

    async def _serial(self, primary: Nameserver) -> int | None:
        """What it has; None when that cannot be had over UDP."""
        question = self._apex + rrtype.SOA.to_bytes(2) + rrtype.IN.to_bytes(2)
        try:
            reply = await self._shared.exchange.ask(primary, rrtype.QUERY, question, b"", _PATIENCE)
        except (OSError, TimeoutError):
            return None
        serials = [int(rdata.serial) for rrset in reply.answer for rdata in rrset if hasattr(rdata, "serial")]
        return serials[0] if serials else None

    async def _fetch(self, primary: Nameserver, held: Copy | None) -> bool:
        """The same by a transfer: of the difference to what is held, or of the whole zone."""
        async with self._shared.room_of[primary.address], self._shared.room:
            receipt = Receipt(self._apex, None if held is None else soa.read(held.soa).serial)
            if not await self._receive(primary, held, receipt):
                return False
        if self._copy is not None:
            serial = soa.read(self._copy.soa).serial
            if receipt.serial == serial:
                return False
            self._check_newer(receipt.serial, serial)
        error = await self._taken(primary)
        if error:
            self._refused = receipt.serial, error
            raise Broken(error)
        self._refused = None, ""
        self._hold(Copy(receipt.soa, time()))
        return True

    async def _receive(self, primary: Nameserver, held: Copy | None, receipt: Receipt) -> bool:
        """Write what comes to the file for it; False when we have it."""
        soa_held = None if held is None else held.soa
        try:
            with copy_file.written(self.following.candidate) as file:
                fetched = fetching.fetch(primary, self._apex, soa_held, self._shared.exchange.keys)
                async with aclosing(fetched) as parts:
                    async for part in parts:
                        for record in part.records:
                            file.writelines(receipt.take(record))
                        receipt.end_message()
                        if receipt.is_whole and part.is_verified:
                            break
                if receipt.is_difference:
                    file.writelines(receipt.applied(copy_file.lines(self.following.path)))
        except Current:
            return receipt.serial != receipt.held
        return True

    async def _taken(self, primary: Nameserver) -> str:
        """Have it read: why it is not taken, or nothing."""
        self._verdict = asyncio.get_running_loop().create_future()
        self._shared.tell(Arrived(self._apex, primary))
        try:
            return await self._verdict
        finally:
            self._verdict = None
