"""How much of an RRset is left when orders take addresses out, and how much a pool wants to be left.

Pure: no clock, no I/O.  A backend counts when it is up and no order takes it out; a backup too, since it takes over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dnslb.balance.health import Health
from dnslb.balance.operator_order import Mode, Order, Scope, mode_for
from dnslb.balance.pool import Address, Least, Pool


@dataclass(frozen=True, slots=True)
class Capacity:
    """What is left of an RRset."""

    backends: int
    of: int           # backends that there are
    weight: int
    of_weight: int

    @property
    def percent(self) -> float:
        """Of the weight."""
        return 100 * self.weight / self.of_weight if self.of_weight else 0.0

    def reaches(self, least: Least) -> bool:
        return self.backends >= least.backends and 100 * self.weight >= least.percent * self.of_weight


def capacity(
    pool: Pool, version: int, healths: Mapping[Address, Health], orders: Mapping[Scope, Order], now: float
) -> Capacity:
    """Of the pool's A (``version`` 4) or AAAA (6) RRset.  ``healths``: by probed address; others count as up."""
    backends = [backend for backend in pool.backends if backend.address.version == version]
    left = [
        backend
        for backend in backends
        if ((health := healths.get(backend.target)) is None or health.up)
        and mode_for(orders, pool.owner, backend.address, now) is Mode.READY
    ]
    weight, of_weight = (sum(backend.weight for backend in each) for each in (left, backends))
    return Capacity(len(left), len(backends), weight, of_weight)
