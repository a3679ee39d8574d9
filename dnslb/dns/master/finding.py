"""What a check found wrong with a record, and at which part of it: a problem before its line and column are known.

Most zones have no problem, so nobody computes columns until there is something to say about one.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from dnslb.text.problem import Level


class Part(Enum):
    """The part of an entry that a finding points at."""

    OCTET = "octet"     # that which stopped the lexer
    WORD = "word"       # counted from the entry's first word
    OWNER = "owner"
    TTL = "ttl"
    TYPE = "type"
    RDATA = "rdata"     # words counted from the first behind the type


class Finding(NamedTuple):
    """One mistake in the entry at ``place``; 0 means the whole file."""

    level: Level
    place: int
    part: Part
    word: int
    fact: str
    remedy: str


def error(place: int, part: Part, fact: str, remedy: str, word: int = 0) -> Finding:
    return Finding(Level.ERROR, place, part, word, fact, remedy)


def warning(place: int, part: Part, fact: str, remedy: str, word: int = 0) -> Finding:
    return Finding(Level.WARNING, place, part, word, fact, remedy)
