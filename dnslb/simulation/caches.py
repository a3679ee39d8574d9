"""Resolvers that keep an answer for its TTL, and what their clients make of it.

Pure.  Between two answers nothing has to be simulated: the sessions of a resolver's clients are a Poisson process, so
that an answer brings its addresses so many of them on average.  So the cost is that of the queries which reach the
authority, however many clients there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heapreplace
from random import Random
from typing import NamedTuple

from dnslb.simulation.authority import Authority, Chosen
from dnslb.simulation.demand import Demand


class Held(NamedTuple):
    """An answer in a resolver's cache."""

    resolver: int
    chosen: Chosen
    begin: float  # when a client has asked for it
    end: float


class Caches:
    """The resolvers, from time 0 on; each holds an answer of some age already, or none if it seldom asks."""

    def __init__(self, authority: Authority, demand: Demand, rng: Random) -> None:
        self._authority = authority
        self._minimum, self._clock = demand.resolver_minimum, demand.clock
        self._rates = demand.rates
        self._rng = rng
        self.held: dict[int, Held] = {}  # by resolver: the last answer, which may have ended
        # Of a cycle, which is the TTL and the wait for the next client, some part is over.
        cycles = (max(authority.ttl, self._minimum) + rng.expovariate(rate) for rate in self._rates)
        self._queue = [(cycle * rng.random(), resolver) for resolver, cycle in enumerate(cycles)]
        heapify(self._queue)

    def run(self, until: float) -> Iterator[Held]:
        """The answers that resolvers ask for up to then, one after another."""
        queue, authority, rates = self._queue, self._authority, self._rates
        minimum, clock = self._minimum, self._clock
        expovariate, held = self._rng.expovariate, self.held
        while queue[0][0] < until:
            now, resolver = queue[0]
            if now >= authority.next_at:
                authority.advance(now)
            chosen, ttl = authority.answer(resolver, now)
            kept = ttl if ttl > minimum else minimum
            end = now + kept if not clock or not kept else now // clock * clock + kept + clock
            answer = held[resolver] = Held(resolver, chosen, now, end)
            heapreplace(queue, (end + expovariate(rates[resolver]), resolver))
            yield answer


class Starts:
    """Sessions that begin, on average, window by window, for each set of addresses that clients choose among."""

    def __init__(self, length: float, windows: int) -> None:
        """So many windows from time 0 on, each of that length in seconds."""
        self._length = length
        self._windows = windows
        # By window, what is to be added to the rate: in it alone, and from it on.  So an answer costs the same however
        # long it is held.
        self._rates: dict[Chosen, tuple[list[float], list[float]]] = {}

    def add(self, held: Held, rate: float) -> None:
        """The client who has made the resolver ask, and those who come while it holds the answer."""
        if (rates := self._rates.get(held.chosen)) is None:
            rates = self._rates[held.chosen] = [0.0] * self._windows, [0.0] * (self._windows + 1)
        once, onwards = rates
        place = held.begin / self._length
        if (window := int(place)) < self._windows:
            once[window] += rate * (window + 1 - place) + 1 / self._length
            onwards[window + 1] += rate
        place = held.end / self._length
        if (window := int(place)) < self._windows:
            once[window] -= rate * (window + 1 - place)
            onwards[window + 1] -= rate

    def means(self) -> Iterator[dict[Chosen, float]]:
        """Of each window, the sessions that begin in it on average."""
        rates = dict.fromkeys(self._rates, 0.0)
        for window in range(self._windows):
            found = {}
            for chosen, (once, onwards) in self._rates.items():
                rates[chosen] += onwards[window]
                found[chosen] = max(0.0, self._length * (rates[chosen] + once[window]))
            yield found
