"""The probes of the server: what comes of each is counted, remembered, and told to the balancers that go by it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from dnslb.balance.health import Health, Outcome, ProbeKey
from dnslb.balance.operator_order import Order, Scope
from dnslb.parent import amendment, state
from dnslb.parent.balancer import Balancer
from dnslb.parent.holds import Holds
from dnslb.parent.loads import Loads
from dnslb.parent.memory import Memory
from dnslb.parent.probe_faults import ProbeFaults
from dnslb.parent.telling import history
from dnslb.parent.telling.probe_record import ProbeRecords
from dnslb.probe.schedule import Schedule

_LAG = 1.0        # seconds by which probes may start late before we say so
_LAG_LOOK = 30.0  # seconds from one look to the next

_log = logging.getLogger("dnslb")


class Prober:
    """Probes what its balancers go by."""

    def __init__(self, memory: Memory, hold: Callable[[Mapping[Scope, str]], None] = lambda down: None) -> None:
        """``hold`` is called with who is to be kept out, since it went down."""
        self.holds = Holds(hold)
        self.schedule = Schedule(self._record_outcome, self._record_fault)
        self.records = ProbeRecords()
        self.faults = ProbeFaults()
        self.loads = Loads(memory)
        self._memory = memory
        self._balancers: Sequence[Balancer] = ()

    def probe_for(
        self, balancers: Sequence[Balancer], orders: Mapping[Scope, Order], recalled: Mapping[ProbeKey, Health]
    ) -> None:
        """From now on probe for these.  ``recalled`` are verdicts of an earlier life of the server."""
        self._balancers = balancers
        keys = {key for each in balancers for key in each.keys}
        self.schedule.replace_keys(keys, recalled)
        self.records.keep_only(keys)
        self.faults.keep(keys)
        self.loads.ask_for(balancers)
        self.pause(orders)

    def adjust(self, keys: Iterable[ProbeKey], orders: Mapping[Scope, Order]) -> None:
        """Some have joined pools or left them: these keys may be probed from now on, or no more."""
        used = {key: any(key in each.served.probed for each in self._balancers) for key in keys}
        dropped = [key for key, is_used in used.items() if not is_used]
        self.schedule.change_keys([key for key, is_used in used.items() if is_used], dropped, {})
        for key in dropped:
            self.records.pop(key, None)
            self.faults.forget(key)
        if any(each.served.telling_load for each in self._balancers):
            self.loads.ask_for(self._balancers)
        self.pause(orders)

    def pause(self, orders: Mapping[Scope, Order]) -> set[ProbeKey]:
        """Probe nothing that is in maint everywhere.  What is probed again by that."""
        if not self._balancers:
            return set()
        self.loads.pause(orders)
        pools = self._balancers[-1].pools.values()
        return self.schedule.pause_only(amendment.to_pause(pools, orders, time.time()))

    async def report_lag(self) -> None:
        """Say so when probes start late: then the promised failover times do not hold."""
        await asyncio.sleep(_LAG_LOOK)
        if self.schedule.lag > _LAG:
            _log.warning(
                "probes are %.0f s late (%d in flight): deaths are noticed later than promised",
                self.schedule.lag, self.schedule.in_flight,
            )  # fmt: skip

    def _record_outcome(self, key: ProbeKey, outcome: Outcome, before: Health | None, after: Health) -> None:
        """One more probe has ended."""
        _log_outcome(key, outcome)
        self.faults.record_probe(key)
        self.records.record_outcome(key, outcome, before, after, time.time())
        for balancer in self._balancers:
            balancer.record(key, before, after)
        self.loads.record(key, outcome)
        if before is not None and before.up == after.up:
            return
        if before is not None and before.up:
            self.holds.record_down(self._balancers, key, after)
        if before is not None and self._balancers:
            for change in history.verdicts(self._balancers[0], key, after):
                self._memory.remember(change)
        self._memory.file.save_soon()

    def _record_fault(self, key: ProbeKey, outcome: Outcome) -> None:
        """A probe could not be made, and that is our fault."""
        _log_outcome(key, outcome)
        self.faults.record_fault(key, outcome)
        for balancer in self._balancers:
            balancer.record_fault(key, outcome.reason)


def _log_outcome(key: ProbeKey, outcome: Outcome) -> None:
    if _log.isEnabledFor(logging.DEBUG):
        what = "not made" if outcome.fault else "passed" if outcome.ok else "failed"
        fields = {"what": what, "address": str(key[1])}
        _log.debug("%s %s in %.1f ms: %s", state.key(*key), what, 1000 * outcome.took, outcome.reason, extra=fields)
