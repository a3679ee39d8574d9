"""The files of one zone, held while it is read, so that a place can be shown with its column."""

from __future__ import annotations

import re
from itertools import islice

from dnslb.dns.master.head import parse_head
from dnslb.dns.master.lexer import Entry, read_entry
from dnslb.dns.mistake import Mistake, Mistaken, Part
from dnslb.dns.place import Places, Span, span_of
from dnslb.text.one_line import shortened
from dnslb.text.problem import MOST_LISTED, Level, Problem

_MAX_ERRORS = 100_000  # in a zone, before we give up
_NEWLINE = re.compile(rb"\n")


class Hopeless(Exception):
    """There are so many errors that this is no zone file at all."""


class Sources:
    """Files by name, and the spans of places that their lines were given."""

    def __init__(self) -> None:
        self.octets: dict[str, bytes] = {}
        self._spans: list[Span] = []
        self._next_place = 1
        self._line_starts: dict[str, tuple[int, int]] = {}  # the last that was asked for: line and offset
        self._errors = 0
        self._mistakes: list[tuple[int, Mistake]] = []  # with their places
        self._counts: dict[tuple[str, Level], int] = {}
        self._latest: tuple[int, Part] | None = None

    def begin_span(self, file: str, line: int) -> int:
        """Reading goes on in ``file`` after ``line``.  Returns the base: a line's place is the base plus its number."""
        base = self._next_place - line - 1
        self._spans.append(Span(self._next_place, base, file))
        return base

    def end_span(self, place: int) -> None:
        """The last place of the span that was begun last."""
        self._next_place = max(place, self._next_place) + 1

    def places(self) -> Places:
        return Places(tuple(self._spans))

    def report(self, place: int, mistake: Mistake) -> None:
        """Keep the mistake in the entry at ``place``, unless there are so many in its file that nobody reads them.

        Place 0 is the whole zone.
        """
        # One $GENERATE makes one mistake, be it a thousand records.
        if place and (place, mistake.part) == self._latest:
            return
        self._latest = place, mistake.part
        if mistake.level is Level.ERROR:
            self._errors += 1
            if self._errors > _MAX_ERRORS:
                raise Hopeless
        key = span_of(self._spans, place).file, mistake.level
        self._counts[key] = self._counts.get(key, 0) + 1
        if self._counts[key] <= MOST_LISTED:
            self._mistakes.append((place, mistake))

    def problems(self) -> list[Problem]:
        """Everything reported, in the order of reading."""
        problems = [self._problem(place, mistake) for place, mistake in sorted(self._mistakes, key=_place_of)]
        for (file, level), count in self._counts.items():
            if count > MOST_LISTED:
                fact = f"{count - MOST_LISTED} more {level.value}s are not listed"
                problems.append(Problem(level, file, 0, 0, fact, "mend those above first"))
        return problems

    def _problem(self, place: int, mistake: Mistake) -> Problem:
        span = span_of(self._spans, place)
        line, column = self._position(span.file, place - span.base, mistake) if place else (0, 0)
        return Problem(mistake.level, span.file, line, column, shortened(mistake.fact), shortened(mistake.remedy))

    def _position(self, file: str, line: int, mistake: Mistake) -> tuple[int, int]:
        """Line and column of the part that is wrong, found by the exact lexer."""
        entry = read_entry(self.octets[file], self._start_of(file, line), line)
        if mistake.part is Part.OCTET and entry.bad is not None:
            return entry.bad.line, entry.bad.column
        if not entry.words:
            return line, 1
        at = _index(entry, mistake)
        return entry.words[at][1:] if at < len(entry.words) else entry.words[-1].end

    def _start_of(self, file: str, line: int) -> int:
        """The offset at which the line begins.  The search goes on from the last one, since lines come in order."""
        known, start = self._line_starts.get(file, (1, 0))
        if line < known:
            known, start = 1, 0
        for newline in islice(_NEWLINE.finditer(self.octets[file], start), line - known):
            start = newline.end()
        self._line_starts[file] = line, start
        return start


def _place_of(reported: tuple[int, Mistake]) -> int:
    return reported[0]


def _index(entry: Entry, mistake: Mistake) -> int:
    """Which of the entry's words the mistake is in; the number of words when it is behind the last."""
    if mistake.part is Part.WORD:
        return mistake.word
    texts = [word.text for word in entry.words]
    # $GENERATE range owner …: its records have the parts of an ordinary entry, two words later.
    shift = 2 if texts[0].upper() == "$GENERATE" else 0
    start = 0 if entry.is_indented else 1 + shift
    if mistake.part is Part.OWNER:
        return shift
    try:
        head = parse_head(texts, start)
    except Mistaken:
        return shift
    if mistake.part is Part.TYPE:
        return head.at
    if mistake.part is Part.RDATA:
        return min(head.at + 1 + mistake.word, len(texts) - 1)
    return next((at for at in range(start, head.at) if texts[at][0].isdigit()), shift)
