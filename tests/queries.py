"""Queries for every corner of a set of zones, each with the dig command that asks the same.

Made from the zone files themselves, so that a record added to a test zone is asked for without further ado.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import dns.name
import dns.rdatatype
import dns.zone
from peers import zone_files

RD, AD, CD, DO = 0x0100, 0x0020, 0x0010, 0x8000
NSID, COOKIE, UNKNOWN_OPTION = 3, 10, 65001

# Asked of every owner, whatever it holds.
TYPES = ("A", "AAAA", "MX", "NS", "SOA", "TXT", "CNAME", "DNAME", "DS", "SRV", "HTTPS", "ANY", "TYPE65280", "TYPE0")
# Asked of the names around an owner: enough to tell NXDOMAIN, NODATA, wildcard, alias and referral apart.
TYPES_AROUND = ("A", "AAAA", "MX", "TXT", "CNAME", "NS", "DS", "ANY")
TYPES_BELOW = ("A", "CNAME", "DS", "ANY")
META_TYPES = ("OPT", "TKEY", "TSIG", "MAILB", "MAILA", "TYPE128", "TYPE240", "TYPE65535", "NULL", "RRSIG", "NSEC")
DRESSED = 0.5   # of all questions
OUTSIDE = (".", "test.", "com.", "www.example.net.", "wwwaddresses.test.", "addresses.test.com.", "in-addr.arpa.")


@dataclass(frozen=True, slots=True)
class Edns:
    """An OPT record to send (RFC 6891 §6.1.2)."""

    size: int = 1232
    flags: int = 0
    version: int = 0
    options: tuple[tuple[int, bytes], ...] = ()

    @property
    def wire(self) -> bytes:
        rdata = b"".join([code.to_bytes(2) + len(value).to_bytes(2) + value for code, value in self.options])
        ttl = self.version << 16 | self.flags
        return b"\0\0\x29" + self.size.to_bytes(2) + ttl.to_bytes(4) + len(rdata).to_bytes(2) + rdata

    @property
    def dig(self) -> str:
        words = [f"+bufsize={self.size}", f"+edns={self.version}", *(["+dnssec"] if self.flags & DO else [])]
        if self.flags & 0x7FFF:
            words.append(f"+ednsflags={self.flags & 0x7FFF:#x}")
        words += [f"+ednsopt={code}:{value.hex()}" for code, value in self.options]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Query:
    """A packet to send (its id is set on sending), and how to say it."""

    dig: str            # a dig command, or for what dig cannot ask: a description and the octets
    wire: bytes
    rrtype: int = 0     # of the question, for rules that depend on it
    rrclass: int = 1
    tcp: bool = False
    size: int = 0       # of the client's buffer as OPT gives it; 0 without OPT

    @property
    def opcode(self) -> int:
        return self.wire[2] >> 3 & 15 if len(self.wire) > 2 else 0


def question(
    name: dns.name.Name, rrtype: int, *, flags: int = 0, edns: Edns | None = None, tcp: bool = False
) -> Query:
    """The query that dig would send."""
    count = 0 if edns is None else 1
    header = b"\0\0" + flags.to_bytes(2) + b"\0\1\0\0\0\0" + count.to_bytes(2)
    wire = header + _wire(name) + rrtype.to_bytes(2) + b"\0\1" + (edns.wire if edns else b"")
    words = [
        "dig",
        "+tcp" if tcp else "+notcp +ignore",
        "+rec" if flags & RD else "+norec",
        "+adflag" if flags & AD else "+noad",
        *(["+cdflag"] if flags & CD else []),
        edns.dig if edns else "+noedns",
        f"-q '{name}' -t {dns.rdatatype.to_text(dns.rdatatype.RdataType(rrtype))}",
    ]
    return Query(" ".join(words), wire, rrtype, tcp=tcp, size=edns.size if edns else 0)


def _wire(name: dns.name.Name) -> bytes:
    return b"".join([bytes((len(label),)) + label for label in name.labels])


def questions(directory: Path, seed: int = 0) -> list[Query]:
    """Every owner × every type, and what is around each, plainly; then half of them again in a random dress."""
    pairs = list(dict.fromkeys(_pairs(directory)))
    rng = random.Random(seed)
    plain = [question(name, rrtype) for name, rrtype in pairs]
    return plain + [_dressed(name, rrtype, rng) for name, rrtype in pairs if rng.random() < DRESSED]


def _pairs(directory: Path) -> Iterator[tuple[dns.name.Name, int]]:
    """Names and types to ask for, with repetitions."""
    for zone in _zones(directory):
        apex = zone.origin
        if apex is None:
            continue
        for owner, node in zone.nodes.items():
            yield from _with_types(owner, TYPES)
            yield from ((owner, int(rdataset.rdtype)) for rdataset in node)
            for name in _around(owner, apex):
                yield from _with_types(name, TYPES_AROUND)
            for name in _below(owner):
                yield from _with_types(name, TYPES_BELOW)
        yield from _with_types(apex, META_TYPES)
        yield from _with_types(dns.name.from_text("meta-types", apex), META_TYPES)
        if apex != dns.name.root:
            yield from _with_types(apex.parent(), TYPES_AROUND)
    for text in OUTSIDE:
        yield from _with_types(dns.name.from_text(text), TYPES_AROUND)


def _zones(directory: Path) -> list[dns.zone.Zone]:
    return [
        dns.zone.from_file(str(file), name, relativize=False, check_origin=False)
        for name, file in zone_files(directory).items()
    ]


def _with_types(name: dns.name.Name, types: Iterable[str]) -> Iterator[tuple[dns.name.Name, int]]:
    return ((name, int(dns.rdatatype.from_text(text))) for text in types)


def _around(owner: dns.name.Name, apex: dns.name.Name) -> Iterator[dns.name.Name]:
    """A child; then a sibling and the parent, and theirs, up to the apex."""
    yield from _if_it_fits(b"c", *owner.labels)
    while owner != apex:
        first, *rest = owner.labels
        yield from _if_it_fits(b"x-" + first, *rest)
        owner = owner.parent()
        yield owner


def _below(owner: dns.name.Name) -> Iterator[dns.name.Name]:
    """A grandchild, a child that wildcards and DNAMEs may lead to data, and a child of the name of a wildcard."""
    yield from _if_it_fits(b"d", b"c", *owner.labels)
    yield from _if_it_fits(b"www", *owner.labels)
    yield from _if_it_fits(b"*", *owner.labels)


def _if_it_fits(*labels: bytes) -> Iterator[dns.name.Name]:
    """The name, unless a label or the whole is too long."""
    with suppress(dns.name.LabelTooLong, dns.name.NameTooLong):
        yield dns.name.Name(labels)


def _dressed(name: dns.name.Name, rrtype: int, rng: random.Random) -> Query:
    """The same question in a random spelling, with random flags, EDNS and transport."""
    spelled = dns.name.Name([_respell(label, rng) for label in name.labels])
    flags = rng.choice((0, RD, AD, CD, RD | AD | CD))
    options = rng.choice(((), (), ((NSID, b""),), ((UNKNOWN_OPTION, b"any"),), ((COOKIE, b"8 octets"),)))
    edns = Edns(rng.choice((0, 512, 1232, 1232, 4096, 65535)), rng.choice((0, DO)), 0, options)
    return question(spelled, rrtype, flags=flags, edns=rng.choice((None, edns, edns, edns)), tcp=rng.random() < 0.1)


def _respell(label: bytes, rng: random.Random) -> bytes:
    return bytes([octet ^ 0x20 if chr(octet).isalpha() and octet < 128 and rng.random() < 0.5 else octet
                  for octet in label])  # fmt: skip


def sizes(directory: Path) -> Iterator[Query]:
    """Every RRset and referral that may be too large, at every size of buffer, over UDP and TCP."""
    for zone in _zones(directory):
        for owner, node in zone.nodes.items():
            for rdataset in node:
                if sum(len(rdata.to_wire() or b"") + 12 for rdata in rdataset) < 350 and len(owner) < 250:
                    continue
                for edns in (None, *map(Edns, (0, 100, 511, 512, 513, 600, 1231, 1232, 1233, 1400, 4096))):
                    yield question(owner, rdataset.rdtype, edns=edns)
                    yield question(owner, rdataset.rdtype, edns=edns and replace(edns, flags=DO))
                    yield question(owner, rdataset.rdtype, edns=edns, tcp=True)
                if rdataset.rdtype == dns.rdatatype.NS:
                    for prefix in ("a", "a" * 20, "a" * 40, "a" * 63):
                        for size in (512, 600, 700, 800, 900, 1000, 1232, 4096):
                            yield question(dns.name.from_text(prefix, owner), dns.rdatatype.A, edns=Edns(size))
