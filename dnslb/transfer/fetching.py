"""A zone is fetched from a primary over TCP: one question, and the records of the messages that come, verified."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from secrets import randbelow
from typing import Any, NamedTuple

import dns.exception
import dns.message
import dns.name
import dns.rdataclass
import dns.tsig

from dnslb.config.nameserver import Nameserver
from dnslb.dns import rrtype
from dnslb.dns.name import Name, fold
from dnslb.transfer.receipt import Broken, Record
from dnslb.transfer.tsig import Signer

_CONNECTING = 5.0   # seconds
_SILENCE = 20.0     # seconds from one message to the next
_LONGEST = 3600.0   # seconds of a whole transfer
_UNSIGNED = 99      # messages in a row without a signature (RFC 8945 §5.3.1)
_RCODE = 0x000F
_HEADER = 12


class Part(NamedTuple):
    """One message."""

    records: list[Record]
    is_verified: bool  # with all before it: by a signature of its own, if there must be one


async def fetch(
    primary: Nameserver, apex: Name, held: bytes | None, keys: Mapping[dns.name.Name, dns.tsig.Key]
) -> AsyncGenerator[Part, None]:
    """One message after the other, without end: the caller knows when all has come.

    ``held``: the data of the SOA that we have; None: the whole zone is wanted.  Raises Broken, OSError, TimeoutError.
    """
    key = None if primary.key is None else keys[dns.name.from_text(primary.key)]
    packet, mac = _question(apex, held, key)
    async with asyncio.timeout(_LONGEST), _connected(primary) as (reader, writer):
        writer.write(len(packet).to_bytes(2) + packet)
        messages = _Messages(packet, key, mac)
        while True:
            async with asyncio.timeout(_SILENCE):
                octets = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
            yield Part(list(messages.read(octets)), messages.is_verified)


@asynccontextmanager
async def _connected(primary: Nameserver) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with asyncio.timeout(_CONNECTING):
        reader, writer = await asyncio.open_connection(str(primary.address), primary.port)
    try:
        yield reader, writer
    except asyncio.IncompleteReadError:
        raise Broken("it ends the connection before the end of the zone") from None
    finally:
        writer.transport.abort()


def _question(apex: Name, held: bytes | None, key: dns.tsig.Key | None) -> tuple[bytes, bytes]:
    """The packet, and its signature."""
    kind = rrtype.AXFR if held is None else rrtype.IXFR
    query_id = randbelow(1 << 16)
    counts = (1, 0, 0 if held is None else 1, 0)
    packet = b"".join((
        query_id.to_bytes(2), bytes(2), *(count.to_bytes(2) for count in counts),
        apex, kind.to_bytes(2), rrtype.IN.to_bytes(2),
    ))  # fmt: skip
    if held is not None:
        # The SOA stands in the authority section (RFC 1995 §3).
        head = b"\xc0\x0c" + rrtype.SOA.to_bytes(2) + rrtype.IN.to_bytes(2) + bytes(4)
        packet += head + len(held).to_bytes(2) + held
    if key is None:
        return packet, b""
    signer = Signer(key, query_id, b"")
    return signer.sign(packet), signer.mac


class _Messages:
    """Reads the messages of one reply, each of which is signed over those before it (RFC 8945 §5.3.1)."""

    def __init__(self, question: bytes, key: dns.tsig.Key | None, mac: bytes) -> None:
        self._question = question
        self._key = key
        self._mac = mac
        self._context: Any = None
        self._unsigned = 0

    def read(self, octets: bytes) -> Iterator[Record]:
        """The records of the next message.  Raises Broken."""
        if len(octets) < _HEADER or octets[:2] != self._question[:2] or not octets[2] & 0x80:
            raise Broken("it sends what is no reply")
        rcode = int.from_bytes(octets[2:4]) & _RCODE
        if rcode:
            raise Broken(f"it answers {rrtype.RCODES.get(rcode, f'RCODE{rcode}')}")
        message = self._parsed(octets)
        self._unsigned = 0 if message.had_tsig else self._unsigned + 1
        if self._key is not None and (message.tsig_ctx is None or self._unsigned > _UNSIGNED):
            raise Broken("what it sends is not signed")
        self._context = message.tsig_ctx
        for question in message.question:
            if fold(question.name.to_wire() or b"") != _name(self._question):
                raise Broken(f"it answers for {question.name}")
        for rrset in message.answer:
            if rrset.rdclass != dns.rdataclass.IN:
                raise Broken("it sends a record that is not of class IN")
            owner, kind = fold(rrset.name.to_wire() or b""), int(rrset.rdtype)
            for rdata in rrset:
                yield Record(owner, kind, rrset.ttl, rdata.to_wire() or b"")

    @property
    def is_verified(self) -> bool:
        """Whether all messages up to now are."""
        return self._key is None or not self._unsigned

    def _parsed(self, octets: bytes) -> dns.message.Message:
        keyring = {} if self._key is None else {self._key.name: self._key}
        try:
            return dns.message.from_wire(
                octets, keyring=keyring, request_mac=self._mac, tsig_ctx=self._context, multi=True,
                one_rr_per_rrset=True,
            )  # fmt: skip
        except dns.tsig.BadTime:
            raise Broken("its clock and ours differ by more than five minutes") from None
        except (dns.message.UnknownTSIGKey, dns.tsig.BadSignature, dns.tsig.BadAlgorithm, dns.tsig.PeerError):
            raise Broken("its signature does not hold") from None
        except (dns.exception.DNSException, ValueError):
            raise Broken("it sends a message that cannot be read") from None


def _name(packet: bytes) -> Name:
    end = packet.index(b"\0", _HEADER) + 1
    return packet[_HEADER:end]


def told(error: BaseException) -> str:
    """Why a transfer has failed, for the log."""
    match error:
        case TimeoutError():
            return "it does not answer"
        case OSError():
            return (os.strerror(error.errno) if error.errno else str(error)).lower()
        case _:
            return str(error)

