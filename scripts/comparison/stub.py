"""A stub resolver: asks a chosen resolver over UDP, and gives the addresses in the order in which they came.

How long an answer is held is the client's choice, as it is in life: not at all (glibc: a look-up for every
connection, cached by the resolver only), for its TTL (nscd, systemd-resolved), or for a fixed time (browsers, Java).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from random import Random
from socket import inet_ntoa
from struct import Struct
from typing import cast

TRY = 1.0       # seconds that an answer is waited for
TRIES = 2

HEADER = 12         # octets
RECORD = Struct("!HHIH")    # type, class, TTL, length
POINTER = 0xC0
A, IN, SERVFAIL = 1, 1, 2


class LookupFailedError(Exception):
    """No address: no answer in time, or one without an address.  The text is the reason, in one word."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Answer:
    addresses: tuple[str, ...]
    ttl: int


class Resolver(asyncio.DatagramProtocol):
    """A socket that is connected to one resolver, for any number of clients."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        # Any, as all clients send since 2008: unbound rotates a whole RRset by the query's id.
        self._rng = Random()
        self._questions: dict[str, bytes] = {}
        self._transport: asyncio.DatagramTransport

    @classmethod
    async def open(cls, endpoint: Endpoint) -> Resolver:
        loop = asyncio.get_running_loop()
        _, resolver = await loop.create_datagram_endpoint(cls, remote_addr=(endpoint.address, endpoint.port))
        return resolver

    def close(self) -> None:
        self._transport.close()

    async def ask(self, name: str, tries: int = TRIES, patience: float = TRY) -> Answer:
        """The A records of the name; each try waits for ``patience`` seconds.  Raises LookupFailedError."""
        loop = asyncio.get_running_loop()
        if name not in self._questions:
            self._questions[name] = question(name)[2:]
        for _ in range(tries):
            number = self._free_id()
            waiter = self._waiting[number] = loop.create_future()
            self._transport.sendto(number.to_bytes(2) + self._questions[name])
            timer = loop.call_later(patience, give_up, waiter)
            try:
                return read(await waiter)
            except TimeoutError:
                continue
            finally:
                timer.cancel()
                del self._waiting[number]
        raise LookupFailedError("no-answer")

    def _free_id(self) -> int:
        while (number := self._rng.getrandbits(16)) in self._waiting:
            pass
        return number

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        waiter = self._waiting.get(int.from_bytes(data[:2]))
        if waiter and not waiter.done():
            waiter.set_result(data)

    def error_received(self, exc: Exception) -> None:
        """A dead resolver's port: the kernel tells at once; those who wait need not.  They try again after TRY."""


def give_up(waiter: asyncio.Future[bytes]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


def question(name: str) -> bytes:
    """A query packet for the A records of the name, which ends with a dot."""
    labels = b"".join(bytes([len(label)]) + label for label in name.encode().split(b"."))
    return bytes((0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)) + labels + bytes((0, A, 0, IN))


def read(packet: bytes) -> Answer:
    """The addresses in a reply to ``question``; LookupFailedError when it has none.

    By hand: a parser of whole messages takes longer than the look-up that is measured.
    """
    at = packet.index(0, HEADER) + 5
    addresses, ttls = [], []
    for _ in range(int.from_bytes(packet[6:8])):
        # A name is a pointer to the question's, or written out and then perhaps ends with one (RFC 1035 §4.1.4).
        while 0 < packet[at] < POINTER:
            at += 1 + packet[at]
        at += 2 if packet[at] else 1
        kind, _, ttl, length = RECORD.unpack_from(packet, at)
        at += RECORD.size + length
        ttls.append(ttl)
        if kind == A:
            addresses.append(inet_ntoa(packet[at - length:at]))
    if not addresses:
        raise LookupFailedError("servfail" if packet[3] & 0xF == SERVFAIL else "no-address")
    return Answer(tuple(addresses), min(ttls))


class Stub:
    """One client's view of names: a resolver, and what it holds itself."""

    def __init__(self, resolver: Resolver, hold: str | float) -> None:
        self._resolver = resolver
        self._hold = hold       # "none", "ttl", or seconds
        self._held: dict[str, tuple[float, tuple[str, ...]]] = {}

    async def addresses(self, name: str) -> tuple[str, ...]:
        """Raises LookupFailedError."""
        now = time.monotonic()
        held = self._held.get(name)
        if held and now < held[0]:
            return held[1]
        answer = await self._resolver.ask(name)
        if self._hold != "none":
            seconds = answer.ttl if self._hold == "ttl" else float(self._hold)
            self._held[name] = now + seconds, answer.addresses
        return answer.addresses
