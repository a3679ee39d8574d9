"""Places: one int for the file and line that a record came from.

The lines of all files of a zone are numbered through, in the order in which they were read: a line of the zone file
behind an ``$INCLUDE`` has a higher place than every line of the included file.  So places sort in reading order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Span(NamedTuple):
    """Lines read one after another from one file: the place of line *n* is ``base + n``."""

    first: int  # place of the first line
    base: int
    file: str


@dataclass(frozen=True, slots=True)
class Places:
    """The way back from a place to file and line.  Entries begin in column 1, so a record's place needs no column."""

    spans: tuple[Span, ...] = ()

    def locate(self, place: int) -> tuple[str, int, int]:
        """File, line and column of a record; line and column are 0 when it came from no line."""
        if not self.spans:
            return "", 0, 0
        span = span_of(self.spans, place)
        return (span.file, place - span.base, 1) if place else (span.file, 0, 0)


def span_of(spans: Sequence[Span], place: int) -> Span:
    """The span that holds the place; the first one for place 0, which is the whole zone."""
    return spans[max(bisect_right(spans, place, key=_first) - 1, 0)]


def _first(span: Span) -> int:
    return span.first
