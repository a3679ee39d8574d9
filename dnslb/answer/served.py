"""What one RRset of a pool is, by all that decides it at a moment: addresses, turns and TTL.

Pure: time is an argument.  ``balance`` decides; here its decisions become an RRset.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from dnslb.answer.snapshot import RRsetKey, Serving
from dnslb.balance import selection, ttl
from dnslb.balance.health import Health
from dnslb.balance.hidden_load import Crowd, Terms, adapted_terms, even_terms, limits
from dnslb.balance.load import Burden
from dnslb.balance.operator_order import Mode, Order, Scope, leaves_for, mode_for
from dnslb.balance.pool import Address, Backend, Pool
from dnslb.balance.rotation import Rotation
from dnslb.balance.selection import Selection
from dnslb.balance.ttl import Member, Ttl
from dnslb.dns import rrtype
from dnslb.dns.name import Name
from dnslb.dns.zone import RRset


@dataclass(frozen=True, slots=True)
class Facts:
    """All that decides what a pool serves, besides its policy."""

    now: float                                                      # Unix time
    healths: Mapping[Address, Health] = field(default_factory=dict)  # by probed address; others count as up
    orders: Mapping[Scope, Order] = field(default_factory=dict)      # of the operator
    unsure: Mapping[Address, str] = field(default_factory=dict)      # by probed address: why its health is not known
    burdens: Mapping[Address, Burden] = field(default_factory=dict)  # by probed address; others are idle
    crowds: Mapping[int, Crowd] = field(default_factory=dict)  # who asks for the RRset, by class of their hidden load


@dataclass(frozen=True, slots=True)
class Before:
    """What was handed out up to now."""

    addresses: Collection[Address] | None = None  # None: not known
    changed_at: float | None = None               # Unix time of the last change of them; None: not known


@dataclass(frozen=True, slots=True)
class Served:
    """One RRset of a pool, as it was last worked out."""

    selection: Selection
    changed_at: float | None  # Unix time of the last change of its addresses; None: since the start
    ttl: Ttl
    serving: Serving

    @property
    def addresses(self) -> list[Address]:
        """Those that are handed out, in the zone file's order."""
        return [share.address for share in self.selection.shares]

    def shares(self) -> dict[Address, float]:
        """The part of all answers that each address should lead; those that are not handed out are not there."""
        total = sum(share.weight for share in self.selection.shares)
        return {share.address: share.weight / total for share in self.selection.shares}


def work_out(pool: Pool, version: int, facts: Facts, before: Before, is_withheld: bool = False) -> Served:
    """What the pool serves of its A (``version`` 4) or AAAA (6) RRset."""
    now, orders, healths = facts.now, facts.orders, facts.healths
    chosen = selection.select(pool, version, healths, orders, now, facts.burdens)
    handed_out = {share.address for share in chosen.shares}
    changed_at = None if before.changed_at is None else min(before.changed_at, now)
    if before.addresses is not None and set(before.addresses) != handed_out:
        changed_at = now
    members = [
        Member(
            backend.address,
            healths.get(backend.target),
            leaves_for(orders, pool.owner, backend.address, now),
            _counts(backend, handed_out, healths, mode_for(orders, pool.owner, backend.address, now)),
            facts.unsure.get(backend.target, "") if backend.address in handed_out else "",
        )
        for backend in pool.backends
    ]
    lasting = ttl.ttl(pool, version, members, chosen.fails_open, changed_at, now)
    weights = tuple(share.weight for share in chosen.shares)
    rotation = Rotation(pool.order, weights if len(set(weights)) > 1 else None, pool.answers)
    rdatas = tuple(share.address.packed for share in chosen.shares)
    serving = Serving(
        RRset(rrtype.ADDRESS_TYPES[version], lasting.seconds, rdatas),
        rotation,
        chosen.fails_open,
        floor=ttl.bounds(pool, version).floor,
        withheld=is_withheld,
        up=chosen.up,
        terms=_terms(pool, version, rotation, len(rdatas), lasting.seconds, facts.crowds),
    )
    return Served(chosen, changed_at, lasting, serving)


def _terms(  # noqa: PLR0913, PLR0917 - what they are made of
    pool: Pool, version: int, rotation: Rotation, n: int, longest: int, crowds: Mapping[int, Crowd]
) -> tuple[Terms, ...]:
    """What resolvers get by their class, if the pool goes by that; ``longest``: the TTL in force."""
    if not n or not pool.goes_by_load:
        return ()
    if not pool.ttl.is_adaptive:
        return even_terms(rotation, n, longest)
    return adapted_terms(rotation, n, limits(pool, version, longest), crowds)


def at_rest(pools: Mapping[Name, Pool]) -> dict[RRsetKey, Serving]:
    """What the pools serve while every backend is up and nothing has changed for long."""
    return {
        (owner, rrtype.ADDRESS_TYPES[version]): work_out(pool, version, Facts(0.0), Before()).serving
        for owner, pool in pools.items()
        for version in pool.zone_ttls
    }


def _counts(backend: Backend, handed_out: set[Address], healths: Mapping[Address, Health], mode: Mode) -> bool:
    """Whether what happens to the backend would change the answer: not to one in drain, nor to an idle spare."""
    health = healths.get(backend.target)
    is_spare = (health is None or health.up) and backend.address not in handed_out
    return mode is Mode.READY and not is_spare
