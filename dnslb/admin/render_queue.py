"""Long replies are worked out one at a time, a little at a time, and once for all who wait for the same.

However many ask, probes wait for a stretch of the work; however slowly replies are taken, memory holds a few of them.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from dnslb.system.pace import gently

MOST_WAITING = 16     # different replies
MOST_OF_ONE = 4       # different replies for one client
MOST_KEPT = 32 << 20  # octets of replies that clients are taking; beyond, the oldest reply is dropped


class Full(Exception):
    """Too many replies are waited for."""


class Body:
    """The octets of a long reply.  Those who take it share them, each at a pace of its own."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.size = sum(map(len, pieces))
        self._pieces = pieces
        self._count = len(pieces)

    def piece(self, number: int) -> bytes | None:
        """None after the last.  Raises Dropped."""
        if number == self._count:
            return None
        if not self._pieces:
            raise Dropped
        return self._pieces[number]

    def drop(self) -> None:
        """Who has not taken all of it by now is too slow."""
        self._pieces = []


class Dropped(Exception):
    """The reply was taken too slowly: its octets are gone."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    client: Hashable
    task: asyncio.Task[Body]


class RenderQueue:
    """Where those wait who want a long reply."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()  # goes to those who wait in the order in which they came
        self._waiting: dict[Hashable, _Job] = {}
        self._tasks: set[asyncio.Task[Body]] = set()
        self._kept: list[weakref.ref[Body]] = []  # oldest first

    async def render(self, client: Hashable, key: Hashable, work: Callable[[], Iterable[str]]) -> Body:
        """The text of the work.  Whoever asks for the same ``key`` before it has begun gets the same.

        Raises Full, and whatever the work raises.
        """
        if key not in self._waiting:
            own = sum(job.client == client for job in self._waiting.values())
            if own >= MOST_OF_ONE or len(self._waiting) >= MOST_WAITING:
                raise Full
            task = asyncio.create_task(self._make(key, work))
            self._waiting[key] = _Job(client, task)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        # One who leaves takes nothing away from the others.
        return await asyncio.shield(self._waiting[key].task)

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, key: Hashable, work: Callable[[], Iterable[str]]) -> Body:
        async with self._turn:
            # Who comes from now on must not get what was seen before it came.
            del self._waiting[key]
            body = await rendered(work())
            self._keep(body)
            return body

    def _keep(self, body: Body) -> None:
        # Only its takers hold a body: one that was taken is not here any more.
        kept = [*filter(None, (known() for known in self._kept)), body]
        total = sum(one.size for one in kept)
        while total > MOST_KEPT and kept[0] is not body:
            oldest = kept.pop(0)
            total -= oldest.size
            oldest.drop()
        self._kept = [weakref.ref(one) for one in kept]


async def rendered(work: Iterable[str]) -> Body:
    """The text, worked out gently."""
    return Body([octets async for texts in gently(work) if (octets := "".join(texts).encode())])
