"""A packet from the network, read strictly: every octet may be hostile.

dnslib's parser is not used here: it lets names through that it cannot pack, and raises more than it documents.
Pure: no I/O.  Work is bounded by the length of the packet.
"""

from __future__ import annotations

from dataclasses import dataclass

from dnslb.dns import edns, rrtype
from dnslb.dns.edns import Edns
from dnslb.dns.name import MAX_LABEL, MAX_NAME, Name

HEADER = 12   # octets (RFC 1035 §4.1.1)
_RECORD = 10  # octets of type, class, TTL and length


@dataclass(frozen=True, slots=True)
class Query:
    """A query as far as it could be read.

    ``rcode`` is NOERROR when all of it could; else it is what the peer must be told, and the parts that could not be
    read are empty.
    """

    opcode: int
    name: Name = b""       # as spelled in the question
    wanted: int = 0        # the type asked for
    rrclass: int = 0
    end: int = HEADER      # where the question ends; HEADER when there is none to repeat
    edns: Edns | None = None
    rcode: int = rrtype.NOERROR


class _Broken(Exception):
    """The packet ends, or turns, where it must not."""


def parse(packet: bytes) -> Query | None:
    """The query; None for what must not be answered: less than a header, or a reply (RFC 1035 §4.1.1 QR)."""
    if len(packet) < HEADER or packet[2] & 0x80:
        return None
    opcode = packet[2] >> 3 & 0xF
    questions, answers, authorities, additionals = (int.from_bytes(packet[at : at + 2]) for at in (4, 6, 8, 10))
    broken = Query(opcode, rcode=rrtype.FORMERR)
    # One question, no more and no less (RFC 9619 §4).
    if questions != 1:
        return broken
    try:
        end = _skip_name(packet, HEADER, pointers=False)
        _need(packet, end + 4)
    except _Broken:
        return broken
    name = packet[HEADER:end]
    kind, rrclass = int.from_bytes(packet[end : end + 2]), int.from_bytes(packet[end + 2 : end + 4])
    end += 4
    try:
        opt, rcode = _find_opt(packet, end, answers + authorities, additionals)
    except _Broken:
        opt, rcode = None, rrtype.FORMERR
    return Query(opcode, name, kind, rrclass, end, opt, rcode)


def _find_opt(packet: bytes, at: int, before: int, additionals: int) -> tuple[Edns | None, int]:
    """The OPT record among the additional ones, and FORMERR when there are two or it is malformed (RFC 6891 §6.1.1)."""
    opt: Edns | None = None
    for number in range(before + additionals):
        start = at
        at = _skip_name(packet, at, pointers=True)
        _need(packet, at + _RECORD)
        kind = int.from_bytes(packet[at : at + 2])
        rdata = at + _RECORD
        end = rdata + int.from_bytes(packet[at + 8 : at + 10])
        _need(packet, end)
        if kind == rrtype.OPT and number >= before:
            parsed = edns.parse(packet[at + 2 : at + 8], packet[rdata:end])
            if opt is not None or parsed is None or packet[start]:
                raise _Broken
            opt = parsed
        at = end
    if opt is not None and opt.version > 0:
        return opt, rrtype.BADVERS
    return opt, rrtype.NOERROR


def _skip_name(packet: bytes, at: int, *, pointers: bool) -> int:
    """Where the name that begins at ``at`` ends.  Pointers are not followed: nothing behind them matters here."""
    start = at
    while True:
        _need(packet, at + 1)
        length = packet[at]
        if length == 0:
            at += 1
            break
        if length >= 0xC0 and pointers:
            _need(packet, at + 2)
            return at + 2
        if length > MAX_LABEL:
            raise _Broken
        at += 1 + length
    if at - start > MAX_NAME:
        raise _Broken
    return at


def _need(packet: bytes, end: int) -> None:
    if end > len(packet):
        raise _Broken
