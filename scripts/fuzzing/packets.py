"""Packets as resolvers and tools send them, and what becomes of them when octets are changed."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from random import Random

ZONE = "fuzz.test"
A, NS, SOA, MX, TXT, AAAA, DS, SVCB, IXFR, AXFR, ANY = 1, 2, 6, 15, 16, 28, 43, 64, 251, 252, 255
IN, CH, NONE = 1, 3, 254
OPT, TSIG = 41, 250
RD, CD, AD, DO = 0x0100, 0x0010, 0x0020, 0x8000
NOTIFY, UPDATE = 4 << 11, 5 << 11
_LENGTHS = (0, 1, 2, 63, 64, 127, 191, 192, 255)  # octets that mean something in a name
_MOST = 1500  # octets of noise

COOKIE, KEEPALIVE, NSID, ECS, PADDING, EXPIRE = 10, 11, 3, 8, 12, 9


def name(text: str) -> bytes:
    labels = [label.encode() for label in text.split(".") if label]
    return b"".join(len(label).to_bytes() + label for label in labels) + b"\0"


def query(  # noqa: PLR0913 - a packet
    text: str, rrtype: int, *, flags: int = RD, rrclass: int = IN, options: Iterable[bytes] | None = None,
    size: int = 1232, do: bool = False,
) -> bytes:  # fmt: skip
    """``options`` of its OPT record; None: it has no such record."""
    opt = b"" if options is None else opt_record(b"".join(options), size, do)
    head = struct.pack(">6H", 0x1234, flags, 1, 0, 0, int(bool(opt)))
    return head + name(text) + struct.pack(">2H", rrtype, rrclass) + opt


def opt_record(options: bytes = b"", size: int = 1232, do: bool = False) -> bytes:
    return struct.pack(">BHHIH", 0, OPT, size, DO if do else 0, len(options)) + options


def option(code: int, value: bytes = b"") -> bytes:
    return struct.pack(">2H", code, len(value)) + value


def _record(owner: bytes, kind: int, rrclass: int, ttl: int, rdata: bytes) -> bytes:
    return owner + struct.pack(">2HIH", kind, rrclass, ttl, len(rdata)) + rdata


_TSIG = _record(name("key"), TSIG, ANY, 0, name("hmac-sha256") + bytes(4) + struct.pack(">2HH", 0, 300, 32)
                + bytes(32) + struct.pack(">3H", 0x1234, 0, 0))  # fmt: skip
_POINTER = b"\xc0\x0c"  # to the question


def _with_records(packet: bytes, answers: int, authorities: int, more: bytes) -> bytes:
    additionals = int.from_bytes(packet[10:12]) + (1 if more.endswith(_TSIG) else 0)
    return packet[:6] + struct.pack(">3H", answers, authorities, additionals) + packet[12:] + more


CORPUS = [
    *(query(f"{label}{ZONE}", kind) for label in ("", "www.", "nope.", "x.wild.", "a.sub.") for kind in (A, AAAA, MX)),
    query("WwW.FuZz.TeSt", A, flags=0, options=[], do=True),                         # unbound, 0x20
    query(f"www.{ZONE}", A, flags=CD, options=[], size=1232, do=True),                # a validating resolver
    query(f"www.{ZONE}", A, flags=RD | AD, options=[option(COOKIE, bytes(range(8)))]),  # dig
    query(f"www.{ZONE}", A, options=[option(COOKIE, bytes(range(24)))], size=4096),
    query(f"www.{ZONE}", A, options=[option(ECS, b"\0\1\x18\0\xc0\0\2"), option(NSID)]),
    query(f"www.{ZONE}", AAAA, options=[option(KEEPALIVE), option(PADDING, bytes(80))]),
    query(f"large.{ZONE}", TXT, options=[], size=512),
    query(ZONE, SOA), query(ZONE, NS, options=[]), query(ZONE, ANY), query(f"sub.{ZONE}", DS, options=[], do=True),
    query(f"alias.{ZONE}", A), query(f"x.dname.{ZONE}", A), query(f"svc.{ZONE}", SVCB, options=[]),
    query("version.bind", TXT, rrclass=CH), query("id.server", TXT, rrclass=CH, options=[option(NSID)]),
    query("www.example.org", A), query("", NS), query(".".join(["x" * 63] * 3), A), query(".".join("y" * 100), A),
    query(ZONE, AXFR), query(ZONE, AXFR, options=[]), query(ZONE, SOA, flags=NOTIFY),
    _with_records(query(ZONE, IXFR), 0, 1, _record(_POINTER, SOA, IN, 0, b"\0\0" + struct.pack(">5I", 1, 2, 3, 4, 5))),
    _with_records(query(ZONE, SOA), 0, 0, _TSIG), _with_records(query(ZONE, AXFR), 0, 0, _TSIG),
    _with_records(query(ZONE, SOA, flags=UPDATE), 0, 1, _record(name(f"new.{ZONE}"), A, IN, 60, bytes(4))),
    _with_records(query(ZONE, SOA, flags=UPDATE), 1, 1,
                  _record(name(f"www.{ZONE}"), ANY, ANY, 0, b"") + _record(name(f"www.{ZONE}"), A, NONE, 0, bytes(4))),
]  # fmt: skip


def mutated(rng: Random) -> bytes:
    """One of the corpus with a few octets changed, cut, doubled or added; seldom octets without any sense."""
    chance = rng.random()
    if chance < 0.02:
        return rng.randbytes(rng.randrange(_MOST))
    packet = bytearray(rng.choice(CORPUS))
    for _ in range(rng.choice((0, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(packet))
        packet[at] = rng.choice(_LENGTHS) if rng.random() < 0.3 else rng.randrange(256)
    if chance < 0.2:
        del packet[rng.randrange(len(packet)) :]
    elif chance < 0.3:
        packet += rng.randbytes(rng.randrange(100))
    elif chance < 0.4:
        start = rng.randrange(len(packet))
        packet[start:start] = packet[start : start + rng.randrange(40)]
    elif chance < 0.45:
        packet += opt_record(rng.randbytes(rng.randrange(30)), rng.randrange(1 << 16))
        if len(packet) > 11:
            packet[11] = (packet[11] + 1) & 0xFF
    return bytes(packet)
