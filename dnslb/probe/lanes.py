"""Lanes: what is due starts in time, but only so much of it is in flight at once.

What hangs delays only what hangs.  Targets that did not answer in time go by a lane of their own, until they do; and
a probe that takes long leaves its place to the next one, as long as there is room in the lane of the slow.  Programs
have lanes of their own too, since they cost more.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count

from dnslb.balance.health import Health, Outcome
from dnslb.balance.pool import Check, ExecCheck
from dnslb.probe import ProbeKey

# Probes over sockets, slow or not: thousands that hang for 2 s fit in, and each takes some 10 kB.  Each holds a file:
# at most half of those that we may open.
MOST_IN_FLIGHT = 8192
MOST_PROGRAMS = 64        # slow or not; each is a process, which may take 10 MB and some ms to start
_PATIENCE = 0.25          # seconds after which a probe under way may be counted among the slow
_AT_ONCE = 16             # probes over sockets that start in one turn of the loop: some 5 ms
_PROGRAMS_AT_ONCE = 2
_TURN = 0.005             # seconds for that
_MOST_TURNS = 16          # that are made up for in one, when the machine kept us from turning


def _most_in_flight() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_IN_FLIGHT if soft == resource.RLIM_INFINITY else min(MOST_IN_FLIGHT, soft // 2)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of the probes in flight."""

    sockets: int = field(default_factory=_most_in_flight)
    programs: int = MOST_PROGRAMS


class Entry:
    """What the schedule knows of one key."""

    __slots__ = (
        "due", "fault", "health", "is_new", "key", "lane", "paused", "probed", "prompt", "removed", "running",
        "waiting",
    )  # fmt: skip

    def __init__(self, key: ProbeKey, lane: Lane, known: Health | None) -> None:
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


class Lane:
    """Entries that share a bound on what is in flight."""

    __slots__ = ("at_once", "most", "running", "slow", "stopped", "timer", "waiting")

    def __init__(self, most: int, at_once: int, slow: Lane | None = None) -> None:
        self.most = most
        self.at_once = at_once
        self.slow = slow  # where what takes long goes on
        self.running: dict[Entry, float] = {}  # with the times of their starts, the earliest first
        self.waiting: list[tuple[float, int, Entry]] = []  # a heap by due time
        self.timer: asyncio.TimerHandle | None = None      # for the first of them
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


class Lanes:
    """``start`` is called with each entry that is due, and its time; once its probe has ended, ``leave`` is to be."""

    def __init__(self, bounds: Bounds, start: Callable[[Entry, float], object]) -> None:
        self._start = start
        self._sockets = _prompt_and_slow(bounds.sockets, _AT_ONCE)
        self._programs = _prompt_and_slow(bounds.programs, _PROGRAMS_AT_ONCE)
        self._all = (*self._sockets, *self._programs)
        self._numbers = count()  # ties in the heaps
        self._users = 0          # who want probes to start

    @property
    def is_active(self) -> bool:
        return self._users > 0

    @property
    def in_flight(self) -> int:
        return sum(len(lane.running) for lane in self._all)

    @property
    def lag(self) -> float:
        """Seconds by which we are behind: since when the probe that is due for longest has been waiting.

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

    def prompt(self, check: Check) -> Lane:
        """For this kind of probe, while the target answers in time."""
        lane, _ = self._programs if isinstance(check, ExecCheck) else self._sockets
        return lane

    def activate(self) -> None:
        """Start probes when they are due, from now on; until ``deactivate`` was called as often as this."""
        self._users += 1
        self.arm_all()

    def deactivate(self) -> None:
        self._users -= 1
        if not self._users:
            for lane in self._all:
                lane.disarm()

    def wait(self, entry: Entry, due: float) -> None:
        """The entry is due then; ``arm`` its lane after it."""
        entry.waiting, entry.due = True, due
        heappush(entry.lane.waiting, (due, next(self._numbers), entry))

    def arm(self, lane: Lane) -> None:
        """See to it that the next of the lane starts as soon as it is due and allowed."""
        room_at = lane.room_at()
        if not self._users or not lane.waiting or room_at is None:
            return
        loop = asyncio.get_running_loop()
        at = max(lane.waiting[0][0], room_at)
        if lane.timer is None or at < lane.timer.when():
            lane.disarm()
            lane.timer = loop.call_at(at, self._start_due, lane)

    def arm_all(self) -> None:
        for lane in self._all:
            self.arm(lane)

    def leave(self, entry: Entry) -> Lane:
        """Its probe has ended: it goes back to the lane of those that answer in time.  Which lane it has left."""
        left, entry.lane = entry.lane, entry.prompt
        del left.running[entry]
        return left

    def drop_removed(self) -> None:
        for lane in self._all:
            lane.waiting = [item for item in lane.waiting if not item[2].removed]
            heapify(lane.waiting)

    def _start_due(self, lane: Lane) -> None:
        """Start what is due and allowed; but only so much of it that others have their turn soon."""
        lane.timer = None
        now = asyncio.get_running_loop().time()
        waiting, left = lane.waiting, lane.lot(now)
        while left and waiting and waiting[0][0] <= now and lane.has_room(now):
            due, _, entry = heappop(waiting)
            if not entry.waiting or due != entry.due:
                continue  # it was hastened
            entry.waiting = False
            if not (entry.paused or entry.removed):
                left -= 1
                lane.running[entry] = now
                self._start(entry, now)
        lane.stopped = None if left else now
        self.arm(lane)


def _prompt_and_slow(most: int, at_once: int) -> tuple[Lane, Lane]:
    """For those that answer in time, and for the slow: half of what may be in flight each."""
    slow = Lane(most // 2, at_once)
    return Lane(most - slow.most, at_once, slow), slow
