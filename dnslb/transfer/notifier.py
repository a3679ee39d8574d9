"""Tells secondaries of a new version, again and again until they say so (RFC 1996), and asks whether they have it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import time

from dnslb.config.nameserver import Nameserver
from dnslb.dns import rrtype
from dnslb.dns.name import Name
from dnslb.dns.zone import RRset
from dnslb.transfer.exchange import Exchange
from dnslb.transfer.journal import serial_of
from dnslb.transfer.progress import Progress

_FIRST, _LAST = 1.0, 60.0           # seconds between two NOTIFYs that nobody acknowledges: ever longer
_SOON, _LATE = 0.1, 10.0            # seconds between two looks at what a secondary serves
_PATIENCE = 2.0                     # seconds for a reply


class Notifier:
    """One task for each secondary of each zone that has something to be told."""

    def __init__(self, exchange: Exchange, tell: Callable[[Name, Nameserver, Progress], None]) -> None:
        self._exchange = exchange
        self._tell = tell
        self._progress: dict[tuple[Name, Nameserver], Progress] = {}
        self._soas: dict[Name, RRset] = {}
        self._tasks: dict[tuple[Name, Nameserver], asyncio.Task[None]] = {}
        self._news: dict[tuple[Name, Nameserver], asyncio.Event] = {}

    def notify(self, apex: Name, soa: RRset, secondaries: tuple[Nameserver, ...]) -> None:
        """There is a new version of the zone."""
        self._soas[apex] = soa
        for secondary in secondaries:
            place = (apex, secondary)
            before = self._progress.get(place, Progress())
            since = before.since if before.wanted and before.lags else time()
            self._set(place, Progress(before.serial, serial_of(soa), since, before.error))
            self._news.setdefault(place, asyncio.Event()).set()
            if place not in self._tasks:
                self._tasks[place] = asyncio.get_running_loop().create_task(self._follow(place))

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _follow(self, place: tuple[Name, Nameserver]) -> None:
        """Until there is nothing that the secondary lacks, and then whenever there is."""
        news = self._news[place]
        while True:
            await news.wait()
            news.clear()
            if await self._told(place):
                await self._confirmed(place)

    async def _told(self, place: tuple[Name, Nameserver]) -> bool:
        """Send NOTIFY until it is acknowledged; False when there is news meanwhile, of which it is told instead."""
        apex, secondary = place
        pause = _FIRST
        while True:
            soa = self._soas[apex]
            question = apex + rrtype.SOA.to_bytes(2) + rrtype.IN.to_bytes(2)
            rdata = soa.rdatas[0]
            head = rrtype.SOA.to_bytes(2) + rrtype.IN.to_bytes(2) + soa.ttl.to_bytes(4)
            answer = b"\xc0\x0c" + head + len(rdata).to_bytes(2) + rdata
            try:
                reply = await self._exchange.ask(secondary, rrtype.NOTIFY, question, answer, min(pause, _PATIENCE))
            except TimeoutError:
                self._fail(place, "it does not answer")
            except OSError as error:
                self._fail(place, f"it cannot be told: {error.strerror or error}")
            else:
                if int(reply.rcode()) == rrtype.NOERROR:
                    return True
                self._fail(place, f"it answers NOTIFY with {rrtype.RCODES.get(int(reply.rcode()), reply.rcode())}")
            if await self._has_news(place, pause):
                return False
            pause = min(2 * pause, _LAST)

    async def _confirmed(self, place: tuple[Name, Nameserver]) -> None:
        """Look until it serves what it was told of, or is to be told of something newer."""
        apex, secondary = place
        pause = _SOON
        while self._progress[place].lags:
            with suppress(TimeoutError, OSError):
                question = apex + rrtype.SOA.to_bytes(2) + rrtype.IN.to_bytes(2)
                reply = await self._exchange.ask(secondary, rrtype.QUERY, question, b"", _PATIENCE)
                serials = [int(rdata.serial) for rrset in reply.answer for rdata in rrset if hasattr(rdata, "serial")]
                if serials:
                    self._saw(place, serials[0])
                elif pause >= _LATE:
                    self._fail(place, "it does not serve the zone")
            if self._progress[place].lags and await self._has_news(place, pause):
                return
            pause = min(2 * pause, _LATE)

    async def _has_news(self, place: tuple[Name, Nameserver], pause: float) -> bool:
        """Wait so long; True as soon as there is a newer version."""
        news = self._news[place]
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await news.wait()
        return news.is_set()

    def _saw(self, place: tuple[Name, Nameserver], serial: int) -> None:
        before = self._progress[place]
        seen = Progress(serial, before.wanted, before.since, before.error)
        self._set(place, seen if seen.lags else Progress(serial, before.wanted, time()))

    def _fail(self, place: tuple[Name, Nameserver], error: str) -> None:
        before = self._progress[place]
        self._set(place, Progress(before.serial, before.wanted, before.since, error))

    def _set(self, place: tuple[Name, Nameserver], progress: Progress) -> None:
        if self._progress.get(place) != progress:
            self._progress[place] = progress
            self._tell(*place, progress)
