"""Texts of a corpus, changed as editors, copies and attackers change them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

_WORDS = (
    b"(", b")", b'"', b";", b"\\", b"\\000", b"\\999", b"@", b".", b"..", b"$INCLUDE x",
    b"$GENERATE 1-9999 a$ A 1.2.3.$", b"$GENERATE 0-4294967295 ${0,63,x} TXT $", b"$ORIGIN .", b"$TTL -1", b"{",
    b"}", b"[", b"]", b"&a [*a]", b"*a", b"<<: *a", b"? ", b"- ", b": ", b"!!python/object", b"!!binary", b"|",
    b">", b"'", b"%", b"#", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3(", b"\r\n", b"\n", b"\t", b" ", b"0",
    b"-1", b"1e309", b"NaN", b"2147483648", b"4294967296", b"18446744073709551616", b'A' * 300, b'[' * 200,
    b'(' * 200, b"\x1b[2J", b"null", b"true", b"{}", b"[]", b"\\u0000", b"\\ud800", b"1h1h", b"999999999w",
    b"\\# 4 00", b"TYPE65535", b"CLASS255", b"IN", b"CH", b"SOA", b"SVCB 1 . alpn=", b"HIP", b"LOC 99 99 99 N",
    b"include", b'[' * 3000, b'{"a":' * 2000,
)  # fmt: skip
_LONGEST = 1 << 16


def mutated(corpus: Sequence[bytes], rng: Random) -> bytes:
    """One of them, with a few changes."""
    text = bytearray(rng.choice(corpus))
    for _ in range(rng.choice((1, 1, 2, 4, 12))):
        at = rng.randrange(len(text) + 1)
        length = rng.choice((1, 1, 4, 30, 200))
        match rng.randrange(7):
            case 0:
                del text[at : at + length]
            case 1:
                text[at:at] = text[at : at + length] * rng.choice((1, 1, 2, 20))
            case 2:
                text[at:at] = rng.choice(_WORDS)
            case 3:
                text[at : at + length] = rng.choice(_WORDS)
            case 4 if at < len(text):
                text[at] = rng.randrange(256)
            case 5:
                other = rng.choice(corpus)
                start = rng.randrange(len(other) + 1)
                text[at : at + length] = other[start : start + length]
            case _:
                lines = text.split(b"\n")
                rng.shuffle(lines)
                text = bytearray(b"\n".join(lines))
        del text[_LONGEST:]
    return bytes(text)
