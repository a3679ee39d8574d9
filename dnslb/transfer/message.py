"""Transfers in wire form: AXFR (RFC 5936) and IXFR (RFC 1995), as messages made one by one.

Owners are cut short by a pointer to the zone's name in the question, which every message repeats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from dnslb.dns import rrtype
from dnslb.dns.name import Name
from dnslb.dns.zone import RRset
from dnslb.transfer.content import Content
from dnslb.transfer.journal import Step

_ANSWER = 0x8400                   # QR and AA
_UPDATED = 0x8000 | rrtype.UPDATE << 11  # QR and the opcode
_HEADER = 12                       # octets, and where the name in the question begins
_APEX = (0xC000 | _HEADER).to_bytes(2)
_IN = rrtype.IN.to_bytes(2)
_FULL = 24_000                     # octets of records after which a message is sent; one record more has room always
_FIXED = 10                        # octets of a record between owner and data


def reply(  # noqa: PLR0913, PLR0917 - the parts of a message
    query_id: int, question: bytes, rcode: int, records: bytes = b"", count: int = 0, opcode: int = rrtype.QUERY
) -> bytes:
    """One message.  ``question``: name, type and class as they were asked; empty for none."""
    head = (query_id, _ANSWER | opcode << 11 | rcode, 1 if question else 0, count, 0, 0)
    return b"".join([number.to_bytes(2) for number in head]) + question + records


def updated(query_id: int, zone: bytes, rcode: int) -> bytes:
    """The reply to an update (RFC 2136 §3.8).  ``zone``: the section as it came; empty for none."""
    head = (query_id, _UPDATED | rcode, 1 if zone else 0, 0, 0, 0)
    return b"".join([number.to_bytes(2) for number in head]) + zone


def axfr(query_id: int, question: bytes, content: Content, serial: int) -> Iterator[bytes]:
    """The whole zone between its SOA and its SOA."""
    apex = content.zone.apex
    soa = (apex, content.soa(serial))
    return _messages(query_id, question, apex, chain([soa], content.rrsets(), [soa]))


def ixfr(query_id: int, question: bytes, apex: Name, steps: list[Step]) -> Iterator[bytes]:
    """What a secondary lacks, step by step, one at least."""
    last = (apex, steps[-1].new)
    inner = (
        rrsets for step in steps
        for rrsets in ([(apex, step.old)], step.change.removed, [(apex, step.new)], step.change.added)
    )  # fmt: skip
    return _messages(query_id, question, apex, chain([last], chain.from_iterable(inner), [last]))


def only_soa(query_id: int, question: bytes, apex: Name, soa: RRset) -> bytes:
    """The answer to a question for the SOA, and to a secondary that lacks nothing."""
    return next(_messages(query_id, question, apex, [(apex, soa)]))


def _messages(
    query_id: int, question: bytes, apex: Name, rrsets: Iterable[tuple[Name, RRset]]
) -> Iterator[bytes]:
    parts: list[bytes] = []
    octets = count = 0
    edge = len(apex)
    for owner, rrset in rrsets:
        head = b"".join((owner[:-edge], _APEX, rrset.rrtype.to_bytes(2), _IN, rrset.ttl.to_bytes(4)))
        size = len(head) + 2
        for rdata in rrset.rdatas:
            if octets and octets + size + len(rdata) > _FULL:
                yield reply(query_id, question, rrtype.NOERROR, b"".join(parts), count)
                parts.clear()
                octets = count = 0
            parts += (head, len(rdata).to_bytes(2), rdata)
            octets += size + len(rdata)
            count += 1
    yield reply(query_id, question, rrtype.NOERROR, b"".join(parts), count)
