"""The turns of an RRset whose answers differ by the class of the resolver that asks.

Each class has its own (RR2 of Colajanni, Yu and Dias, "Analysis of task assignment policies in scalable distributed
Web-server systems", 1998): so a heavy resolver goes round all records, however many light ones ask in between.  With
the order LEAST_ASSIGNED all have one tally instead.  Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from random import Random

from dnslb.balance.hidden_load import Terms
from dnslb.balance.rotation import Rotation, RRsetOrder, Tally, Turns, period


class ClassTurns(Turns):
    """Those of the class REST, and ``by_class`` those of all."""

    __slots__ = ("_before", "_n", "_others", "_rng", "_rotations", "_taken_before", "_tallies")

    def __init__(self, terms: Sequence[Terms], n: int, rng: Random, start: int = 0) -> None:
        """``terms``: by class; those of one RRset, which has ``n`` records."""
        heap = [(0.0, record) for record in range(n)]
        self._n, self._rng = n, rng
        self._rotations = [each.rotation for each in terms]
        self._tallies = [Tally(heap, _steps(each)) for each in terms]
        self._before: list[list[int]] = []  # how often records led in turns that are gone, and not told yet
        self._taken_before = 0              # of turns that are gone
        super().__init__(terms[0].rotation, n, rng, start, self._tally(0))
        self._others = [self._begin(number) for number in range(1, len(terms))]

    @property
    def by_class(self) -> Sequence[Turns]:
        return (self, *self._others)

    def retune(self, terms: Sequence[Terms]) -> None:
        """From now on answers carry this.  Of classes with another rotation the turns begin anew; REST keeps its own.

        The others go on: if all began anew with each of them, which is every few seconds, nobody would go round.
        """
        for tally, each in zip(self._tallies, terms, strict=True):
            tally.steps[:] = _steps(each)
        for number, each in enumerate(terms[1:], 1):
            if each.rotation != self._rotations[number]:
                self._rotations[number] = each.rotation
                gone, self._others[number - 1] = self._others[number - 1], self._begin(number)
                self._taken_before += gone.taken
                self._before += filter(None, [gone.led()])

    @property
    def taken(self) -> int:
        return super().taken + self._taken_before + sum(turns.taken for turns in self._others)

    def led(self) -> list[int] | None:
        told = (super().led(), *(turns.led() for turns in self._others))
        counts = [*self._before, *(found for found in told if found is not None)]
        self._before = []
        return [sum(each) for each in zip_longest(*counts)] if counts else None

    def _begin(self, number: int) -> Turns:
        rotation = self._rotations[number]
        return Turns(rotation, self._n, self._rng, self._rng.randrange(period(rotation, self._n)), self._tally(number))

    def _tally(self, number: int) -> Tally | None:
        return self._tallies[number] if self._rotations[0].order is RRsetOrder.LEAST_ASSIGNED else None


def begin_turns(rotation: Rotation, terms: Sequence[Terms], n: int, rng: Random, start: int) -> Turns:
    """The turns of an RRset, by class if there are ``terms`` for each."""
    return ClassTurns(terms, n, rng, start) if terms else Turns(rotation, n, rng, start)


def _steps(terms: Terms) -> list[float]:
    """By record: what an answer carries, for the weight."""
    weights = terms.rotation.weights or (1,) * len(terms.ttls)
    return [terms.carried / weight for weight in weights]
