"""The schedule: every key is probed in time, and its outcomes are folded into its health.

A key is a probe and the target that it asks.  Equal keys are one: pools that share them share the outcomes.

- From start to start passes at most ``health.pause``: detection times count on it.  So the jitter only shortens it,
  by 1 to 10 %; the first pause is cut at random, to spread the keys over it.
- One key has one probe in flight at most.  A probe that takes longer than the pause delays the next one of its key.
- A bounded number is in flight at once (see ``lanes``).  At the bound, what is due for longest starts first, and
  ``lag`` tells how late we are.
- A few probes start in one turn of the loop, so that everything else has its turn.
- A probe that could not be made (``Outcome.fault``) leaves the health as it is, and is tried again at the usual pace.

A key at rest costs an entry in a heap: no task, no timer.  One thread, one event loop; it never forks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from random import Random
from typing import TypeAlias

from dnslb.balance import health
from dnslb.balance.health import Health, Outcome, ProbeKey
from dnslb.probe import probe
from dnslb.probe.asking import Ask, Asking
from dnslb.probe.known import Known
from dnslb.probe.lane import Entry
from dnslb.probe.lanes import Bounds, Lanes

Report: TypeAlias = Callable[[ProbeKey, Outcome, Health | None, Health], None]
ReportFault: TypeAlias = Callable[[ProbeKey, Outcome], None]

_SHORTEST, _LONGEST = 0.90, 0.99  # of a pause; the last percent is for our own delay
_FIRST_RATE = 2000  # new keys start at most so many a second, as fast as one core can go
_QUICK = 0.1        # seconds to the next probe of a key that is hastened


class Schedule:
    """Probes a set of keys, none at first, until it is cancelled.

    ``report`` is called with each outcome: the key, the outcome, the health before it (None: nothing was known) and
    after it.  ``report_fault`` is called with what is no outcome: the probe could not be made.  ``clock`` gives Unix
    time; due times are by the event loop's clock.
    """

    def __init__(  # noqa: PLR0913 - to whom outcomes go; the others are for tests
        self,
        report: Report,
        report_fault: ReportFault = lambda key, outcome: None,
        *,
        ask: Ask = probe,
        clock: Callable[[], float] = time.time,
        rng: Random | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self._report = report
        self._report_fault = report_fault
        self._asking = Asking(ask)
        self._clock = clock
        self._rng = rng or Random()
        self._lanes = Lanes(bounds or Bounds(), self._start)
        self._entries: dict[ProbeKey, Entry] = {}
        self.known = Known(self._entries)
        self._new: list[Entry] = []        # that are not due at any time yet
        self._unprobed: set[Entry] = set()
        self._all_probed = asyncio.Event()

    async def first_round(self) -> None:
        """Return once every key that is not paused has had an outcome.

        Starts probes until then, whether ``run`` does so too or not.
        """
        self._lanes.activate()
        self._start_new()
        self._update_all_probed()
        try:
            await self._all_probed.wait()
        finally:
            self._lanes.deactivate()

    async def run(self) -> None:
        """Probe until cancelled.  Probes in flight are cancelled then as well."""
        self._lanes.activate()
        self._start_new()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._lanes.deactivate()
            running = [entry.running for entry in self._entries.values() if entry.running is not None]
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def replace_keys(self, keys: Iterable[ProbeKey], healths: Mapping[ProbeKey, Health] | None = None) -> None:
        """From now on probe these; ``healths`` seeds new ones, and ``first_round`` can be awaited again for them."""
        wanted = dict.fromkeys(keys)
        self.change_keys(wanted, [key for key in self._entries if key not in wanted], healths or {})

    def change_keys(self, more: Iterable[ProbeKey], less: Iterable[ProbeKey], known: Mapping[ProbeKey, Health]) -> None:
        """Probe these too, unless they are probed already, and those no more."""
        for entry in [self._entries.pop(key) for key in less if key in self._entries]:
            entry.removed = True
            self._stop(entry)
        self._new += [self._add(key, known.get(key)) for key in more if key not in self._entries]
        self._new = [entry for entry in self._new if not entry.removed]
        self._lanes.drop_removed()
        if self._lanes.is_active:
            self._start_new()
        self._update_all_probed()

    def pause(self, key: ProbeKey) -> None:
        """Probe the key no more, until ``resume``; a probe of it in flight is dropped.  Its health stays."""
        entry = self._entries[key]
        entry.paused = True
        self._stop(entry)
        self._update_all_probed()

    def resume(self, key: ProbeKey) -> None:
        """Probe the key again, starting now.  If it was up, it has to pass again before it counts as up."""
        entry = self._entries[key]
        if not entry.paused:
            return
        entry.paused = entry.probed = False
        self._unprobed.add(entry)
        self._update_all_probed()
        now = asyncio.get_running_loop().time()
        if entry.running is None and not (entry.waiting and entry.due <= now) and entry not in self._new:
            self._lanes.wait(entry, now)
            self._lanes.arm(entry.lane)

    def pause_only(self, keys: Collection[ProbeKey]) -> set[ProbeKey]:
        """Pause these keys and resume all others.  The keys that were resumed."""
        paused = self.paused
        for key in keys:
            if key not in paused:
                self.pause(key)
        resumed = paused.difference(keys)
        for key in resumed:
            self.resume(key)
        return resumed

    def hasten(self, key: ProbeKey) -> None:
        """Start the next probe of the key in a moment, unless one is under way."""
        entry = self._entries.get(key)
        soon = asyncio.get_running_loop().time() + _QUICK
        if entry is not None and entry.waiting and soon < entry.due:
            self._lanes.wait(entry, soon)
            self._lanes.arm(entry.lane)

    @property
    def healths(self) -> dict[ProbeKey, Health]:
        """What is known now of each key; keys without any outcome yet are left out.  ``known`` shows it at any time."""
        return dict(self.known)

    @property
    def paused(self) -> set[ProbeKey]:
        return {key for key, entry in self._entries.items() if entry.paused}

    @property
    def recalled(self) -> set[ProbeKey]:
        """The keys whose health is from before a restart or a pause, without an outcome since."""
        return {key for key, entry in self._entries.items() if entry.health is not None and not entry.probed}

    @property
    def faults(self) -> dict[ProbeKey, str]:
        """The keys that cannot be probed for a reason of ours, and the reason."""
        return {key: entry.fault for key, entry in self._entries.items() if entry.fault}

    @property
    def in_flight(self) -> int:
        return self._lanes.in_flight

    @property
    def lag(self) -> float:
        """Seconds by which probes start late (see ``lanes``)."""
        return self._lanes.lag

    def _add(self, key: ProbeKey, known: Health | None) -> Entry:
        entry = self._entries[key] = Entry(key, self._lanes.prompt(key[0].check), known)
        self._unprobed.add(entry)
        return entry

    def _stop(self, entry: Entry) -> None:
        self._unprobed.discard(entry)
        if entry.running is not None:
            entry.running.cancel()

    def _update_all_probed(self) -> None:
        """Keep ``_all_probed`` true to what it says."""
        if self._unprobed:
            self._all_probed.clear()
        else:
            self._all_probed.set()

    def _start_new(self) -> None:
        """Let the new keys be due, spread so that they do not come all at once."""
        now = asyncio.get_running_loop().time()
        spread = len(self._new) / _FIRST_RATE
        for entry in self._new:
            self._lanes.wait(entry, now + self._rng.random() * spread)
        self._new.clear()
        self._lanes.arm_all()

    def _start(self, entry: Entry, now: float) -> None:
        entry.running = asyncio.get_running_loop().create_task(self._asking.outcome(entry.key))
        entry.running.add_done_callback(partial(self._finish, entry, now))

    def _finish(self, entry: Entry, started: float, task: asyncio.Task[Outcome]) -> None:
        """Called when a probe has ended, or was dropped before it even began."""
        entry.running = None
        left = self._lanes.leave(entry)
        before, is_dropped = entry.health, entry.paused or entry.removed or task.cancelled()
        if not is_dropped:
            self._fold(entry, task.result(), started)
        elif not (entry.paused or entry.removed):
            self._lanes.wait(entry, started)  # paused and already resumed, or ``run`` was cancelled: once more then
        for lane in (left, entry.prompt, entry.lane):
            self._lanes.arm(lane)
        if is_dropped:
            return
        outcome = task.result()
        if outcome.fault or entry.health is None:
            self._report_fault(entry.key, outcome)
        else:
            self._report(entry.key, outcome, before, entry.health)

    def _fold(self, entry: Entry, outcome: Outcome, started: float) -> None:
        """Fold the outcome into the health, and let the next probe be due."""
        wanted, _ = entry.key
        entry.observe(outcome, self._clock())
        if outcome.took >= wanted.timeout and entry.prompt.slow is not None:
            entry.lane = entry.prompt.slow
        part = self._rng.random() if entry.is_new else self._rng.uniform(_SHORTEST, _LONGEST)
        entry.is_new = False
        self._lanes.wait(entry, started + part * health.pause(entry.health or Health(), wanted))
        self._unprobed.discard(entry)
        self._update_all_probed()
