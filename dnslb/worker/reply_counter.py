"""Replies, counted by their heads.

Nothing is named or sorted while queries are answered: ``dns.reply_kind`` reads from a head, later, what
became of a query.
"""

from __future__ import annotations

from collections import Counter
from sys import byteorder

from dnslb.dns.reply_kind import NO_REPLY

_UNCOUNTED = 4096  # heads kept as they came: to count many at once costs half


class ReplyCounter:
    """Each comes as one number, as the machine reads its octets: that is the cheapest to take from a buffer."""

    def __init__(self) -> None:
        self._uncounted: list[int] = []
        self._counts: Counter[int] = Counter()

    def count(self, heads: list[int]) -> None:
        self._uncounted += heads
        if len(self._uncounted) > _UNCOUNTED:
            self._sum_up()

    def take(self) -> dict[bytes, int]:
        """What was counted, and begin anew."""
        self._sum_up()
        counts, self._counts = self._counts, Counter()
        return {head.to_bytes(len(NO_REPLY), byteorder): count for head, count in counts.items()}

    def _sum_up(self) -> None:
        self._counts.update(self._uncounted)
        self._uncounted.clear()
