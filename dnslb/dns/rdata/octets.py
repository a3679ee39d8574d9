"""Octets written as hexadecimal, base64 or base32hex (RFC 4648), whole or in parts."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.dns.rdata.errors import Malformed
from dnslb.dns.rdata.field import Rest, Word, take

_BASE64 = re.compile(r"[0-9A-Za-z+/]*={0,2}")
_HEX = re.compile(r"[0-9A-Fa-f]+")


def _parse_hex_parts(words: Sequence[str], _origin: Name) -> bytes:
    try:
        return binascii.unhexlify("".join(words))
    except ValueError:
        raise _fault(words, _HEX, "hexadecimal", "write pairs of the digits 0-9 and a-f") from None


def _parse_base64_parts(words: Sequence[str], _origin: Name) -> bytes:
    joined = "".join(words)
    # Checked here because a2b_base64 lets superfluous padding pass, even in its strict mode.
    if len(joined) % 4 or not _BASE64.fullmatch(joined) or not joined:
        raise _fault(words, _BASE64, "base64", "copy it whole, with = only at its end (RFC 4648 §4)")
    return binascii.a2b_base64(joined)


def _parse_base64_or_none(words: Sequence[str], origin: Name) -> bytes:
    return _parse_base64_parts(words, origin) if words else b""


def _fault(words: Sequence[str], alphabet: re.Pattern[str], kind: str, remedy: str) -> Mistaken:
    """Names the word that is outside the alphabet, else says that the words together make no octets."""
    for index, word in enumerate(words):
        if not alphabet.fullmatch(word):
            return Mistaken(f"{_shorten(word)} is not {kind}", remedy, index)
    return Mistaken(f"the {kind} text is not whole", remedy, len(words) - 1)


def parse_hex(word: str, origin: Name) -> bytes:
    """Raises Mistaken."""
    return _parse_hex_parts((word,), origin)


def parse_base64(word: str, origin: Name) -> bytes:
    """Raises Mistaken."""
    return _parse_base64_parts((word,), origin)


def _shorten(word: str) -> str:
    return word if len(word) <= 32 else f"{word[:32]}…"


def _read_hex(rdata: bytes, at: int) -> list[str]:
    return [rdata[at:].hex().upper()] if at < len(rdata) else []


def _read_base64(rdata: bytes, at: int) -> list[str]:
    return [base64.b64encode(rdata[at:]).decode("ascii")] if at < len(rdata) else []


def _parse_salt(word: str, origin: Name) -> bytes:
    """Hexadecimal behind a length octet; a hyphen is no salt (RFC 5155 §3.3)."""
    salt = b"" if word == "-" else parse_hex(word, origin)
    if len(salt) > 255:
        raise Mistaken(f"the salt has {len(salt)} octets", "a salt has at most 255 (RFC 5155 §3.2)")
    return bytes((len(salt),)) + salt


def _read_salt(rdata: bytes, at: int) -> tuple[str, int]:
    length = take(rdata, at, 1)[0]
    return take(rdata, at + 1, length).hex().upper() or "-", at + 1 + length


def _parse_hash(word: str, _origin: Name) -> bytes:
    """Base32hex without padding, behind a length octet (RFC 5155 §3.3)."""
    try:
        if "=" in word:
            raise binascii.Error
        digest = base64.b32hexdecode(word + "=" * (-len(word) % 8), casefold=True)
    except ValueError:
        remedy = "write base32hex without padding (RFC 5155 §3.3)"
        raise Mistaken(f"{_shorten(word)} is no hashed name", remedy) from None
    if len(digest) > 255:
        raise Mistaken(f"the hash has {len(digest)} octets", "a hash has at most 255 (RFC 5155 §3.2)")
    return bytes((len(digest),)) + digest


def _read_hash(rdata: bytes, at: int) -> tuple[str, int]:
    length = take(rdata, at, 1)[0]
    if not length:
        raise Malformed("an empty hash")
    return base64.b32hexencode(take(rdata, at + 1, length)).decode("ascii").rstrip("="), at + 1 + length


def _eui(octets: int) -> Word:
    """So many octets in pairs of digits with hyphens between (RFC 7043 §3.2)."""
    pattern = re.compile(rf"(?:[0-9A-Fa-f]{{2}}-){{{octets - 1}}}[0-9A-Fa-f]{{2}}")
    example = "-".join(["00"] * octets)

    def parse(word: str, _origin: Name) -> bytes:
        if not pattern.fullmatch(word):
            raise Mistaken(f"{word} is no EUI-{8 * octets} address", f"write it as in {example}")
        return bytes.fromhex(word.replace("-", ""))

    def read(rdata: bytes, at: int) -> tuple[str, int]:
        return take(rdata, at, octets).hex("-"), at + octets

    return Word(parse, read)


_LOCATOR = re.compile(r"[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){3}")


def _parse_locator(word: str, _origin: Name) -> bytes:
    """Four groups of hexadecimal digits (RFC 6742 §2.1.2)."""
    if not _LOCATOR.fullmatch(word):
        raise Mistaken(f"{word} is no 64-bit locator", "write four groups, as in 2001:0db8:1140:1000")
    return bytes.fromhex("".join(group.zfill(4) for group in word.split(":")))


def _read_locator(rdata: bytes, at: int) -> tuple[str, int]:
    return take(rdata, at, 8).hex(":", 2), at + 8


def _parse_nsap(word: str, origin: Name) -> bytes:
    """``0x`` and hexadecimal digits, with dots anywhere (RFC 1706 §7)."""
    if word[:2].lower() != "0x" or len(word) < 4:
        raise Mistaken(f"{word} is no NSAP address", "write 0x and hexadecimal digits (RFC 1706 §7)")
    return parse_hex(word[2:].replace(".", ""), origin)


def _read_nsap(rdata: bytes, at: int) -> tuple[str, int]:
    return f"0x{rdata[at:].hex()}", len(rdata)


HEX = Rest(_parse_hex_parts, _read_hex)
BASE64 = Rest(_parse_base64_parts, _read_base64)
BASE64_OR_NONE = Rest(_parse_base64_or_none, _read_base64, may_be_empty=True)
SALT = Word(_parse_salt, _read_salt)
HASH = Word(_parse_hash, _read_hash)
EUI48, EUI64 = _eui(6), _eui(8)
LOCATOR = Word(_parse_locator, _read_locator)
NSAP = Word(_parse_nsap, _read_nsap)
