"""What a request for a zone is answered with, message by message.  Pure, but for the clock in signatures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

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
class Updatable:
    """A zone that can be changed by updates, and by which keys."""

    soa: RRset
    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class Zones:
    """Those that can be transferred; and those that come from elsewhere, with who may say that they have changed."""

    sources: Mapping[Name, Source]
    primaries: Mapping[Name, Access]
    updatable: Mapping[Name, Updatable] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answered:
    """The messages of a reply, made one by one, and what the log is told."""

    messages: Iterator[bytes]
    refused: str = ""      # why, if it is
    is_news: bool = False  # a primary says that the zone has changed


def answer(request: Request, client: Address, zones: Zones, *, over_tcp: bool) -> Answered:
    """The reply to one request.  Every message of it is signed if the request was."""
    is_notify = request.opcode == rrtype.NOTIFY
    if is_notify:
        rcode, why = _refusal_of_notify(request, client, zones)
    else:
        rcode, why = _refusal(request, client, zones, over_tcp=over_tcp)
    zone = zones.updatable.get(request.name)
    if rcode in {rrtype.NOTAUTH, rrtype.REFUSED} and zone is not None and _asks_for_soa(request, zone):
        rcode, why = rrtype.NOERROR, ""
        messages = iter([message.only_soa(request.query_id, request.question, request.name, zone.soa)])
    elif rcode == rrtype.NOERROR and not is_notify:
        messages = _messages(request, zones.sources[request.name], over_tcp=over_tcp)
    else:
        messages = iter([message.reply(request.query_id, request.question, rcode, opcode=request.opcode)])
    signer = request.signer
    signed = messages if signer is None else map(signer.sign, messages)
    return Answered(signed, why, is_notify and rcode == rrtype.NOERROR)


def _asks_for_soa(request: Request, zone: Updatable) -> bool:
    """Whether it is by a key that may change the zone, and looks first whether that is one."""
    is_question = request.rcode == rrtype.NOERROR and request.opcode == rrtype.QUERY and request.kind == rrtype.SOA
    return is_question and request.key in zone.keys


def _refusal_of_notify(request: Request, client: Address, zones: Zones) -> tuple[int, str]:
    """The response code, and why it is not NOERROR."""
    access, zone = zones.primaries.get(request.name), text(request.name)
    if request.rcode != rrtype.NOERROR:
        return request.rcode, request.reason
    if access is None or request.kind != rrtype.SOA:
        return rrtype.REFUSED, f"{zone} does not come from a primary"
    if not access.allows(client, request.key) and not access.allows(client, None):
        return rrtype.REFUSED, f"it is no primary of {zone}"
    return rrtype.NOERROR, ""


def _refusal(request: Request, client: Address, zones: Zones, *, over_tcp: bool) -> tuple[int, str]:
    """The response code, and why it is not NOERROR."""
    source = zones.sources.get(request.name)
    zone = text(request.name)
    if request.rcode != rrtype.NOERROR:
        return request.rcode, request.reason
    if request.opcode != rrtype.QUERY:
        return rrtype.NOTIMP, f"opcode {request.opcode} is not for transfers"
    if source is None and request.name in zones.primaries:
        return rrtype.SERVFAIL, ""  # it may come back
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
