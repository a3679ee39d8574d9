"""What is wrong with a text that an operator wrote: with a name, or with some part of an entry of a master file.

A mistake is a problem before its line and column are known.  Most texts have none, so nobody computes columns until
there is something to say about one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import NamedTuple

from dnslb.text.problem import Level

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\xa0\xad]")  # what is not printable of Latin-1


class Part(Enum):
    """The part of an entry that is wrong."""

    OCTET = "octet"     # that which stopped the lexer
    WORD = "word"       # counted from the entry's first word
    OWNER = "owner"
    TTL = "ttl"
    TYPE = "type"
    RDATA = "rdata"     # words counted from the first behind the type


class Mistake(NamedTuple):
    """What is wrong, what to do about it, and where in the entry it is."""

    fact: str
    remedy: str
    word: int = 0           # counted from 0; the number of words when something is missing behind the last
    part: Part = Part.WORD
    level: Level = Level.ERROR


class Mistaken(ValueError):
    """Raised when a text cannot be understood; ``mistake`` says why."""

    def __init__(self, fact: str, remedy: str, word: int = 0) -> None:
        self.mistake = error(Part.WORD, fact, remedy, word)
        super().__init__(f"{self.mistake.fact}; {self.mistake.remedy}")

    def point_at(self, word: int) -> None:
        """Say which word of the entry is wrong, when the place that raised this did not know it."""
        self.mistake = self.mistake._replace(word=word)


@contextmanager
def at_word(index: int) -> Iterator[None]:
    """A mistake that is raised inside the block counts words from 0; this makes it count them from ``index``."""
    try:
        yield
    except Mistaken as error:
        error.point_at(index + error.mistake.word)
        raise


def error(part: Part, fact: str, remedy: str, word: int = 0) -> Mistake:
    """A mistake that keeps the zone from being served."""
    return Mistake(_tamed(fact), _tamed(remedy), word, part)


def warning(part: Part, fact: str, remedy: str, word: int = 0) -> Mistake:
    """A mistake that is worth telling, although the zone can be served."""
    return error(part, fact, remedy, word)._replace(level=Level.WARNING)


def _tamed(text: str) -> str:
    """The text with control characters escaped: it quotes a file, and must not confuse the operator's terminal."""
    return _CONTROLS.sub(_escape, text)


def _escape(control: re.Match[str]) -> str:
    return f"\\{ord(control[0]):03d}"
