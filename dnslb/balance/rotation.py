"""The order of the addresses in a reply, turn by turn.

A rotation has a table of arrangements; a turn indexes it.  Pure: turn, client and randomness are arguments.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from hashlib import shake_128
from heapq import heapreplace
from itertools import accumulate, cycle, repeat
from math import log, log2, sqrt
from operator import add, length_hint
from random import Random
from struct import unpack
from sys import maxsize
from typing import NamedTuple, TypeAlias

Arrangement: TypeAlias = tuple[int, ...]  # positions of records, the leader first

SLOTS = 1024          # for STICKY: parts that clients are divided into, each with a leader of its own
_RANDOM_LAPS = 16     # for RANDOM: orders of the followers to draw from, at most
_RANDOM_TABLE = 256   # for RANDOM: arrangements in all, about
_SPREAD_LAPS = 8      # for SPREAD: orders of the followers, at most
_COVERING = 8.0       # for STICKY: arrivals at a slot, on average, with which mostly none is left out
_REMEMBERED = 512     # for STICKY: records whose arrivals are kept, for when one of them comes or goes
_TABLE = 4096         # for SPREAD: arrangements in all, about


class RRsetOrder(Enum):
    """Who leads, and how the others follow."""

    CYCLIC = "cyclic"  # each in turn; the rest follow in ring order (BIND's rrset-order, RFC 1794 §2)
    SPREAD = "spread"  # each in turn; the rest in another order each lap, so that a dead leader's clients spread
    RANDOM = "random"  # any; the rest in any order
    NONE = "none"      # the first of the file, always
    STICKY = "sticky"  # for a client's network always the same
    LEAST_ASSIGNED = "least_assigned"  # who has the least of the hidden load, for its weight


# What suits names of which nobody counts who asks: all but LEAST_ASSIGNED.
PLAIN_ORDERS = tuple(order.value for order in RRsetOrder if order is not RRsetOrder.LEAST_ASSIGNED)


@dataclass(frozen=True, slots=True)
class Rotation:
    """How the records of one RRset take turns."""

    order: RRsetOrder = RRsetOrder.CYCLIC
    weights: tuple[int, ...] | None = None  # one for each record, 1 or more, their sum at most 256; None: all alike
    answers: int | None = None              # records in a reply, at most


def arrangements(rotation: Rotation, n: int) -> Iterator[Arrangement]:
    """The arrangements of ``n`` records, one for each turn of a period.

    Over a period a record leads as often as its weight says, or once in each lap.  Sticky: one for each leader.
    """
    return (arrangement(rotation, n, turn) for turn in range(period(rotation, n)))


def arrangement(rotation: Rotation, n: int, turn: int) -> Arrangement:
    """The arrangement of ``n`` records at one turn of a period."""
    leaders = _leaders(rotation, n)
    lap, place = divmod(turn, len(leaders))
    return _behind(rotation, leaders[place], n, lap)


def period(rotation: Rotation, n: int) -> int:
    """How many arrangements there are."""
    return laps(rotation, n) * len(_leaders(rotation, n))


def laps(rotation: Rotation, n: int) -> int:
    """How many orders the followers of one leader come in."""
    match rotation.order:
        case RRsetOrder.SPREAD:
            return max(1, min(n - 1, _SPREAD_LAPS, _TABLE // n))
        case RRsetOrder.RANDOM:
            return max(1, min(_RANDOM_LAPS, _RANDOM_TABLE // len(_leaders(rotation, n))))
    return 1


class Stand(NamedTuple):
    """Where turns stand."""

    turn: int    # the next one
    period: int  # of how many; elsewhere the number means nothing


class Tally(NamedTuple):
    """What each record was assigned, for its weight: who has least leads next.

    It is called DAL in the literature, for dynamically accumulated load (Cardellini, Colajanni and Yu, 1999).
    """

    heap: list[tuple[float, int]]  # what was assigned, and the record; never empty
    steps: list[float]             # by record, what an answer adds


class Turns:
    """The turns that an RRset of ``n`` records takes, without end, and how often each record led in them.

    Iterators over them share them.
    """

    __slots__ = ("_count", "_leaders", "_left", "_place", "_start", "_summed", "_ticks", "_turns", "drawn")

    def __init__(
        self, rotation: Rotation, n: int, rng: Random, start: int = 0, tally: Tally | None = None
    ) -> None:
        """``start``: the first turn, of the period.  ``tally``: for LEAST_ASSIGNED; several may share its heap."""
        count = self._count = period(rotation, n)
        self._start = start
        self.drawn = [0] * n  # by record, where the turns do not tell: of all orders but cycles
        self._leaders = _leaders(rotation, n)
        self._place = start % len(self._leaders)  # of the first turn that is not yet counted
        # Turns in a cycle are counted by what is left of this: a tick for each, and no Python.
        self._ticks = repeat(0, maxsize)
        self._left = maxsize
        self._summed = 0  # of what was drawn and told
        self._turns: Iterator[int]
        if count == 1:
            self._turns = self._ticks
        elif tally is not None:
            self._turns = self._assign(*tally)
        elif rotation.order is RRsetOrder.RANDOM:
            self._turns = self._draw(count, rng)
        else:
            self._turns = map(add, cycle((*range(start, count), *range(start))), self._ticks)

    def __iter__(self) -> Iterator[int]:
        return self._turns

    def stand(self) -> Stand:
        """Where they stand now; of random orders it tells nothing, and of sticky ones."""
        taken = maxsize - length_hint(self._ticks)
        return Stand((self._start + taken) % self._count, self._count)

    @property
    def next_leader(self) -> int:
        """Of cycles."""
        return self._leaders[self.stand().turn % len(self._leaders)]

    @property
    def taken(self) -> int:
        """How many turns were taken up to now."""
        return maxsize - length_hint(self._ticks) + self._summed + sum(self.drawn)

    def led(self) -> list[int] | None:
        """How often each record has led since this was last asked; None: there was no turn."""
        left = length_hint(self._ticks)
        taken, self._left = self._left - left, left
        if not taken and not any(self.drawn):
            return None
        led, self.drawn[:] = self.drawn.copy(), [0] * len(self.drawn)
        self._summed += sum(led)
        laps, rest = divmod(taken, len(self._leaders))
        if laps:
            for leader in self._leaders:
                led[leader] += laps
        for place in range(self._place, self._place + rest):
            led[self._leaders[place % len(self._leaders)]] += 1
        self._place = (self._place + rest) % len(self._leaders)
        return led

    def _draw(self, count: int, rng: Random) -> Iterator[int]:
        drawn, leaders = self.drawn, self._leaders
        while True:
            turn = int(count * rng.random())
            drawn[leaders[turn % len(leaders)]] += 1
            yield turn

    def _assign(self, heap: list[tuple[float, int]], steps: list[float]) -> Iterator[int]:
        drawn = self.drawn
        while True:
            assigned, leader = heap[0]
            heapreplace(heap, (assigned + steps[leader], leader))
            drawn[leader] += 1
            yield leader


def _leaders(rotation: Rotation, n: int) -> Sequence[int]:
    if rotation.order is RRsetOrder.NONE:
        return (0,)
    if rotation.weights is None or rotation.order in {RRsetOrder.STICKY, RRsetOrder.LEAST_ASSIGNED}:
        return range(n)
    return smooth(rotation.weights)


def _behind(rotation: Rotation, leader: int, n: int, lap: int) -> Arrangement:
    """The leader, and those behind it that are shown: their number is what it costs, not how many there are."""
    followers = min(n, rotation.answers or n) - 1
    if rotation.order is RRsetOrder.RANDOM:
        places: Iterable[int] = Random(lap * n + leader).sample(range(n - 1), followers)
    elif rotation.order is RRsetOrder.SPREAD and n > 2:
        # In each lap another of them comes second: evenly chosen when there are more than laps.
        second = lap * (n - 1) // laps(rotation, n)
        places = ((second + place) % (n - 1) for place in range(followers))
    else:
        end = leader + 1 + followers
        return (*range(leader, min(n, end)), *range(end - n))
    return (leader, *[(leader + 1 + place) % n for place in places])


@lru_cache(maxsize=256)
def smooth(weights: tuple[int, ...]) -> tuple[int, ...]:
    """One cycle of smooth weighted round robin: record *i* leads ``weights[i]`` times, as evenly spaced as can be.

    Each step every record gains its weight; the one with most leads and pays the sum (nginx, 2012).
    """
    total = sum(weights)
    current = [0] * len(weights)
    leaders = []
    for _ in range(total):
        current = [credit + weight for credit, weight in zip(current, weights, strict=True)]
        leader = max(range(len(weights)), key=current.__getitem__)
        current[leader] -= total
        leaders.append(leader)
    return tuple(leaders)


@lru_cache(maxsize=256)
def slots(names: tuple[bytes, ...], weights: tuple[int, ...] | None) -> tuple[int, ...]:
    """For each slot the position of its leader among the records called ``names``: weighted rendezvous hashing.

    When a record goes, only the slots that it led get another leader; when it returns, they return.  Thaler and
    Ravishankar, "Using name-based mappings to increase hit rates", 1998; weights as in draft-ietf-bess-weighted-hrw.
    What it costs hardly depends on how many records there are: each is a stream of arrivals at slots, twice as dense
    when it weighs twice as much, and whoever arrives at a slot first leads it.
    """
    shares = weights or (1,) * len(names)
    arrivals = _remembered_arrivals if len(names) <= _REMEMBERED else _arrivals
    horizon = _COVERING * SLOTS / sum(shares)
    while True:
        first = [horizon] * SLOTS
        leaders = [-1] * SLOTS
        for position, (name, weight) in enumerate(zip(names, shares, strict=True)):
            until = horizon * weight
            count = _enough(until)
            times, places = arrivals(name, count)
            while times[-1] < until:
                count *= 2
                times, places = arrivals(name, count)
            times = times[: bisect_left(times, until)]
            for time, slot in zip(times if weight == 1 else [each / weight for each in times], places, strict=False):
                if time < first[slot]:
                    first[slot], leaders[slot] = time, position
        if -1 not in leaders:
            return tuple(leaders)
        horizon *= 1.25


@lru_cache(maxsize=256)
def _enough(until: float) -> int:
    """So many arrivals that they mostly last until then; the same number for a range of times."""
    wanted = until + 2 * sqrt(until) + 2
    step = 1 << max(0, int(log2(wanted)) - 2)
    return -(-int(wanted + 1) // step) * step


def _arrivals(name: bytes, count: int) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Times, ascending, and slots: one arrival in a unit of time, on average, and at any slot.

    The same in every process, and more of them begin with the same: a Poisson process drawn by a hash of the name.
    """
    size = 4 * count
    bits = int.from_bytes(shake_128(name).digest(size), "little") & _mask(count)
    numbers = unpack(f"<{2 * count}H", bits.to_bytes(size, "little"))
    return tuple(accumulate(map(_pauses().__getitem__, numbers[::2]))), numbers[1::2]


_remembered_arrivals = lru_cache(maxsize=1024)(_arrivals)


@lru_cache(maxsize=64)
def _mask(count: int) -> int:
    """Of 32 bits each, 12 tell a pause, and 10 a slot."""
    return int.from_bytes(b"\xff\x0f\xff\x03" * count, "little")


@lru_cache(maxsize=1)
def _pauses() -> tuple[float, ...]:
    """Equally likely ones between arrivals: 1 on average."""
    return tuple([-log((number + 0.5) / 4096) for number in range(4096)])
