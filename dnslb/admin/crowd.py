"""Who is in: the connections of one door, so many in all and so many of one client.

A new one always finds a place.  The one that goes for it is of the same client when that has its share, else of the
client that has most, and has kept us waiting the longest: for its request, or to take its reply.  There is always such
a one, since fewer may be answered at once than may be in.

Pure: no sockets, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

MOST = 64         # connections
MOST_OF_ONE = 32  # connections of one client


class Work(Enum):
    """What a request asks for.  Each kind has its own bounds, so that none stands in the other's way."""

    MEASURING = "measuring"  # what a monitoring system asks for: /metrics
    OTHER = "other"


# Requests answered at once: in all, and of one client.  Together fewer than the places above.
_MOST_AT_WORK = {Work.MEASURING: (8, 4), Work.OTHER: (48, 24)}


@dataclass(slots=True, eq=False)
class Place:
    """Of one connection."""

    client: Hashable
    leave: Callable[[], object]  # ends the connection
    since: float | None          # when we began to wait for the client; None: it waits for us
    work: Work | None = None     # that we do for it


class Crowd:
    def __init__(self) -> None:
        self._places: dict[Place, None] = {}

    def enter(self, client: Hashable, leave: Callable[[], object], now: float) -> Place:
        """A place; for which another may have to leave."""
        own = [place for place in self._places if place.client == client]
        if len(own) >= MOST_OF_ONE:
            self._send_away(own)
        elif len(self._places) >= MOST:
            self._send_away(list(self._places))
        place = Place(client, leave, now)
        self._places[place] = None
        return place

    def leave(self, place: Place) -> None:
        self._places.pop(place, None)

    @contextmanager
    def at_work(self, place: Place, work: Work) -> Iterator[bool]:
        """Whether the request of this connection may be answered now: meanwhile it is not sent away."""
        busy = [one for one in self._places if one.work is work]
        in_all, of_one = _MOST_AT_WORK[work]
        if len(busy) >= in_all or sum(one.client == place.client for one in busy) >= of_one:
            yield False
            return
        since, place.since, place.work = place.since, None, work
        try:
            yield True
        finally:
            place.since, place.work = since, None

    def _send_away(self, places: list[Place]) -> None:
        sizes: dict[Hashable, int] = {}
        for place in places:
            sizes[place.client] = sizes.get(place.client, 0) + 1
        waiting = [(-sizes[place.client], place.since, place) for place in places if place.since is not None]
        _, _, victim = min(waiting, key=lambda one: one[:2])
        self.leave(victim)
        victim.leave()
