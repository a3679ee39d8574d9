"""Replies are counted by their heads: some octets that tell what became of a query.

Nothing is named or sorted while queries are answered: ``dns.reply_kind`` reads from a head, later, what
became of a query.
"""

from __future__ import annotations

from collections import Counter
from sys import byteorder

from dnslb.dns.reply_kind import NO_REPLY

_UNCOUNTED = 4096  # heads kept as they came: to count many at once costs half


class ReplyCounter:
    """Heads come as numbers, in the machine's byte order: so they are the cheapest to take from a buffer."""

    def __init__(self) -> None:
        self._uncounted: list[int] = []
        self._counts: Counter[int] = Counter()

    def count(self, heads: list[int]) -> None:
        self._uncounted += heads
        if len(self._uncounted) > _UNCOUNTED:
            self._sum_up()

    def take(self) -> dict[bytes, int]:
        """How often each head was counted.  The counter begins at zero again."""
        self._sum_up()
        counts, self._counts = self._counts, Counter()
        return {head.to_bytes(len(NO_REPLY), byteorder): count for head, count in counts.items()}

    def _sum_up(self) -> None:
        self._counts.update(self._uncounted)
        self._uncounted.clear()
