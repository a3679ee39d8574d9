"""Fields of the DNSSEC records: algorithms, signature times, type bitmaps (RFC 4034)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from dnslb.dns import rrtype
from dnslb.dns.mistake import Mistaken, at_word
from dnslb.dns.name import Name
from dnslb.dns.rdata.errors import Malformed
from dnslb.dns.rdata.field import RRTYPE, U32, Rest, Word, mnemonic, take

_ALGORITHMS = {
    "RSAMD5": 1, "DH": 2, "DSA": 3, "RSASHA1": 5, "DSA-NSEC3-SHA1": 6, "NSEC3DSA": 6, "RSASHA1-NSEC3-SHA1": 7,
    "NSEC3RSASHA1": 7, "RSASHA256": 8, "RSASHA512": 10, "ECC-GOST": 12, "ECCGOST": 12, "ECDSAP256SHA256": 13,
    "ECDSAP384SHA384": 14, "ED25519": 15, "ED448": 16, "INDIRECT": 252, "PRIVATEDNS": 253, "PRIVATEOID": 254,
}  # fmt: skip
_CERTIFICATES = {
    "PKIX": 1, "SPKI": 2, "PGP": 3, "IPKIX": 4, "ISPKI": 5, "IPGP": 6, "ACPKIX": 7, "IACPKIX": 8, "URI": 253,
    "OID": 254,
}  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})")


def _parse_time(word: str, origin: Name) -> bytes:
    """``YYYYMMDDHHmmSS`` in UTC, or seconds since 1970; on the wire modulo 2**32 (RFC 4034 §3.1.5, §3.2)."""
    if len(word) != 14:
        return U32.parse(word, origin)
    parts = _TIME.fullmatch(word)
    try:
        year, month, day, hour, minute, second = map(int, parts.groups() if parts else ())
        seconds = (datetime(year, month, day, hour, minute, second, tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)
    except ValueError:
        raise Mistaken(f"{word} is no time", "write it as YYYYMMDDHHmmSS, or as seconds since 1970") from None
    if seconds < 0:
        raise Mistaken(f"{word} is before 1970", "write a later time (RFC 4034 §3.2)")
    return (seconds % 2**32).to_bytes(4)


def _read_time(rdata: bytes, at: int) -> tuple[str, int]:
    seconds = int.from_bytes(take(rdata, at, 4))
    return f"{_EPOCH + timedelta(seconds=seconds):%Y%m%d%H%M%S}", at + 4


def _parse_bitmap(words: Sequence[str], origin: Name) -> bytes:
    """Windows of 256 types, each without the zero octets at its end (RFC 4034 §4.1.2)."""
    windows: dict[int, bytearray] = {}
    for index, word in enumerate(words):
        with at_word(index):
            window, bit = RRTYPE.parse(word, origin)
        windows.setdefault(window, bytearray(32))[bit >> 3] |= 0x80 >> (bit & 7)
    bitmaps = [(window, bytes(bits).rstrip(b"\0")) for window, bits in sorted(windows.items())]
    return b"".join(bytes((window, len(bits))) + bits for window, bits in bitmaps)


def _read_bitmap(rdata: bytes, at: int) -> list[str]:
    words = []
    while at < len(rdata):
        window, length = take(rdata, at, 2)
        if not 1 <= length <= 32:
            raise Malformed("a type bitmap of an odd length")
        bits = take(rdata, at + 2, length)
        words += [
            rrtype.text(window << 8 | bit) for bit in range(8 * length) if bits[bit >> 3] & 0x80 >> (bit & 7)
        ]
        at += 2 + length
    return words


ALGORITHM = mnemonic(1, "DNSSEC algorithm", _ALGORITHMS, "ECDSAP256SHA256")
CERTIFICATE_TYPE = mnemonic(2, "certificate type", _CERTIFICATES, "PKIX")
SCHEME = mnemonic(1, "scheme", {"NOTIFY": 1}, "NOTIFY")  # RFC 9859 §2.1
TIME = Word(_parse_time, _read_time)
BITMAP = Rest(_parse_bitmap, _read_bitmap)
BITMAP_OR_NONE = Rest(_parse_bitmap, _read_bitmap, may_be_empty=True)
