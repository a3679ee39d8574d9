"""What is asked: the zone, the questions, and the query classes made of them.

Pure: packets and zone text come out, nothing is sent.  A new class is one more ``QueryClass`` in ``CLASSES``; what it
asks about is added to ``ZONE``.  Classes about pools are in ``POOL_CLASSES``; ``POLICY`` is how dnslb makes pools of
the names in ``POOL_ZONE``, with ``$probe_port`` to be filled in.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from ipaddress import IPv4Address
from random import Random
from string import ascii_letters

A, MX, OPT = 1, 15, 41
RD = 0x0100
NOERROR, NXDOMAIN = 0, 3
RCODES = {NOERROR: "NOERROR", NXDOMAIN: "NXDOMAIN"}
COOKIE = 10  # RFC 7873 §4
CLIENT_COOKIE = bytes.fromhex("2464c4abcf10c957")  # of one client
UDP_SIZE = 1232

ZONE_NAME = "example.com"
ZONE = """\
$ORIGIN example.com.
$TTL 300
@         SOA  ns1 hostmaster 1 3600 600 604800 60
@         NS   ns1
@         NS   ns2
ns1       A    192.0.2.1
ns2       A    192.0.2.2
frontend  A    192.0.2.11
frontend  A    192.0.2.12
frontend  A    192.0.2.13
frontend  A    192.0.2.14
readonly  A    192.0.2.21
readonly  A    192.0.2.22
shop      CNAME frontend
*.wild    A    192.0.2.31
*.wild    A    192.0.2.32
"""
DNAME_ZONE = "tree      DNAME frontend\n"  # apart, since gdnsd does not know the type

# Names that pools are made of; their backends are probed, so they are on the loopback.  Weights as in WEIGHTS.
BACKENDS = tuple(f"127.0.1.{host}" for host in range(21, 25))
WEIGHTS = dict(zip(BACKENDS, (3, 2, 1, 1), strict=True))
POOLS = ("pool", "weighted", "sticky")
STATIC_ZONE = "".join(f"static    A    {address}\n" for address in BACKENDS)
POOL_ZONE = "".join(f"{name:9} A    {address}\n" for name in POOLS for address in BACKENDS)
POLICY = f"""\
defaults:
  probe: {{tcp: $probe_port, interval: 1s, timeout: 500ms, fall: 2, rise: 2}}
pools:
  pool: {{}}
  weighted:
    answers: 1
    backends: {{{", ".join(f"{address}: {{weight: {weight}}}" for address, weight in WEIGHTS.items())}}}
  sticky: {{order: sticky}}
"""


class Transport(Enum):
    UDP = "udp"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the reply that a right server gives to it."""

    name: str
    rrtype: int = A
    rcode: int = NOERROR
    records: int = 0                   # in the answer section
    addresses: tuple[str, ...] = ()    # of which these must be there
    among: tuple[str, ...] = ()        # and no other than these and those

    def __str__(self) -> str:
        return f"{self.name} {'A' if self.rrtype == A else 'MX'}"


FOUR = Question("frontend.example.com", A, NOERROR, 4, tuple(f"192.0.2.{host}" for host in range(11, 15)))
TWO = Question("readonly.example.com", A, NOERROR, 2, ("192.0.2.21", "192.0.2.22"))
NODATA = Question("frontend.example.com", MX)
MISSING = Question("nonexistent.example.com", A, NXDOMAIN)
WILD = Question("x.wild.example.com", A, NOERROR, 2, ("192.0.2.31", "192.0.2.32"))
BELOW_DNAME = Question("x.tree.example.com", A, NXDOMAIN, 2)
ALIAS = Question("shop.example.com", A, NOERROR, 5, FOUR.addresses)
STATIC = Question("static.example.com", A, NOERROR, 4, BACKENDS)
POOL = Question("pool.example.com", A, NOERROR, 4, BACKENDS)
WEIGHTED = Question("weighted.example.com", A, NOERROR, 1, (), BACKENDS)
STICKY = Question("sticky.example.com", A, NOERROR, 4, BACKENDS)


@cache
def wire_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


# -- what differs from one query of a class to the next ----------------------------------------------------------------

def keep(name: bytes, rng: Random) -> bytes:
    return name


