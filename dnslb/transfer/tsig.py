"""Requests of secondaries, checked, and replies, signed: TSIG (RFC 8945).

The door to dnspython, which reads messages and knows the signatures.  It is imported where transfers are served, never
in a worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import time
from typing import Any

import dns.exception
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TSIG
import dns.tsig

from dnslb.config.keys import TsigKey
from dnslb.dns import rrtype
from dnslb.dns.name import Name, fold
from dnslb.dns.update import Record

FUDGE = 300    # seconds that clocks may differ (RFC 8945 §10)
_ADDITIONAL = slice(10, 12)  # of a message: how many records its last section has


class NotARequest(Exception):
    """Octets that no reply can be given to."""


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks of the zone transfers."""

    query_id: int
    opcode: int
    question: bytes           # name, type and class, as they were asked
    name: Name                # folded
    kind: int                 # the type that is asked for
    serial: int | None        # of the SOA that an IXFR or a NOTIFY tells of
    key: str | None           # who has signed it
    rcode: int                # NOERROR, or why it is refused: NOTAUTH for a signature that does not hold
    reason: str               # the same in words
    signer: Signer | None     # of the reply
    prerequisites: tuple[Record, ...] = ()  # of an update
    updates: tuple[Record, ...] = ()


class Signer:
    """Signs the messages of one reply, each over those before it."""

    def __init__(self, key: dns.tsig.Key, query_id: int, request_mac: bytes, error: int = 0) -> None:
        self._key = key
        self._query_id = query_id
        self._request_mac = request_mac
        self._error = error
        self._context: Any = None
        self.mac = b""  # of the last message

    def sign(self, message: bytes) -> bytes:
        """The message with its signature."""
        now = int(time())
        other = now.to_bytes(6) if self._error == dns.rcode.BADTIME else b""
        blank = _tsig(self._key, now, b"", self._query_id, self._error, other)
        if self._error in (dns.rcode.BADSIG, dns.rcode.BADKEY):
            signed = blank  # with nothing that could be verified (RFC 8945 §5.3.2)
        else:
            signed, self._context = dns.tsig.sign(
                message, self._key, blank, now, self._request_mac, self._context, True
            )
        self.mac = signed.mac
        return _with(message, self._key.name, signed)


def keyring(keys: Mapping[str, TsigKey]) -> dict[dns.name.Name, dns.tsig.Key]:
    """The keys as the library wants them, by their names on the wire."""
    made = [dns.tsig.Key(key.name, key.secret, dns.name.from_text(key.algorithm)) for key in keys.values()]
    return {key.name: key for key in made}


def read(packet: bytes, keys: Mapping[dns.name.Name, dns.tsig.Key]) -> Request:
    """A request, with its signature checked.  Raises NotARequest."""
    if len(packet) < 12 or packet[2] & 0x80:
        raise NotARequest
    error, reason = 0, ""
    try:
        message = dns.message.from_wire(packet, keyring=dict(keys), one_rr_per_rrset=True)
    except dns.message.UnknownTSIGKey:
        error, reason = dns.rcode.BADKEY, "its key is unknown here"
    except dns.tsig.BadTime:
        error, reason = dns.rcode.BADTIME, "its clock and ours differ by more than five minutes"
    except (dns.tsig.BadSignature, dns.tsig.BadAlgorithm, dns.tsig.PeerError):
        error, reason = dns.rcode.BADSIG, "its signature does not hold"
    except (dns.exception.DNSException, ValueError):
        raise NotARequest from None
    if error:
        message = _unchecked(packet)
    if len(message.question) != 1:
        raise NotARequest
    asked = message.question[0]
    end = _end_of_question(packet)
    return Request(
        query_id=message.id,
        opcode=int(message.opcode()),
        question=packet[12:end],
        name=fold(asked.name.to_wire() or b""),
        kind=int(asked.rdtype),
        serial=_serial(message),
        key=None if error or message.tsig is None else message.tsig.name.to_text().lower(),
        rcode=rrtype.NOTAUTH if error else rrtype.NOERROR,
        reason=reason,
        signer=_signer(message, keys, error),
        prerequisites=_records(message, 1),
        updates=_records(message, 2),
    )


def _records(message: dns.message.Message, section: int) -> tuple[Record, ...]:
    """Those of a section of an update.  The library has seen that the others are empty (RFC 2136 §2.5)."""
    if message.opcode() != dns.opcode.UPDATE:
        return ()
    return tuple(
        Record(
            fold(rrset.name.to_wire() or b""), int(rrset.rdtype), int(rrset.deleting or rrset.rdclass), rrset.ttl,
            (rrset[0].to_wire() or b"") if len(rrset) else b"",
        )
        for rrset in message.sections[section]
    )  # fmt: skip


def verified(packet: bytes, key: dns.tsig.Key | None, request_mac: bytes) -> dns.message.Message | None:
    """A reply to what we have asked; None when it is none, or when its signature does not hold."""
    try:
        message = dns.message.from_wire(packet, keyring=key, request_mac=request_mac)
    except (dns.exception.DNSException, ValueError):
        return None
    return message if key is None or message.had_tsig else None


def _unchecked(packet: bytes) -> dns.message.Message:
    try:
        return dns.message.from_wire(packet, keyring=lambda message, name: False, one_rr_per_rrset=True)
    except (dns.exception.DNSException, ValueError):
        raise NotARequest from None


def _signer(
    message: dns.message.Message, keys: Mapping[dns.name.Name, dns.tsig.Key], error: int
) -> Signer | None:
    if message.tsig is None:
        return None
    signed: Any = message.tsig[0]
    key = keys.get(message.tsig.name) or dns.tsig.Key(message.tsig.name, b"", signed.algorithm)
    return Signer(key, message.id, signed.mac, error)


def _serial(message: dns.message.Message) -> int | None:
    """Of the SOA in the authority section (IXFR) or the answer section (NOTIFY)."""
    for rrset in (*message.authority, *message.answer):
        if rrset.rdtype == dns.rdatatype.SOA and len(rrset):
            soa: Any = rrset[0]
            return int(soa.serial)
    return None


def _end_of_question(packet: bytes) -> int:
    """Where the first question ends; its name is whole, as a first name must be."""
    at = 12
    while packet[at] and packet[at] < 64:
        at += 1 + packet[at]
    if packet[at]:
        raise NotARequest
    return at + 5


def _tsig(  # noqa: PLR0913, PLR0917 - the fields of the record
    key: dns.tsig.Key, now: int, mac: bytes, query_id: int, error: int, other: bytes
) -> dns.rdtypes.ANY.TSIG.TSIG:
    return dns.rdtypes.ANY.TSIG.TSIG(
        dns.rdataclass.ANY, dns.rdatatype.TSIG, key.algorithm, now, FUDGE, mac, query_id, error, other
    )


def _with(message: bytes, owner: dns.name.Name, signed: dns.rdtypes.ANY.TSIG.TSIG) -> bytes:
    """The message with the record behind it."""
    rdata = signed.to_wire() or b""
    head = (owner.to_wire() or b"") + rrtype.TSIG.to_bytes(2) + rrtype.ANY_CLASS.to_bytes(2) + bytes(4)
    records = int.from_bytes(message[_ADDITIONAL]) + 1
    return message[:10] + records.to_bytes(2) + message[12:] + head + len(rdata).to_bytes(2) + rdata
