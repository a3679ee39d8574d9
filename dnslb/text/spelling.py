"""Which of the known words somebody may have meant.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import takewhile

_LONGEST = 255  # characters looked at: what is longer is no slip of the finger


def closest(word: str, words: Collection[str]) -> str | None:
    """The one most like it; None when there are none."""
    return max(words, key=lambda other: similarity(word, other), default=None)


def similarity(word: str, other: str) -> float:
    """From 0 to 1: what the two have in common at both ends, as a share of the longer one.

    Nearly every slip (a letter too many, too few, another, or two exchanged) is in one place, and leaves both ends as
    they were.  It takes no longer than the words are, where measures of edits take the square of that.
    """
    word, other = word[:_LONGEST], other[:_LONGEST]
    start = _common(word, other)
    end = _common(reversed(word[start:]), reversed(other[start:]))
    return (start + end) / max(len(word), len(other), 1)


def _common(letters: Iterable[str], others: Iterable[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(letters, others, strict=False)))
