"""The burdens of one pool's backends, by what is probed.

Pure: no clock, no I/O, no logging.
"""

from __future__ import annotations

from collections.abc import Mapping

from dnslb.balance.health import Health
from dnslb.balance.load import NOBODY, Burden, Pace, observe, relieved
from dnslb.balance.operator_order import Order, Scope, is_in_force, order_for
from dnslb.balance.pool import Address, Pool
from dnslb.balance.reading import Reading


class Burdens(dict[Address, Burden]):
    """Empty where a pool has no load feedback.  Who shares what is probed, shares the burden."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool
        self._sum, self._known = 0.0, 0  # of the loads that are known, and how many they are

    def follow(self, old: Mapping[Address, Burden]) -> None:
        """Before a reload these were known of the pool, if it asked for loads then."""
        targets = {backend.target for backend in self._pool.backends} if self._pool.load is not None else set()
        for target in targets & old.keys():
            self._put(target, old[target])

    def record(self, target: Address, reading: Reading, ttl: int, now: float) -> tuple[Burden, Burden]:
        """One more asking of a target has ended.  The burden before, and after."""
        before, load = self.get(target, NOBODY), self._pool.load
        if load is None:
            return before, before
        rest = self._sum / self._known if self._known else 0.0
        overload = None if load.overload is None else load.overload / 100
        after = observe(before, reading, Pace(load.told_by, ttl, overload, rest), now)
        self._put(target, after)
        return before, after

    def in_force(self, orders: Mapping[Scope, Order], now: float) -> Mapping[Address, Burden]:
        """The burdens, but for the words of agents whose backends an operator has given an order about."""
        ordered = [
            backend.target
            for backend in (self._pool.backends if self and orders else ())
            if _is_ordered(orders, self._pool.owner, backend.address, now) and backend.target in self
        ]
        return self | {target: relieved(self[target]) for target in ordered} if ordered else self

    def _put(self, target: Address, burden: Burden) -> None:
        before = self.get(target, NOBODY)
        self._known += burden.is_known - before.is_known
        self._sum += burden.load * burden.is_known - before.load * before.is_known
        self[target] = burden


def judged(healths: Mapping[Address, Health], burdens: Mapping[Address, Burden]) -> Mapping[Address, Health]:
    """The healths, but that who is down by an agent's word is down."""
    down = {target: health for target, burden in burdens.items() if (health := burden.verdict) is not None}
    return {**healths, **down} if down else healths


def _is_ordered(orders: Mapping[Scope, Order], owner: str, address: Address, now: float) -> bool:
    order = order_for(orders, owner, address, now)
    return order is not None and is_in_force(order, now)
