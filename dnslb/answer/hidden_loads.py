"""What all workers have seen of who asks for some RRsets, and what hidden load that tells of.

Old counts fade.  Memory is bounded: of more networks than there is room for, those are kept that have asked most
(lossy counting: Manku and Motwani, "Approximate frequency counts over data streams", 2002); what is kept is counted
exactly.  Pure: times are those of a clock that only goes forward, and arguments.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import nlargest
from ipaddress import IPv4Network, IPv6Network
from math import exp, log2
from operator import itemgetter
from typing import NamedTuple

from dnslb.answer.snapshot import RRsetKey
from dnslb.balance.hidden_load import HOTTEST, Crowd, class_of, load_behind
from dnslb.balance.ttl import OVERTIME

MOST = 4096        # pairs of RRset and network that are kept; between, up to twice as many
HEAVIEST = 8       # networks of an RRset that are told of
_MEMORY = 1800.0   # seconds in which a count fades to 37 %
_LEAST = 4         # times that a network must have asked, for anything to be told by it
_PIECE = 200       # networks looked at in a row
_STEPS = 4         # to double a load: what is published changes only with these


class Asked(NamedTuple):
    """By one network, for one RRset, since it was last told."""

    times: int
    covered: int  # seconds: the sum of the TTLs that it got


@dataclass(frozen=True, slots=True)
class HiddenLoad:
    """Who asks for one RRset."""

    crowds: Mapping[int, Crowd] = field(default_factory=dict)  # by class
    heaviest: tuple[tuple[bytes, float], ...] = ()  # networks, and the requests a second behind them
    networks: int = 0      # of which that is known
    requests: float = 0.0  # a second, behind all of these
    rest: float = 0.0      # queries a second of all others


def network(octets: bytes) -> IPv4Network | IPv6Network:
    """A /24 or /56 by its octets."""
    if len(octets) == 3:
        return IPv4Network((octets + bytes(1), 24))
    return IPv6Network((octets + bytes(9), 56))


class HiddenLoads(dict[RRsetKey, HiddenLoad]):
    """As it was last worked out; ``classes`` are those of all networks that are known."""

    def __init__(self) -> None:
        super().__init__()
        self.classes: Mapping[bytes, int] = {}
        self._seen: dict[tuple[RRsetKey, bytes], _Seen] = {}
        self._all: dict[RRsetKey, _Seen] = {}

    def add(self, asked: Mapping[tuple[RRsetKey, bytes], Asked], now: float) -> None:
        """A worker has told of these."""
        for pair, one in asked.items():
            seen = self._seen.get(pair)
            if seen is None:
                seen = self._seen[pair] = _Seen(now)
            seen.add(one, now)
            of_all = self._all.get(pair[0])
            if of_all is None:
                of_all = self._all[pair[0]] = _Seen(now)
            of_all.add(one, now)
        if len(self._seen) > 2 * MOST:
            self._seen = {pair: seen for pair, seen in self._seen.items() if seen.asked}  # more often than once
        if len(self._seen) > 2 * MOST:
            pairs = nlargest(MOST, self._seen, key=lambda pair: self._seen[pair].remembered(now))
            self._seen = {pair: self._seen[pair] for pair in pairs}

    def keep_only(self, keys: Collection[RRsetKey]) -> None:
        """Forget all others."""
        for key in self.keys() - keys:
            del self[key]
        self._seen = {pair: seen for pair, seen in self._seen.items() if pair[0] in keys}
        self._all = {key: seen for key, seen in self._all.items() if key in keys}

    def crowds(self, key: RRsetKey) -> Mapping[int, Crowd]:
        """Who asks for the RRset, by class."""
        return self[key].crowds if key in self else {}

    def work_out(self, now: float) -> Iterator[None]:
        """Anew, a little at a time."""
        known: dict[RRsetKey, dict[bytes, Crowd]] = {key: {} for key in self._all}
        queries: dict[RRsetKey, float] = defaultdict(float)
        loads: dict[bytes, float] = defaultdict(float)
        items = list(self._seen.items())
        for start in range(0, len(items), _PIECE):
            yield
            for (key, network), seen in items[start : start + _PIECE]:
                crowd = seen.crowd(now)
                if crowd.caches and key in known:
                    known[key][network] = crowd
                    queries[key] += seen.remembered(now)
                    loads[network] = max(loads[network], crowd.load)
        self.classes = {network: class_of(load) for network, load in loads.items()}
        for key, crowds in known.items():
            yield
            if key in self._all:  # still
                self[key] = self._told(crowds, self._all[key].rate(queries[key], now))

    def _told(self, crowds: Mapping[bytes, Crowd], rest: float) -> HiddenLoad:
        by_class: dict[int, list[Crowd]] = defaultdict(list)
        for network, crowd in crowds.items():
            by_class[self.classes[network]].append(crowd)
        loads = {network: crowd.caches * crowd.load for network, crowd in crowds.items()}
        return HiddenLoad(
            {number: _together(some) for number, some in by_class.items()},
            tuple(nlargest(HEAVIEST, loads.items(), key=itemgetter(1))),
            len(crowds),
            sum(loads.values()),
            rest,
        )


class _Seen:
    """What one network has asked for, up to when it did last, and the gaps in between."""

    __slots__ = ("asked", "at", "covered", "due", "seconds")

    def __init__(self, now: float) -> None:
        self.asked = 0.0    # times
        self.seconds = 0.0  # in which that was
        self.covered = 0.0  # of them, by TTLs
        self.at = now
        self.due = -1.0     # the TTLs that it got last: their gap has not ended; below 0: it has not asked yet

    def add(self, one: Asked, now: float) -> None:
        if self.due >= 0:
            faded = exp((self.at - now) / _MEMORY)
            self.asked = self.asked * faded + one.times
            self.seconds = self.seconds * faded + now - self.at
            self.covered = self.covered * faded + self.due
        self.at, self.due = now, float(one.covered)

    def remembered(self, now: float) -> float:
        """How often it has asked, as far as that has not faded."""
        return self.asked * exp((self.at - now) / _MEMORY)

    def rate(self, less: float, now: float) -> float:
        """Queries a second, less so many queries."""
        return max(0.0, self.remembered(now) - less) / (self.seconds + now - self.at or 1.0)

    def crowd(self, now: float) -> Crowd:
        """Nobody as long as too little is known."""
        if self.asked < _LEAST or self.remembered(now) < 1:
            return Crowd()
        # Who should have asked again, and has not, counts as one who asks less.
        is_late = now - self.at > self.due + 2 * OVERTIME
        late, due = (now - self.at, self.due) if is_late else (0.0, 0.0)
        return load_behind(self.asked, self.seconds + late, self.covered + due)


def _together(crowds: list[Crowd]) -> Crowd:
    caches = sum(crowd.caches for crowd in crowds)
    load = sum(crowd.caches * crowd.load for crowd in crowds) / caches
    return Crowd(caches, min(HOTTEST, 2 ** (round(_STEPS * log2(load)) / _STEPS)))
