r"""Character-strings: octets written bare or between quotes, with ``\X`` and ``\DDD`` escapes (RFC 1035 §5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.dns.rdata.errors import Malformed
from dnslb.dns.rdata.field import Rest, Word, has_quote, take

MAX_STRING = 255  # octets (RFC 1035 §3.3)

_ESCAPE = re.compile(rb"\\([0-9]{3}|[^0-9]|.|$)", re.DOTALL)
_BARE_TAG = re.compile(r"[0-9A-Za-z]+")


def unescape(word: str) -> bytes:
    """The octets of a bare or quoted word.  Raises Mistaken."""
    raw = word
    if word[:1] == '"':
        if len(word) < 2 or word[-1] != '"':
            raise Mistaken(f"{word} has no closing quote", "close the quote")
        raw = word[1:-1]
    if has_quote(raw):
        raise Mistaken(f"{word} has a quote inside", r'write \" for a quote, and a blank between strings')
    octets = raw.encode("latin-1")
    if b"\\" not in octets:
        return octets
    return _ESCAPE.sub(_octet, octets)


def _octet(escape: re.Match[bytes]) -> bytes:
    escaped = escape[1]
    if len(escaped) == 3 and int(escaped) < 256:
        return bytes((int(escaped),))
    if len(escaped) == 1 and not escaped.isdigit():
        return escaped
    raise Mistaken(f"{escape[0].decode('latin-1')} is a broken escape", r"write \DDD with DDD up to 255, or \X")


def quote(octets: bytes) -> str:
    r"""The octets between quotes, odd ones as ``\DDD``."""
    return f'"{"".join(map(_octet_text, octets))}"'


def _octet_text(octet: int) -> str:
    if octet in b'"\\':
        return f"\\{chr(octet)}"
    return chr(octet) if 0x20 <= octet <= 0x7E else f"\\{octet:03d}"


def parse_string(word: str, _origin: Name) -> bytes:
    """One character-string with its length octet.  Raises Mistaken."""
    octets = unescape(word)
    if len(octets) > MAX_STRING:
        raise Mistaken(
            f"a string has {len(octets)} octets",
            f"split it: strings have at most {MAX_STRING} (RFC 1035 §3.3)",
        )
    return bytes((len(octets),)) + octets


def _read_string(rdata: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + take(rdata, at, 1)[0]
    return quote(take(rdata, at + 1, end - at - 1)), end


def _parse_strings(words: Sequence[str], origin: Name) -> bytes:
    strings: list[bytes] = []
    try:
        strings.extend(parse_string(word, origin) for word in words)
    except Mistaken as error:
        error.point_at(len(strings))
        raise
    return b"".join(strings)


def _read_strings(rdata: bytes, at: int) -> list[str]:
    words = []
    while at < len(rdata):
        word, at = _read_string(rdata, at)
        words.append(word)
    return words


def _parse_long_string(word: str, _origin: Name) -> bytes:
    return unescape(word)


def _read_long_string(rdata: bytes, at: int) -> tuple[str, int]:
    return quote(rdata[at:]), len(rdata)


def _parse_tag(word: str, origin: Name) -> bytes:
    if not _BARE_TAG.fullmatch(word):
        raise Mistaken(f"{word} is no property tag", "write ASCII letters and digits, as in issue (RFC 8659 §4.1)")
    return parse_string(word, origin)


def _read_tag(rdata: bytes, at: int) -> tuple[str, int]:
    word, end = _read_string(rdata, at)
    tag = word[1:-1]
    if not _BARE_TAG.fullmatch(tag):
        raise Malformed("a tag with odd octets")
    return tag, end


STRING = Word(parse_string, _read_string)
STRINGS = Rest(_parse_strings, _read_strings)
LONG_STRING = Word(_parse_long_string, _read_long_string)  # to the end of the rdata, without a length octet
TAG = Word(_parse_tag, _read_tag)
