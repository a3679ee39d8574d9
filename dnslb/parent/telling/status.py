"""What the server says of its pools when it is asked: what they serve, why, and what is known of each backend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType

from dnslb.answer import hidden_loads
from dnslb.answer.hidden_loads import HiddenLoad, HiddenLoads
from dnslb.answer.served_pool import ServedPool
from dnslb.balance.hidden_load import REST
from dnslb.balance.operator_order import Order, Scope, mode_at, order_for
from dnslb.balance.pool import Backend, Pool
from dnslb.balance.registration import Registered, Registration
from dnslb.control.status import (
    BackendStatus,
    HiddenLoadStatus,
    Lease,
    OrderStatus,
    PoolStatus,
    ProbeStatus,
    ResolverStatus,
    RRsetStatus,
)
from dnslb.dns import rrtype
from dnslb.dns.name import Name
from dnslb.parent.balancer import Balancer
from dnslb.parent.telling import rotated_status
from dnslb.parent.telling.probe_record import ProbeRecords
from dnslb.parent.telling.totals import Totals


def order_status(scope: Scope, order: Order) -> OrderStatus:
    return OrderStatus(
        scope.owner, str(scope.address), order.mode.value, order.since, order.at, order.until, order.reason, order.by
    )


def pool_status(
    balancer: Balancer, totals: Totals, owner: Name, now: float, registered: Registered = MappingProxyType({})
) -> PoolStatus:
    """``registered``: who has joined the pool."""
    pool = balancer.served[owner]
    is_rotated = owner in balancer.included
    rrsets = (_rrset_status(balancer, totals, pool, version, now, registered) for version in sorted(pool.rrsets))
    return PoolStatus(pool.name, rrsets, is_rotated)


def _rrset_status(  # noqa: PLR0913, PLR0917 - as below
    balancer: Balancer, totals: Totals, pool: ServedPool, version: int, now: float, registered: Registered
) -> RRsetStatus:
    served = pool.rrsets[version]
    why = f"{served.ttl.why}; {rotated_status.WHY}" if pool.owner in balancer.included else served.ttl.why
    shares = served.shares()
    return RRsetStatus(
        rrtype.address_text(version),
        served.ttl.seconds,
        why,
        served.selection.fails_open,
        pool.is_withheld(version),
        (
            _with_lease(
                _backend_status(balancer, totals, pool, backend, shares.get(backend.address), now),
                registered.get(backend.address),
            )
            for backend in pool.backends(version)
        ),
        pool.is_empty(version),
        served.changed_at,
        _hidden_load(totals.loads, pool, version) if pool.pool.counts_load else None,
    )


def _hidden_load(loads: HiddenLoads, pool: ServedPool, version: int) -> HiddenLoadStatus:
    load = loads.get((pool.owner, rrtype.ADDRESS_TYPES[version]), HiddenLoad())
    whole = load.requests + load.rest
    heaviest = tuple(ResolverStatus(str(hidden_loads.network(each)), requests) for each, requests in load.heaviest)
    told = "not known yet"
    if heaviest:
        shown = sum(one.requests for one in heaviest) / whole
        told = f"{len(heaviest)} of {load.networks} resolver networks carry {shown:.0%} of the clients; most are behind"
        told += f" {heaviest[0].network}, {heaviest[0].requests / whole:.0%}"
    terms = pool.rrsets[version].serving.terms
    if terms and pool.pool.ttl.is_adaptive:
        ttls = [ttl for number in (REST, *load.crowds) for ttl in terms[number].ttls]
        told += f"; TTLs from {min(ttls)} to {max(ttls)} s, as many queries as with {terms[REST].ttls[0]} s"
    return HiddenLoadStatus(told, load.networks, load.requests, load.rest, heaviest)


def _with_lease(status: BackendStatus, one: Registration | None) -> BackendStatus:
    return status if one is None else replace(status, joined=Lease(one.since, one.until, one.by))


def _backend_status(  # noqa: PLR0913, PLR0917 - what is known of an address lies in as many places
    balancer: Balancer, totals: Totals, pool: ServedPool, backend: Backend, share: float | None, now: float
) -> BackendStatus:
    address, rdata = backend.address, backend.address.packed
    key = pool.owner, rrtype.ADDRESS_TYPES[address.version]
    health, burden = pool.verdict(backend), pool.burdens.get(backend.target)
    order = order_for(balancer.orders, pool.name, address, now)
    own = Scope(pool.name, address)
    scope = own if balancer.orders.get(own) is order else Scope(None, address)
    return BackendStatus(
        address=str(address),
        up=None if health is None else health.up,
        since=None if health is None else health.since,
        reason="" if health is None else health.reason,
        unsure=pool.judgement.unsure(backend),
        streak=0 if health is None else health.streak,
        mode=mode_at(order, now).value,
        order=None if order is None else order_status(scope, order),
        weight=backend.weight,
        backup=backend.backup,
        handed_out=share is not None,
        share=share or 0.0,
        led=totals.led(key).get(rdata, 0),
        achieved=totals.achieved(key, rdata),
        expires=None if share is not None else balancer.copies.last_copy(pool.owner, address, now),
        load=burden.load if burden is not None and burden.is_known else None,
        left=None if burden is None else burden.left,
        load_why="" if burden is None else burden.why(),
    )


def probe_statuses(pool: Pool, records: ProbeRecords) -> Iterator[ProbeStatus]:
    """Of its backends, as far as they were probed."""
    for backend in pool.backends if pool.probe is not None else ():
        record = records.get((pool.probe, backend.target)) if pool.probe is not None else None
        if record is not None:
            took, passed = tuple(record.took), tuple(map(bool, record.passed))
            yield ProbeStatus(pool.owner, str(backend.address), took, passed, tuple(record.at))
