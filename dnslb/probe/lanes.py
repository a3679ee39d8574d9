"""Probes that are due start in time, but only a limited number is in flight at once.

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

from dnslb.balance.pool import Check, ExecCheck
from dnslb.probe.lane import Entry, Lane

# Probes over sockets, slow or not: thousands that hang for 2 s fit in, and each takes some 10 kB.  Each holds a file:
# at most half of those that we may open.
MOST_IN_FLIGHT = 8192
MOST_PROGRAMS = 64        # slow or not; each is a process, which may take 10 MB and some ms to start
_AT_ONCE = 16             # probes over sockets that start in one turn of the loop: some 5 ms
_PROGRAMS_AT_ONCE = 2


def _most_in_flight() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_IN_FLIGHT if soft == resource.RLIM_INFINITY else min(MOST_IN_FLIGHT, soft // 2)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many probes may be in flight at once."""

    sockets: int = field(default_factory=_most_in_flight)
    programs: int = MOST_PROGRAMS


class Lanes:
    """``start`` is called with each entry that is due, and the time; whoever started it calls ``leave`` at its end."""

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
        """For how many seconds the probe that is due for longest has been waiting.

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
        """The lane for this kind of probe, as long as the target answers in time."""
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
        """Let the entry be due at this time of the loop's clock.  To be followed by ``arm`` with its lane."""
        entry.waiting, entry.due = True, due
        heappush(entry.lane.waiting, (due, next(self._numbers), entry))

    def arm(self, lane: Lane) -> None:
        """Set the timer of the lane for the moment when its next probe is due and may start."""
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
        """Its probe has ended: the entry goes back to its prompt lane.  The lane that it has left."""
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
