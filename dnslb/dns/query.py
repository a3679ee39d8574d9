"""A packet from the network, read strictly: every octet may be hostile.

dnslib's parser is not used here: it lets names through that it cannot pack, and raises more than it documents.
Pure: no I/O.  Work is bounded before it is begun: by the length of the packet, the records and the options in it.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from dnslb.dns import edns, rrtype
from dnslb.dns.edns import Edns
from dnslb.dns.name import MAX_LABEL, MAX_NAME, Name

HEADER = 12   # octets (RFC 1035 §4.1.1)
LONGEST = 1 << 14  # octets of a query: a question, an OPT record with padding (RFC 7830), a signature need far less
_RECORDS = 4  # besides the question: an OPT record, a signature, the SOA record of IXFR or NOTIFY
_COUNTS = Struct("!HHHH")
_KIND = Struct("!HH")  # type and class
_POINTER = 0xC0        # the first octet of a compression pointer, at least (RFC 1035 §4.1.4)
_RECORD = 10  # octets of type, class, TTL and length


class Query(NamedTuple):
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
    questions, answers, authorities, additionals = _COUNTS.unpack_from(packet, 4)
    # One question, no more and no less (RFC 9619 §4).
    if questions > 1 or len(packet) > LONGEST:
        return Query(opcode, rcode=rrtype.FORMERR)
    name, wanted, rrclass, at = b"", 0, 0, HEADER
    try:
        if questions:
            end = _skip_name(packet, HEADER)
            _need(packet, end + 4)
            name = packet[HEADER:end]
            wanted, rrclass = _KIND.unpack_from(packet, end)
            at = end + 4
        opt, rcode = _read_opt(packet, at, answers + authorities, additionals)
    except _Broken:
        return Query(opcode, name, wanted, rrclass, at, rcode=rrtype.FORMERR)
    return Query(opcode, name, wanted, rrclass, at, opt, rcode if questions else rrtype.FORMERR)


def _read_opt(packet: bytes, at: int, before: int, additionals: int) -> tuple[Edns | None, int]:
    """The OPT record, and what the records of the query call for: NOERROR if nothing is wrong with them.

    There is one OPT at most, among the additional records (RFC 6891 §6.1.1).  A signature by a key that we do not have,
    which is any, is NOTAUTH (RFC 8945 §5.2.1); it must be the last record (§5.1).
    """
    opt: Edns | None = None
    rcode = rrtype.NOERROR
    if before + additionals > _RECORDS:
        raise _Broken
    for number in range(before + additionals):
        start = at
        at = _skip_name(packet, at)
        _need(packet, at + _RECORD)
        kind = int.from_bytes(packet[at : at + 2])
        rdata = at + _RECORD
        end = rdata + int.from_bytes(packet[at + 8 : at + 10])
        _need(packet, end)
        if kind == rrtype.OPT:
            parsed = edns.parse(packet[at + 2 : at + 8], packet[rdata:end])
            if opt is not None or parsed is None or packet[start] or number < before:
                raise _Broken
            opt = parsed
        if kind == rrtype.TSIG:
            if number != before + additionals - 1 or number < before:
                raise _Broken
            rcode = rrtype.NOTAUTH
        at = end
    return opt, rrtype.BADVERS if opt is not None and opt.version > 0 else rcode


def _skip_name(packet: bytes, at: int) -> int:
    """Where the name that begins at ``at`` ends.  A pointer must point back, behind the header; it is not followed."""
    start = at
    while True:
        _need(packet, at + 1)
        length = packet[at]
        if length == 0:
            break
        if length >= _POINTER:
            _need(packet, at + 2)
            if not HEADER <= int.from_bytes(packet[at : at + 2]) - (_POINTER << 8) < start:
                raise _Broken
            return at + 2
        if length > MAX_LABEL:
            raise _Broken
        at += 1 + length
    if at + 1 - start > MAX_NAME:
        raise _Broken
    return at + 1


def _need(packet: bytes, end: int) -> None:
    if end > len(packet):
        raise _Broken
