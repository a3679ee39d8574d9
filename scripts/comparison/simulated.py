"""Experiment 19 in a simulation too, and at scales that no machine here has: the same decisions, made-up clients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from comparison import probing
from comparison.experiment import Table
from dnslb.balance.pool import Pool, TtlPolicy
from dnslb.balance.rotation import RRsetOrder
from dnslb.simulation import trial, variant
from dnslb.simulation.demand import Demand
from dnslb.simulation.trial import Extent

LEAST = "L7 least conn."


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the world is."""

    name: str
    backends: int
    ttl: int            # seconds: constant, and the mean of others
    demand: Demand
    extent: Extent


@dataclass(frozen=True, slots=True)
class Simulated:
    """One way to balance, at one level."""

    scale: str
    name: str
    level: int          # percent by which the weakest clone is below the strongest
    well: float         # part of the windows in which no clone is overloaded
    queries: float      # a second


def scales(here: Scale) -> tuple[Scale, ...]:
    """That of the experiment; the papers', which is 500 clients of 20 domains; and a large site's."""
    paper = Demand(rate=500 / 300, resolvers=20)
    large = Demand(rate=1000.0, resolvers=10_000)
    return (here, Scale("papers: 7 servers, 20 domains, TTL 240", 7, 240, paper, Extent(7200.0, 0, 3)),
            Scale("7 servers, 10,000 resolvers, TTL 30", 7, 30, large, Extent(1200.0, 0, 1)))


def ways(scale: Scale, level: int) -> dict[str, Pool]:
    def pool(ttl: int) -> Pool:
        return replace(variant.made_up(probing.probe(0), scale.backends, ttl, level / 100), answers=1)

    adaptive, tallied = TtlPolicy(min=2, is_adaptive=True, mean=scale.ttl), RRsetOrder.LEAST_ASSIGNED
    return {
        "constant": pool(scale.ttl),
        "adaptive": replace(pool(4 * scale.ttl), ttl=adaptive),
        "least assigned": replace(pool(scale.ttl), order=tallied),
        "both": replace(pool(4 * scale.ttl), ttl=adaptive, order=tallied),
        "whole set": replace(pool(scale.ttl), answers=None),
    }


def simulate(scale: Scale, level: int, high: float) -> Iterator[Simulated]:
    """``high``: the utilisation from which on a clone is overloaded."""
    able = variant.capacities(ways(scale, level)["constant"], 4)
    for name, pool in ways(scale, level).items():
        found = trial.attempt(pool, 4, able, scale.demand, scale.extent)
        yield Simulated(scale.name, name, level, found.below(high), found.queries)
    found = trial.attempt_by_request(able, scale.demand, scale.extent)
    yield Simulated(scale.name, LEAST, level, found.below(high), 0.0)


def table(found: list[Simulated], high: float) -> Table:
    levels = sorted({one.level for one in found})
    kinds = list(dict.fromkeys((one.scale, one.name) for one in found))
    rows = []
    for scale, name in kinds:
        its = {one.level: one for one in found if (one.scale, one.name) == (scale, name)}
        queries = its[levels[0]].queries
        wells = [f"{its[level].well:.0%}" for level in levels]
        rows.append([scale, name, *wells, f"{queries:.2f}" if queries else "–"])
    heading = ["", "", *(f"windows < {high}, {level} % apart" for level in levels), "queries/s"]
    return Table("The same in the simulation (`dnslb simulate`), here and at other scales", heading, rows)


def measurements(found: list[Simulated]) -> list[dict[str, object]]:
    return [asdict(one) for one in found]
