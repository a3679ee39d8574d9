"""The files of one zone, held while it is read, so that a place can be shown with its column."""

from __future__ import annotations

import re
from itertools import islice

from dnslb.dns.master.finding import Finding, Part
from dnslb.dns.master.head import Mistake, parse_head
from dnslb.dns.master.lexer import Entry, read_entry
from dnslb.dns.place import Places, Span, span_of
from dnslb.text.problem import MOST_LISTED, Level, Problem

_MAX_ERRORS = 100_000  # in a zone, before we give up
_MAX_TEXT = 1000    # characters of a fact: more than any that quotes a name or two
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
        self._findings: list[Finding] = []
        self._counts: dict[tuple[str, Level], int] = {}
        self._latest: tuple[int, Part] | None = None

    def begin_span(self, file: str, line: int) -> int:
        """Reading goes on in ``file`` behind ``line``: the base to which line numbers are added from there on."""
        base = self._next_place - line - 1
        self._spans.append(Span(self._next_place, base, file))
        return base

    def end_span(self, place: int) -> None:
        """The last place of the span that was begun last."""
        self._next_place = max(place, self._next_place) + 1

    def places(self) -> Places:
        return Places(tuple(self._spans))

    def report(self, finding: Finding) -> None:
        """Keep the finding, unless there are so many of its file and level that nobody will read it."""
        # One $GENERATE makes one mistake, be it a thousand records.
        if finding.place and (finding.place, finding.part) == self._latest:
            return
        self._latest = finding.place, finding.part
        if finding.level is Level.ERROR:
            self._errors += 1
            if self._errors > _MAX_ERRORS:
                raise Hopeless
        key = span_of(self._spans, finding.place).file, finding.level
        self._counts[key] = self._counts.get(key, 0) + 1
        if self._counts[key] <= MOST_LISTED:
            self._findings.append(finding)

    def problems(self) -> list[Problem]:
        """Everything reported, in the order of reading."""
        problems = [self._problem(finding) for finding in sorted(self._findings, key=_place_of)]
        for (file, level), count in self._counts.items():
            if count > MOST_LISTED:
                fact = f"{count - MOST_LISTED} more {level.value}s are not listed"
                problems.append(Problem(level, file, 0, 0, fact, "mend those above first"))
        return problems

    def _problem(self, finding: Finding) -> Problem:
        span = span_of(self._spans, finding.place)
        position = self._position(span.file, finding.place - span.base, finding) if finding.place else (0, 0)
        return Problem(finding.level, span.file, *position, _tame(finding.fact), _tame(finding.remedy))

    def _position(self, file: str, line: int, finding: Finding) -> tuple[int, int]:
        """Line and column of the part that the finding means, found by the exact lexer."""
        entry = read_entry(self.octets[file], self._start_of(file, line), line)
        if finding.part is Part.OCTET and entry.bad is not None:
            return entry.bad.line, entry.bad.column
        if not entry.words:
            return line, 1
        at = _index(entry, finding)
        return entry.words[at][1:] if at < len(entry.words) else entry.words[-1].end

    def _start_of(self, file: str, line: int) -> int:
        """Asked in the order of reading, mostly: goes on from the last answer."""
        known, start = self._line_starts.get(file, (1, 0))
        if line < known:
            known, start = 1, 0
        for newline in islice(_NEWLINE.finditer(self.octets[file], start), line - known):
            start = newline.end()
        self._line_starts[file] = line, start
        return start


def _tame(text: str) -> str:
    """The text without what a file may have put into it to confuse the operator's terminal, or to fill it."""
    text = text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT // 2]} … {text[-_MAX_TEXT // 2 :]}"
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\{ord(c):03d}" for c in text)


def _place_of(finding: Finding) -> int:
    return finding.place


def _index(entry: Entry, finding: Finding) -> int:
    """Which of the entry's words the finding points at; the number of words when it points behind the last."""
    if finding.part is Part.WORD:
        return finding.word
    texts = [word.text for word in entry.words]
    # $GENERATE range owner …: its records have the parts of an ordinary entry, two words later.
    shift = 2 if texts[0].upper() == "$GENERATE" else 0
    start = 0 if entry.is_indented else 1 + shift
    if finding.part is Part.OWNER:
        return shift
    try:
        head = parse_head(texts, start)
    except Mistake:
        return shift
    if finding.part is Part.TYPE:
        return head.at
    if finding.part is Part.RDATA:
        return min(head.at + 1 + finding.word, len(texts) - 1)
    return next((at for at in range(start, head.at) if texts[at][0].isdigit()), shift)
