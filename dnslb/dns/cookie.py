"""Cookies, by which a server knows again who has asked before: nobody else can ask in that name (RFC 7873).

The server's part is that of RFC 9018: every server with the same secret makes the same.  Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence

CLIENT = 8          # octets of the client's part, with which a cookie begins
LENGTH = 24         # octets of a cookie with a server's part of RFC 9018
HASH = 8            # octets that it ends with
SECRET = 16         # octets
_SHORTEST, _LONGEST = 16, 40  # octets of a cookie with any server's part (RFC 7873 §4)
_VERSION = b"\1\0\0\0"        # and three octets that are reserved
_AGE, _AHEAD = 3600, 300      # seconds that a cookie may be old, or ahead of our clock (RFC 9018 §4.3)
_HALF_AGE = 1800              # seconds after which its client gets another

_LANE = 16          # octets from one number to the next in a large one: half of them are room for what runs over
_WORD = (1 << 64) - 1
_STARTS = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)


def is_well_formed(cookie: bytes) -> bool:
    """Whether it has a length that cookies have; others are FORMERR (RFC 7873 §5.2.2)."""
    return len(cookie) == CLIENT or _SHORTEST <= len(cookie) <= _LONGEST


def stamp(now: int) -> bytes:
    """What comes behind the client's part in a cookie of that Unix time; then the hash, of both and of the client's
    address (RFC 9018 §4).
    """
    return _VERSION + (now & 0xFFFFFFFF).to_bytes(4)


def is_timely(cookie: bytes, now: int) -> bool:
    """Whether a cookie of that version would still be taken at that time, if its hash is right."""
    return cookie[CLIENT] == _VERSION[0] and -_AHEAD <= _age(cookie, now) <= _AGE


def is_young(cookie: bytes, now: int) -> bool:
    """Whether the client may keep it."""
    return -_AHEAD <= _age(cookie, now) < _HALF_AGE


def _age(cookie: bytes, now: int) -> int:
    """Seconds, by serial number arithmetic (RFC 1982): the time in a cookie has 32 bits."""
    return (now - int.from_bytes(cookie[CLIENT + 4 : CLIENT + 8]) + (1 << 31)) % (1 << 32) - (1 << 31)


def hashes(secret: bytes, messages: Sequence[bytes]) -> list[bytes]:
    """SipHash-2-4 of each of these messages, which must be of one length.  (Aumasson and Bernstein, 2012.)

    All of them lie side by side in a few large numbers, so that 64 take hardly longer than five that come one by one.
    """
    count, size = len(messages), len(messages[0])
    ones = int.from_bytes((b"\1" + bytes(_LANE - 1)) * count, "little")
    keys = int.from_bytes(secret[:8], "little"), int.from_bytes(secret[8:], "little")
    state = tuple(ones * (keys[index & 1] ^ start) for index, start in enumerate(_STARTS))
    mask = ones * _WORD
    padding = bytes(7 - size % 8) + (size & 0xFF).to_bytes(1)
    padded = [message + padding for message in messages]
    for at in range(0, len(padded[0]), 8):
        words = int.from_bytes(bytes(8).join([message[at : at + 8] for message in padded]), "little")
        v0, v1, v2, v3 = state
        v0, v1, v2, v3 = _round(*_round(v0, v1, v2, v3 ^ words, mask), mask)
        state = v0 ^ words, v1, v2, v3
    v0, v1, v2, v3 = state
    v2 ^= ones * 0xFF
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3, mask)
    found = (v0 ^ v1 ^ v2 ^ v3).to_bytes(_LANE * count, "little")
    return [found[at : at + HASH] for at in range(0, len(found), _LANE)]


def _round(v0: int, v1: int, v2: int, v3: int, mask: int) -> tuple[int, int, int, int]:
    """A SipRound on every lane.  A word that is turned leaves its upper bits in the room above, from where they come
    back below.
    """
    v0 = v0 + v1 & mask
    v2 = v2 + v3 & mask
    v1 <<= 13
    v1 = (v1 | v1 >> 64) & mask ^ v0
    v3 <<= 16
    v3 = (v3 | v3 >> 64) & mask ^ v2
    v0 <<= 32
    v0 = (v0 | v0 >> 64) & mask
    v2 = v2 + v1 & mask
    v0 = v0 + v3 & mask
    v1 <<= 17
    v1 = (v1 | v1 >> 64) & mask ^ v2
    v3 <<= 21
    v3 = (v3 | v3 >> 64) & mask ^ v0
    v2 <<= 32
    v2 = (v2 | v2 >> 64) & mask
    return v0, v1, v2, v3
