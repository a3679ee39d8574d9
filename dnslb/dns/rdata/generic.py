r"""Rdata of any type as ``\#``, a length and hexadecimal digits (RFC 3597 §5)."""

from __future__ import annotations

from collections.abc import Sequence

from dnslb.dns.mistake import Mistaken, at_word
from dnslb.dns.rdata.field import parse_decimal
from dnslb.dns.rdata.formats import MAX_RDATA
from dnslb.dns.rdata.octets import HEX

MARK = r"\#"


def parse(words: Sequence[str]) -> bytes:
    r"""The octets that the words, of which the first is ``\#``, spell out.  Raises Mistaken."""
    if len(words) < 2:
        raise Mistaken(r"the length after \# is missing", r"write \# LENGTH HEX (RFC 3597 §5)", len(words))
    with at_word(1):
        length = parse_decimal(words[1], MAX_RDATA)
    with at_word(2):
        octets = HEX.parse(words[2:], b"")
    if len(octets) != length:
        raise Mistaken(f"{length} octets are announced, {len(octets)} are given", "make the two agree (RFC 3597 §5)", 1)
    return octets


def text(rdata: bytes) -> str:
    r"""As ``\# 4 C0000201``."""
    return f"{MARK} {len(rdata)} {rdata.hex().upper()}".rstrip()
