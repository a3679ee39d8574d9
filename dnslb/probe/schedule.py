"""The schedule: every key is probed in time, and its outcomes are folded into its health.

A key is a probe and the target that it asks.  Equal keys are one: pools that share them share the outcomes.

- From start to start passes at most ``health.pause``: detection times count on it.  So the jitter only shortens it,
  by 1 to 10 %; the first pause is cut at random, to spread the keys over it.
- One key has one probe in flight at most.  A probe that takes longer than the pause delays the next one of its key.
- A bounded number is in flight; programs have a bound of their own, since they cost more.  When the bound is
  reached, what is due for longest starts first, and ``lag`` tells how late we are.

A key at rest costs an entry in a heap: no task, no timer.  One thread, one event loop; it never forks.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count
from random import Random
from typing import TypeAlias

from dnslb.balance import health
from dnslb.balance.health import Health, Outcome
from dnslb.balance.pool import Address, Check, ExecCheck, Probe
from dnslb.probe import probe

Key: TypeAlias = tuple[Probe, Address]
Report: TypeAlias = Callable[[Key, Outcome, Health | None, Health], None]
Ask: TypeAlias = Callable[[Check, Address, Address | None, float], Awaitable[Outcome]]  # as ``probe``

MOST_IN_FLIGHT = 500  # probes over sockets; each holds one file
MOST_PROGRAMS = 20
_SHORTEST, _LONGEST = 0.90, 0.99  # of a pause; the last percent is for our own delay
_FIRST_RATE = 2000  # new keys start at most so many a second, as fast as one core can go

_log = logging.getLogger("dnslb")


class _Entry:
    """What the schedule knows of one key."""

    __slots__ = ("health", "key", "lane", "paused", "probed", "removed", "running", "waiting")

    def __init__(self, key: Key, lane: _Lane, known: Health | None) -> None:
        self.key = key
        self.lane = lane
        self.health = known
        self.probed = False   # by this schedule
        self.waiting = False  # in the lane's heap
        self.paused = False
        self.removed = False
        self.running: asyncio.Task[Outcome] | None = None


class _Lane:
    """Entries that share a bound on what is in flight."""

    __slots__ = ("in_flight", "most", "timer", "waiting")

    def __init__(self, most: int) -> None:
        self.most = most
        self.in_flight = 0
        self.waiting: list[tuple[float, int, _Entry]] = []  # a heap by due time
        self.timer: asyncio.TimerHandle | None = None       # for the first of them

    def disarm(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Schedule:
    """Probes a set of keys until it is cancelled.

    ``report`` is called with each outcome: the key, the outcome, the health before it (None: nothing was known) and
    after it.  ``healths`` seeds what is known, from a saved state: a seeded verdict needs ``fall`` or ``rise``
    outcomes to change, an unknown one is settled by the first outcome.  ``clock`` gives Unix time; due times are by
    the event loop's clock.
    """

    def __init__(  # noqa: PLR0913 - keys and report; the others are for tests and for the state file
        self,
        keys: Iterable[Key],
        report: Report,
        *,
        healths: Mapping[Key, Health] | None = None,
        clock: Callable[[], float] = time.time,
        rng: Random | None = None,
        ask: Ask = probe,
        most_in_flight: int = MOST_IN_FLIGHT,
        most_programs: int = MOST_PROGRAMS,
    ) -> None:
        self._report = report
        self._clock = clock
        self._rng = rng or Random()
        self._ask = ask
        self._sockets = _Lane(most_in_flight)
        self._programs = _Lane(most_programs)
        self._entries: dict[Key, _Entry] = {}
        self._numbers = count()            # ties in the heaps
        self._unprobed: set[_Entry] = set()
        self._all_probed = asyncio.Event()
        self._drivers = 0                  # calls of ``run`` and ``first_round`` that want probes to start
        self._known_bugs: set[str] = set()
        self._new = [self._add(key, (healths or {}).get(key)) for key in dict.fromkeys(keys)]

    async def first_round(self) -> None:
        """Return once every key that is not paused has had an outcome.

        Starts probes until then, whether ``run`` does so too or not.
        """
        self._activate()
        try:
            self._notice()
            await self._all_probed.wait()
        finally:
            self._deactivate()

    async def run(self) -> None:
        """Probe until cancelled.  Probes in flight are cancelled then as well."""
        self._activate()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._deactivate()
            running = [entry.running for entry in self._entries.values() if entry.running is not None]
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def replace_keys(self, keys: Iterable[Key], healths: Mapping[Key, Health] | None = None) -> None:
        """From now on probe these.  Keys that stay keep their health and their pace; ``healths`` seeds new ones.

        ``first_round`` can be awaited again, for the new ones.
        """
        wanted = dict.fromkeys(keys)
        for key in [key for key in self._entries if key not in wanted]:
            entry = self._entries.pop(key)
            entry.removed = True
            self._stop(entry)
        self._new += [self._add(key, (healths or {}).get(key)) for key in wanted if key not in self._entries]
        self._new = [entry for entry in self._new if not entry.removed]
        for lane in (self._sockets, self._programs):
            lane.waiting = [item for item in lane.waiting if not item[2].removed]
            heapify(lane.waiting)
        if self._drivers:
            self._start_new()
        self._notice()

    def pause(self, key: Key) -> None:
        """Probe the key no more, until ``resume``; a probe of it in flight is dropped.  Its health stays."""
        entry = self._entries[key]
        entry.paused = True
        self._stop(entry)
        self._notice()

    def resume(self, key: Key) -> None:
        """Probe the key again, starting now."""
        entry = self._entries[key]
        if not entry.paused:
            return
        entry.paused = False
        if not entry.probed:
            self._unprobed.add(entry)
            self._notice()
        if entry.running is None and not entry.waiting and entry not in self._new:
            self._wait(entry, asyncio.get_running_loop().time())
            self._start_due(entry.lane)

    def pause_only(self, keys: Collection[Key]) -> None:
        """Let these keys be paused, and no others."""
        paused = {key for key, entry in self._entries.items() if entry.paused}
        for key in keys:
            if key not in paused:
                self.pause(key)
        for key in paused.difference(keys):
            self.resume(key)

    @property
    def healths(self) -> dict[Key, Health]:
        """What is known now, for the state file and for those who ask."""
        return {key: entry.health for key, entry in self._entries.items() if entry.health is not None}

    @property
    def in_flight(self) -> int:
        return self._sockets.in_flight + self._programs.in_flight

    @property
    def lag(self) -> float:
        """Seconds by which the schedule is behind: since when the probe that is due for longest has been waiting."""
        now = asyncio.get_running_loop().time()
        due = [lane.waiting[0][0] for lane in (self._sockets, self._programs) if lane.waiting]
        return max(0.0, now - min(due, default=now))

    # The keys.

    def _add(self, key: Key, known: Health | None) -> _Entry:
        lane = self._programs if isinstance(key[0].check, ExecCheck) else self._sockets
        entry = self._entries[key] = _Entry(key, lane, known)
        self._unprobed.add(entry)
        return entry

    def _stop(self, entry: _Entry) -> None:
        self._unprobed.discard(entry)
        if entry.running is not None:
            entry.running.cancel()

    def _notice(self) -> None:
        """Keep ``_all_probed`` true to what it says."""
        if self._unprobed:
            self._all_probed.clear()
        else:
            self._all_probed.set()

    # The clockwork.

    def _activate(self) -> None:
        """Start probes when they are due, from now on."""
        self._drivers += 1
        self._start_new()

    def _deactivate(self) -> None:
        self._drivers -= 1
        if not self._drivers:
            self._sockets.disarm()
            self._programs.disarm()

    def _start_new(self) -> None:
        """Let the new keys be due, spread so that they do not come all at once."""
        now = asyncio.get_running_loop().time()
        spread = len(self._new) / _FIRST_RATE
        for entry in self._new:
            self._wait(entry, now + self._rng.random() * spread)
        self._new = []
        self._start_due(self._sockets)
        self._start_due(self._programs)

    def _wait(self, entry: _Entry, due: float) -> None:
        entry.waiting = True
        heappush(entry.lane.waiting, (due, next(self._numbers), entry))

    def _tick(self, lane: _Lane) -> None:
        lane.timer = None
        self._start_due(lane)

    def _start_due(self, lane: _Lane) -> None:
        """Start all that is due and allowed, and see to it that a timer is set for the next."""
        if not self._drivers:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        waiting = lane.waiting
        while waiting and waiting[0][0] <= now and lane.in_flight < lane.most:
            _, _, entry = heappop(waiting)
            entry.waiting = False
            if not (entry.paused or entry.removed):
                lane.in_flight += 1
                entry.running = loop.create_task(self._outcome(entry.key))
                entry.running.add_done_callback(partial(self._finish, entry, now))
        # At the bound, the end of a probe starts the next.
        if waiting and lane.in_flight < lane.most and (lane.timer is None or waiting[0][0] < lane.timer.when()):
            lane.disarm()
            lane.timer = loop.call_at(waiting[0][0], self._tick, lane)

    def _finish(self, entry: _Entry, started: float, task: asyncio.Task[Outcome]) -> None:
        """Called when a probe has ended, or was dropped before it even began."""
        entry.running = None
        entry.lane.in_flight -= 1
        if entry.paused or entry.removed or task.cancelled():
            # Paused and already resumed, or ``run`` was cancelled: once more then.
            if not (entry.paused or entry.removed):
                self._wait(entry, started)
            self._start_due(entry.lane)
        else:
            self._conclude(entry, task.result(), started)

    async def _outcome(self, key: Key) -> Outcome:
        """Never raises: our own mistake is an outcome too."""
        wanted, target = key
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            return await self._ask(wanted.check, target, wanted.source, wanted.timeout)
        except Exception as bug:
            place = traceback.extract_tb(bug.__traceback__)[-1]
            what = f"{type(bug).__name__} at {place.filename}:{place.lineno}"
            if what not in self._known_bugs:
                self._known_bugs.add(what)
                _log.exception("a bug in dnslb: please report it with this probe of %s: %r", target, wanted)
            return Outcome(False, f"a bug in dnslb: {bug!r}", loop.time() - started)

    def _conclude(self, entry: _Entry, outcome: Outcome, started: float) -> None:
        """Fold the outcome into the health, let the next probe be due, and report."""
        wanted, _ = entry.key
        before, now = entry.health, self._clock()
        if before is None or (before.up and not entry.probed):
            # That a target was up when nobody has looked since, is worth nothing until it passes again.
            after = health.first(outcome, now, before)
        else:
            after = health.observe(before, outcome, wanted, now)
        entry.health = after
        part = self._rng.uniform(_SHORTEST, _LONGEST) if entry.probed else self._rng.random()
        self._wait(entry, started + part * health.pause(after, wanted))
        entry.probed = True
        self._unprobed.discard(entry)
        self._notice()
        self._start_due(entry.lane)
        self._report(entry.key, outcome, before, after)
