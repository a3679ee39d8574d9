"""A lane, and what the schedule knows of each key that waits or is under way in it."""

from __future__ import annotations

import asyncio

from dnslb.balance import health
from dnslb.balance.health import Health, Outcome, ProbeKey

_PATIENCE = 0.25  # seconds after which a probe under way may be counted among the slow
_TURN = 0.005     # seconds for what starts in one turn of the loop
_MOST_TURNS = 16  # that are made up for in one, when the machine kept us from turning


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

    def observe(self, outcome: Outcome, now: float) -> None:
        """Take this outcome into account: it may change the health.  ``now`` is Unix time."""
        self.fault = outcome.reason if outcome.fault else ""
        if outcome.fault:
            return
        if self.health is None or (self.health.up and not self.probed):
            # That a target was up when nobody has looked since, is worth nothing until it passes again.
            self.health = health.first(outcome, now, self.health)
        else:
            self.health = health.observe(self.health, outcome, self.key[0], now)
        self.probed = True


class Lane:
    """Entries that share a limit of probes in flight."""

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
        """How many probes may start in this turn of the loop: more when turns take long, to keep up."""
        turns = 1 if self.stopped is None else min(_MOST_TURNS, max(1, int((now - self.stopped) / _TURN)))
        return self.at_once * turns

    def has_room(self, now: float) -> bool:
        """Whether one more probe may start.  If need be, one that takes long is moved to the lane of the slow."""
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
        """The time from which on there is room, even if no probe ends; None if one has to end first."""
        if len(self.running) < self.most:
            return 0.0
        if self.slow is None or len(self.slow.running) >= self.slow.most:
            return None
        return next(iter(self.running.values())) + _PATIENCE

    def disarm(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
