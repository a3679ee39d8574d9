"""The entries of one master file as lists of words, fast.

A plain line is cut by ``str.split``.  A line with quotes, escapes, parentheses or control characters is cut by
``lexer``, which is slower.  Both give the same words; a property test checks that.  Pure: octets in, words out.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import TypeAlias

from dnslb.dns.master.lexer import MOST_ENTRY, SPECIAL, BadOctet, read_entry, split

_BLANKS = b" \t"
_SEMICOLON = 0x3B
_SPECIALS = bytes(octet for octet in range(256) if SPECIAL.match(bytes((octet,))))  # a fast search, in vain mostly
_MAX_UNCLOSED = 3  # parentheses; the search for the end of each goes through the rest of the file


# An entry that says something: the number of its first line in the file, from 1; its words as written, Latin-1, maybe
# none, or not all, when it is bad; whether it begins with a blank, so that the owner is omitted; and what is bad.
Line: TypeAlias = tuple[int, list[str], bool, BadOctet | None]


def read_lines(octets: bytes) -> Iterator[Line]:
    """Every entry that has words or bad octets."""
    # Shares the octets, and hands out a line at a time: a million lines at once would weigh 80 octets more each.
    stream = BytesIO(octets)
    number = start = unclosed = 0
    while row := stream.readline():
        number += 1
        words: list[str] | None
        if len(row.translate(None, _SPECIALS)) == len(row) <= MOST_ENTRY:
            words = row.decode("latin-1").split()
        elif (words := _split(row)) is None:
            entry = read_entry(octets, start, number)
            if entry.bad is not None or entry.words:
                yield number, [word.text for word in entry.words], entry.is_indented, entry.bad
            unclosed += entry.is_unclosed
            if unclosed > _MAX_UNCLOSED:
                return
            number += entry.lines - 1
            start = entry.end
            stream.seek(start)
            continue
        start += len(row)
        if words:
            yield number, words, row[0] in _BLANKS, None


def _split(row: bytes) -> list[str] | None:
    """The words of one line; None when it takes the exact lexer to cut it."""
    if len(row) > MOST_ENTRY:
        return None
    special = SPECIAL.search(row)
    if special is not None:
        if row[special.start()] != _SEMICOLON:
            return split(row)
        row = row[: special.start()]
    return row.decode("latin-1").split()
