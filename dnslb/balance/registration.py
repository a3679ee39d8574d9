"""Backends that join a pool by themselves, and stay for as long as they say so again: a lease.

Pure: no clock, no I/O.  Times are Unix times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeAlias

from dnslb.balance.pool import Address, Backend, Pool


@dataclass(frozen=True, slots=True)
class Registration:
    """One address that has joined a pool."""

    weight: int
    since: float  # when it joined
    until: float  # when it leaves unless it is renewed
    by: str = ""  # who has registered it


Registered: TypeAlias = Mapping[Address, Registration]


def joined(pool: Pool, registered: Registered) -> Pool:
    """The pool with these backends behind those of the zone file; an address that stands there is as written there."""
    written = {backend.address for backend in pool.backends}
    more = [
        Backend(address, weight=one.weight, joined=one.since)
        for address, one in registered.items()
        if address not in written
    ]
    return replace(pool, backends=tuple(sorted((*pool.backends, *more), key=_version))) if more else pool


def why_not(pool: Pool, address: Address) -> str:
    """Why the address may not join, however few have: fact; remedy.  Nothing if it may."""
    policy = pool.register
    if policy is None or pool.probe is None:
        return f"nobody may join {pool.owner}; add register: to its policy"
    if address.version not in pool.zone_ttls:
        kind = "A" if address.version == 4 else "AAAA"
        return f"{pool.owner} has no {kind} records; add one to the zone file, whose TTL then holds for all"
    if not any(address.version == network.version and address in network for network in policy.networks):
        return f"{address} is in no network that may join {pool.owner}; add one to register: {{networks: [...]}}"
    return ""


def permitted(pool: Pool | None, registered: Registered) -> dict[Address, Registration]:
    """Those that may stay under this policy, the oldest first as far as the limit reaches."""
    if pool is None or pool.register is None:
        return {}
    may = ((address, one) for address, one in registered.items() if not why_not(pool, address))
    return dict(islice(may, pool.register.limit))


def _version(backend: Backend) -> int:
    return backend.address.version
