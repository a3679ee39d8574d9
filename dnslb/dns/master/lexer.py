r"""Entries of a master file, cut into words with their lines and columns (RFC 1035 §5.1).

``read_entry`` is the exact route, the one that defines what a word is and knows its column.  ``lines`` cuts plain
lines by ``str.split``, those with quotes or escapes by ``split``, and comes here for the rest.  Words keep their
quotes and escapes.  Pure: octets in, words out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from dnslb.dns.mistake import Mistake, Part, error

# Octets that end the fast route.  \x85 and \xa0 are blanks to str.split, and letters to a master file.
SPECIAL = re.compile(rb'[\x00-\x08\x0b\x0c\x0e-\x1f\x7f;()"\\\x85\xa0]|\r(?!\n)')

_WORD = rb'(?:[^\x00-\x20\x7f;()"\\]++|\\[^\x00-\x08\x0a-\x1f\x7f])++'
_QUOTED = rb'"(?:[^"\\\n]++|\\[^\n])*+"'
_COMMENT = rb";[^\n]*+"
_TOKEN = re.compile(
    rb"(?P<blank>[ \t]++)|(?P<word>%b)|(?P<quoted>%b)|(?P<comment>%b)|(?P<newline>\r?\n)|(?P<open>\()|(?P<close>\))"
    % (_WORD, _QUOTED, _COMMENT)
)
_ONE_LINE = re.compile(rb"(?:[ \t]++|%b|%b)*+(?:%b)?+(?:\r?\n)?+" % (_WORD, _QUOTED, _COMMENT))
_PIECE = re.compile(rb"%b|%b|%b" % (_WORD, _QUOTED, _COMMENT))
_REST_OF_STRING = re.compile(rb'\n[^"\n]*[^\s"]"(?=[\s;)]|$)')
_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]++")
_SEMICOLON = 0x3B
MOST_ENTRY = 1 << 20  # octets; the longest data, with each octet as \DDD, have a quarter of it
_NEXT_OWNER = re.compile(rb"\n(?=[^\s;)])")


class Word(NamedTuple):
    text: str    # as written, Latin-1
    line: int    # counted in the file, from 1
    column: int  # in octets, from 1

    @property
    def end(self) -> tuple[int, int]:
        """Line and column just behind the word."""
        return self.line, self.column + len(self.text)


class BadOctet(NamedTuple):
    """The first place in an entry where the octets are no words, and why."""

    line: int
    column: int
    mistake: Mistake


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: a line, or more when parentheses hold them together."""

    words: list[Word]
    is_indented: bool        # begins with a blank: the owner is omitted
    end: int                 # offset of the next entry
    lines: int               # that the entry takes
    bad: BadOctet | None = None
    is_unclosed: bool = False  # the file ended within its parentheses


def read_entry(octets: bytes, start: int = 0, line: int = 1) -> Entry:
    """The entry that begins at offset ``start``, which is the first octet of ``line``."""
    words: list[Word] = []
    bad: BadOctet | None = None
    opened: list[tuple[int, int]] = []
    first, at, margin = line, start, start
    while at < len(octets):
        token = _TOKEN.match(octets, at)
        if (token.end() if token else at) - start > MOST_ENTRY:
            return _too_long(octets, start, at, first)
        kind = token.lastgroup if token else None
        if token is None:
            bad = bad or _describe(octets, at, line, at - margin + 1)
            end = _skip(octets, at)
            line += octets.count(b"\n", at, end)
            margin = max(margin, octets.rfind(b"\n", at, end) + 1)
            at = end
            continue
        if kind in {"word", "quoted"}:
            words.append(Word(token.group().decode("latin-1"), line, at - margin + 1))
        elif kind == "open":
            opened.append((line, at - margin + 1))
        elif kind == "close":
            if not opened:
                bad = bad or _bad(line, at - margin + 1, "a ) without its (", "remove it")
            else:
                opened.pop()
        at = token.end()
        if kind == "newline":
            line, margin = line + 1, at
            if not opened:
                break
    is_indented = octets[start : start + 1] in {b" ", b"\t"}
    if not opened:
        return Entry(words, is_indented, at, max(line - first, 1), bad)
    bad = bad or _bad(*opened[0], "the ( is never closed", "close it with a )")
    end = _resume(octets, start, opened[0][0] - first)
    return Entry(words, is_indented, end, max(octets.count(b"\n", start, end), 1), bad, is_unclosed=True)


def _too_long(octets: bytes, start: int, at: int, line: int) -> Entry:
    """An entry so long that it would fill the memory.  Reading goes on where the next one seems to begin."""
    owner = _NEXT_OWNER.search(octets, at)
    end = owner.end() if owner else len(octets)
    bad = _bad(line, 1, f"an entry of more than {MOST_ENTRY >> 20} MB", "cut it up")
    is_indented = octets[start : start + 1] in {b" ", b"\t"}
    return Entry([], is_indented, end, max(octets.count(b"\n", start, end), 1), bad)


def split(row: bytes) -> list[str] | None:
    """The words of one line without their places; None when it has parentheses or octets that make no words."""
    if _ONE_LINE.fullmatch(row) is None:
        return None
    pieces: list[bytes] = _PIECE.findall(row)
    if pieces and pieces[-1][0] == _SEMICOLON:
        pieces.pop()
    return [piece.decode("latin-1") for piece in pieces]


def _skip(octets: bytes, at: int) -> int:
    """Where words may begin again, behind an octet that begins none.

    A quote that is not closed spoils the rest of its line, and the next one up to a quote that looks like the end of
    a string broken in two; any other octet spoils only itself.
    """
    if octets[at] != 0x22:
        controls = _CONTROLS.match(octets, at)
        return controls.end() if controls else at + 1
    end = _end_of_line(octets, at)
    rest = _REST_OF_STRING.match(octets, end)
    return rest.end() if rest else end


def _end_of_line(octets: bytes, at: int) -> int:
    end = octets.find(b"\n", at)
    return len(octets) if end < 0 else end


def _resume(octets: bytes, start: int, lines: int) -> int:
    """Where to read on after an entry that never ends: at the next line that seems to begin with an owner.

    ``lines`` lie between ``start`` and the parenthesis that was never closed.
    """
    at = start
    for _ in range(lines):
        at = _end_of_line(octets, at) + 1
    owner = _NEXT_OWNER.search(octets, at)
    return owner.end() if owner else len(octets)


def _bad(line: int, column: int, fact: str, remedy: str) -> BadOctet:
    return BadOctet(line, column, error(Part.OCTET, fact, remedy))


def _describe(octets: bytes, at: int, line: int, column: int) -> BadOctet:
    octet = octets[at]
    if octet == 0x22:
        return _bad(line, column, "the string is not closed on its line", 'close it with a "')
    if octet == 0x5C:
        return _bad(line, column, r"a \ with nothing behind it", r"remove it, or write \\ for the character")
    return _bad(
        line, column, f"a control character, octet 0x{octet:02x}", rf"remove it, or write \{octet:03d} if it is meant"
    )
