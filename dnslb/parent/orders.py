"""The orders that stand, and the clock for the next that begins or ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from math import inf

from dnslb.balance.operator_order import Order, Scope, is_over
from dnslb.control.change import Change
from dnslb.control.order import OrderRequest
from dnslb.parent import amendment
from dnslb.parent.concerned import Concerned
from dnslb.system import wall_clock

_log = logging.getLogger("dnslb")


class Orders:
    """``obey`` is called whenever others stand than before, and then ``tell`` with each change.

    ``clock`` gives Unix time, by which orders begin and end.
    """

    def __init__(
        self, obey: Callable[[], None], tell: Callable[[Change], None], clock: Callable[[], float] = time.time
    ) -> None:
        self.standing: dict[Scope, Order] = {}
        self._obey = obey
        self._tell = tell
        self._clock = clock
        self._looked = clock()  # when we last looked who begins or ends
        self._edge: asyncio.TimerHandle | None = None  # the next look

    def give(self, wanted: OrderRequest, about: list[Concerned], now: float) -> Iterator[Concerned | None]:
        """Let what is wanted stand, in a first step; then tell of it, in a step for each address that it alters.

        What stands already is not given again: that alters nothing, and nothing is told.  Raises Rejected.
        """
        before, after = self.standing, amendment.amended(self.standing, wanted, about, now)
        if after == before:
            return
        self._stand(after)
        yield None
        what, reason = wanted.mode.value, wanted.reason
        if wanted.at is not None:
            what, reason = f"{what} planned", "; ".join(filter(None, (f"for {_clock(wanted.at)}", reason)))
        told = set()
        for one in about:
            if not amendment.is_altered(before, after, one):
                yield None
                continue
            scope = Scope(one.pool.owner if wanted.names else None, one.address)
            if scope not in told:
                told.add(scope)
                self._change(Change(now, scope.owner, str(scope.address), what, reason, wanted.by))
            yield one

    def hold(self, down: Mapping[Scope, str]) -> None:
        """Keep these out, which went down for a reason, until somebody says ``ready``."""
        now, before = self._clock(), self.standing
        self._stand(amendment.held(before, down, now))
        for scope in down:
            order = self.standing[scope]
            if before.get(scope) != order:
                mode = order.mode.value
                self._change(Change(now, scope.owner, str(scope.address), mode, order.reason, order.by))

    def wake(self) -> None:
        """Set the clock for the next order that begins or ends."""
        self.stop()
        self._edge = None
        if any(order.at is not None or order.until is not None for order in self.standing.values()):
            now = self._clock()
            at = amendment.next_edge(self.standing, now)
            # Without one ahead too: a clock that is set back makes orders planned again.
            self._edge = wall_clock.look_in(inf if at is None else at - now, self._look)

    def stop(self) -> None:
        if self._edge is not None:
            self._edge.cancel()

    def _stand(self, orders: dict[Scope, Order]) -> None:
        self.standing = orders
        self._obey()
        self.wake()

    def _look(self) -> None:
        """See which orders have begun or ended since we last looked."""
        before, now = self._looked, self._clock()
        self._looked = now
        changes = []
        for scope, order in self.standing.items():
            over = is_over(order, now)
            if over:
                changes.append(Change(now, scope.owner, str(scope.address), "ready", f"{order.mode.value} is over"))
            elif order.at is not None and max(before, order.since) < order.at <= now:
                reason = "; ".join(filter(None, ("begins as planned", order.reason)))
                changes.append(Change(now, scope.owner, str(scope.address), order.mode.value, reason, order.by))
        # A clock that was set back may have made orders planned that were in force.
        if changes or now < before:
            self._stand({scope: order for scope, order in self.standing.items() if not is_over(order, now)})
        else:
            self.wake()
        for change in changes:
            self._change(change)

    def _change(self, change: Change) -> None:
        reason = f" ({change.reason})" if change.reason else ""
        by = f" by {change.by}" if change.by else ""
        fields = {"what": change.what, "owner": change.owner, "address": change.address, "by": change.by or None}
        _log.info("%s: %s %s%s%s", change.owner or "all names", change.address, change.what, reason, by, extra=fields)
        self._tell(change)


def _clock(unix: float) -> str:
    """Local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix))
