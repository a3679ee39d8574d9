"""What an order would do, before it is given: how many addresses of each RRset are left, and when caches let go.

Pure: no I/O; the time is an argument.  It goes by what is known now: nobody knows who is up when a plan begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dnslb.answer.copies import Copies
from dnslb.answer.served_pool import ServedPool
from dnslb.balance import selection
from dnslb.balance.operator_order import Order, Scope
from dnslb.balance.pool import Address
from dnslb.balance.ttl import OVERTIME, bounds
from dnslb.balance.verdicts import Verdicts
from dnslb.control.effect import RRsetEffect
from dnslb.control.order import OrderRequest
from dnslb.control.status import OrderStatus
from dnslb.dns import rrtype
from dnslb.dns.name import Name
from dnslb.parent.balancer import Balancer
from dnslb.parent.concerned import Concerned
from dnslb.parent.telling.status import order_status


def effects(
    balancer: Balancer, after: Mapping[Scope, Order], wanted: OrderRequest, about: Iterable[Concerned], now: float
) -> Iterator[RRsetEffect]:
    """For each RRset that the order is about; ``after`` are the orders that would stand."""
    found: dict[tuple[Name, int], list[Concerned]] = {}
    for one in about:
        found.setdefault((one.owner, one.address.version), []).append(one)
    for (owner, _), concerned in found.items():
        pool = balancer.served.get(owner) or _rotated(concerned[0], now)
        addresses = [one.address for one in concerned]
        yield _effect(balancer, pool, addresses, after, now if wanted.at is None else wanted.at, now)


def standing(orders: Mapping[Scope, Order], about: Iterable[Concerned]) -> Iterator[OrderStatus]:
    """The orders that stand now for what the order is about."""
    scopes = (scope for one in about for scope in (Scope(one.pool.owner, one.address), Scope(None, one.address)))
    yield from (order_status(scope, orders[scope]) for scope in dict.fromkeys(scopes) if scope in orders)


def _rotated(one: Concerned, now: float) -> ServedPool:
    """What is served of a name without a policy, which the balancer gets when the order is given."""
    pool = ServedPool(one.owner, one.pool, Verdicts())
    pool.begin({}, {}, Copies(), now)
    return pool


def _effect(  # noqa: PLR0913, PLR0917 - a pool, an order, and its time
    balancer: Balancer, pool: ServedPool, addresses: list[Address], after: Mapping[Scope, Order], at: float, now: float
) -> RRsetEffect:
    version, judgement = addresses[0].version, pool.judgement
    known = judgement.without_awaited(version, judgement.known(), after, at)
    chosen = selection.select(pool.pool, version, known, after, at)
    before = pool.handed_out(version)
    left = {share.address for share in chosen.shares}
    gone = [address for address in addresses if address in before and address not in left]
    served = pool.rrsets[version]
    # Ahead of a plan the TTL falls.
    ttl = served.ttl.seconds if at <= now else bounds(pool.pool, version).floor
    expires = [max(balancer.copies.expires(pool.owner, each, now), at + ttl + OVERTIME) for each in gone]
    return RRsetEffect(
        owner=pool.name,
        type=rrtype.address_text(version),
        addresses=tuple(map(str, addresses)),
        of=len(pool.backends(version)),
        before=len(before),
        after=len(left),
        fails_open=chosen.fails_open,
        expires=max(expires, default=None),
    )
