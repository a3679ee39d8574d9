"""What the probes of each target have shown: the last ones one by one, all of them as counts."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection

from dnslb.balance.health import Health, Outcome, ProbeKey

BOUNDS = (0.001, 0.01, 0.1, 1.0)  # seconds, of the histogram of durations
OTHER = "other"  # reasons above what is kept apart

_LAST = 30         # outcomes kept one by one
_REASONS = 8       # reasons kept apart: some hold foreign text, which may differ each time
_LONGEST = 100     # characters of a reason


class ProbeRecord:
    """What the probes of one target have shown.  It is laid out to be small: there may be many."""

    __slots__ = ("at", "buckets", "changes", "outcomes", "passed", "seconds", "took")

    def __init__(self) -> None:
        self.at = array("d")        # Unix times at which the last ones had ended
        self.took = array("d")      # seconds, of the same
        self.passed = bytearray()   # whether they did
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0
        self.outcomes: Counter[tuple[bool, str]] = Counter()  # by result and reason
        self.changes = 0            # of the verdict

    def add(self, outcome: Outcome, at: float) -> None:
        if len(self.took) == _LAST:
            del self.at[0], self.took[0], self.passed[0]
        self.at.append(at)
        self.took.append(outcome.took)
        self.passed.append(outcome.ok)
        self.buckets[bisect_left(BOUNDS, outcome.took)] += 1
        self.seconds += outcome.took
        known = outcome.ok, outcome.reason[:_LONGEST]
        if known not in self.outcomes and len(self.outcomes) >= _REASONS:
            known = outcome.ok, OTHER
        self.outcomes[known] += 1


class ProbeRecords(dict[ProbeKey, ProbeRecord]):
    """The records of all targets."""

    def record_outcome(
        self, key: ProbeKey, outcome: Outcome, before: Health | None, after: Health, at: float
    ) -> None:
        """One more probe has ended, ``at`` this Unix time."""
        record = self.get(key)
        if record is None:
            record = self[key] = ProbeRecord()
        record.add(outcome, at)
        if before is not None and before.up != after.up:
            record.changes += 1

    def keep_only(self, keys: Collection[ProbeKey]) -> None:
        """Forget what is probed no more."""
        for key in self.keys() - keys:
            del self[key]
