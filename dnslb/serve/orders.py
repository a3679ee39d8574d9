"""The orders that stand, and the clock for the next that begins or ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator

from dnslb.balance import admin
from dnslb.balance.admin import Admin, Scope
from dnslb.operations import Change, Wanted
from dnslb.serve import operations
from dnslb.serve.operations import Concerned

_SOONEST = 0.01  # seconds from one look at the times to the next

_log = logging.getLogger("dnslb")


class Orders:
    """``obey`` is called whenever others stand than before, and then ``tell`` with each change."""

    def __init__(self, obey: Callable[[], None], tell: Callable[[Change], None]) -> None:
        self.standing: dict[Scope, Admin] = {}
        self._obey = obey
        self._tell = tell
        self._edge: asyncio.TimerHandle | None = None  # the next time at which an order begins or ends

    def give(self, wanted: Wanted, about: list[Concerned], now: float) -> Iterator[None]:
        """Let what is wanted stand, in a first step; then tell of it, in a step for each address.  Raises Rejected."""
        self._stand(operations.amended(self.standing, wanted, about, now))
        reason = "; ".join(filter(None, (wanted.reason, "planned" if wanted.at is not None else "")))
        for owner, address in dict.fromkeys((one.pool.owner if wanted.names else None, one.address) for one in about):
            self._change(Change(now, owner, str(address), wanted.mode.value, reason))
            yield

    def wake(self) -> None:
        """Set the clock for the next order that begins or ends."""
        self.stop()
        now = time.time()
        at = operations.next_edge(self.standing, now)
        loop = asyncio.get_running_loop()
        self._edge = None if at is None else loop.call_later(max(_SOONEST, at - now), self._pass_edge, now)

    def stop(self) -> None:
        if self._edge is not None:
            self._edge.cancel()

    def _stand(self, orders: dict[Scope, Admin]) -> None:
        self.standing = orders
        self._obey()
        self.wake()

    def _pass_edge(self, before: float) -> None:
        """Some order has begun or ended since."""
        now = time.time()
        changes = []
        for scope, order in self.standing.items():
            over = admin.is_over(order, now)
            if over or (order.at is not None and before < order.at <= now):
                what, reason = ("ready", f"{order.mode.value} is over") if over else (order.mode.value, order.reason)
                changes.append(Change(now, scope.owner, str(scope.address), what, reason))
        self._stand({scope: order for scope, order in self.standing.items() if not admin.is_over(order, now)})
        for change in changes:
            self._change(change)

    def _change(self, change: Change) -> None:
        reason = f" ({change.reason})" if change.reason else ""
        fields = {"what": change.what, "owner": change.owner, "address": change.address}
        _log.info("%s: %s %s%s", change.owner or "all names", change.address, change.what, reason, extra=fields)
        self._tell(change)
