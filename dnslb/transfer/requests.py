"""The requests that workers leave to us: connections and packets of secondaries, and of who would like to be one."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from time import monotonic

import dns.name
import dns.tsig

from dnslb.dns import rrtype
from dnslb.dns.name import Name
from dnslb.ipc.forwarding import Forwarding, Inlet, Packet
from dnslb.ipc.handover import ConnectionState, Handover
from dnslb.transfer import tsig
from dnslb.transfer.answering import Answered, Zones, answer
from dnslb.transfer.conversation import converse
from dnslb.transfer.refusals import Refusals
from dnslb.transfer.tsig import NotARequest, Request
from dnslb.transfer.updating import Updating, malformed

_MOST_OPEN = 200         # connections at once
_MOST_PER_CLIENT = 20
_TURN = 20               # packets answered in one turn of the loop
_A_SECOND = 2000         # packets that are read: who makes signatures up costs 0.16 ms each, a third of a processor
_NAME_V4 = struct.Struct("=H2s4s")      # struct sockaddr_in: family, port, address
_NAME_V6 = struct.Struct("=H2s4s16sI")  # struct sockaddr_in6: the same, and the scope
_CMSG = struct.Struct("=QII")           # struct cmsghdr of Linux on 64 bits: length, level, type


class Requests:
    """They are answered from when ``begin`` is called until ``finish``."""

    def __init__(
        self,
        zones: Zones,
        keys: Mapping[dns.name.Name, dns.tsig.Key],
        udp: Sequence[socket.socket],
        notified: Callable[[Name, IPv4Address | IPv6Address], None],
        updating: Updating,
    ) -> None:
        """``udp``: the sockets by which packets are answered, in the order of the endpoints.

        ``notified`` is told when a primary says that a zone has changed.
        """
        self._zones = zones
        self._notified = notified
        self._updating = updating
        self._keys = keys
        self._udp = udp
        self._open: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusals = Refusals()
        self._inlet: Inlet | None = None
        self._second, self._read = 0.0, 0  # when the present one began, and packets in it

    def begin(self, inlet: Inlet) -> None:
        loop = asyncio.get_running_loop()
        self._inlet = inlet
        loop.add_reader(inlet.connections.exit, self._take_connection, inlet.connections)
        loop.add_reader(inlet.packets.exit, self._take_packets, inlet.packets)

    async def finish(self, seconds: float) -> None:
        """Take nothing new; what is under way has so long to end."""
        if self._inlet is not None:
            for end in (self._inlet.connections.exit, self._inlet.packets.exit):
                asyncio.get_running_loop().remove_reader(end)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    def _take_connection(self, connections: Handover) -> None:
        """Called in every round of the loop in which a worker has left a connection to us."""
        with suppress(BlockingIOError):
            taken = connections.take()
            if taken is not None:
                self._go_on(*taken)

    def _go_on(self, sock: socket.socket, state: ConnectionState) -> None:
        try:
            client = str(sock.getpeername()[0]).partition("%")[0]
        except OSError:  # it has left
            sock.close()
            return
        if self._open.total() >= _MOST_OPEN or self._open[client] >= _MOST_PER_CLIENT:
            sock.close()
            return
        self._open[client] += 1
        self._keep(self._converse(sock, state, client))

    async def _converse(self, sock: socket.socket, state: ConnectionState, client: str) -> None:
        address = ip_address(client)
        async def answer(packet: bytes) -> Answered | None:
            answered = self._answer(packet, address, over_tcp=True)
            return await self._update(answered, address) if isinstance(answered, Request) else answered

        try:
            await converse(sock, state, answer)
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]

    def _take_packets(self, packets: Forwarding) -> None:
        """Called in every round of the loop in which a worker has left packets to us."""
        for _ in range(_TURN):
            packet = packets.take()
            if packet is None:
                return
            if not self._admits(monotonic()):
                continue  # whoever means it comes again, or over TCP
            client = ip_address(_client(packet.name)[0])
            answered = self._answer(packet.octets, client, over_tcp=False)
            if isinstance(answered, Request):
                self._keep(self._update_by_packet(answered, client, packet))
            elif answered is not None:
                self._send(answered, packet)

    def _admits(self, now: float) -> bool:
        """Whether there is time for one more packet in this second."""
        if now - self._second >= 1.0:
            self._second, self._read = now, 0
        self._read += 1
        return self._read <= _A_SECOND

    async def _update_by_packet(self, request: Request, client: IPv4Address | IPv6Address, packet: Packet) -> None:
        self._send(await self._update(request, client), packet)

    def _send(self, answered: Answered, packet: Packet) -> None:
        """To whom the packet came from."""
        sock, control, client = self._udp[packet.number], _ancillary(packet.control), _client(packet.name)
        for message in answered.messages:
            with suppress(OSError):  # UDP promises nothing
                sock.sendmsg([message], control, socket.MSG_DONTWAIT, client)

    async def _update(self, request: Request, client: IPv4Address | IPv6Address) -> Answered:
        answered = await self._updating.answer(request)
        if answered.refused:
            self._refusals.tell(str(client), answered.refused, "an update")
        return answered

    def _keep(self, work: Coroutine[object, object, None]) -> None:
        """Until it is done."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _answer(
        self, packet: bytes, client: IPv4Address | IPv6Address, *, over_tcp: bool
    ) -> Answered | Request | None:
        """An update comes back as it was read: its answer takes a while."""
        try:
            request = tsig.read(packet, self._keys)
        except NotARequest:
            return malformed(packet)
        if request.opcode == rrtype.UPDATE:
            return request
        answered = answer(request, client, self._zones, over_tcp=over_tcp)
        if answered.is_news:
            self._notified(request.name, client)
        if answered.refused:
            self._refusals.tell(str(client), answered.refused)
        return answered


def _client(sockaddr: bytes) -> tuple[str, int] | tuple[str, int, int, int]:
    """Whom a packet came from, as the socket module wants it."""
    family, port, rest = _NAME_V4.unpack_from(sockaddr)
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, rest), int.from_bytes(port)
    _, _, _, address, scope = _NAME_V6.unpack_from(sockaddr)
    return socket.inet_ntop(socket.AF_INET6, address), int.from_bytes(port), 0, scope


def _ancillary(control: bytes) -> list[tuple[int, int, bytes]]:
    """What makes a reply come from the address that was asked, on a socket of all addresses."""
    length, level, kind = _CMSG.unpack_from(control)
    return [(level, kind, control[_CMSG.size : length])] if _CMSG.size < length <= len(control) else []
