"""The head of a record line: TTL, class and type, the first two in any order or left out (RFC 1035 §5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dnslb.dns import interval, rrtype
from dnslb.dns.mistake import Mistaken

MAX_TTL = 2**31 - 1  # seconds (RFC 2181 §8)

_MOST_HEADS = 1000  # that are kept
_LONG_HEAD = 50     # characters of one that is not


class Head(NamedTuple):
    ttl: int | None  # seconds; None when omitted
    rrtype: int
    at: int          # index of the type's word


class Heads:
    """The heads of one file's entries, each parsed once: a zone of a million records has a dozen different ones."""

    def __init__(self, start: int) -> None:
        """``start`` is the word behind the owner, in all those entries."""
        self._start = start
        self._known: dict[tuple[str, ...], Head] = {}
        self._types: dict[str, Head] = {}  # those that are a type alone: a word is found faster than a tuple

    def parse(self, words: list[str]) -> Head:
        """The same as ``parse_head``."""
        known, start = self._known, self._start
        # The type ends a head, so that none is the beginning of another.
        head = (
            (self._types.get(words[start]) if len(words) > start else None)
            or known.get(tuple(words[start : start + 3]))
            or known.get(tuple(words[start : start + 2]))
        )
        if head is None:
            head = parse_head(words, start)
            key = tuple(words[start : head.at + 1])
            if len(known) + len(self._types) < _MOST_HEADS and sum(map(len, key)) < _LONG_HEAD:
                if len(key) == 1:
                    self._types[key[0]] = head
                else:
                    known[key] = head
        return head


def parse_head(words: Sequence[str], start: int) -> Head:
    """What stands between owner and rdata; ``start`` is the word behind the owner.  Raises Mistaken.

    Types never look like a TTL or a class, so that no order and no omission is ambiguous behind the owner.  In front
    of it there is one rule: an entry that begins in column 1 begins with its owner, be it called ``a`` or ``3600``.
    """
    seconds: int | None = None
    has_class = False
    for at in range(start, len(words)):
        word = words[at]
        number = rrtype.NUMBERS.get(word) or rrtype.parse(word)
        if number is not None:
            return Head(seconds, _check_type(number, word, at), at)
        if not has_class and (class_ := rrtype.parse_class(word)) is not None:
            _check_class(class_, word, at)
            has_class = True
            continue
        value = interval.parse(word)
        if value is None or seconds is not None:
            raise _describe(words, at, start)
        seconds = check_ttl(value, word, at)
    raise Mistaken("the record ends before its type", "write owner, TTL, class, type and data", len(words))


def check_ttl(seconds: int, word: str, at: int) -> int:
    """The seconds, when they fit 32 bits.  Raises Mistaken."""
    if seconds >= 2**32:
        raise Mistaken(f"the TTL {word} does not fit", f"TTLs go up to {MAX_TTL} seconds (RFC 2181 §8)", at)
    return seconds


def _check_type(number: int, word: str, at: int) -> int:
    if number == 0 or rrtype.is_meta(number):
        raise Mistaken(f"{word} is for questions and never stored", "remove the record (RFC 6895 §3.1)", at)
    return number


def _check_class(number: int, word: str, at: int) -> None:
    if number != rrtype.IN:
        raise Mistaken(f"class {word}, in a zone of class IN", "write IN, or leave the class out", at)


def _describe(words: Sequence[str], at: int, start: int) -> Mistaken:
    word = words[at]
    if word.startswith("$"):
        return Mistaken(f"{word} behind a blank is no directive", "begin it in column 1", at)
    # MX 10 mail, in column 1: nobody calls an owner MX.
    if start == 1 and at <= 2 and words[0].isupper() and rrtype.parse(words[0]) is not None:
        remedy = f"begin the line with a blank if {words[0]} is the type: what begins in column 1 is the owner"
        return Mistaken(f"{word} is no TTL, class or type", remedy, at)
    if rrtype.parse_class(word) is not None:
        return Mistaken(f"a second class, {word}", "remove one of the two", at)
    if interval.parse(word) is not None:
        return Mistaken(f"a second TTL, {word}", "remove one of the two", at)
    return Mistaken(f"{word} is no TTL, class or type", "write owner, TTL, class, type and data; or TYPEnnn", at)
