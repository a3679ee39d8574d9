"""What comes most often in a stream, in bounded memory: the Space-Saving algorithm.

Metwally, Agrawal and El Abbadi, "Efficient computation of frequent and top-k elements in data streams", 2005.  With *m*
counters, whatever is more than one in *m* of the stream is found, and no count is too high by more than that part of
the stream.  Pure: no I/O.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from heapq import heapify, heapreplace
from typing import NamedTuple


class Estimate(NamedTuple):
    """How often something came: not more often than ``most``, and not less than ``most - error``."""

    most: int
    error: int = 0


class SpaceSaving:
    """Counts octets with so many counters."""

    __slots__ = ("_counts", "_errors", "_heap", "_size", "total")

    def __init__(self, size: int) -> None:
        self.total = 0
        self._size = size
        self._counts: Counter[bytes] = Counter()
        self._errors: dict[bytes, int] = {}
        # Every counter is in it once, with a count that it had: it only grows, so the least is found by looking again.
        self._heap: list[tuple[int, bytes]] = []

    def add(self, keys: Iterable[bytes]) -> None:
        """They have come, each once."""
        for key in keys:
            self.total += 1
            if key in self._counts:
                self._counts[key] += 1
            elif len(self._counts) < self._size:
                self._counts[key] = 1
                self._heap.append((1, key))
                if len(self._heap) == self._size:
                    heapify(self._heap)
            else:
                self._replace_least(key)

    def estimates(self) -> dict[bytes, Estimate]:
        """Of all that has a counter."""
        return {key: Estimate(count, self._errors.get(key, 0)) for key, count in self._counts.items()}

    def _replace_least(self, key: bytes) -> None:
        heap, counts = self._heap, self._counts
        while (now := counts[heap[0][1]]) != heap[0][0]:
            heapreplace(heap, (now, heap[0][1]))
        least, gone = heap[0]
        del counts[gone]
        self._errors.pop(gone, None)
        counts[key], self._errors[key] = least + 1, least
        heapreplace(heap, (least + 1, key))


def merged(parts: Iterable[Mapping[bytes, Estimate]]) -> dict[bytes, Estimate]:
    """Counts of several streams, added up.

    What has no counter in a full part may have come there too, as often as the least that has one: this is not added.
    """
    sums: dict[bytes, Estimate] = {}
    for part in parts:
        for key, (most, error) in part.items():
            before = sums.get(key, Estimate(0))
            sums[key] = Estimate(before.most + most, before.error + error)
    return sums
