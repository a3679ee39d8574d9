"""What an order would leave of the pools that it concerns, and whether that is less than they may have.

Pure: no clock, no I/O.  What may take long is worked out by iterators; they yield None where others may have a turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dnslb.answer.served_pool import ServedPool
from dnslb.balance.capacity import Capacity, capacity
from dnslb.balance.health import NOT_YET, Health
from dnslb.balance.operator_order import Order, Scope
from dnslb.balance.pool import Address, Least
from dnslb.control.errors import Rejected
from dnslb.control.order import Left, OrderRequest
from dnslb.dns import rrtype
from dnslb.dns.name import Name
from dnslb.parent.balancer import Balancer
from dnslb.parent.concerned import Concerned

_MOST_NAMED = 4   # RRsets, in a text
_MOST_TIMES = 50  # at which orders begin or end, while the one that is given stands
_NO_LEAST = Least()


def concerns_any_rule(about: Iterable[Concerned]) -> bool:
    """Whether a pool among them has a rule at all."""
    return any(one.pool.min_ready != _NO_LEAST for one in about)


def check(
    balancer: Balancer, wanted: OrderRequest, about: Iterable[Concerned], after: Mapping[Scope, Order], now: float
) -> Iterator[None]:
    """Whether what the order leaves is enough, from its beginning to its end.  Raises Rejected.

    ``after`` are the orders that would stand.  Where it takes nothing away, there may be too little already.
    """
    refused: list[str] = []
    number = 0
    for pool, version in _rrsets(balancer, about):
        yield
        if pool.pool.min_ready == _NO_LEAST:
            continue
        healths = _healths(pool)
        for at in _times(pool, version, wanted, (balancer.orders, after), now):
            yield
            before, left = (capacity(pool.pool, version, healths, each, at) for each in (balancer.orders, after))
            if left.backends < before.backends and not left.reaches(pool.pool.min_ready):
                number += 1
                if number <= _MOST_NAMED:
                    refused.append(_refusal(pool, version, left))
                break
    if refused:
        more = f", and {number - _MOST_NAMED} more" if number > _MOST_NAMED else ""
        raise Rejected(f"it would leave {', '.join(refused)}{more}", "make others ready first, or give --force")


def left(
    balancer: Balancer, wanted: OrderRequest, about: Iterable[Concerned], now: float
) -> Iterator[tuple[Left, ...] | None]:
    """What is left when the order, which stands, is in force; at last, and those with the least first."""
    found: list[Left] = []
    at = max(now, wanted.at or 0.0)
    for pool, version in _rrsets(balancer, about):
        yield None
        one = capacity(pool.pool, version, _healths(pool), balancer.orders, at)
        found.append(Left(pool.name, rrtype.address_text(version), one.backends, one.of, one.percent))
    found.sort(key=lambda one: (one.percent, one.backends))
    yield tuple(found)


def _rrsets(balancer: Balancer, about: Iterable[Concerned]) -> Iterator[tuple[ServedPool, int]]:
    """Each once."""
    seen: set[tuple[Name, int]] = set()
    for one in about:
        key = one.owner, one.address.version
        pool = balancer.served.get(one.owner)
        if key not in seen and pool is not None:
            seen.add(key)
            yield pool, one.address.version


def _healths(pool: ServedPool) -> Mapping[Address, Health]:
    """As the pool goes by them; who has to pass first does not count."""
    awaited = {target for _, target in pool.judgement.awaited}
    return {**pool.judgement.known(), **dict.fromkeys(awaited, NOT_YET)}


def _times(
    pool: ServedPool, version: int, wanted: OrderRequest, orders: tuple[Mapping[Scope, Order], ...], now: float
) -> list[float]:
    """When the order begins, and when others begin or end while it stands, or would have without it."""
    begin = max(now, wanted.at or 0.0)
    edges: set[float] = set()
    for backend in pool.backends(version):
        for scope in (Scope(pool.name, backend.address), Scope(None, backend.address)):
            found = (order for each in orders if (order := each.get(scope)) is not None)
            edges |= {time for order in found for time in (order.at, order.until) if time is not None}
    ahead = (time for time in edges if begin < time and (wanted.until is None or time < wanted.until))
    return [begin, *sorted(ahead)[:_MOST_TIMES]]


def _refusal(pool: ServedPool, version: int, left: Capacity) -> str:
    least = pool.pool.min_ready
    share = f" ({left.percent:.0f}% of the weight)" if least.percent else ""
    called = f"{pool.name} {rrtype.address_text(version)}"
    return f"{called} with {left.backends} of {left.of} backends up and ready{share}; its min_ready is {least}"
