"""The turns of an RRset whose answers differ by the class of the resolver that asks.

Each class has its own (RR2 of Colajanni, Yu and Dias, "Analysis of task assignment policies in scalable distributed
Web-server systems", 1998): so a heavy resolver goes round all records, however many light ones ask in between.  With
the order LEAST_ASSIGNED all have one tally instead.  Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import add
from random import Random

from dnslb.balance.hidden_load import Terms
from dnslb.balance.rotation import Rotation, RRsetOrder, Tally, Turns, arrangement, period


class ClassTurns(Turns):
    """Those of the class REST, and ``by_class`` those of all."""

    __slots__ = ("_led", "_n", "_others", "_past", "_rng", "_tallies", "_terms")

    def __init__(self, terms: Sequence[Terms], n: int, rng: Random, start: int = 0) -> None:
        """``terms``: by class; those of one RRset, which has ``n`` records."""
        self._n, self._rng, self._terms = n, rng, list(terms)
        heap = [(0.0, record) for record in range(n)]
        self._tallies = [Tally(heap, _steps(each)) for each in terms]
        super().__init__(terms[0].rotation, n, rng, start, self._tally(0))
        self._others = [self._begin(number, None) for number in range(1, len(terms))]
        self._past = 0       # turns of classes that have begun others since
        self._led = [0] * n  # in these

    @property
    def by_class(self) -> Sequence[Turns]:
        return (self, *self._others)

    def retune(self, terms: Sequence[Terms]) -> None:
        """From now on it is these.  A class whose records lead as often as before goes on; REST always does."""
        for number, (before, after) in enumerate(zip(self._terms, terms, strict=True)):
            self._terms[number] = after
            self._tallies[number].steps[:] = _steps(after)
            if number and before.rotation != after.rotation:
                old = self._others[number - 1]
                self._past += old.taken
                self._led = list(map(add, self._led, old.led() or [0] * self._n))
                self._others[number - 1] = self._begin(number, old.next_leader)

    @property
    def taken(self) -> int:
        return super().taken + self._past + sum(turns.taken for turns in self._others)

    def led(self) -> list[int] | None:
        """How often each record has led since this was last asked; None: there was no turn."""
        counts = [found for found in (super().led(), *(turns.led() for turns in self._others)) if found is not None]
        past, self._led = self._led, [0] * self._n
        return [sum(each) for each in zip(past, *counts, strict=True)] if counts or any(past) else None

    def _begin(self, number: int, leader: int | None) -> Turns:
        """The turns of a class: from where that record leads, or from anywhere."""
        rotation = self._terms[number].rotation
        count = period(rotation, self._n)
        places = range(count) if leader is not None else ()
        starts = (turn for turn in places if arrangement(rotation, self._n, turn)[0] == leader)
        start = next(starts, None)
        start = self._rng.randrange(count) if start is None else start
        return Turns(rotation, self._n, self._rng, start, self._tally(number))

    def _tally(self, number: int) -> Tally | None:
        return self._tallies[number] if self._terms[number].rotation.order is RRsetOrder.LEAST_ASSIGNED else None


def begin_turns(rotation: Rotation, terms: Sequence[Terms], n: int, rng: Random, start: int) -> Turns:
    """The turns of an RRset, by class if there are ``terms`` for each."""
    return ClassTurns(terms, n, rng, start) if terms else Turns(rotation, n, rng, start)


def _steps(terms: Terms) -> list[float]:
    """By record: what an answer carries, for the weight."""
    weights = terms.rotation.weights or (1,) * len(terms.ttls)
    return [terms.carried / weight for weight in weights]
