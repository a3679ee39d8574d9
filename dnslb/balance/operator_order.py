"""What the operator orders: drain, maint, ready; for an address everywhere, or under one owner name.

Pure: no clock, no I/O.  Times are Unix times.  An order is in force from ``at`` (included) to ``until`` (excluded).

Two orders can concern one address under one name.  While the one for that name is in force, it decides, and the
general one does not count: ``ready`` for a name hands the address out there although it is drained everywhere else.
Before and after, the general order decides: an order that is planned or over hides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from dnslb.balance.pool import Address


class Mode(Enum):
    """Whether an address is handed out and probed."""

    READY = "ready"
    DRAIN = "drain"  # not handed out; probes go on
    MAINT = "maint"  # not handed out, not probed


@dataclass(frozen=True, slots=True)
class Order:
    """One order."""

    mode: Mode
    since: float                # when it was given
    at: float | None = None     # planned start; None: at once
    until: float | None = None  # expiry; None: it stands until another is given
    reason: str = ""
    by: str = ""                # who gave it; empty: nobody knows


@dataclass(frozen=True, slots=True)
class Scope:
    """What an order is for."""

    owner: str | None  # spelled as in ``Pool.owner``; None: under every name
    address: Address


def mode_at(order: Order | None, now: float) -> Mode:
    """What one order, or none, makes of its address."""
    return order.mode if order is not None and is_in_force(order, now) else Mode.READY


def is_in_force(order: Order, now: float) -> bool:
    return (order.at is None or order.at <= now) and not is_over(order, now)


def is_over(order: Order, now: float) -> bool:
    return order.until is not None and order.until <= now


def leaves_at(order: Order | None, now: float) -> float | None:
    """The planned start, still ahead, of an order that takes its address out."""
    if order is None or order.at is None or order.at <= now:
        return None
    return None if mode_at(order, order.at) is Mode.READY else order.at


def next_change(order: Order | None, now: float) -> float | None:
    """The time from which on ``mode`` is another; None: never, by time alone."""
    if order is None:
        return None
    current = mode_at(order, now)
    return next((time for time in _edges(order, now) if mode_at(order, time) is not current), None)


def order_for(orders: Mapping[Scope, Order], owner: str, address: Address, now: float) -> Order | None:
    """The order in force for the address under the name; while none is, the one that comes into force first.

    The name's own order before the general one.  ``mode`` of it is right at ``now`` only, since the other order may
    take over: ask ``leaves_for`` and ``next_change_for`` about later.
    """
    if not orders:  # the common case; addresses are slow to hash, and a large pool asks for each of them
        return None
    concerned = [order for order in _concerned(orders, owner, address) if not is_over(order, now)]
    for order in concerned:
        if is_in_force(order, now):
            return order
    return min(concerned, key=lambda order: order.at or 0.0, default=None)


def mode_for(orders: Mapping[Scope, Order], owner: str, address: Address, now: float) -> Mode:
    """What all orders together make of the address under the name."""
    return mode_at(order_for(orders, owner, address, now), now)


def leaves_for(orders: Mapping[Scope, Order], owner: str, address: Address, now: float) -> float | None:
    """When the address, ready now, will be taken out under the name; None: not by time alone, or it is out already."""
    if mode_for(orders, owner, address, now) is not Mode.READY:
        return None
    return next_change_for(orders, owner, address, now)


def next_change_for(orders: Mapping[Scope, Order], owner: str, address: Address, now: float) -> float | None:
    """The time from which on ``mode_for`` is another; None: never, by time alone."""
    if not orders:
        return None
    current = mode_for(orders, owner, address, now)
    edges = sorted(time for order in _concerned(orders, owner, address) for time in _edges(order, now))
    return next((time for time in edges if mode_for(orders, owner, address, time) is not current), None)


def _concerned(orders: Mapping[Scope, Order], owner: str, address: Address) -> list[Order]:
    found = (orders.get(Scope(owner, address)), orders.get(Scope(None, address)))
    return [order for order in found if order is not None]


def _edges(order: Order, now: float) -> list[float]:
    """The times ahead at which the order comes into force or ends."""
    return sorted(time for time in (order.at, order.until) if time is not None and now < time)
