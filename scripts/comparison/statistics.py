"""Figures of samples: percentiles, evenness, medians with their range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt


@dataclass(frozen=True, slots=True)
class Spread:
    """Repeats of one figure."""

    median: float
    lowest: float
    highest: float

    def show(self, digits: int = 1, factor: float = 1.0) -> str:
        """``12.3 (11.0–14.2)``; one number when the repeats agree."""
        middle, low, high = (f"{value * factor:.{digits}f}" for value in (self.median, self.lowest, self.highest))
        return middle if low == high else f"{middle} ({low}–{high})"

    def overlaps(self, other: Spread) -> bool:
        """Whether there may be no difference.

        The range of five repeats holds the median of all that might be made with a probability of 94 % (15/16).
        """
        return self.lowest <= other.highest and other.lowest <= self.highest


def spread(repeats: Sequence[float]) -> Spread:
    return Spread(median(repeats), min(repeats), max(repeats))


def errors(spreads: Sequence[Spread]) -> list[list[float]]:
    """The ranges as matplotlib's error bars."""
    return [[one.median - one.lowest for one in spreads], [one.highest - one.median for one in spreads]]


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest sample that at least so large a share of the samples does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def percentiles(values: Sequence[float], shares: Sequence[float] = (0.5, 0.9, 0.99, 0.999)) -> list[float]:
    ordered = sorted(values)
    return [ordered[max(0, ceil(share * len(ordered)) - 1)] for share in shares]


def variation(shares: Sequence[float]) -> float:
    """The coefficient of variation: standard deviation over mean, of all there are (not of a sample)."""
    middle = mean(shares)
    return sqrt(mean([(share - middle) ** 2 for share in shares])) / middle if middle else 0.0


def jain(shares: Sequence[float]) -> float:
    """(Σx)²/(NΣx²): 1 is even, 1/N is all on one (Jain, Chiu, Hawe, DEC-TR-301, 1984)."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def max_over_mean(shares: Sequence[float]) -> float:
    middle = mean(shares)
    return max(shares) / middle if middle else 1.0
