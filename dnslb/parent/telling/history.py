"""The last changes of verdicts and orders."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from dnslb.balance.health import Health, ProbeKey
from dnslb.control.change import Change
from dnslb.parent.balancer import Balancer
from dnslb.parent.state import MOST_CHANGES


class History:
    def __init__(self, changes: Iterable[Change] = ()) -> None:
        self._changes = deque(changes, MOST_CHANGES)

    @property
    def changes(self) -> tuple[Change, ...]:
        """Oldest first."""
        return tuple(self._changes)

    def add(self, change: Change) -> None:
        self._changes.append(change)


def verdicts(balancer: Balancer, key: ProbeKey, health: Health) -> list[Change]:
    """What a new verdict changes: one line for each backend that goes by it, as far as they are remembered."""
    what = "up" if health.up else "down"
    return [
        Change(health.since, pool.name, str(backend.address), what, health.reason)
        for pool, backends in balancer.served.going_by(key)[-MOST_CHANGES:]
        for backend in backends
    ][-MOST_CHANGES:]
