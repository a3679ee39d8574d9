"""How busy backends say they are: asked, where the probe itself does not tell, and told to the pools.

Agents and pages of metrics have a schedule, and so lanes, of their own: what hangs there delays no verdict.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence

from dnslb.answer.served_pool import ServedPool
from dnslb.balance.health import Health, Outcome, ProbeKey
from dnslb.balance.load import Burden, Standing
from dnslb.balance.operator_order import Order, Scope
from dnslb.balance.pool import Address, Pool, Probe
from dnslb.balance.reading import Reading
from dnslb.control.change import Change
from dnslb.parent import amendment
from dnslb.parent.balancer import Balancer
from dnslb.parent.bounded_log import BoundedLog, Kind
from dnslb.parent.memory import Memory
from dnslb.probe.lanes import Bounds
from dnslb.probe.schedule import Schedule

AGENT = "its agent"   # who takes a backend out, and brings it back
_MOST_ASKED = 1024    # at once
_GATHER = 1.0         # seconds in which the weights of a pool that move go out together
_ALARMS = ("down", "overloaded", "load unknown")

_log = logging.getLogger("dnslb")


class Loads:
    """Asks for loads, and tells balancers.  Where no pool wants to know, it does nothing."""

    def __init__(self, memory: Memory) -> None:
        bounds = Bounds()
        bounds = Bounds(min(_MOST_ASKED, bounds.sockets // 4), bounds.programs)
        self.schedule = Schedule(self._record_asking, self.record, bounds=bounds)
        self._memory = memory
        self._balancers: Sequence[Balancer] = ()
        self._moved: dict[ServedPool, Balancer] = {}  # with weights that are to go out
        self._lines = BoundedLog()
        self._timer: asyncio.TimerHandle | None = None

    def ask_for(self, balancers: Sequence[Balancer]) -> None:
        """From now on tell these, and ask what their probes do not tell."""
        self._balancers = balancers
        self.schedule.replace_keys({key for each in balancers for key in each.served.telling_load - each.keys})

    def pause(self, orders: Mapping[Scope, Order]) -> None:
        """Ask nobody who is in maint everywhere."""
        if self._balancers:
            pools = self._balancers[-1].pools.values()
            self.schedule.pause_only(amendment.to_pause(pools, orders, time.time(), _asked))

    def record(self, key: ProbeKey, outcome: Outcome) -> None:
        """A probe has ended that may tell the load."""
        for balancer in self._balancers:
            for pool in balancer.served.laden_by(key):
                reading = outcome.reading or Reading(fault=outcome.reason)
                self._tell(balancer, pool, key[1], reading)

    def _record_asking(self, key: ProbeKey, outcome: Outcome, before: Health | None, after: Health) -> None:
        self.record(key, outcome)

    def _tell(self, balancer: Balancer, pool: ServedPool, target: Address, reading: Reading) -> None:
        now = time.time()
        before, after = pool.record_load(target, reading, now)
        news = list(_news(before, after))
        if news or after.steps != before.steps:
            self._moved[pool] = balancer
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_GATHER, self._flush)
        if before.standing is not after.standing or before.is_over != after.is_over:
            balancer.reconsider(pool)
        for what, reason, by in news if balancer is self._balancers[0] else ():
            for backend in pool.pool.backends:
                if backend.target == target:
                    self._remember(Change(now, pool.name, str(backend.address), what, reason, by))

    def _remember(self, change: Change) -> None:
        level = logging.WARNING if change.what in _ALARMS else logging.INFO
        if self._lines.admits(Kind(level, change.what, f"%d more {change.what}")):
            fields = {"what": change.what, "owner": change.owner, "address": change.address, "by": change.by or None}
            owner = (change.owner or "").removesuffix(".") or "."
            _log.log(level, "%s: %s %s (%s)", owner, change.address, change.what, change.reason, extra=fields)
        self._memory.remember(change)

    def _flush(self) -> None:
        self._timer = None
        moved, self._moved = self._moved, {}
        for pool, balancer in moved.items():
            if balancer.served.get(pool.owner) is pool:  # and no other in its place
                balancer.reconsider(pool)
        self._lines.finish()


def _news(before: Burden, after: Burden) -> Iterator[tuple[str, str, str]]:
    """What has changed that people act on: a word, the reason, and who is behind it."""
    if after.standing is not before.standing:
        yield _word(before, after), f"it says {after.told.said}" if after.told.said else "it is silent", AGENT
    if after.is_over != before.is_over:
        yield "overloaded" if after.is_over else "relieved", f"load {after.load:.0%}", ""
    was_heard = before.source is None or before.source.up
    if after.source is not None and after.source.up != was_heard:
        yield "load known" if after.source.up else "load unknown", after.source.reason, ""


def _word(before: Burden, after: Burden) -> str:
    if after.standing is Standing.UP:
        return "up" if before.standing is Standing.DOWN else "ready"
    return "down" if after.standing is Standing.DOWN else "drain"


def _asked(pool: Pool) -> Probe | None:
    """Who tells the load besides the pool's own probe."""
    return None if pool.load is None or pool.load.told_by == pool.probe else pool.load.told_by
