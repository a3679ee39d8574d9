"""The entries of one master file as lists of words, fast.

A plain line is cut by ``str.split``, one with quotes, escapes, parentheses or control characters in ``lexer``.  All
routes give the same words: a property test holds it.  Pure: octets in, words out.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import TypeAlias

from dnslb.dns.master.lexer import MOST_ENTRY, SPECIAL, BadOctet, read_entry, split

_BLANKS = b" \t"
_SEMICOLON = 0x3B
_MAX_UNCLOSED = 3  # parentheses; the search for the end of each goes through the rest of the file


# An entry that says something: the number of its first line in the file, from 1; its words as written, Latin-1, maybe
# none, or not all, when it is bad; whether it begins with a blank, so that the owner is omitted; and what is bad.
Line: TypeAlias = tuple[int, list[str], bool, BadOctet | None]


def read_lines(octets: bytes) -> Iterator[Line]:
    """Every entry that has words or bad octets."""
    # Shares the octets, and hands out a line at a time: a million lines at once would weigh 80 octets more each.
    stream = BytesIO(octets)
    number = start = unclosed = 0
    special = _find_special(octets, 0)
    while row := stream.readline():
        number += 1
        end = start + len(row)
        words = None
        if special >= end and len(row) <= MOST_ENTRY:
            words = row.decode("latin-1").split()
        elif special < end and octets[special] == _SEMICOLON:
            words = row[: special - start].decode("latin-1").split()
            special = _find_special(octets, end)
        else:
            words = split(row) if len(row) <= MOST_ENTRY else None
            if words is None:
                entry = read_entry(octets, start, number)
                if entry.bad is not None or entry.words:
                    words = [word.text for word in entry.words]
                    yield number, words, entry.is_indented, entry.bad
                unclosed += entry.is_unclosed
                if unclosed > _MAX_UNCLOSED:
                    return
                words = []
                number += entry.lines - 1
                end = entry.end
                stream.seek(end)
            special = _find_special(octets, end)
        start = end
        if words:
            yield number, words, row[0] in _BLANKS, None


def _find_special(octets: bytes, start: int) -> int:
    found = SPECIAL.search(octets, start)
    return found.start() if found else len(octets)