def spell(name: bytes, rng: Random) -> bytes:
    """Every letter in upper or lower case at random (0x20)."""
    return (int.from_bytes(name) ^ (rng.getrandbits(8 * len(name)) & case_bits(name))).to_bytes(len(name))


@cache
def case_bits(name: bytes) -> int:
    """The name as a number, with nothing set but the bit that makes the case of each letter."""
    # Length octets are below 64, letters above: no label length is touched.
    return int.from_bytes(bytes(0x20 if octet in ascii_letters.encode() else 0 for octet in name))


def invent(name: bytes, rng: Random) -> bytes:
    """The first label replaced by twelve random hexadecimal digits."""
    return b"\x0c%012x" % rng.getrandbits(48) + name[1 + name[0]:]


def invent_deep(name: bytes, rng: Random) -> bytes:
    """The first label replaced by eight, of four random hexadecimal digits each."""
    return b"".join(b"\x04%04x" % rng.getrandbits(16) for _ in range(8)) + name[1 + name[0]:]


def invent_missing(name: bytes, rng: Random) -> bytes:
    """As ``invent``, if the name does not exist anyhow."""
    return invent(name, rng) if name == wire_name(MISSING.name) else name


def keep_type(rrtype: int, rng: Random) -> int:
    return rrtype


def unknown_type(rrtype: int, rng: Random) -> int:
    """One that nobody knows: neither NSEC3 nor any other that a server may treat apart."""
    return rng.randrange(300, 32_768)


def no_option(rng: Random) -> bytes:
    return b""


def fresh_option(rng: Random) -> bytes:
    """An option that nobody knows, with a value that nobody has seen (RFC 6891 §9)."""
    return struct.pack(">HH", rng.randrange(30_000, 60_000), 8) + rng.randbytes(8)


def fresh_cookie(rng: Random) -> bytes:
    """A client cookie that nobody has seen, without a server cookie (RFC 7873 §5.1)."""
    return struct.pack(">HH", COOKIE, 8) + rng.randbytes(8)


# -- the classes -------------------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class QueryClass:
    name: str
    about: str
    shares: tuple[tuple[int, Question], ...]              # percent of the queries; they sum up to 100
    edns: bool = True
    transport: Transport = Transport.UDP
    vary: Callable[[bytes, Random], bytes] = keep         # the owner name of each query
    option: Callable[[Random], bytes] = no_option         # the EDNS option of each query
    change: Callable[[int, Random], int] = keep_type      # the type of each query
    cookie: bytes = b""                                   # that each query shows, if any

    @property
    def is_fresh(self) -> bool:
        """No two queries are meant to be equal."""
        return self.vary is not keep or self.option is not no_option or self.change is not keep_type

    def rcode_share(self, rcode: int) -> float:
        return sum(percent for percent, question in self.shares if question.rcode == rcode) / 100


MIX = ((70, FOUR), (10, TWO), (10, NODATA), (10, MISSING))

CLASSES = (
    QueryClass("mix", "70 % a 4-address name, 10 % a 2-address name, 10 % NODATA, 10 % NXDOMAIN", MIX, edns=False),
    QueryClass("mix-edns", "the same with EDNS", MIX),
    QueryClass("case", "the same with random 0x20 spelling", MIX, vary=spell),
    QueryClass("cookie", "the same with a fresh client cookie per query", MIX, option=fresh_cookie),
    QueryClass("kept-cookie", "the same from one client that shows the cookie it was given", MIX, cookie=CLIENT_COOKIE),
    QueryClass("random", "random names that do not exist", ((100, MISSING),), vary=invent),
    QueryClass("qtypes", "random types, of a name that exists and of random ones", ((50, NODATA), (50, MISSING)),
               vary=invent_missing, change=unknown_type),
    QueryClass("deep", "random names of ten labels that do not exist", ((100, MISSING),), vary=invent_deep),
    QueryClass("dname", "random names below a DNAME to a name without children", ((100, BELOW_DNAME),), vary=invent),
    QueryClass("wildcard", "random names below a wildcard with 2 addresses", ((100, WILD),), vary=invent),
    QueryClass("options", "the mix with another unknown option in each query", MIX, option=fresh_option),
    QueryClass("chain", "a CNAME to the 4-address name", ((100, ALIAS),)),
    QueryClass("tcp", "the mix over kept TCP connections", MIX, transport=Transport.TCP),
)

