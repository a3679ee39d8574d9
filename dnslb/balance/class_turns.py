"""The turns of an RRset whose answers differ by the class of the resolver that asks.

Each class has its own (RR2 of Colajanni, Yu and Dias, "Analysis of task assignment policies in scalable distributed
Web-server systems", 1998): so a heavy resolver goes round all records, however many light ones ask in between.  With
the order LEAST_ASSIGNED all have one tally instead.  Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapreplace
from itertools import zip_longest
from random import Random

from dnslb.balance.hidden_load import Terms
from dnslb.balance.rotation import Rotation, RRsetOrder, Turns, period


class ClassTurns(Turns):
    """Those of the class REST, and ``by_class`` those of all."""

    __slots__ = ("_carried", "_others")

    def __init__(self, terms: Sequence[Terms], n: int, rng: Random, start: int = 0) -> None:
        """``terms``: by class; those of one RRset, which has ``n`` records."""
        rotation = terms[0].rotation
        self._carried = [each.carried for each in terms]
        tallies: list[Iterator[int] | None] = [None] * len(terms)
        if rotation.order is RRsetOrder.LEAST_ASSIGNED:
            heap = [(0.0, record) for record in range(n)]
            weights = rotation.weights or (1,) * n
            tallies = [_least(heap, weights, self._carried, number) for number in range(len(terms))]
        super().__init__(rotation, n, rng, start, tallies[0])
        self._others = [
            Turns(each.rotation, n, rng, rng.randrange(period(each.rotation, n)), tally)
            for each, tally in zip(terms[1:], tallies[1:], strict=True)
        ]

    @property
    def by_class(self) -> Sequence[Turns]:
        return (self, *self._others)

    def retune(self, terms: Sequence[Terms]) -> None:
        """From now on answers carry this; the rotations are as they were."""
        self._carried[:] = [each.carried for each in terms]

    @property
    def taken(self) -> int:
        return super().taken + sum(turns.taken for turns in self._others)

    def led(self) -> list[int] | None:
        counts = [found for found in (super().led(), *(turns.led() for turns in self._others)) if found is not None]
        return [sum(each) for each in zip_longest(*counts)] if counts else None


def begin_turns(rotation: Rotation, terms: Sequence[Terms], n: int, rng: Random, start: int) -> Turns:
    """The turns of an RRset, by class if there are ``terms`` for each."""
    return ClassTurns(terms, n, rng, start) if terms else Turns(rotation, n, rng, start)


def _least(
    heap: list[tuple[float, int]], weights: Sequence[int], carried: Sequence[float], number: int
) -> Iterator[int]:
    """Who has been assigned least for its weight; what the answer carries is on its tally from then on.

    It is called DAL in the literature, for dynamically accumulated load (Cardellini, Colajanni and Yu, 1999).
    """
    while True:
        assigned, record = heap[0]
        heapreplace(heap, (assigned + carried[number] / weights[record], record))
        yield record
