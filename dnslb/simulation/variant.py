"""Ways to hand a pool out, from the simplest to what costs most to run, and which of them suffices.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from dnslb.balance import selection
from dnslb.balance.pool import Address, Backend, Pool, Probe
from dnslb.balance.rotation import RRsetOrder
from dnslb.simulation.demand import Demand, unlike
from dnslb.simulation.trial import Extent, Trial, attempt, attempt_by_request

BUSY = 0.9        # a backend is better not that busy …
OFTEN = 0.9       # … in so many windows
_FIRST = IPv4Address("198.18.0.1")  # of made-up backends: a network for benchmarks (RFC 2544 appendix C.2.2)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way."""

    title: str
    pool: Pool | None        # None: an L7 balancer does it
    is_written: bool = False  # in the policy


def variants(pool: Pool) -> list[Variant]:
    """Those that a pool could be handed out in, the simplest first; the policy's own is among them."""
    plain = replace(pool, near=None, ttl=replace(pool.ttl, is_adaptive=False))
    if plain.order is RRsetOrder.LEAST_ASSIGNED:
        plain = replace(plain, order=RRsetOrder.CYCLIC)
    whole, single = replace(plain, answers=None), replace(plain, answers=1)
    ways = {
        "full sets": whole,
        "single answers": single,
        "least_assigned": replace(single, order=RRsetOrder.LEAST_ASSIGNED),
        "adaptive TTL": replace(single, order=RRsetOrder.CYCLIC, ttl=replace(pool.ttl, is_adaptive=True)),
    }
    found = [Variant(title, way, way == pool) for title, way in ways.items()]
    if not any(one.is_written for one in found):
        found.insert(0, Variant("as written", pool, is_written=True))
    return [*found, Variant("L7 least connections", None)]


def weighted(pool: Pool, version: int, heterogeneity: float) -> Pool:
    """The same with backends that are so unlike, and weights that say it."""
    own = [backend for backend in pool.backends if backend.address.version == version and backend.weight]
    capacities = dict(zip(own, unlike(len(own), heterogeneity), strict=True))
    backends = (replace(each, weight=round(100 * capacities.get(each, each.weight / 100))) for each in pool.backends)
    return replace(pool, backends=tuple(backends))


def made_up(probe: Probe, backends: int, ttl: int, heterogeneity: float) -> Pool:
    """A pool of that many backends, where there is none to try."""
    addresses = (Backend(_FIRST + number) for number in range(backends))
    return weighted(Pool("www.example.", tuple(addresses), {4: ttl}, probe), 4, heterogeneity)


def capacities(pool: Pool, version: int) -> dict[Address, float]:
    """Of what is handed out while all is up: in proportion to the weights."""
    shares = selection.select(pool, version, {}, {}, 0.0).shares
    return {share.address: float(share.weight) for share in shares}


def attempts(
    ways: list[Variant], version: int, able: Mapping[Address, float], demand: Demand, extent: Extent
) -> Iterator[tuple[Variant, Trial]]:
    """One after another: each takes a moment."""
    for way in ways:
        if way.pool is None:
            yield way, attempt_by_request(able, demand, extent)
        else:
            yield way, attempt(way.pool, version, able, demand, extent)


def fitting(tried: list[tuple[Variant, Trial]]) -> Variant | None:
    """The simplest that keeps the busiest backend below ``BUSY`` often enough; None: none does."""
    simplest = (way for way, trial in tried if trial.below(BUSY) >= OFTEN and way.title != "as written")
    return next(simplest, None)