# Measured apart, on servers that probe: the others are not to pay for it.
POOL_CLASSES = (
    QueryClass("static", "a name with 4 addresses, beside the pools", ((100, STATIC),)),
    QueryClass("pool", "a name with 4 addresses that are probed", ((100, POOL),)),
    QueryClass("weighted", "one of 4 probed addresses, by weights 3:2:1:1", ((100, WEIGHTED),)),
    QueryClass("sticky", "4 probed addresses, the client's own first", ((100, STICKY),)),
)


def packet(question: Question, query_class: QueryClass, rng: Random) -> bytes:
    """One query with id 0.

    RD is set, as dnsperf sets it and resolvers do not: without it BIND would add authority and additional sections, and
    be compared for larger replies than the others give.
    """
    name = query_class.vary(wire_name(question.name), rng)
    rrtype = query_class.change(question.rrtype, rng)
    if not query_class.edns:
        return struct.pack(">6H", 0, RD, 1, 0, 0, 0) + name + struct.pack(">HH", rrtype, 1)
    shown = query_class.cookie
    option = struct.pack(">HH", COOKIE, len(shown)) + shown if shown else query_class.option(rng)
    opt = struct.pack(">BHHIH", 0, OPT, UDP_SIZE, 0, len(option)) + option
    return struct.pack(">6H", 0, RD, 1, 0, 0, 1) + name + struct.pack(">HH", rrtype, 1) + opt


def stream(query_class: QueryClass, count: int, rng: Random) -> Iterator[bytes]:
    """``count`` queries in random order with exact shares, each behind its length (RFC 1035 §4.2.2; ``dnsperf -B``)."""
    order = [question for percent, question in query_class.shares for _ in range(percent)]
    for _ in range(0, count, 100):
        rng.shuffle(order)
        for question in order:
            query = packet(question, query_class, rng)
            yield len(query).to_bytes(2) + query


def fault(question: Question, query: bytes, reply: bytes) -> str | None:
    """What is wrong with the reply to ``question``, or None."""
    if len(reply) < 12 or reply[:2] != query[:2] or not reply[2] & 0x80:
        return "no reply to this query"
    end = query.index(b"\0", 12) + 5
    rcode, records = reply[3] & 15, int.from_bytes(reply[6:8])
    absent = [address for address in question.addresses if rdata(address) not in reply]
    if rcode != question.rcode:
        return f"rcode {rcode}, expected {question.rcode}"
    if not reply[2] & 0x04:
        return "AA is clear"
    if reply[2] & 0x02:
        return "TC is set"
    if reply[12:end] != query[12:end]:
        return "another question, or another spelling of it, came back"
    if records != question.records:
        return f"{records} answer records, expected {question.records}"
    if absent:
        return f"without {', '.join(absent)}"
    if question.among and len(served(reply, (*question.addresses, *question.among))) != records:
        return "an address that does not belong to it"
    return None


def given_cookie(reply: bytes) -> bytes:
    """The cookie in a reply to who has shown CLIENT_COOKIE: with the server's part, if it gives any."""
    at = reply.rfind(CLIENT_COOKIE)
    return reply[at : at + int.from_bytes(reply[at - 2 : at])] if at > 0 else CLIENT_COOKIE


def rdata(address: str) -> bytes:
    """RDLENGTH and RDATA of an A record."""
    return b"\0\4" + IPv4Address(address).packed


def served(reply: bytes, addresses: Sequence[str]) -> list[str]:
    """Which of the addresses are in the reply, in its order."""
    places = {address: reply.find(rdata(address)) for address in addresses}
    return sorted((address for address in places if places[address] > 0), key=lambda address: places[address])


def echo_fault(question: Question, query: bytes, reply: bytes) -> str | None:
    """The same for the echo program: the query comes back with QR set and is otherwise unchanged."""
    return None if reply == query[:2] + bytes([query[2] | 0x80]) + query[3:] else "not the query with QR set"


def padding(records: int) -> Iterator[str]:
    """Zone file lines for ``records`` more addresses, each on a name of its own."""
    for number in range(records):
        yield f"pad{number:08} A {IPv4Address(0x0A000000 + number % 0x1000000)}\n"
