"""What a request for a zone is answered with, message by message.  Pure, but for the clock in signatures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dnslb.balance.pool import Address
from dnslb.dns import rrtype
from dnslb.dns.name import Name, text
from dnslb.dns.zone import RRset
from dnslb.transfer import message
from dnslb.transfer.access import Access
from dnslb.transfer.publication import Publication
from dnslb.transfer.serial import is_newer
from dnslb.transfer.tsig import Request


@dataclass(frozen=True, slots=True)
class Source:
    """A zone that can be transferred, and to whom."""

    publication: Publication
    access: Access


@dataclass(frozen=True, slots=True)
class Answered:
    """The messages of a reply, made one by one, and what the log is told."""

    messages: Iterator[bytes]
    refused: str = ""  # why, if it is


@dataclass(frozen=True, slots=True)
class Updatable:
    """A zone that can be changed by updates, and by which keys."""

    soa: RRset
    keys: frozenset[str]


def answer(
    request: Request,
    client: Address,
    sources: Mapping[Name, Source],
    updatable: Mapping[Name, Updatable] = MappingProxyType({}),
    *,
    over_tcp: bool,
) -> Answered:
    """The reply to one request.  Every message of it is signed if the request was."""
    rcode, why = _refusal(request, client, sources, over_tcp=over_tcp)
    zone = updatable.get(request.name)
    # Who may change a zone looks first whether it is one.
    if rcode in {rrtype.NOTAUTH, rrtype.REFUSED} and zone is not None and _asks_for_soa(request, zone):
        rcode, why = rrtype.NOERROR, ""
        messages = iter([message.only_soa(request.query_id, request.question, request.name, zone.soa)])
    elif rcode == rrtype.NOERROR:
        messages = _messages(request, sources[request.name], over_tcp=over_tcp)
    else:
        messages = iter([message.reply(request.query_id, request.question, rcode)])
    signer = request.signer
    return Answered(messages if signer is None else map(signer.sign, messages), why)


def _asks_for_soa(request: Request, zone: Updatable) -> bool:
    """Whether the signature holds, and is by a key that may change the zone."""
    is_question = request.rcode == rrtype.NOERROR and request.opcode == rrtype.QUERY and request.kind == rrtype.SOA
    return is_question and request.key in zone.keys


def _refusal(
    request: Request, client: Address, sources: Mapping[Name, Source], *, over_tcp: bool
) -> tuple[int, str]:
    """The response code, and why it is not NOERROR."""
    source = sources.get(request.name)
    zone = text(request.name)
    if request.rcode != rrtype.NOERROR:
        return request.rcode, request.reason
    if request.opcode != rrtype.QUERY:
        return rrtype.NOTIMP, f"opcode {request.opcode} is not for transfers"
    if source is None:
        return rrtype.NOTAUTH, f"{zone} is not transferred"
    if not source.access.allows(client, request.key):
        return rrtype.REFUSED, f"{'its key' if request.key else 'who does not sign'} may not have {zone}"
    if request.kind not in (rrtype.SOA, rrtype.AXFR, rrtype.IXFR) or (request.kind == rrtype.AXFR and not over_tcp):
        return rrtype.REFUSED, f"{rrtype.text(request.kind)} is not asked in this way"
    if source.publication.version is None:
        return rrtype.SERVFAIL, ""  # for the moment: the backends are not known yet
    return rrtype.NOERROR, ""


def _messages(request: Request, source: Source, *, over_tcp: bool) -> Iterator[bytes]:
    version = source.publication.version
    if version is None:
        raise ValueError("nothing is published")
    apex, soa = version.content.zone.apex, version.content.soa(version.serial)
    query_id, question = request.query_id, request.question
    if request.kind == rrtype.AXFR:
        return message.axfr(query_id, question, version.content, version.serial)
    has_all = request.serial is None or not is_newer(version.serial, request.serial)
    # Over UDP the SOA alone says: come over TCP (RFC 1995 §2).
    if request.kind == rrtype.SOA or has_all or not over_tcp or request.serial is None:
        return iter([message.only_soa(query_id, question, apex, soa)])
    steps = source.publication.journal.since(request.serial)
    if steps is None:
        return message.axfr(query_id, question, version.content, version.serial)
    return message.ixfr(query_id, question, apex, steps)
