"""A server that does not exist: its answers are made up, and the real API carries them on a TCP port."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from dnslb.admin import server
from dnslb.admin.guard import Guard, Role, Token
from dnslb.admin.server import Listener
from dnslb.balance.operator_order import Mode
from dnslb.control.change import Change, Event
from dnslb.control.effect import Effect, RRsetEffect
from dnslb.control.lookup import Lookup
from dnslb.control.order import DrainClock, OrderRequest, OrderResult
from dnslb.control.registration import Gone, Joined, JoinRequest
from dnslb.control.reload import Refusal, Reloaded
from dnslb.control.status import BackendStatus, OrderStatus, ProbeStatus, RRsetStatus, ServerStatus, Status, ZoneStatus
from dnslb.control.timeline import Timeline
from dnslb.control.top import TopQueries
from dnslb.control.updated import UpdatedRRset
from dnslb.dns.name import Name

QUIET = Status(
    now=0.0,
    directory="/etc/dnslb/zones",
    loaded=0.0,
    refused=None,
    zones=(ZoneStatus("example.net.", 1),),
    pools=(),
    orders=(),
    server=ServerStatus("0.1.0", 0.0, 1, 2, 0, 0),
)


def backend(
    address: str,
    *,
    up: bool | None = True,
    reason: str = "status 200",
    share: float = 0.0,
    age: float = 4000.0,
    order: OrderStatus | None = None,
) -> BackendStatus:
    """With a share it is handed out, and has led just as many answers."""
    now = time.time()
    mode = order.mode if order is not None and (order.at is None or order.at <= now) else "ready"
    led = int(share * 100_000)
    return BackendStatus(
        address=address,
        up=up,
        since=None if up is None else now - age,
        reason=reason,
        unsure="",
        streak=0,
        mode=mode,
        order=order,
        weight=1,
        backup=False,
        handed_out=share > 0,
        share=share,
        led=led,
        achieved=share or None,
    )


def rrset(*backends: BackendStatus, ttl: int = 22, why: str = "failover: 30s", fails_open: bool = False) -> RRsetStatus:
    return RRsetStatus("A", ttl, why, fails_open, False, backends)


def refusal(*problems: str) -> Refusal:
    return Refusal(time.time() - 60, "the files have mistakes", problems)


NO_HOUR = Timeline(0.0, 10.0, 60.0, (), (), 0)


@dataclass(slots=True)
class MadeUp:
    """What it says can be changed while it runs."""

    now: Status = QUIET
    changes: tuple[Change, ...] = ()
    probed: tuple[ProbeStatus, ...] = ()

    rate: float = 0.0  # queries per second
    hour: Timeline = NO_HOUR
    given: list[OrderRequest] = field(default_factory=list)
    standing: tuple[OrderStatus, ...] = ()
    _born: float = field(default_factory=time.time)

    def status(self, pattern: str | None) -> Status:
        now = time.time()
        queries = int((now - self._born) * self.rate)
        busy = replace(self.now.server, started=self._born - 90_000, queries=queries)
        return replace(self.now, now=now, loaded=self._born - 3000, server=busy)

    async def reload(self, by: str) -> Reloaded:
        raise NotImplementedError

    async def order(self, wanted: OrderRequest) -> OrderResult:
        self.given.append(wanted)
        expires = None if wanted.mode is Mode.READY else time.time() + 22
        owner = wanted.names[0] if wanted.names else "www.example.test."
        clocks = tuple(DrainClock(owner, "A", each, wanted.mode.value, expires) for each in wanted.addresses)
        return OrderResult(clocks, ())

    async def join(self, wanted: JoinRequest) -> Joined:
        raise AssertionError("nobody joins")

    async def leave(self, wanted: JoinRequest) -> Gone:
        raise AssertionError("nobody leaves")

    def updates(self) -> Iterator[UpdatedRRset]:
        return iter(())

    async def drop_updates(self, name: str, kind: str | None, by: str) -> int:
        raise AssertionError("there are no updates")

    async def effect(self, wanted: OrderRequest) -> Effect:
        expires = None if wanted.mode is Mode.READY else time.time() + 22
        owner = wanted.names[0] if wanted.names else "www.example.test."
        return Effect((RRsetEffect(owner, "A", wanted.addresses, 3, 3, 1, False, expires),), self.standing)

    def timeline(self, pattern: str | None) -> Timeline:
        return replace(self.hour, at=time.time())

    def history(self) -> tuple[Change, ...]:
        return self.changes

    def lookup(self, name: Name, kind: int, client: bytes) -> Lookup:
        raise NotImplementedError

    def follow(self, last: str | None) -> AsyncIterator[Event | None]:
        raise NotImplementedError

    def probes(self, pattern: str | None) -> tuple[ProbeStatus, ...]:
        return self.probed

    async def top(self) -> TopQueries:
        raise NotImplementedError

    def metrics(self) -> Iterator[str]:
        raise NotImplementedError

    def silent(self) -> tuple[int, ...]:
        raise NotImplementedError


@contextmanager
def carried(operations: MadeUp, port: int = 0, token: str | None = None, role: Role = Role.OPERATE) -> Iterator[str]:
    """The URL of its page."""
    tokens = () if token is None else (Token(token.encode(), "alice", role),)
    sock = socket.create_server(("127.0.0.1", port))
    sock.setblocking(False)
    loop = asyncio.new_event_loop()
    task = loop.create_task(server.serve([Listener(sock, Guard(tokens))], operations))

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/"
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()
