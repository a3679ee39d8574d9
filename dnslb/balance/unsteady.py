"""A target that fails now and then, and never so often in a row that ``fall`` takes it out.

``unsteady: 30% of 20`` says: when 30 % of its last 20 probes failed, it is down; it is up again when less than half
as many of them did, and ``rise`` in a row passed.  So it does not come and go at the edge.

What failed while ``fall`` had taken it out counts but up to there: one outage, however long, is not unsteadiness, and
several soon after one another are.  Pure: no clock, no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unsteady:
    """Which share of so many probes may not fail."""

    percent: int  # 1 to 100
    of: int       # probes

    @property
    def most(self) -> int:
        """So many failures among them are too many."""
        return max(1, -(-self.percent * self.of // 100))

    def has_settled(self, recent: int) -> bool:
        """Whether few enough have failed for an unsteady target to return."""
        return 2 * failures(recent) < self.most

    def record(self, recent: int, ok: bool) -> int:
        """The last outcomes, one bit each, with one more; 1 failed."""
        return (recent << 1 | (not ok)) & ((1 << self.of) - 1)


def failures(recent: int) -> int:
    """Among the last outcomes."""
    return recent.bit_count()
