"""What an operator asks of the server, worked out: what an order concerns, and what there is to tell.

Values in, values out: ``parent`` holds what changes, and waits for the workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from ipaddress import ip_address

from dnslb.balance import admin
from dnslb.balance.admin import Admin, Mode, Scope
from dnslb.balance.pool import Address, Backend, Pool
from dnslb.balance.ttl import OVERTIME, bounds
from dnslb.dns.name import Name
from dnslb.operations import (
    BackendStatus,
    Clock,
    OrderStatus,
    PoolStatus,
    ProbeStatus,
    Rejected,
    RRsetStatus,
    Unknown,
    Wanted,
)
from dnslb.probe.schedule import Key
from dnslb.serve.balancer import Balancer
from dnslb.serve.ledger import Ledger
from dnslb.serve.record import Records
from dnslb.snapshot import KINDS
from dnslb.snapshot import Key as ServedKey

_REACH = 1.0  # seconds after its time within which a planned order reaches every worker
RRTYPES = {4: "A", 6: "AAAA"}


@dataclass(frozen=True, slots=True)
class Concerned:
    """An address in a pool."""

    owner: Name
    pool: Pool
    address: Address


def matching(pools: Mapping[Name, Pool], pattern: str) -> list[Name]:
    """The owners whose names match a name or a pattern of the shell.  Raises Unknown when none does."""
    wanted = _plain(pattern)
    found = [owner for owner, pool in pools.items() if fnmatchcase(_plain(pool.owner), wanted)]
    if found:
        return found
    known = {_plain(pool.owner): pool.owner for pool in pools.values()}
    close = get_close_matches(wanted, known, 1, 0.0)
    remedy = f"did you mean {known[close[0]]}?" if close else "there are no pools at all"
    raise Unknown(f"no pool is called {pattern}", remedy)


def concerned(pools: Mapping[Name, Pool], wanted: Wanted) -> list[Concerned]:
    """What the order is about.  Raises Unknown for a name or an address that no pool has."""
    owners = dict.fromkeys(owner for pattern in wanted.names for owner in matching(pools, pattern))
    chosen = {owner: pools[owner] for owner in owners} if wanted.names else pools
    found: dict[tuple[Name, Address], Concerned] = {}
    for pattern in wanted.addresses:
        matches = [
            Concerned(owner, pool, backend.address)
            for owner, pool in chosen.items()
            for backend in pool.backends
            if _is_meant(backend.address, pattern)
        ]
        if not matches:
            where = ", ".join(pool.owner for pool in chosen.values()) if wanted.names else "any pool"
            raise Unknown(f"{pattern} is no backend of {where}", "see `dnslb status` for the addresses")
        found |= {(one.owner, one.address): one for one in matches}
    return list(found.values())


def amended(
    orders: Mapping[Scope, Admin], wanted: Wanted, about: Iterable[Concerned], now: float
) -> dict[Scope, Admin]:
    """The orders that stand from now on, without those that are over.  Raises Rejected."""
    result = {scope: order for scope, order in orders.items() if not admin.is_over(order, now)}
    given = Admin(wanted.mode, now, wanted.at, wanted.until, wanted.reason)
    if admin.is_over(given, now) or (wanted.at is not None and wanted.until is not None and wanted.until <= wanted.at):
        raise Rejected("the order would end before it begins", "give a later end")
    for one in about:
        own, general = Scope(one.pool.owner, one.address), Scope(None, one.address)
        scope = own if wanted.names else general
        if wanted.mode is Mode.READY:
            _make_ready(result, own, scope, given)
            continue
        is_planned = wanted.at is not None and wanted.at > now
        if is_planned and (mode := admin.mode(result.get(scope), now)) is not Mode.READY and result[scope] != given:
            raise Rejected(
                f"{one.address} is in {mode.value} now, and a planned order would end that",
                "give the order for now, or make it ready first",
            )
        result[scope] = given
    return result


def _make_ready(orders: dict[Scope, Admin], own: Scope, scope: Scope, given: Admin) -> None:
    """End the orders that take the address out, now or when it was said; under one name by an exception, if need be."""
    general = Scope(None, own.address)
    ended = [own] if scope == own else [own, general]
    for each in ended:
        if given.at is not None and each in orders and orders[each].mode is not Mode.READY:
            until = orders[each].until
            orders[each] = replace(orders[each], until=given.at if until is None else min(until, given.at))
        elif given.at is None:
            orders.pop(each, None)
    if scope == own and general in orders and own not in orders:
        orders[own] = given


def to_pause(balancer: Balancer, orders: Mapping[Scope, Admin], now: float) -> set[Key]:
    """What need not be probed: all that go by it are in maint."""
    addresses = {scope.address for scope, order in orders.items() if order.mode is Mode.MAINT}
    if not addresses:
        return set()
    keys = {
        (pool.probe, backend.target)
        for pool in balancer.pools.values()
        for backend in pool.backends
        if pool.probe is not None and backend.address in addresses
    }
    return {key for key in keys if all(_is_in_maint(*user, orders, now) for user in balancer.asking(key))}


def next_edge(orders: Mapping[Scope, Admin], now: float) -> float | None:
    """When the next order comes into force or is over."""
    edges = (time for order in orders.values() for time in (order.at, order.until) if time is not None)
    return min((time for time in edges if time > now), default=None)


def clock(balancer: Balancer, wanted: Wanted, one: Concerned, lag: float, now: float) -> Clock:
    """What the order, in force everywhere for ``lag`` seconds at most, has done to the address."""
    selection, _ = balancer.rrset(one.owner, one.address.version)
    mode = admin.mode_for(balancer.orders, one.pool.owner, one.address, now)
    handed_out = {share.address for share in selection.shares}
    expires = None
    if wanted.mode is Mode.READY:
        note = _why_not_ready(one, mode, handed_out, wanted)
    elif wanted.at is not None and wanted.at > now:
        floor = bounds(one.pool, one.address.version).floor
        expires = max(balancer.expires(one.owner, one.address, now), wanted.at + floor + OVERTIME + _REACH)
        note = "planned"
    elif mode is Mode.READY:
        note = "still handed out: it has an order of its own under this name"
    elif one.address in handed_out:
        note = "still handed out: no other address of the pool is ready"
    else:
        expires = balancer.expires(one.owner, one.address, now) + lag
        note = "" if handed_out else "the pool has no address left: NODATA"
    kind = RRTYPES[one.address.version]
    return Clock(one.pool.owner, kind, str(one.address), mode.value, expires, note)


def order_status(scope: Scope, order: Admin) -> OrderStatus:
    return OrderStatus(
        scope.owner, str(scope.address), order.mode.value, order.since, order.at, order.until, order.reason
    )


def pool_status(balancer: Balancer, ledger: Ledger, owner: Name, now: float) -> PoolStatus:
    pool = balancer.pool(owner)
    rrsets = (_rrset_status(balancer, ledger, owner, version, now) for version in sorted(pool.zone_ttls))
    return PoolStatus(pool.owner, tuple(rrsets))


def _rrset_status(balancer: Balancer, ledger: Ledger, owner: Name, version: int, now: float) -> RRsetStatus:
    pool, (selection, ttl) = balancer.pool(owner), balancer.rrset(owner, version)
    total = sum(share.weight for share in selection.shares)
    shares = {share.address: share.weight / total for share in selection.shares}
    backends = [backend for backend in pool.backends if backend.address.version == version]
    statuses = tuple(
        _backend_status(balancer, ledger, (owner, KINDS[version]), backend, shares, now) for backend in backends
    )
    withheld = balancer.is_withheld(owner, version)
    return RRsetStatus(RRTYPES[version], ttl.seconds, ttl.why, selection.fails_open, withheld, statuses)


def _backend_status(  # noqa: PLR0913, PLR0917 - what is known of an address lies in as many places
    balancer: Balancer, ledger: Ledger, key: ServedKey, backend: Backend, shares: Mapping[Address, float], now: float
) -> BackendStatus:
    pool, rdata = balancer.pool(key[0]), backend.address.packed
    health = balancer.verdict(key[0], backend)
    order = admin.order_for(balancer.orders, pool.owner, backend.address, now)
    own = Scope(pool.owner, backend.address)
    scope = own if balancer.orders.get(own) is order else Scope(None, backend.address)
    return BackendStatus(
        address=str(backend.address),
        up=None if health is None else health.up,
        since=None if health is None else health.since,
        reason="" if health is None else health.reason,
        unsure=balancer.unsure(key[0], backend),
        streak=0 if health is None else health.streak,
        mode=admin.mode(order, now).value,
        order=None if order is None else order_status(scope, order),
        weight=backend.weight,
        backup=backend.backup,
        handed_out=backend.address in shares,
        share=shares.get(backend.address, 0.0),
        led=ledger.led(key).get(rdata, 0),
        achieved=ledger.achieved(key, rdata),
    )


def probe_statuses(pool: Pool, records: Records) -> list[ProbeStatus]:
    """Of its backends, as far as they were probed."""
    if pool.probe is None:
        return []
    found = [(str(backend.address), records.get((pool.probe, backend.target))) for backend in pool.backends]
    return [
        ProbeStatus(pool.owner, address, tuple(record.took), tuple(map(bool, record.passed)))
        for address, record in found
        if record is not None
    ]


def _why_not_ready(one: Concerned, mode: Mode, handed_out: set[Address], wanted: Wanted) -> str:
    if wanted.at is not None:
        return "planned"
    if mode is not Mode.READY:
        return f"still in {mode.value}: it has another order"
    return "" if one.address in handed_out else "not handed out: it is down, or a spare"


def _is_in_maint(pool: Pool, backend: Backend, orders: Mapping[Scope, Admin], now: float) -> bool:
    return admin.mode_for(orders, pool.owner, backend.address, now) is Mode.MAINT


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _is_meant(address: Address, pattern: str) -> bool:
    try:
        return ip_address(pattern) == address
    except ValueError:
        return fnmatchcase(str(address), pattern.lower())
