"""What operators are told of addresses that they order out: whether they are, and when the last cached copy expires."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from dnslb.answer.served import Served
from dnslb.balance.operator_order import Mode, Scope, mode_for
from dnslb.balance.pool import Address
from dnslb.balance.ttl import OVERTIME, bounds
from dnslb.control.order import DrainClock, OrderRequest
from dnslb.dns import rrtype
from dnslb.dns.name import Name
from dnslb.parent.balancer import Balancer
from dnslb.parent.concerned import Concerned

_REACH = 1.0  # seconds after its time within which a planned order reaches every worker


def clocks(
    balancer: Balancer,
    wanted: OrderRequest,
    about: Iterable[Concerned],
    altered: Collection[tuple[Name, Address]],
    now: float,
) -> Iterator[DrainClock]:
    """What the order, in force everywhere, has done to each address; those that it has not ``altered`` were so."""
    last: Served | None = None
    handed_out: frozenset[Address] = frozenset()
    for one in about:
        pool = balancer.served[one.owner]
        served = pool.rrsets[one.address.version]
        # Of a pool with thousands of addresses the set is made once.
        if served is not last:
            last, handed_out = served, pool.handed_out(one.address.version)
        yield _clock(balancer, wanted, one, handed_out, (one.owner, one.address) in altered, now)


def _clock(  # noqa: PLR0913, PLR0917 - an order, what it met, and when
    balancer: Balancer, wanted: OrderRequest, one: Concerned, handed_out: frozenset[Address], changed: bool, now: float
) -> DrainClock:
    mode = mode_for(balancer.orders, one.pool.owner, one.address, now)
    expires = None
    if wanted.mode is Mode.READY:
        note = _why_not_ready(balancer, one, mode, handed_out, wanted)
    elif wanted.at is not None and wanted.at > now:
        floor = bounds(one.pool, one.address.version).floor
        expires = max(balancer.copies.expires(one.owner, one.address, now), wanted.at + floor + OVERTIME + _REACH)
        note = "planned"
    elif mode is Mode.READY:
        note = "still handed out: it has an order of its own under this name"
    elif one.address in handed_out:
        note = "still handed out: no other address of the pool is ready"
    else:
        expires = balancer.copies.last_copy(one.owner, one.address, now)
        note = "" if handed_out else "the pool has no address left: NODATA"
    kind = rrtype.address_text(one.address.version)
    standing = balancer.orders.get(Scope(one.pool.owner if wanted.names else None, one.address))
    since = None if standing is None else standing.since
    return DrainClock(one.pool.owner, kind, str(one.address), mode.value, expires, note, since, changed)


def kept_clocks(balancer: Balancer) -> Iterator[tuple[Scope, float]]:
    """When caches lose each address that a pool does not hand out."""
    for pool in balancer.served.values():
        for version in pool.pool.zone_ttls:
            handed_out = frozenset() if pool.is_withheld(version) else pool.handed_out(version)
            copies = balancer.copies.get((pool.owner, rrtype.ADDRESS_TYPES[version]), {})
            yield from ((Scope(pool.name, each), at) for each, at in copies.items() if each not in handed_out)


def _why_not_ready(
    balancer: Balancer, one: Concerned, mode: Mode, handed_out: frozenset[Address], wanted: OrderRequest
) -> str:
    if wanted.at is not None:
        return "planned"
    if mode is not Mode.READY:
        return f"still in {mode.value}: it has another order"
    if one.address in handed_out:
        return ""
    if balancer.served[one.owner].judgement.awaits(one.address):
        return "handed out when its first probe passes; --now does not wait for that"
    return "not handed out: it is down, or a spare"
