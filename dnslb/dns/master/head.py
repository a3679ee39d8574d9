"""The head of a record line: TTL, class and type, the first two in any order or left out (RFC 1035 §5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dnslb.dns import rrtype
from dnslb.dns.master import ttl


class Mistake(Exception):
    """An entry that means nothing.  ``word`` counts the entry's words from 0; their number means its end."""

    def __init__(self, word: int, fact: str, remedy: str) -> None:
        super().__init__(f"{fact}; {remedy}")
        self.word = word
        self.fact = fact
        self.remedy = remedy


class Head(NamedTuple):
    ttl: int | None  # seconds; None when omitted
    rrtype: int
    at: int          # index of the type's word


def parse_head(words: Sequence[str], start: int) -> Head:
    """What stands between owner and rdata; ``start`` is the word behind the owner.  Raises Mistake.

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
        value = ttl.parse(word)
        if value is None or seconds is not None:
            raise _describe(words, at, start)
        seconds = check_ttl(value, word, at)
    raise Mistake(len(words), "the record ends before its type", "write owner, TTL, class, type and data")


def check_ttl(value: int, word: str, at: int) -> int:
    """The value, when it fits 32 bits.  Raises Mistake."""
    if value >= 2**32:
        raise Mistake(at, f"the TTL {word} does not fit", f"TTLs go up to {ttl.MAX} seconds (RFC 2181 §8)")
    return value


def _check_type(number: int, word: str, at: int) -> int:
    if number == 0 or rrtype.is_meta(number):
        raise Mistake(at, f"{word} is for questions and never stored", "remove the record (RFC 6895 §3.1)")
    return number


def _check_class(number: int, word: str, at: int) -> None:
    if number != rrtype.IN:
        raise Mistake(at, f"class {word}, in a zone of class IN", "write IN, or leave the class out")


def _describe(words: Sequence[str], at: int, start: int) -> Mistake:
    word = words[at]
    if word.startswith("$"):
        return Mistake(at, f"{word} behind a blank is no directive", "begin it in column 1")
    # MX 10 mail, in column 1: nobody calls an owner MX.
    if start == 1 and at <= 2 and words[0].isupper() and rrtype.parse(words[0]) is not None:
        remedy = f"begin the line with a blank if {words[0]} is the type: what begins in column 1 is the owner"
        return Mistake(at, f"{word} is no TTL, class or type", remedy)
    if rrtype.parse_class(word) is not None:
        return Mistake(at, f"a second class, {word}", "remove one of the two")
    if ttl.parse(word) is not None:
        return Mistake(at, f"a second TTL, {word}", "remove one of the two")
    return Mistake(at, f"{word} is no TTL, class or type", "write owner, TTL, class, type and data; or TYPEnnn")
