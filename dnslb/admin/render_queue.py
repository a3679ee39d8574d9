"""Long replies are rendered one after the other, in small steps, and once for all clients that wait for the same one.

However many clients ask, probes wait for one step of this work at most.  However slowly clients take their replies,
only a few of these are in memory.
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
    """Too many replies are waiting to be rendered."""


class Body:
    """The octets of a long reply.  All clients that take it share them, each at its own pace."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.size = sum(map(len, pieces))
        self._pieces = pieces
        self._count = len(pieces)

    def piece(self, number: int) -> bytes | None:
        """The piece with this number, from 0; None after the last one.  Raises Dropped."""
        if number == self._count:
            return None
        if not self._pieces:
            raise Dropped
        return self._pieces[number]

    def drop(self) -> None:
        """Forget the octets: a client that has not taken all of them by now is too slow."""
        self._pieces = []


class Dropped(Exception):
    """The client took the reply too slowly, and its octets are gone."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    client: Hashable
    task: asyncio.Task[Body]


class RenderQueue:
    """The replies that are waiting to be rendered, and those that clients are taking."""

    def __init__(self) -> None:
        self._rendering = asyncio.Lock()  # goes to those who wait in the order in which they came
        self._waiting: dict[Hashable, _Job] = {}
        self._tasks: set[asyncio.Task[Body]] = set()
        self._kept: list[weakref.ref[Body]] = []  # oldest first

    async def render(self, client: Hashable, key: Hashable, work: Callable[[], Iterable[str]]) -> Body:
        """Render the text of the work.  Everybody who asks for the same ``key`` before it has begun gets the same body.

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
        async with self._rendering:
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
    """The text as a body, rendered in small steps."""
    return Body([octets async for texts in gently(work) if (octets := "".join(texts).encode())])
