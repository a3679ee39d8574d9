"""DNS over TCP: messages behind two octets of length, pipelined, in order (RFC 7766).

Every connection is bounded: in idle time, in what it may leave unread, and in number, in all and for each client.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from socket import AF_INET, AF_INET6
from sys import byteorder

from dnslb.dns.kind import HEAD, NO_REPLY
from dnslb.serve.bugs import Bugs
from dnslb.serve.heads import Heads

_IN_A_ROW = 64     # queries of one connection before the others, UDP and the parent have their turn
_UNREAD = 1 << 16  # octets of replies that a client may leave unread before we stop reading its queries


@dataclass(slots=True)
class Limits:
    """The connections of one worker, and how many there may be."""

    connections: int  # open at once, in all
    per_client: int   # from one IPv4 address or IPv6 /64
    idle: float       # seconds without a whole query after which a connection is closed
    open: set[Connection] = field(default_factory=set)
    clients: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    rejected: int = 0

    def admits(self, client: str) -> bool:
        return len(self.open) < self.connections and self.clients[client] < self.per_client

    def enter(self, connection: Connection, client: str) -> None:
        self.open.add(connection)
        self.clients[client] += 1
        self.accepted += 1

    def leave(self, connection: Connection, client: str) -> None:
        self.open.remove(connection)
        self.clients[client] -= 1
        if not self.clients[client]:
            del self.clients[client]


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(
        self,
        respond: Callable[[bytes, bytes], bytes | None],
        limits: Limits,
        bugs: Bugs,
        heads: Heads,
    ) -> None:
        self._respond = respond
        self._limits = limits
        self._bugs = bugs
        self._heads = heads
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._reading = True   # whether the client reads what it gets
        self._waiting = False  # whether others have their turn
        self._ended = False    # whether the last query that we take has come
        self._client: str | None = None
        self._address = b""
        self._active = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a TCP transport is needed")
        self._transport = transport
        peer = transport.get_extra_info("peername")
        client = _network(peer)
        if client is None or not self._limits.admits(client):
            self._limits.rejected += client is not None
            transport.abort()
            return
        self._client, self._address = client, _socket_address(*peer[:2])
        self._limits.enter(self, client)
        transport.set_write_buffer_limits(_UNREAD)
        self._timer = self._loop.call_later(self._limits.idle, self._close_when_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._client is not None:
            self._limits.leave(self, self._client)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._answer()

    def eof_received(self) -> bool:
        # The client may have closed its side only: it still gets its replies.
        self._ended = True
        self._answer()
        return not self._transport.is_closing()

    def pause_writing(self) -> None:
        self._reading = False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._reading = True
        if not self._waiting:
            self._go_on()

    def close_when_sent(self) -> None:
        """Take no more queries; end when those that came are answered and the client has the replies."""
        self._ended = True
        self._transport.pause_reading()
        self._answer()

    def _go_on(self) -> None:
        self._waiting = False
        if self._reading and not self._ended:
            self._transport.resume_reading()
        self._answer()

    def _answer(self) -> None:
        """Answer every whole query received, some at a time, as long as the client reads what it gets."""
        if self._waiting:
            return
        received = self._received
        at = 0
        for _ in range(_IN_A_ROW):
            # A write to a connection that the client has reset would be logged.
            if not self._reading or self._transport.is_closing() or len(received) < at + 2:
                break
            end = at + 2 + (received[at] << 8 | received[at + 1])
            if len(received) < end:
                break
            packet = bytes(received[at + 2 : end])
            at = end
            try:
                reply = self._respond(packet, self._address)
            except Exception:  # our bug: the loop goes on
                self._bugs.report(packet)
                reply = None
            self._heads.note([int.from_bytes(NO_REPLY if reply is None else reply[HEAD], byteorder)])
            if reply is not None:
                self._transport.write(len(reply).to_bytes(2) + reply)
        else:
            self._waiting = True
            self._transport.pause_reading()
            self._loop.call_soon(self._go_on)
        if at:
            del received[:at]
            self._active = self._loop.time()
        if self._ended and self._reading and not self._waiting:
            self._transport.close()

    def _close_when_idle(self) -> None:
        left = self._active + self._limits.idle - self._loop.time()
        if left <= 0:
            self._transport.abort()
        else:
            self._timer = self._loop.call_later(left, self._close_when_idle)


def _network(peer: tuple[str, int] | None) -> str | None:
    """What counts as one client: an IPv4 address, an IPv6 /64; None when it has gone already."""
    if peer is None:
        return None
    address = ip_address(peer[0].partition("%")[0])
    return str(address) if address.version == 4 else address.exploded[:19]


def _socket_address(host: str, port: int) -> bytes:
    """As the system gives it for UDP: struct sockaddr_in or sockaddr_in6."""
    address = ip_address(host.partition("%")[0])
    family = AF_INET if address.version == 4 else AF_INET6
    flow = b"" if address.version == 4 else bytes(4)
    return family.to_bytes(2, byteorder) + port.to_bytes(2) + flow + address.packed
