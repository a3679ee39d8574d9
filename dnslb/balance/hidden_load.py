"""What clients a resolver hides behind its cache, told by how often it asks, and the answer that it gets for that.

A resolver that keeps an answer sends all its clients to one backend, for as long as the TTL.  Who has many clients
should get a short one: TTLs in inverse proportion to the hidden load make the shares of the backends as even as can be
for a given number of queries (Colajanni, Yu and Cardellini, "Dynamic load balancing in geographically distributed
heterogeneous Web servers", 1998; Colajanni and Yu, "A performance study of robust load sharing strategies for
distributed heterogeneous Web server systems", 2002: TTL/S_K; US 6,078,943, expired).  A longer one may come with a
backend that can do more.

A load is requests a second, a request being a client's look-up that the resolver answers from its cache, or asks here.
Classes of it are fixed, each half of the one before: so they mean the same to everybody, at any time.  Pure: no clock,
no I/O.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import expm1, log1p, log2
from typing import NamedTuple

from dnslb.balance import ttl
from dnslb.balance.pool import Pool
from dnslb.balance.rotation import Rotation, RRsetOrder
from dnslb.balance.selection import quantise
from dnslb.balance.ttl import OVERTIME

REST = 0          # the class of the resolvers of which too little is known
CLASSES = 14      # besides; the last has also all that is below
HOTTEST = 10.0    # requests a second behind a cache: of more, how often it asks tells next to nothing
_MOST_CACHES = 1000  # behind one network
_STEPS = 24       # of a bisection
_MOST_CAPACITIES = 16  # for which TTLs are worked out
_EVEN = 1.05      # ratio up to which places in a cycle count as alike: else it would be long for nothing


class Crowd(NamedTuple):
    """Caches with about as much behind each."""

    caches: int = 0
    load: float = 0.0  # behind one of them, on average


def load_behind(asked: float, seconds: float, covered: float) -> Crowd:
    """Who is behind a network that has asked so often in so many seconds for one RRset.

    ``covered``: the sum of the TTLs that it got, in seconds.  A cache asks again with the first request after its
    copy has ended.  Caches count in whole seconds, and keep a copy to the end of its last one: so between copies are
    1 / (e^load - 1) whole seconds on average in which nobody has asked (for a small load, the gap between its queries
    is longer than the TTL by 1 / load + 1/2).  When the copies are more than one cache could have kept, there are
    several, with as much behind each.
    """
    if asked <= 0 or seconds <= 0:
        return Crowd()
    kept = covered + asked * OVERTIME
    caches = max(1, round(min(_MOST_CACHES, kept / seconds)))
    idle = caches * seconds - kept
    return Crowd(caches, min(HOTTEST, log1p(asked / idle)) if idle > 0 else HOTTEST)


def class_of(load: float) -> int:
    """From 1, the heaviest."""
    return max(1, 1 + round(log2(HOTTEST / max(load, _nominal(CLASSES)))))


def queries(crowd: Crowd, seconds: float) -> float:
    """Queries a second from these caches, when they get a TTL of so many seconds: what ``load_behind`` turns round."""
    return crowd.caches / (seconds + OVERTIME + 1 / expm1(crowd.load)) if crowd.load > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What resolvers of one class get."""

    ttls: tuple[int, ...]  # seconds, by the record that the answer has
    rotation: Rotation     # how often each leads
    carried: float         # requests that one answer brings to a backend, on average


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a TTL, in seconds, from the lowest to the highest."""

    floor: int
    mean: int     # the constant TTL that brings as many queries
    ceiling: int


def limits(pool: Pool, version: int, longest: int) -> Limits:
    """Of the TTLs of a pool that adapts them, in a moment when it may have ``longest`` at most.

    The mean is, if the policy does not say it, a quarter of the ceiling: of 20 resolvers by Zipf's law the heaviest
    gets then a fifth of it, and the lightest nearly the ceiling.
    """
    wide = ttl.bounds(pool, version)
    mean = wide.ceiling // 4 if pool.ttl.mean is None else pool.ttl.mean
    return Limits(wide.floor, max(wide.floor, min(longest, mean)), longest)


def even_terms(rotation: Rotation, n: int, seconds: int) -> tuple[Terms, ...]:
    """For each class: the same TTL with all of ``n`` records, so that only what an answer carries differs."""
    return tuple(Terms((seconds,) * n, rotation, 1 + _nominal(each) * seconds) for each in range(CLASSES + 1))


def adapted_terms(rotation: Rotation, n: int, within: Limits, known: Mapping[int, Crowd]) -> tuple[Terms, ...]:
    """For each class: TTLs in inverse proportion to its load, with as many queries as ``within.mean`` brings.

    ``rotation`` has the capacities of the ``n`` records as its weights.  ``known``: who is behind the resolvers, by
    class.  Where limits stand in the way, the number of queries is as near as can be.
    """
    if not known:
        return even_terms(rotation, n, within.mean)
    loads = {each: known[each].load if each in known else _nominal(each) for each in range(1, CLASSES + 1)}
    capacities = rotation.weights or (1,) * n
    # Else they lead by their capacity, with one TTL.
    is_by_capacity = rotation.order is not RRsetOrder.LEAST_ASSIGNED and len(set(capacities)) <= _MOST_CAPACITIES
    counts = Counter(capacities if is_by_capacity else {1: n})
    wanted = sum(queries(crowd, within.mean) for crowd in known.values())

    def excess(scale: float) -> float:
        """Of queries, with these TTLs times loads."""
        means = ((crowd, _offer(counts, scale / crowd.load, crowd.load, within).mean) for crowd in known.values())
        return sum(queries(crowd, mean) for crowd, mean in means) - wanted

    low, high = 1e-4, 1e8
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    scale = min(low, high, key=lambda each: abs(excess(each)))

    def terms(load: float) -> Terms:
        offer = _offer(counts, scale / load, load, within)
        if not is_by_capacity:
            return Terms((offer.ttls[1],) * n, rotation, 1 + load * offer.mean)
        places = [offer.places[capacity] for capacity in capacities]
        weights = quantise(places) if max(places) > _EVEN * min(places) else None
        ttls = tuple(offer.ttls[capacity] for capacity in capacities)
        return Terms(ttls, Rotation(rotation.order, weights, rotation.answers), 1 + load * offer.mean)

    rest = Terms((within.mean,) * n, rotation, 1 + _nominal(REST) * within.mean)
    return rest, *map(terms, loads.values())


class _Offer(NamedTuple):
    """What a class gets, by the capacity of a record."""

    ttls: Mapping[int, int]
    places: Mapping[int, float]  # how often it leads
    mean: float                  # TTL


def _offer(counts: Mapping[int, int], mean: float, load: float, within: Limits) -> _Offer:
    """A TTL in proportion to capacity.  Where a limit stands in the way of that, the record leads as much more or less.

    ``counts``: how many records have a capacity.  What an answer brings is its first request, and those of its TTL.
    """
    scale = mean * sum(counts.values()) / sum(capacity * count for capacity, count in counts.items())
    ttls = {each: max(within.floor, min(within.ceiling, round(scale * each))) for each in counts}
    places = {each: each / (1 + load * seconds) for each, seconds in ttls.items()}
    whole = sum(count * places[each] for each, count in counts.items())
    return _Offer(ttls, places, sum(count * places[each] * ttls[each] for each, count in counts.items()) / whole)


def _nominal(each: int) -> float:
    """What is in the middle of a class; as for the rest, of the lightest."""
    return float(HOTTEST / 2 ** ((each or CLASSES) - 1))
