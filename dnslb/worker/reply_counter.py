"""ReplyTurns, counted by their heads.

Nothing is named or sorted while queries are answered: ``dns.reply_kind`` reads from a head, later, what
became of a query.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

from dnslb.answer.ready import ReplyTurns

_UNCOUNTED = 4096  # kept as they came: to count many at once costs half

Source: TypeAlias = ReplyTurns | bytes  # what a reply came from, which knows the head of it, or its head itself


class ReplyCounter:
    """Counts what replies came from, since heads are the same for all of one source: so no head need be read."""

    def __init__(self) -> None:
        self._uncounted: list[Source] = []
        self._counts: Counter[bytes] = Counter()

    def count(self, sources: Iterable[Source]) -> None:
        self._uncounted += sources
        if len(self._uncounted) > _UNCOUNTED:
            self._sum_up()

    def take(self) -> dict[bytes, int]:
        """What was counted, and begin anew."""
        self._sum_up()
        counts, self._counts = self._counts, Counter()
        return dict(counts)

    def _sum_up(self) -> None:
        for source, count in Counter(self._uncounted).items():
            self._counts[source if isinstance(source, bytes) else source.head] += count
        self._uncounted.clear()
