"""Backends that went down in a pool with ``on_return: manual``: from then on an order of our own keeps them out.

So what is known of orders holds for it too: it is shown, survives restarts, and ``ready`` ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from dnslb.balance.health import Health, ProbeKey
from dnslb.balance.operator_order import Scope
from dnslb.balance.pool import OnReturn
from dnslb.parent.balancer import Balancer

_PACE = 0.2  # seconds between two times at which they are kept out: thousands may go down together


class Holds:
    """``hold`` is called with who went down, and why: at once, and for those that follow after a moment."""

    def __init__(self, hold: Callable[[Mapping[Scope, str]], None]) -> None:
        self._hold = hold
        self._waiting: dict[Scope, str] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._held_at = -_PACE  # by the loop's clock

    def record_down(self, balancers: Iterable[Balancer], key: ProbeKey, health: Health) -> None:
        """A target was up, and is down."""
        for balancer in balancers:
            for pool, backends in balancer.served.going_by(key):
                if pool.pool.on_return is OnReturn.MANUAL:
                    self._waiting |= {Scope(pool.name, backend.address): health.reason for backend in backends}
        if self._waiting and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time(), self._held_at + _PACE), self._hold_all)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _hold_all(self) -> None:
        self._held_at, self._timer = asyncio.get_running_loop().time(), None
        waiting, self._waiting = self._waiting, {}
        self._hold(waiting)
