"""Which connections to one listener may stay: there is a limit for all, and a limit for each client.

A new connection is always admitted.  When there is no room, another one is closed for it: one of the same client, if
that client has reached its limit, else one of the client that has the most connections.  Of these it is the one that
has kept us waiting the longest, for its request or to take its reply.  There is always such a connection, since fewer
requests may be answered at once than connections may be open.

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


# Requests answered at once: in all, and of one client.  Together fewer than the slots above.
_MOST_AT_WORK = {Work.MEASURING: (8, 4), Work.OTHER: (48, 24)}


@dataclass(slots=True, eq=False)
class Slot:
    """What one connection occupies as long as it is open."""

    client: Hashable
    evict: Callable[[], object]  # ends the connection
    since: float | None          # when we began to wait for the client; None: it waits for us
    work: Work | None = None     # that we do for it


class Admission:
    """The slots of one listener."""

    def __init__(self) -> None:
        self._slots: dict[Slot, None] = {}

    def admit(self, client: Hashable, evict: Callable[[], object], now: float) -> Slot:
        """A slot for a new connection of this client.  Another connection may be closed to make room for it."""
        own = [slot for slot in self._slots if slot.client == client]
        if len(own) >= MOST_OF_ONE:
            self._evict(own)
        elif len(self._slots) >= MOST:
            self._evict(list(self._slots))
        slot = Slot(client, evict, now)
        self._slots[slot] = None
        return slot

    def release(self, slot: Slot) -> None:
        self._slots.pop(slot, None)

    @contextmanager
    def at_work(self, slot: Slot, work: Work) -> Iterator[bool]:
        """Whether the request may be answered now.  While it is, the connection is not closed for others."""
        busy = [one for one in self._slots if one.work is work]
        in_all, of_one = _MOST_AT_WORK[work]
        if len(busy) >= in_all or sum(one.client == slot.client for one in busy) >= of_one:
            yield False
            return
        since, slot.since, slot.work = slot.since, None, work
        try:
            yield True
        finally:
            slot.since, slot.work = since, None

    def _evict(self, slots: list[Slot]) -> None:
        sizes: dict[Hashable, int] = {}
        for slot in slots:
            sizes[slot.client] = sizes.get(slot.client, 0) + 1
        waiting = [(-sizes[slot.client], slot.since, slot) for slot in slots if slot.since is not None]
        _, _, victim = min(waiting, key=lambda one: one[:2])
        self.release(victim)
        victim.evict()
