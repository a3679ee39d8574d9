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

    __slots__ = ("_others", "_tallies")

    def __init__(self, terms: Sequence[Terms], n: int, rng: Random, start: int = 0) -> None:
        """``terms``: by class; those of one RRset, which has ``n`` records."""
        heap = [(0.0, record) for record in range(n)]
        self._tallies = [Tally(heap, _steps(each)) for each in terms]
        is_tallied = terms[0].rotation.order is RRsetOrder.LEAST_ASSIGNED
        tallies = self._tallies if is_tallied else [None] * len(terms)
        super().__init__(terms[0].rotation, n, rng, start, tallies[0])
        self._others = [
            Turns(each.rotation, n, rng, rng.randrange(period(each.rotation, n)), tally)
            for each, tally in zip(terms[1:], tallies[1:], strict=True)
        ]

    @property
    def by_class(self) -> Sequence[Turns]:
        return (self, *self._others)

    def retune(self, terms: Sequence[Terms]) -> None:
        """From now on answers carry this; the rotations are as they were."""
        for tally, each in zip(self._tallies, terms, strict=True):
            tally.steps[:] = _steps(each)

    @property
    def taken(self) -> int:
        return super().taken + sum(turns.taken for turns in self._others)

    def led(self) -> list[int] | None:
        counts = [found for found in (super().led(), *(turns.led() for turns in self._others)) if found is not None]
        return [sum(each) for each in zip_longest(*counts)] if counts else None


def begin_turns(rotation: Rotation, terms: Sequence[Terms], n: int, rng: Random, start: int) -> Turns:
    """The turns of an RRset, by class if there are ``terms`` for each."""
    return ClassTurns(terms, n, rng, start) if terms else Turns(rotation, n, rng, start)


def _steps(terms: Terms) -> list[float]:
    """By record: what an answer carries, for the weight."""
    weights = terms.rotation.weights or (1,) * len(terms.ttls)
    return [terms.carried / weight for weight in weights]
