"""Replies, reduced to what must agree between nameservers, and compared.

A field is a requirement where the peers agree on it.  Where they differ, the subject must agree with one of them, or
with a lawful choice: one that is written down with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from queries import Query

HEADER = 12
CUT = "(cut)"               # stands for the sections of a truncated reply: what is left in them is nobody's business
OPTIONAL_OPTIONS = frozenset({
    dns.edns.OptionType.NSID,           # as configured
    dns.edns.OptionType.COOKIE,         # BIND and Knot may; we do not (RFC 7873 §5.2.3: then they are ignored)
    dns.edns.OptionType.EDE,            # an explanation, never a requirement (RFC 8914 §2)
    11,                                 # keepalive (RFC 7828)
})


class Records(NamedTuple):
    """An RRset without order: names in any case, rdata in canonical form (RFC 4034 §6.2)."""

    owner: dns.name.Name
    rdclass: dns.rdataclass.RdataClass
    rrtype: dns.rdatatype.RdataType
    ttl: int
    rdatas: frozenset[bytes]

    def __str__(self) -> str:
        rdatas = [dns.rdata.from_wire(self.rdclass, self.rrtype, rdata, 0, len(rdata)) for rdata in self.rdatas]
        texts = sorted(rdata.to_text()[:100] for rdata in rdatas)
        shown = ", ".join(texts[:6]) + (f", … ({len(texts)})" if len(texts) > 6 else "")
        return f"{self.owner} {self.ttl} {dns.rdatatype.to_text(self.rrtype)} {shown}"


Section: TypeAlias = tuple[Records, ...] | str      # records, or why there are none to see


class View(NamedTuple):
    """What a reply says, comparable field by field."""

    answered: bool
    is_readable: bool = True
    rcode: str = ""
    opcode: int = 0
    aa: bool = False
    tc: bool = False
    rd: bool = False
    ra: bool = False
    z: bool = False
    ad: bool = False
    cd: bool = False
    question: bytes = b""       # as it was spelled
    answer: Section = ()        # RRsets in the order of the chain
    authority: Section = ()     # SOA or the NS of a referral, sorted
    glue: Section = ()          # addresses at or below the cut of a referral, sorted (RFC 9471 §2)
    edns: str = ""              # version and flags; empty without OPT
    options: tuple[int, ...] = ()


SILENCE = View(answered=False)
OF_AN_ANSWER = frozenset({"aa", "tc", "answer", "authority", "glue"})


@lru_cache(maxsize=65536)
def view(body: bytes) -> View:
    """The view of a reply without its first two octets, the id."""
    flags = int.from_bytes(body[:2])
    # As a reply to a query, whatever the opcode: the library would read the sections of others in its own way.
    packet = b"\0\0" + (flags & ~0x7800).to_bytes(2) + body[2:]
    try:
        message = dns.message.from_wire(packet, keyring=False)
        question = _question(packet)
    except dns.exception.DNSException as error:
        return View(answered=True, is_readable=False, rcode=f"no DNS message: {error!r}")
    tc = bool(flags & dns.flags.TC)
    authority = [_records(rrset) for rrset in message.authority]
    cuts = [records.owner for records in authority if records.rrtype == dns.rdatatype.NS]
    soa = any(records.rrtype == dns.rdatatype.SOA for records in authority)
    is_referral = bool(cuts) and not soa and (not flags & dns.flags.AA or _ends_in_alias(message))
    if not is_referral:
        authority = [records for records in authority if records.rrtype != dns.rdatatype.NS]
    glue = [
        records
        for records in map(_records, message.additional)
        if is_referral and any(records.owner.is_subdomain(cut) for cut in cuts)
    ]
    return View(
        answered=True,
        rcode=dns.rcode.to_text(message.rcode()),
        opcode=flags >> 11 & 15,
        aa=bool(flags & dns.flags.AA),
        tc=tc,
        rd=bool(flags & dns.flags.RD),
        ra=bool(flags & dns.flags.RA),
        z=bool(flags & 0x40),
        ad=bool(flags & dns.flags.AD),
        cd=bool(flags & dns.flags.CD),
        question=question,
        answer=CUT if tc else tuple(map(_records, message.answer)),
        authority=CUT if tc else tuple(sorted(authority)),
        glue=CUT if tc else tuple(sorted(glue)),
        edns=_edns(message),
        options=tuple(sorted({option.otype for option in message.options} - OPTIONAL_OPTIONS)),
    )


def _question(packet: bytes) -> bytes:
    """The question section as it stands."""
    end = HEADER
    for _ in range(int.from_bytes(packet[4:6])):
        end += dns.name.from_wire(packet, end)[1] + 4
    return packet[HEADER:end]


def _records(rrset: dns.rrset.RRset) -> Records:
    rdatas = frozenset([rdata.to_digestable() for rdata in rrset])
    return Records(rrset.name, rrset.rdclass, rrset.rdtype, rrset.ttl, rdatas)


def _ends_in_alias(message: dns.message.Message) -> bool:
    """Whether the chain led somewhere that the answer section does not show."""
    return bool(message.answer) and message.answer[-1].rdtype in {dns.rdatatype.CNAME, dns.rdatatype.DNAME}


def _edns(message: dns.message.Message) -> str:
    if message.edns < 0:
        return ""
    return f"version {message.edns} flags {message.ednsflags & 0xFFFF:04x}"


@dataclass(frozen=True, slots=True)
class Case:
    """One query, what the subject replied, and what each peer replied."""

    query: Query
    ours: View
    theirs: Mapping[str, View]

    @property
    def answering(self) -> list[View]:
        """The replies of the peers that gave one."""
        return [their for their in self.theirs.values() if their.answered and their.is_readable]


@dataclass(frozen=True, slots=True)
class Lawful:
    """A choice of the subject's own, in some fields of the replies to some queries."""

    reason: str
    fields: tuple[str, ...]
    holds: Callable[[Case], bool]


@dataclass(frozen=True, slots=True)
class Difference:
    """A field in which the subject stands alone."""

    case: Case
    field: str

    def __str__(self) -> str:
        said = {**self.case.theirs, "subject": self.case.ours}
        lines = [f"  {name:8} {_text(self.field, reply)}" for name, reply in said.items()]
        return "\n".join([f"{self.case.query.dig}", f"  {self.field}:", *lines])


def _text(field: str, reply: View) -> str:
    if not reply.answered:
        return "(silence)"
    value = getattr(reply, field)
    if isinstance(value, tuple):
        return " | ".join(map(str, value)) or "(nothing)"
    return repr(value)


def compare(case: Case, lawful: Sequence[Lawful]) -> Iterator[Difference]:
    """Every field in which the subject agrees with no peer and has no lawful reason."""
    fields: tuple[str, ...] = View._fields if case.ours.answered and case.answering else ("answered",)
    everyone = case.answering or list(case.theirs.values())
    # A peer that refused has empty sections: no measure for those of an answer.
    agreeing = [their for their in everyone if their.rcode == case.ours.rcode] or everyone
    for place, field in enumerate(fields):
        ours = case.ours[place]
        peers = agreeing if field in OF_AN_ANSWER else everyone
        if any(ours == their[place] for their in peers):
            continue
        if not any(field in choice.fields and choice.holds(case) for choice in lawful):
            yield Difference(case, field)
