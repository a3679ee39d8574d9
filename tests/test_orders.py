"""Orders begin and end by the wall clock, whatever becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from ipaddress import ip_address
from typing import Any

import virtual_time

from dnslb.balance.operator_order import Mode, Order, Scope
from dnslb.control.change import Change
from dnslb.parent.orders import Orders

EPOCH = 1_800_000_000.0  # Unix time at which the loop's clock begins
HOST = "192.0.2.11"


class Scene:
    """Orders, with a wall clock that can be set: or the machine sleeps, which the loop's clock does not see."""

    def __init__(self, *orders: Order) -> None:
        self.ahead = 0.0  # seconds that the wall clock is before the loop's
        self.obeyed: list[float] = []  # by the loop's clock
        self.told: list[Change] = []
        self.orders = Orders(self._obey, self.told.append, self.clock)
        self.orders.standing = {Scope(f"p{number}.", ip_address(HOST)): order for number, order in enumerate(orders)}
        self.orders.wake()

    def clock(self) -> float:
        return EPOCH + asyncio.get_running_loop().time() + self.ahead

    def _obey(self) -> None:
        self.obeyed.append(asyncio.get_running_loop().time())

    @property
    def said(self) -> list[tuple[str, str]]:
        return [(change.what, change.reason) for change in self.told]


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    virtual_time.run(story())


def order(at: float | None = None, until: float | None = None) -> Order:
    """A maint from one time to another, both in seconds from the beginning."""
    begin, end = (None if time is None else EPOCH + time for time in (at, until))
    return Order(Mode.MAINT, EPOCH - 10, begin, end)


def test_the_end_of_an_order_is_noticed_within_a_minute_of_a_jump_of_the_clock() -> None:
    """A laptop that slept for two hours went on with its maintenance for as long again."""

    async def story() -> None:
        scene = Scene(order(until=3600), order(at=7000, until=9000))
        await asyncio.sleep(10)
        scene.ahead = 7200
        await asyncio.sleep(60)
        assert scene.said == [("ready", "maint is over"), ("maint", "begins as planned")]
        assert len(scene.obeyed) == 1
        assert len(scene.orders.standing) == 1

    play(story)


def test_an_order_begins_and_ends_in_time_and_looking_in_between_changes_nothing() -> None:
    async def story() -> None:
        scene = Scene(order(at=1000, until=2000))
        await asyncio.sleep(3000)
        assert scene.said == [("maint", "begins as planned"), ("ready", "maint is over")]
        assert [round(at, 1) for at in scene.obeyed] == [1000.0, 2000.0]

    play(story)


def test_a_clock_that_is_set_back_makes_an_order_planned_again() -> None:
    async def story() -> None:
        scene = Scene(order(at=100))
        await asyncio.sleep(200)
        assert scene.said == [("maint", "begins as planned")]
        scene.ahead = -150
        await asyncio.sleep(40)
        assert len(scene.obeyed) == 2, "what is probed and handed out must be worked out anew"
        await asyncio.sleep(80)
        assert scene.said == [("maint", "begins as planned")] * 2

    play(story)


def test_an_order_that_is_given_is_not_told_again() -> None:
    """The time of the last look is before it."""

    async def story() -> None:
        scene = Scene()
        await asyncio.sleep(500)
        scene.orders.standing = {Scope(None, ip_address(HOST)): Order(Mode.DRAIN, EPOCH + 500, EPOCH + 499.9)}
        scene.orders.wake()
        await asyncio.sleep(500)
        assert scene.said == []

    play(story)
