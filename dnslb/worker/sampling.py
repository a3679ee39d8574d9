"""Which packets of a stream are looked at, when only a share of them is.

A look costs nothing for those between: how many are passed over is drawn at once.  Pure: randomness is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log
from random import Random


class Sampling:
    """Each packet is chosen with the same probability, whatever came before it."""

    __slots__ = ("_passed", "_rng", "_scale")

    def __init__(self, share: float, rng: Random) -> None:
        """``share``: above 0, and at most 1."""
        self._rng = rng
        self._scale = 0.0 if share >= 1 else 1 / log(1 - share)
        self._passed = self._draw()  # packets until the next one that is chosen

    def chosen(self, count: int) -> Iterator[int]:
        """Of the next so many packets, the places of those that are chosen."""
        at = self._passed
        while at < count:
            yield at
            at += 1 + self._draw()
        self._passed = at - count

    def _draw(self) -> int:
        """How many are passed over: a geometric distribution."""
        return int(log(1 - self._rng.random()) * self._scale)
