"""One policy in one world: how evenly it loads the backends, what it costs here, how soon it lets go of the dead.

Pure; the same seed gives the same result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from statistics import fmean

from dnslb.balance.pool import Address, Pool
from dnslb.simulation.authority import Authority
from dnslb.simulation.caches import Caches, Starts
from dnslb.simulation.death import Failover, Mortal
from dnslb.simulation.demand import Demand
from dnslb.simulation.load import peaks, peaks_by_request

_LONG = 3600.0  # seconds of a TTL to settle in, at most: caches begin with answers of any age
_SETTLED = 2  # lengths of a session after which it hardly matters that they were spread evenly at first


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is simulated."""

    span: float = 3600.0  # seconds in which nobody dies
    deaths: int = 5       # one after another, after that
    seeds: int = 3        # 1 to this: so many worlds, whose windows are taken together


@dataclass(frozen=True, slots=True)
class Trial:
    """What has come of it."""

    queries: float                 # a second, that reach the authority
    peaks: tuple[float, ...]       # in rising order: of each window the utilisation of the busiest backend, 0 to 1
    by_seed: tuple[tuple[float, ...], ...]  # the same, world by world
    failovers: tuple[Failover, ...]

    def below(self, limit: float) -> float:
        """P(max utilisation < limit), 0 to 1."""
        return _below(self.peaks, limit)

    def below_by_seed(self, limit: float) -> list[float]:
        return [_below(each, limit) for each in self.by_seed]


def attempt(pool: Pool, version: int, capacities: Mapping[Address, float], demand: Demand, extent: Extent) -> Trial:
    """Try the pool's A (``version`` 4) or AAAA (6) records; ``capacities`` of what is handed out while all is up."""
    worlds = [_world(pool, version, capacities, demand, extent, seed) for seed in range(1, extent.seeds + 1)]
    return _together([world[0] for world in worlds], [world[1] for world in worlds], [world[2] for world in worlds])


def attempt_by_request(capacities: Mapping[Address, float], demand: Demand, extent: Extent) -> Trial:
    """The same load behind an L7 balancer of least connections.  It asks nobody, and nobody dies."""
    windows = _windows(demand, extent)
    before = _windows(demand, Extent(_SETTLED * demand.session))
    measured = [
        list(peaks_by_request(before + windows, capacities, demand, Random(seed)))[before:]
        for seed in range(1, extent.seeds + 1)
    ]
    return _together([0.0], measured, [])


def _world(  # noqa: PLR0913, PLR0917 - what is tried, and where
    pool: Pool, version: int, capacities: Mapping[Address, float], demand: Demand, extent: Extent, seed: int
) -> tuple[float, list[float], list[Failover]]:
    """Queries a second, peaks in their order, failovers."""
    rng = Random(seed)
    authority = Authority(pool, version, rng)
    caches = Caches(authority, demand, rng)
    windows = _windows(demand, extent)
    before = _windows(demand, Extent(_SETTLED * demand.session + min(authority.ceiling, _LONG)))
    end, queries = (before + windows) * demand.window, 0
    starts, rates, begin = Starts(demand.window, before + windows), demand.rates, before * demand.window
    for held in caches.run(end):
        starts.add(held, rates[held.resolver])
        queries += held.begin >= begin
    found = list(peaks(starts.means(), capacities, demand, rng))[before:]
    mortal = Mortal(authority, caches, demand, end, rng)
    handed_out = [backend for backend in authority.backends if backend.address in capacities]
    failovers = [mortal.die(rng.choice(handed_out)) for _ in range(extent.deaths)]
    return queries / (windows * demand.window), found, failovers


def _together(queries: list[float], peaks: list[list[float]], failovers: list[list[Failover]]) -> Trial:
    return Trial(
        fmean(queries),
        tuple(sorted(peak for each in peaks for peak in each)),
        tuple(tuple(each) for each in peaks),
        tuple(failover for each in failovers for failover in each),
    )


def _windows(demand: Demand, extent: Extent) -> int:
    return max(1, round(extent.span / demand.window))


def _below(peaks: tuple[float, ...], limit: float) -> float:
    return sum(peak < limit for peak in peaks) / len(peaks)
