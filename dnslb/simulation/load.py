"""Sessions become work, and work keeps backends busy: how busy the busiest is, window by window.

Pure.  A backend is a queue of its own: what it cannot do in a window is left for the next one, and clients who wait for
it ask for nothing else (a closed loop, as people with browsers are).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import exp, sqrt
from random import Random

from dnslb.balance.pool import Address
from dnslb.simulation.authority import Chosen
from dnslb.simulation.chance import binomial, poisson
from dnslb.simulation.demand import Demand

_VARIANCE = 1 / 12  # of the work of a request, which is evenly distributed from 0.5 to 1.5


@dataclass(frozen=True, slots=True)
class _Window:
    """What becomes of sessions in one window, by memoryless lengths."""

    survives: float  # the share of those there are that outlast it
    begun: float     # the same of those that begin in it
    requests: float  # of a whole session

    def pass_by(self, rng: Random, old: int, new: int, waiting: float) -> tuple[int, float]:
        """Those that are there after it, and the work that they all have made in it.  ``waiting``: old ones."""
        ends = (1 - self.survives) * max(0.0, 1 - waiting / old) if old else 0.0
        number = poisson(rng, self.requests * (old * ends + new * (1 - self.begun)))
        work = max(0.0, number + rng.gauss(0.0, sqrt(_VARIANCE * number)))
        return binomial(rng, old, 1 - ends) + binomial(rng, new, self.begun), work


class _Queue:
    """One backend's."""

    def __init__(self, capacity: float) -> None:
        self._capacity = capacity  # work that can be done in a window
        self.left = 0.0            # to do from the windows before

    def do(self, work: float) -> float:
        """The utilisation, 0 to 1, of the window in which so much work comes."""
        work += self.left
        self.left = max(0.0, work - self._capacity)
        return min(1.0, work / self._capacity)


def peaks(
    windows: Iterable[Mapping[Chosen, float]], capacities: Mapping[Address, float], demand: Demand, rng: Random
) -> Iterator[float]:
    """The utilisation of the busiest backend in each window; sessions keep the address that they have begun with."""
    window, queues = _window(demand), _queues(capacities, demand)
    there = {address: poisson(rng, demand.rate * demand.session / len(capacities)) for address in capacities}
    for means in windows:
        starts = dict.fromkeys(capacities, 0.0)
        for chosen, mean in means.items():
            for address in chosen:
                starts[address] += mean / len(chosen)
        busiest = 0.0
        for address, mean in starts.items():
            queue = queues[address]
            there[address], work = window.pass_by(rng, there[address], poisson(rng, mean), queue.left)
            busiest = max(busiest, queue.do(work))
        yield busiest


def peaks_by_request(windows: int, capacities: Mapping[Address, float], demand: Demand, rng: Random) -> Iterator[float]:
    """The same with an L7 balancer of least connections: each request goes where least is to do for the capacity."""
    window, queues = _window(demand), _queues(capacities, demand)
    there, total = poisson(rng, demand.rate * demand.session), sum(capacities.values())
    for _ in range(windows):
        waiting = sum(queue.left for queue in queues.values())
        there, work = window.pass_by(rng, there, poisson(rng, demand.rate * demand.window), waiting)
        shares = [(address, work * capacity / total) for address, capacity in capacities.items()]
        # It does not know how long a request will take.
        yield max(queues[at].do(max(0.0, share + rng.gauss(0.0, sqrt(_VARIANCE * share)))) for at, share in shares)


def _window(demand: Demand) -> _Window:
    if not demand.session:
        return _Window(0.0, 0.0, demand.requests)
    ratio = demand.window / demand.session
    return _Window(exp(-ratio), (1 - exp(-ratio)) / ratio, demand.requests)


def _queues(capacities: Mapping[Address, float], demand: Demand) -> dict[Address, _Queue]:
    """Together they can do what comes on average, and are then as busy as the demand says."""
    needed = demand.rate * demand.requests * demand.window / demand.utilisation
    total = sum(capacities.values())
    return {address: _Queue(needed * capacity / total) for address, capacity in capacities.items()}
