"""A visitor's resolver: asks dnslb over UDP, and gives the addresses in the order in which they came."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from dnslb.dns import name, rrtype

_TRY = 1.0  # seconds that an answer is waited for
_TRIES = 2
_LARGEST = 4096
_HEADER = struct.Struct("!6H")   # id, flags, and the counts of the four sections (RFC 1035 §4.1.1)
_RECORD = struct.Struct("!2HIH")  # type, class, TTL, length of the rdata (RFC 1035 §4.1.3)
_POINTER = 0xC0
_A = 1


class LookupFailed(Exception):
    """No address: no answer in time, or one without an address."""


@dataclass(frozen=True, slots=True)
class Answer:
    addresses: tuple[str, ...]
    ttl: int


@dataclass(frozen=True, slots=True)
class Resolver:
    """Of a nameserver's address and port."""

    host: str
    port: int

    async def ask(self, owner: str) -> Answer:
        """The A records of the name.  Raises LookupFailed."""
        for _ in range(_TRIES):
            try:
                async with asyncio.timeout(_TRY):
                    return _read(await self._exchange(name.parse(f"{owner}.", name.ROOT)))
            except (OSError, TimeoutError):
                continue
        raise LookupFailed

    async def _exchange(self, owner: bytes) -> bytes:
        """The reply to the question for A."""
        loop, ident = asyncio.get_running_loop(), secrets.randbits(16)
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect((self.host, self.port))
            question = owner + struct.pack("!2H", _A, rrtype.IN)
            await loop.sock_sendall(sock, _HEADER.pack(ident, 0, 1, 0, 0, 0) + question)
            while True:
                packet = await loop.sock_recv(sock, _LARGEST)
                if len(packet) >= _HEADER.size and int.from_bytes(packet[:2]) == ident:
                    return packet


def _read(packet: bytes) -> Answer:
    """Raises LookupFailed when it has no address."""
    found = list(_addresses(packet))
    if not found:
        raise LookupFailed
    return Answer(tuple(address for address, _ in found), min(ttl for _, ttl in found))


def _addresses(packet: bytes) -> Iterator[tuple[str, int]]:
    """Each with its TTL.  The reply is dnslb's own: it is whole."""
    at = packet.index(0, _HEADER.size) + 5  # behind the question
    for _ in range(int.from_bytes(packet[6:8])):
        while 0 < packet[at] < _POINTER:
            at += 1 + packet[at]
        at += 2 if packet[at] else 1
        rtype, _, ttl, length = _RECORD.unpack_from(packet, at)
        at += _RECORD.size + length
        if rtype == _A:
            yield str(IPv4Address(packet[at - length : at])), ttl
