"""The schedule: every key is probed in time, and its outcomes are folded into its health.

A key is a probe and the target that it asks.  Equal keys are one: pools that share them share the outcomes.

- From start to start passes at most ``health.pause``: detection times count on it.  So the jitter only shortens it,
  by 1 to 10 %; the first pause is cut at random, to spread the keys over it.
- One key has one probe in flight at most.  A probe that takes longer than the pause delays the next one of its key.
- What hangs delays only what hangs.  Targets that did not answer in time go by a lane of their own, until they do; and
  a probe that takes long leaves its place to the next one, as long as there is room in the lane of the slow.
- A bounded number is in flight in each lane; programs have lanes of their own, since they cost more.  At the bound,
  what is due for longest starts first, and ``lag`` tells how late we are.
- A few probes start in one turn of the loop, so that everything else has its turn.
- A probe that could not be made (``Outcome.fault``) leaves the health as it is, and is tried again at the usual pace.

A key at rest costs an entry in a heap: no task, no timer.  One thread, one event loop; it never forks.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
import traceback
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count
from random import Random
from typing import TypeAlias

from dnslb.balance import health
from dnslb.balance.health import Health, Outcome, ProbeKey
from dnslb.balance.pool import Address, Check, ExecCheck
from dnslb.probe import probe

Report: TypeAlias = Callable[[ProbeKey, Outcome, Health | None, Health], None]
ReportFault: TypeAlias = Callable[[ProbeKey, Outcome], None]
Ask: TypeAlias = Callable[[Check, Address, Address | None, float], Awaitable[Outcome]]  # as ``probe``

# Probes over sockets, slow or not: thousands that hang for 2 s fit in, and each takes some 10 kB.  Each holds a file:
# at most half of those that we may open.
MOST_IN_FLIGHT = 8192
MOST_PROGRAMS = 64        # slow or not; each is a process, which may take 10 MB and some ms to start
_PATIENCE = 0.25          # seconds after which a probe under way may be counted among the slow
_AT_ONCE = 16             # probes over sockets that start in one turn of the loop: some 5 ms
_PROGRAMS_AT_ONCE = 2
_TURN = 0.005             # seconds for that
_MOST_TURNS = 16          # that are made up for in one, when the machine kept us from turning
_SHORTEST, _LONGEST = 0.90, 0.99  # of a pause; the last percent is for our own delay
_FIRST_RATE = 2000  # new keys start at most so many a second, as fast as one core can go
_QUICK = 0.1        # seconds to the next probe of a key that is hastened

_log = logging.getLogger("dnslb")


class _Entry:
    """What the schedule knows of one key."""

    __slots__ = (
        "due", "fault", "health", "is_new", "key", "lane", "paused", "probed", "prompt", "removed", "running",
        "waiting",
    )  # fmt: skip

    def __init__(self, key: ProbeKey, lane: _Lane, known: Health | None) -> None:
        self.key = key
        self.prompt = lane    # for its kind of probe, while it answers in time
        self.lane = lane      # in which it waits or is under way
        self.health = known
        self.fault = ""       # why it could not be probed the last time, which is not its fault
        self.is_new = True    # nothing has come of its probes yet
        self.probed = False   # by this schedule, since it was paused last
        self.waiting = False  # in the lane's heap
        self.due = 0.0        # for when: what else the heap holds of it is void
        self.paused = False
        self.removed = False
        self.running: asyncio.Task[Outcome] | None = None


class _Lane:
    """Entries that share a bound on what is in flight."""

    __slots__ = ("at_once", "most", "running", "slow", "stopped", "timer", "waiting")

    def __init__(self, most: int, at_once: int, slow: _Lane | None = None) -> None:
        self.most = most
        self.at_once = at_once
        self.slow = slow  # where what takes long goes on
        self.running: dict[_Entry, float] = {}  # with the times of their starts, the earliest first
        self.waiting: list[tuple[float, int, _Entry]] = []  # a heap by due time
        self.timer: asyncio.TimerHandle | None = None       # for the first of them
        self.stopped: float | None = None  # when the last lot was used up, if it was

    def lot(self, now: float) -> int:
        """How many may start in this turn: more when turns take long, or a busy machine would leave us behind."""
        turns = 1 if self.stopped is None else min(_MOST_TURNS, max(1, int((now - self.stopped) / _TURN)))
        return self.at_once * turns

    def has_room(self, now: float) -> bool:
        """Whether one more may start; if need be by counting another among the slow."""
        if len(self.running) < self.most:
            return True
        at = self.room_at()
        if self.slow is None or at is None or now < at:
            return False
        entry, started = next(iter(self.running.items()))
        del self.running[entry]
        self.slow.running[entry] = started
        entry.lane = self.slow
        return True

    def room_at(self) -> float | None:
        """Since when, or from when on, there is room, if nothing ends before; None: not until something ends."""
        if len(self.running) < self.most:
            return 0.0
        if self.slow is None or len(self.slow.running) >= self.slow.most:
            return None
        return next(iter(self.running.values())) + _PATIENCE

    def disarm(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Schedule:
    """Probes a set of keys until it is cancelled.

    ``report`` is called with each outcome: the key, the outcome, the health before it (None: nothing was known) and
    after it.  ``healths`` seeds what is known, from a saved state: a seeded verdict needs ``fall`` or ``rise``
    outcomes to change, an unknown one is settled by the first outcome.  ``clock`` gives Unix time; due times are by
    the event loop's clock.  ``report_fault`` is called with what is no outcome: the probe could not be made.
    """

    def __init__(  # noqa: PLR0913 - keys and report; the others are for tests and for the state file
        self,
        keys: Iterable[ProbeKey],
        report: Report,
        *,
        healths: Mapping[ProbeKey, Health] | None = None,
        clock: Callable[[], float] = time.time,
        rng: Random | None = None,
        ask: Ask = probe,
        report_fault: ReportFault = lambda key, outcome: None,
        most_in_flight: int | None = None,
        most_programs: int = MOST_PROGRAMS,
    ) -> None:
        self._report = report
        self._report_fault = report_fault
        self._clock = clock
        self._rng = rng or Random()
        self._ask = ask
        self._sockets = _lanes(_most_in_flight() if most_in_flight is None else most_in_flight, _AT_ONCE)
        self._programs = _lanes(most_programs, _PROGRAMS_AT_ONCE)
        self._lanes = (*self._sockets, *self._programs)
        self._entries: dict[ProbeKey, _Entry] = {}
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

    def replace_keys(self, keys: Iterable[ProbeKey], healths: Mapping[ProbeKey, Health] | None = None) -> None:
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
        for lane in self._lanes:
            lane.waiting = [item for item in lane.waiting if not item[2].removed]
            heapify(lane.waiting)
        if self._drivers:
            self._start_new()
        self._notice()

    def pause(self, key: ProbeKey) -> None:
        """Probe the key no more, until ``resume``; a probe of it in flight is dropped.  Its health stays."""
        entry = self._entries[key]
        entry.paused = True
        self._stop(entry)
        self._notice()

    def resume(self, key: ProbeKey) -> None:
        """Probe the key again, starting now.  That it was up when nobody has looked since, is worth nothing."""
        entry = self._entries[key]
        if not entry.paused:
            return
        entry.paused = entry.probed = False
        self._unprobed.add(entry)
        self._notice()
        now = asyncio.get_running_loop().time()
        if entry.running is None and not (entry.waiting and entry.due <= now) and entry not in self._new:
            self._wait(entry, now)
            self._arm(entry.lane)

    def pause_only(self, keys: Collection[ProbeKey]) -> set[ProbeKey]:
        """Let these keys be paused, and no others.  Gives those that are resumed by that."""
        paused = self.paused
        for key in keys:
            if key not in paused:
                self.pause(key)
        resumed = paused.difference(keys)
        for key in resumed:
            self.resume(key)
        return resumed

    def hasten(self, key: ProbeKey) -> None:
        """Let the next probe of the key, unless one is under way, start in a moment."""
        entry = self._entries.get(key)
        soon = asyncio.get_running_loop().time() + _QUICK
        if entry is not None and entry.waiting and soon < entry.due:
            self._wait(entry, soon)
            self._arm(entry.lane)

    @property
    def healths(self) -> dict[ProbeKey, Health]:
        """What is known now, for the state file and for those who ask."""
        return {key: entry.health for key, entry in self._entries.items() if entry.health is not None}

    @property
    def paused(self) -> set[ProbeKey]:
        return {key for key, entry in self._entries.items() if entry.paused}

    @property
    def recalled(self) -> set[ProbeKey]:
        """Whose health was known from the start, or before a pause, and nothing has been found out since."""
        return {key for key, entry in self._entries.items() if entry.health is not None and not entry.probed}

    @property
    def faults(self) -> dict[ProbeKey, str]:
        """What cannot be probed, and why; by no fault of its own."""
        return {key: entry.fault for key, entry in self._entries.items() if entry.fault}

    @property
    def in_flight(self) -> int:
        return sum(len(lane.running) for lane in self._lanes)

    @property
    def lag(self) -> float:
        """Seconds by which the schedule is behind: since when the probe that is due for longest has been waiting.

        Those that are down because they hang are left out: they wait for one another, and it delays no death.
        """
        now = asyncio.get_running_loop().time()
        due = [
            at
            for prompt, slow in (self._sockets, self._programs)
            for at in (
                *(at for at, _, _ in prompt.waiting[:1]),
                *(at for at, _, entry in slow.waiting if entry.health is None or entry.health.up),
            )
        ]
        return max(0.0, now - min(due, default=now))

    # The keys.

    def _add(self, key: ProbeKey, known: Health | None) -> _Entry:
        lane, _ = self._programs if isinstance(key[0].check, ExecCheck) else self._sockets
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
            for lane in self._lanes:
                lane.disarm()

    def _start_new(self) -> None:
        """Let the new keys be due, spread so that they do not come all at once."""
        now = asyncio.get_running_loop().time()
        spread = len(self._new) / _FIRST_RATE
        for entry in self._new:
            self._wait(entry, now + self._rng.random() * spread)
        self._new = []
        for lane in self._lanes:
            self._arm(lane)

    def _wait(self, entry: _Entry, due: float) -> None:
        entry.waiting, entry.due = True, due
        heappush(entry.lane.waiting, (due, next(self._numbers), entry))

    def _arm(self, lane: _Lane) -> None:
        """See to it that the next of the lane starts as soon as it is due and allowed."""
        room_at = lane.room_at()
        if not self._drivers or not lane.waiting or room_at is None:
            return
        loop = asyncio.get_running_loop()
        at = max(lane.waiting[0][0], room_at)
        if lane.timer is None or at < lane.timer.when():
            lane.disarm()
            lane.timer = loop.call_at(at, self._start_due, lane)

    def _start_due(self, lane: _Lane) -> None:
        """Start what is due and allowed; but only so much of it that others have their turn soon."""
        lane.timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        waiting, left = lane.waiting, lane.lot(now)
        while left and waiting and waiting[0][0] <= now and lane.has_room(now):
            due, _, entry = heappop(waiting)
            if not entry.waiting or due != entry.due:
                continue  # it was hastened
            entry.waiting = False
            if not (entry.paused or entry.removed):
                left -= 1
                lane.running[entry] = now
                entry.running = loop.create_task(self._outcome(entry.key))
                entry.running.add_done_callback(partial(self._finish, entry, now))
        lane.stopped = None if left else now
        self._arm(lane)

    def _finish(self, entry: _Entry, started: float, task: asyncio.Task[Outcome]) -> None:
        """Called when a probe has ended, or was dropped before it even began."""
        entry.running = None
        left, entry.lane = entry.lane, entry.prompt
        del left.running[entry]
        before, is_dropped = entry.health, entry.paused or entry.removed or task.cancelled()
        if not is_dropped:
            self._fold(entry, task.result(), started)
        elif not (entry.paused or entry.removed):
            self._wait(entry, started)  # paused and already resumed, or ``run`` was cancelled: once more then
        for lane in (left, entry.prompt, entry.lane):
            self._arm(lane)
        if not is_dropped:
            self._tell(entry, task.result(), before)

    async def _outcome(self, key: ProbeKey) -> Outcome:
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
                # Not the probe itself: its headers and arguments may be secrets.
                kind = type(wanted.check).__name__
                _log.exception("a bug in dnslb: please report it with this probe of %s: %s", target, kind)
            return Outcome(False, f"a bug in dnslb: {what}", loop.time() - started, "bug")

    def _fold(self, entry: _Entry, outcome: Outcome, started: float) -> None:
        """Fold the outcome into the health, and let the next probe be due."""
        wanted, _ = entry.key
        entry.fault = outcome.reason if outcome.fault else ""
        if not outcome.fault:
            entry.health = self._verdict(entry, outcome)
            entry.probed = True
        if outcome.took >= wanted.timeout and entry.prompt.slow is not None:
            entry.lane = entry.prompt.slow
        part = self._rng.random() if entry.is_new else self._rng.uniform(_SHORTEST, _LONGEST)
        entry.is_new = False
        self._wait(entry, started + part * health.pause(entry.health or Health(), wanted))
        self._unprobed.discard(entry)
        self._notice()

    def _verdict(self, entry: _Entry, outcome: Outcome) -> Health:
        before, now = entry.health, self._clock()
        if before is None or (before.up and not entry.probed):
            # That a target was up when nobody has looked since, is worth nothing until it passes again.
            return health.first(outcome, now, before)
        return health.observe(before, outcome, entry.key[0], now)

    def _tell(self, entry: _Entry, outcome: Outcome, before: Health | None) -> None:
        if outcome.fault or entry.health is None:
            self._report_fault(entry.key, outcome)
        else:
            self._report(entry.key, outcome, before, entry.health)


def _lanes(most: int, at_once: int) -> tuple[_Lane, _Lane]:
    """For those that answer in time, and for the slow: half of what may be in flight each."""
    slow = _Lane(most // 2, at_once)
    return _Lane(most - slow.most, at_once, slow), slow


def _most_in_flight() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_IN_FLIGHT if soft == resource.RLIM_INFINITY else min(MOST_IN_FLIGHT, soft // 2)
