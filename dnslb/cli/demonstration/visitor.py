"""The visitors: twenty a second resolve the name through dnslb and fetch a page from the first address."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from dnslb.cli.demonstration.stub import Answer, LookupFailed, Resolver

RATE = 20.0         # visits per second
WINDOW = 10.0       # seconds that are remembered
PATIENCE = 1.0      # seconds for a page
REQUEST = b"GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Visit:
    at: float           # on the monotonic clock
    address: str        # "": there was none
    ok: bool


@dataclass
class Visitors:
    """They ask dnslb each time, or all use one cached answer, which is used in any order, as resolvers do."""

    name: str
    web: int                                        # port of the clones
    resolver: Resolver
    caching: bool = False
    answer: Answer = field(default=Answer((), 0))   # the last one
    expires: float = 0.0                            # of the last one, on the monotonic clock
    recent: deque[Visit] = field(default_factory=deque)
    visits: int = 0
    failed: int = 0
    _rng: Random = field(default_factory=Random)

    async def come(self) -> None:
        """One after the other, whether those before have got their page or not; until cancelled."""
        due = time.monotonic()
        async with asyncio.TaskGroup() as visits:
            while True:
                visits.create_task(self._visit())
                due = max(due + 1 / RATE, time.monotonic())
                await asyncio.sleep(due - time.monotonic())

    async def _visit(self) -> None:
        address, ok = "", False
        with suppress(LookupFailed):
            address = await self._resolve()
            ok = await fetch(address, self.web, self.name)
        now = time.monotonic()
        self.visits += 1
        self.failed += not ok
        self.recent.append(Visit(now, address, ok))
        while self.recent[0].at < now - WINDOW:
            self.recent.popleft()

    async def _resolve(self) -> str:
        """Raises LookupFailed."""
        if not self.caching or time.monotonic() >= self.expires:
            self.answer = await self.resolver.ask(self.name)
            self.expires = time.monotonic() + self.answer.ttl
        return self._rng.choice(self.answer.addresses) if self.caching else self.answer.addresses[0]


async def fetch(address: str, port: int, host: str) -> bool:
    """Whether a page came."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                writer.write(REQUEST % host.encode())
                return (await reader.read()).startswith(b"HTTP/1.1 200 ")
            finally:
                writer.close()
    return False
