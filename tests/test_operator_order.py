"""Orders: what is in force, when that changes, and which of two decides."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnslb.balance.operator_order import (
    Mode,
    Order,
    Scope,
    is_over,
    leaves_at,
    leaves_for,
    mode_at,
    mode_for,
    next_change,
    next_change_for,
    order_for,
)

WWW, DB = "www.example.com.", "db.example.com."
A11, A12 = ip_address("192.0.2.11"), ip_address("192.0.2.12")
READY, DRAIN, MAINT = Mode.READY, Mode.DRAIN, Mode.MAINT


def order(mode: Mode, at: float | None = None, until: float | None = None) -> Order:
    return Order(mode, since=0.0, at=at, until=until)


@pytest.mark.parametrize(("order", "now", "expected", "leaves", "change", "over"), [
    (None, 50, READY, None, None, False),
    (order(READY), 50, READY, None, None, False),
    (order(DRAIN), 50, DRAIN, None, None, False),
    (order(MAINT), 50, MAINT, None, None, False),
    (order(DRAIN, until=60), 50, DRAIN, None, 60, False),
    (order(DRAIN, until=60), 59.9, DRAIN, None, 60, False),
    (order(DRAIN, until=60), 60, READY, None, None, True),
    (order(DRAIN, at=40), 39.9, READY, 40, 40, False),
    (order(DRAIN, at=40), 40, DRAIN, None, None, False),
    (order(MAINT, at=40, until=60), 30, READY, 40, 40, False),
    (order(MAINT, at=40, until=60), 40, MAINT, None, 60, False),
    (order(MAINT, at=40, until=60), 60, READY, None, None, True),
    (order(READY, at=40, until=60), 30, READY, None, None, False),  # ready is no change from ready
    (order(DRAIN, at=60, until=60), 50, READY, None, None, False),  # never in force
    (order(DRAIN, at=60, until=40), 30, READY, None, None, False),
])  # fmt: skip
def test_one_order_at_one_time(
    *, order: Order | None, now: float, expected: Mode, leaves: float | None, change: float | None, over: bool
) -> None:
    assert mode_at(order, now) is expected
    assert leaves_at(order, now) == leaves
    assert next_change(order, now) == change
    assert (order is not None and is_over(order, now)) is over


@pytest.mark.parametrize(("general", "specific", "now", "expected", "leaves", "change"), [
    (None, None, 50, READY, None, None),
    (order(DRAIN), None, 50, DRAIN, None, None),
    (None, order(DRAIN), 50, DRAIN, None, None),
    (order(DRAIN), order(MAINT), 50, MAINT, None, None),
    (order(DRAIN), order(READY), 50, READY, None, None),               # ready here, though drained elsewhere
    (order(READY), order(DRAIN), 50, DRAIN, None, None),               # a general ready lifts no order for the name
    (order(DRAIN), order(READY, until=60), 50, READY, 60, 60),         # ready, for a while
    (order(DRAIN), order(READY, until=60), 60, DRAIN, None, None),     # what is over hides nothing
    (order(DRAIN), order(MAINT, at=60), 50, DRAIN, None, 60),          # nor does what is planned
    (order(DRAIN), order(READY, at=60), 50, DRAIN, None, 60),
    (order(DRAIN, at=70), order(MAINT, at=60), 50, READY, 60, 60),
    (order(DRAIN, at=60), order(MAINT, at=70), 50, READY, 60, 60),
    (order(DRAIN, at=60), order(READY), 50, READY, None, None),        # does not leave: the name's order stands
    (order(DRAIN, at=60), order(READY, until=55), 50, READY, 60, 60),
    (order(DRAIN, at=60, until=70), order(READY, at=55, until=65), 50, READY, 65, 65),
    (order(DRAIN, at=60, until=70), order(READY, until=70), 50, READY, None, None),
    (order(MAINT), order(MAINT, until=60), 50, MAINT, None, None),
])  # fmt: skip
def test_the_order_for_the_name_goes_before_the_general_one(
    *,
    general: Order | None,
    specific: Order | None,
    now: float,
    expected: Mode,
    leaves: float | None,
    change: float | None,
) -> None:
    given_orders = {Scope(None, A11): general, Scope(WWW, A11): specific}
    orders = {scope: order for scope, order in given_orders.items() if order is not None}
    assert mode_for(orders, WWW, A11, now) is expected
    assert leaves_for(orders, WWW, A11, now) == leaves
    assert next_change_for(orders, WWW, A11, now) == change


def test_an_order_is_for_its_address_and_its_name() -> None:
    orders = {Scope(None, A11): order(DRAIN), Scope(WWW, A12): order(MAINT)}
    assert [mode_for(orders, owner, address, 50.0) for owner in (WWW, DB) for address in (A11, A12)] == [
        DRAIN, MAINT, DRAIN, READY,
    ]  # fmt: skip


@pytest.mark.parametrize(("general", "specific", "expected"), [
    (None, None, None),
    (order(DRAIN), None, "general"),
    (order(DRAIN), order(READY), "specific"),
    (order(DRAIN), order(MAINT, at=60), "general"),
    (order(DRAIN), order(MAINT, until=40), "general"),
    (order(DRAIN, at=60), order(MAINT, at=70), "general"),
    (order(DRAIN, at=70), order(MAINT, at=60), "specific"),
    (order(DRAIN, at=60), order(MAINT, at=60), "specific"),
    (order(DRAIN, until=40), order(MAINT, until=40), None),
])  # fmt: skip
def test_the_order_that_decides_or_will(general: Order | None, specific: Order | None, expected: str | None) -> None:
    orders = {Scope(None, A11): general, Scope(WWW, A11): specific}
    found = order_for({scope: order for scope, order in orders.items() if order is not None}, WWW, A11, 50.0)
    assert found == {None: None, "general": general, "specific": specific}[expected]


TIMES = st.integers(0, 20).map(float)
ORDERS = st.builds(Order, st.sampled_from(Mode), since=TIMES, at=st.none() | TIMES, until=st.none() | TIMES)
SETS = st.dictionaries(st.sampled_from([Scope(None, A11), Scope(WWW, A11), Scope(DB, A11), Scope(None, A12)]), ORDERS)


@given(orders=SETS, now=TIMES, later=TIMES)
def test_the_mode_holds_until_the_next_change_and_changes_then(
    orders: dict[Scope, Order], now: float, later: float
) -> None:
    current, change = mode_for(orders, WWW, A11, now), next_change_for(orders, WWW, A11, now)
    if change is not None:
        assert change > now
        assert mode_for(orders, WWW, A11, change) is not current
    if now <= later and (change is None or later < change):
        assert mode_for(orders, WWW, A11, later) is current
    leaves = leaves_for(orders, WWW, A11, now)
    assert leaves == (change if current is READY else None)


@given(order=ORDERS, now=TIMES)
def test_one_order_alone_behaves_as_in_company(order: Order, now: float) -> None:
    for scope in (Scope(None, A11), Scope(WWW, A11)):
        orders = {scope: order}
        assert mode_for(orders, WWW, A11, now) is mode_at(order, now)
        assert leaves_for(orders, WWW, A11, now) == leaves_at(order, now)
        assert next_change_for(orders, WWW, A11, now) == next_change(order, now)
