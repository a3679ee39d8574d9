"""How many replies were given from each zone, though nothing counts while queries are answered.

Every reply takes a turn, of those of an RRset or of those of its zone, and a turn takes a tick of an iterator of known
length: what is left of it tells how many were taken.  Pure: no I/O.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping
from itertools import repeat
from operator import length_hint
from sys import maxsize

from dnslb.balance.rotation import Turns
from dnslb.dns.name import Name, closest

_PIECE = 500  # RRsets or zones looked at in a row


class ZoneTurns(dict[tuple[Name, int], Turns]):
    """The turns of RRsets, by owner and type; and those of zones, for replies in which nothing takes turns.

    A reply that follows an alias into another zone here, to an RRset that takes turns, is counted there.
    """

    def __init__(self, zones: Container[Name]) -> None:
        super().__init__()
        self._zones = zones
        self._ticks: dict[Name, Iterator[int]] = {}
        self._taken: dict[Name, int] = {}  # of these ticks, as last told
        self._told: dict[tuple[Name, int], int] = {}  # turns, as last told
        self._gone: Counter[Name] = Counter()  # turns that are told of next, of RRsets that are here no more

    def ticks(self, apex: Name) -> Iterator[int]:
        """Zeros without end, of which each reply from the zone takes one."""
        found = self._ticks.get(apex)
        if found is None:
            found = self._ticks[apex] = repeat(0, maxsize)
        return found

    def __setitem__(self, key: tuple[Name, int], turns: Turns) -> None:
        self.drop(key)
        super().__setitem__(key, turns)

    def drop(self, key: tuple[Name, int]) -> None:
        """What has taken these turns takes them no more."""
        turns = self.pop(key, None)
        if turns is not None:
            self._gone[self._apex(key)] += turns.taken - self._told.pop(key, 0)

    def take_counts(self) -> Iterator[Mapping[Name, int]]:
        """How many replies each zone has given since this was last asked: piece by piece, those that gave any."""
        counts, self._gone = self._gone, Counter()
        for number, (key, turns) in enumerate(list(self.items()), 1):
            taken = turns.taken
            if taken != self._told.get(key, 0) and self.get(key) is turns:
                counts[self._apex(key)] += taken - self._told.get(key, 0)
                self._told[key] = taken
            if not number % _PIECE:
                yield counts
                counts = Counter()
        for number, (apex, ticks) in enumerate(list(self._ticks.items()), 1):
            taken = maxsize - length_hint(ticks)
            if taken != self._taken.get(apex, 0):
                counts[apex] += taken - self._taken.get(apex, 0)
                self._taken[apex] = taken
            if not number % _PIECE:
                yield counts
                counts = Counter()
        yield counts

    def _apex(self, key: tuple[Name, int]) -> Name:
        return closest(key[0], self._zones) or key[0]
