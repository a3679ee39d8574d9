"""Zones from text, questions from text, and replies back to text: tests as dig transcripts.

``ask(responder, "www.example.com A")`` gives ``NOERROR aa | www.example.com. 30 A 192.0.2.1``: the response code, the
flags besides qr and rd, then the records of the answer and, marked, those of the other sections; any SOA as ``SOA``.
"""

from __future__ import annotations

from random import Random
from textwrap import dedent

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from dnslb.answer.responder import UDP, Identity, Responder, Transport
from dnslb.answer.snapshot import Snapshot
from dnslb.balance.rotation import RRsetOrder
from dnslb.dns import master, name
from dnslb.dns.name import Name
from dnslb.dns.zone import Zone
from dnslb.text.problem import has_errors

ANONYMOUS = Identity()
TCP = Transport(limit=0xFFFF, idle=100)


def zone(apex: str, text: str) -> Zone:
    """The zone of a master file's text, which must be without errors."""
    loaded, problems = master.load("test.zone", wire(apex), lambda _: dedent(text).encode())
    assert loaded is not None and not has_errors(problems), "\n".join(map(str, problems))
    return loaded


def wire(text: str) -> Name:
    return name.parse(text, name.ROOT)


def snapshot(*zones: Zone, order: RRsetOrder = RRsetOrder.CYCLIC) -> Snapshot:
    return Snapshot({loaded.apex: loaded for loaded in zones}, order, Random(1))


def responder(
    *zones: Zone, transport: Transport = UDP, identity: Identity = ANONYMOUS, order: RRsetOrder = RRsetOrder.CYCLIC
) -> Responder:
    return Responder(snapshot(*zones, order=order), transport, identity)


def query(question: str, *, size: int | None = None, options: tuple[dns.edns.Option, ...] = ()) -> bytes:
    """A query as dig sends it; ``size`` is the EDNS payload, None for no EDNS."""
    owner, kind = question.split()
    made = dns.message.make_query(owner, kind, use_edns=0 if size else False, payload=size or 0, options=list(options))
    return made.to_wire()


def ask(server: Responder, question: str, *, size: int | None = None) -> str:
    reply = server.respond(query(question, size=size))
    assert reply is not None
    return text(dns.message.from_wire(reply))


def text(reply: dns.message.Message) -> str:
    shown = dns.flags.AA | dns.flags.TC | dns.flags.RA | dns.flags.AD | dns.flags.CD
    head = f"{dns.rcode.to_text(reply.rcode())} {dns.flags.to_text(reply.flags & shown).lower()}".strip()
    parts = [head]
    for title, section in (("", reply.answer), ("authority: ", reply.authority), ("additional: ", reply.additional)):
        for rrset in section:
            parts += [title + line for line in _lines(rrset)]
    return " | ".join(parts)


def _lines(rrset: dns.rrset.RRset) -> list[str]:
    if rrset.rdtype == dns.rdatatype.SOA:
        return ["SOA"]
    kind = dns.rdatatype.to_text(rrset.rdtype)
    return [f"{rrset.name} {rrset.ttl} {kind} {rdata}" for rdata in rrset]
