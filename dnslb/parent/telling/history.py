"""The last changes: of verdicts and orders, reloads, starts and stops.  Whoever follows is told of each that comes."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Iterable
from itertools import islice

from dnslb.balance.health import Health, ProbeKey
from dnslb.control.change import Change, Event
from dnslb.parent.balancer import Balancer
from dnslb.parent.state import MOST_CHANGES

QUIET = 15.0  # seconds without a change after which a follower gets None: it may find out that nobody listens

_ID = re.compile(r"(\d{1,20})-(\d{1,20})", re.ASCII)


class History:
    """Nothing is kept for a follower but how far it has come: who is too slow has lost what is not here any more.

    ``life`` tells this life of the server from others, in the ids of events.
    """

    def __init__(self, changes: Iterable[Change] = (), life: int = 0) -> None:
        self._changes = deque(changes, MOST_CHANGES)
        self._life = life
        self._number = len(self._changes)  # of the last one; that many have been
        self._recalled = self._number      # of these, those of other lives
        self._news = asyncio.Event()       # set at the next one, and then replaced

    @property
    def changes(self) -> tuple[Change, ...]:
        """Oldest first."""
        return tuple(self._changes)

    def add(self, change: Change) -> None:
        self._changes.append(change)
        self._number += 1
        self._news.set()
        self._news = asyncio.Event()

    async def follow(self, last: str | None) -> AsyncIterator[Event | None]:
        """What comes from now on; or after the event with the id ``last``, if it was one of this life."""
        number = self._after(last)
        while True:
            first = self._number - len(self._changes)
            lost, number = max(0, first - number), max(first, number)
            # They change while we tell of them.
            for change in list(islice(self._changes, number - first, None)):
                number += 1
                yield Event(f"{self._life}-{number}", change, lost)
                lost = 0
            if number == self._number:
                try:
                    async with asyncio.timeout(QUIET):
                        await self._news.wait()
                except TimeoutError:
                    yield None

    def _after(self, last: str | None) -> int:
        match = _ID.fullmatch(last or "")
        if match is None:
            return self._number
        # Of another life: all that has been since this one began.
        return min(int(match[2]), self._number) if int(match[1]) == self._life else self._recalled


def verdicts(balancer: Balancer, key: ProbeKey, health: Health) -> list[Change]:
    """What a new verdict changes: one line for each backend that goes by it, as far as they are remembered."""
    what = "up" if health.up else "down"
    return [
        Change(health.since, pool.name, str(backend.address), what, health.reason)
        for pool, backends in balancer.served.going_by(key)[-MOST_CHANGES:]
        for backend in backends
    ][-MOST_CHANGES:]
