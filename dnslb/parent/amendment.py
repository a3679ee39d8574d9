"""What becomes of the orders that stand when another is given, and when time passes.

Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from operator import attrgetter

from dnslb.balance.health import ProbeKey
from dnslb.balance.operator_order import Mode, Order, Scope, is_over, mode_at, mode_for
from dnslb.balance.pool import Backend, Pool, Probe
from dnslb.control.errors import Rejected
from dnslb.control.order import OrderRequest
from dnslb.parent.concerned import Concerned

HOLDER = "dnslb"  # who gives the orders that nobody gave


def amended(
    orders: Mapping[Scope, Order], wanted: OrderRequest, about: Iterable[Concerned], now: float
) -> dict[Scope, Order]:
    """The orders that stand from now on, without those that are over.  One that stands already stays as it is.

    Raises Rejected.
    """
    result = {scope: order for scope, order in orders.items() if not is_over(order, now)}
    given = Order(wanted.mode, now, wanted.at, wanted.until, wanted.reason, wanted.by)
    if is_over(given, now) or (wanted.at is not None and wanted.until is not None and wanted.until <= wanted.at):
        raise Rejected("the order would end before it begins", "give a later end")
    for one in about:
        own, general = Scope(one.pool.owner, one.address), Scope(None, one.address)
        scope = own if wanted.names else general
        if scope in result and _is_no_news(result[scope], given):
            continue
        if wanted.mode is Mode.READY:
            _make_ready(result, own, scope, given)
            continue
        is_planned = wanted.at is not None and wanted.at > now
        if is_planned and (mode := mode_at(result.get(scope), now)) is not Mode.READY and result[scope] != given:
            raise Rejected(
                f"{one.address} is in {mode.value} now, and a planned order would end that",
                "give the order for now, or make it ready first",
            )
        result[scope] = given
    return result


def _is_no_news(standing: Order, given: Order) -> bool:
    """Whether what is given stands already: for the same time, and for no other reason."""
    begins = standing.at if standing.at is not None and standing.at > given.since else None
    stands = standing.mode, begins, standing.until
    return stands == (given.mode, given.at, given.until) and given.reason in ("", standing.reason)


def is_altered(before: Mapping[Scope, Order], after: Mapping[Scope, Order], one: Concerned) -> bool:
    """Whether other orders stand for the address under the name than before."""
    scopes = Scope(one.pool.owner, one.address), Scope(None, one.address)
    return any(before.get(scope) != after.get(scope) for scope in scopes)


def _make_ready(orders: dict[Scope, Order], own: Scope, scope: Scope, given: Order) -> None:
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


def held(orders: Mapping[Scope, Order], down: Mapping[Scope, str], now: float) -> dict[Scope, Order]:
    """The orders that stand when these, which went down for a reason, are kept out until somebody says ``ready``."""
    result = {scope: order for scope, order in orders.items() if not is_over(order, now)}
    for scope, reason in down.items():
        standing = result.get(scope)
        if standing is None or standing.until is not None or mode_at(standing, now) is Mode.READY:
            result[scope] = Order(Mode.DRAIN, now, reason=f"on_return: manual; was down: {reason}", by=HOLDER)
    return result


def next_edge(orders: Mapping[Scope, Order], now: float) -> float | None:
    """When the next order comes into force or is over."""
    edges = (time for order in orders.values() for time in (order.at, order.until) if time is not None)
    return min((time for time in edges if time > now), default=None)


def to_pause(
    pools: Iterable[Pool],
    orders: Mapping[Scope, Order],
    now: float,
    asked: Callable[[Pool], Probe | None] = attrgetter("probe"),
) -> set[ProbeKey]:
    """What need not be probed: all that go by it are in maint.  ``asked`` says by which probe a pool's backends are."""
    if all(order.mode is not Mode.MAINT for order in orders.values()):
        return set()
    in_maint: dict[ProbeKey, bool] = {}
    for pool in pools:
        probe = asked(pool)
        if probe is not None:
            for backend in pool.backends:
                key = (probe, backend.target)
                in_maint[key] = in_maint.get(key, True) and _is_in_maint(pool, backend, orders, now)
    return {key for key, is_in in in_maint.items() if is_in}


def _is_in_maint(pool: Pool, backend: Backend, orders: Mapping[Scope, Order], now: float) -> bool:
    return mode_for(orders, pool.owner, backend.address, now) is Mode.MAINT
