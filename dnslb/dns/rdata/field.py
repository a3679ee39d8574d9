"""One field of an rdata: how a master file writes it, how the wire holds it.

A ``Word`` is written as one word, a ``Rest`` as all the words that are left.  Their ``parse`` goes from words to
octets and raises Mistaken, counting words from the field's first; their ``read`` goes back, from an offset, and
raises Malformed.  Pure: no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from dnslb.dns import interval, name, rrtype
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.dns.rdata.errors import Malformed

MAX_INTERVAL = 2**32 - 1  # seconds.  RFC 2181 §8 halves only the TTL of a record, and no server halves these

_REMEMBERED = 256         # words of numbers, for each kind
_WITHOUT_QUOTES = re.compile(r'(?:[^"\\]|\\.)*', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Word:
    """A field of one word.  ``read`` gives the word and the offset after the field."""

    parse: Callable[[str, Name], bytes]
    read: Callable[[bytes, int], tuple[str, int]]
    size: int | None = None  # octets, when they are always as many


@dataclass(frozen=True, slots=True)
class Rest:
    """The last field, of all the words that are left; of none if ``may_be_empty``."""

    parse: Callable[[Sequence[str], Name], bytes]
    read: Callable[[bytes, int], list[str]]
    may_be_empty: bool = False


def take(rdata: bytes, at: int, count: int) -> bytes:
    """``count`` octets from ``at``.  Raises Malformed when there are fewer."""
    chunk = rdata[at : at + count]
    if len(chunk) < count:
        raise Malformed("the rdata is cut short")
    return chunk


def parse_decimal(word: str, largest: int) -> int:
    """A whole number in plain decimal digits.  Raises Mistaken."""
    if word.isascii() and word.isdigit() and len(word.lstrip("0")) <= 10:  # int() refuses thousands of digits
        value = int(word.lstrip("0") or "0")
        if value <= largest:
            return value
    raise Mistaken(f"{word} is no number from 0 to {largest}", "write decimal digits, in that range")


def number(octets: int) -> Word:
    """An unsigned integer of so many octets."""
    largest = (1 << 8 * octets) - 1

    @lru_cache(maxsize=_REMEMBERED)  # the same few numbers stand in most records
    def parse(word: str, _origin: Name) -> bytes:
        return parse_decimal(word, largest).to_bytes(octets)

    def read(rdata: bytes, at: int) -> tuple[str, int]:
        return str(int.from_bytes(take(rdata, at, octets))), at + octets

    return Word(parse, read, octets)


def mnemonic(octets: int, what: str, numbers: Mapping[str, int], example: str) -> Word:
    """An unsigned integer that may be written by name; it is read as a number, which every program knows."""
    plain = number(octets)
    largest = (1 << 8 * octets) - 1

    def parse(word: str, origin: Name) -> bytes:
        if (value := numbers.get(word.upper())) is not None:
            return value.to_bytes(octets)
        if word.isascii() and word.isdigit():
            return plain.parse(word, origin)
        raise Mistaken(f"{word} is no {what}", f"write a number from 0 to {largest}, or a mnemonic, as in {example}")

    return Word(parse, plain.read, octets)


def _parse_interval(word: str, origin: Name) -> bytes:
    """Seconds, plain or with units, as in ``1h30m``; 0 to 2**32-1."""
    if word.isascii() and word.isdigit():
        return U32.parse(word, origin)
    seconds = interval.parse(word)
    if seconds is None:
        raise Mistaken(f"{word} is no time", "write seconds, or numbers with the units w, d, h, m, s: 1h30m")
    if seconds > MAX_INTERVAL:
        raise Mistaken(f"{word} is too long a time", f"write at most {MAX_INTERVAL} seconds")
    return seconds.to_bytes(4)


def has_quote(word: str) -> bool:
    """Whether a quote stands in the word without a backslash before it."""
    return '"' in word and not _WITHOUT_QUOTES.fullmatch(word)


def parse_name(word: str, origin: Name) -> Name:
    """A domain name, completed with the origin; its spelling stays.  Raises Mistaken."""
    if not word or has_quote(word):
        raise Mistaken(f"{word or 'nothing'} stands where a name belongs", "write the name without quotes")
    return name.parse(word, origin)


def name_end(rdata: bytes, at: int) -> int:
    """The offset after the uncompressed name at ``at``.  Raises Malformed."""
    start = at
    while length := take(rdata, at, 1)[0]:
        if length > name.MAX_LABEL:
            raise Malformed("a label is too long, or compressed")
        at += 1 + length
    if at + 1 - start > name.MAX_NAME:
        raise Malformed("a name is too long")
    return at + 1


def read_name(rdata: bytes, at: int) -> tuple[str, int]:
    """The name at ``at`` as text, and the offset after it.  Raises Malformed."""
    end = name_end(rdata, at)
    return name.text(rdata[at:end]), end


def _parse_ipv4(word: str, _origin: Name) -> bytes:
    try:
        return inet_pton(AF_INET, word)
    except (OSError, ValueError):
        raise Mistaken(f"{word} is no IPv4 address", "write four numbers from 0 to 255, as in 192.0.2.1") from None


def _parse_ipv6(word: str, _origin: Name) -> bytes:
    try:
        return inet_pton(AF_INET6, word)
    except (OSError, ValueError):
        raise Mistaken(f"{word} is no IPv6 address", "write it as in 2001:db8::1 (RFC 4291 §2.2)") from None


def _read_ipv4(rdata: bytes, at: int) -> tuple[str, int]:
    return inet_ntop(AF_INET, take(rdata, at, 4)), at + 4


def _read_ipv6(rdata: bytes, at: int) -> tuple[str, int]:
    return inet_ntop(AF_INET6, take(rdata, at, 16)), at + 16


def _parse_rrtype(word: str, _origin: Name) -> bytes:
    value = rrtype.parse(word)
    if value is None:
        raise Mistaken(f"{word} is no record type", "write a mnemonic, as in AAAA, or TYPE and a number")
    return value.to_bytes(2)


def _read_rrtype(rdata: bytes, at: int) -> tuple[str, int]:
    return rrtype.text(int.from_bytes(take(rdata, at, 2))), at + 2


U8, U16, U32 = number(1), number(2), number(4)
INTERVAL = Word(_parse_interval, U32.read, 4)
NAME = Word(parse_name, read_name)
IPV4 = Word(_parse_ipv4, _read_ipv4)
IPV6 = Word(_parse_ipv6, _read_ipv6)
RRTYPE = Word(_parse_rrtype, _read_rrtype)
