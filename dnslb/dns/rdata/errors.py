"""What can be wrong with rdata: words that mean none, and octets that are none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class BadRdata(ValueError):
    """Words that are no rdata of their type.  ``fact`` and ``remedy`` are for the operator.

    ``word`` is the index of the word at fault; the number of words when something is missing after the last.
    """

    def __init__(self, fact: str, remedy: str, word: int = 0) -> None:
        # A fact quotes the file: its control characters must not reach the operator's terminal.
        self.fact = "".join(char if char.isprintable() else f"\\{ord(char):03d}" for char in fact)
        super().__init__(f"{self.fact}; {remedy}")
        self.remedy = remedy
        self.word = word

    def shifted(self, words: int) -> BadRdata:
        """The same fault, seen from ``words`` words further to the left."""
        return BadRdata(self.fact, self.remedy, self.word + words)


class Malformed(ValueError):
    """Octets that are no rdata of their type.  Never reaches a caller of this package."""


class Unwritable(ValueError):
    r"""Rdata that only ``\#`` can write.  Never reaches a caller of this package."""


@contextmanager
def at_word(index: int) -> Iterator[None]:
    """Faults found within, which count words from 0, are counted from ``index``."""
    try:
        yield
    except BadRdata as bad:
        raise bad.shifted(index) from None
