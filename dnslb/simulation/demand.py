"""Who looks a pool's name up, and how much work that makes.

Pure: values only.  What is left open is as in Colajanni, Yu, Cardellini, "Dynamic load balancing in geographically
distributed heterogeneous web servers", ICDCS 1998, and the papers that follow it: clients' sessions of 20 pages in
five minutes, servers that are busy for two thirds of the time, and utilisation looked at every 8 seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from dnslb.advice.forecast import zipf


@dataclass(frozen=True)  # no slots, so that the rates are worked out once
class Demand:
    """What clients want.  Times are in seconds, rates per second."""

    rate: float = 100.0            # sessions that begin, in all; each begins with a look-up at its client's resolver
    resolvers: int = 100
    skew: float = 1.0              # Zipf's exponent of the resolvers' shares; 0: all equal
    session: float = 300.0         # that one lasts, on average; it keeps the address that it has begun with
    requests: float = 20.0         # in a session, on average
    utilisation: float = 2 / 3     # of all backends together, above 0; from 1 on they are overloaded
    window: float = 8.0            # over which a backend's utilisation is measured
    resolver_minimum: float = 0.0  # a TTL below it is raised to it: ``cache-min-ttl`` in unbound
    clock: float = 1.0             # resolvers keep a copy to the end of its last such part of time; 0: exactly its TTL

    @cached_property
    def rates(self) -> tuple[float, ...]:
        """Sessions that begin, resolver by resolver."""
        return tuple(self.rate * share for share in zipf(self.resolvers, self.skew))


def unlike(backends: int, heterogeneity: float) -> tuple[float, ...]:
    """Capacities from 1 down to 1 - ``heterogeneity`` (0 to below 1) in equal steps."""
    steps = max(1, backends - 1)
    return tuple(1 - heterogeneity * step / steps for step in range(backends))
