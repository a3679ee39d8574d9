"""Questions to other nameservers over UDP, many at a time, with a reply or none for each."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from secrets import randbelow
from typing import Any

import dns.name
import dns.tsig

from dnslb.config.nameserver import Nameserver
from dnslb.dns import rrtype
from dnslb.transfer.tsig import Signer, verified

_IDS = 1 << 16
_ONE = (1).to_bytes(2)


class Exchange(asyncio.DatagramProtocol):
    """One socket for each IP version, bound to the address by which secondaries know us."""

    def __init__(self, keys: Mapping[dns.name.Name, dns.tsig.Key]) -> None:
        self.keys = keys
        self._transports: dict[int, asyncio.DatagramTransport] = {}
        self._waiting: dict[tuple[str, int, int], asyncio.Future[bytes]] = {}
        # One question a turn of the loop, which reads between: replies to a thousand at once would overflow the socket.
        self._sending = asyncio.Lock()

    async def open(self, sources: Mapping[int, IPv4Address | IPv6Address | None]) -> None:
        """``sources``: our address by IP version; None: what the system takes.  One that cannot be had is left out."""
        loop = asyncio.get_running_loop()
        for version, source in sources.items():
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            any_address = "0.0.0.0" if version == 4 else "::"
            local = (any_address if source is None else str(source), 0)
            with suppress(OSError):
                transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=local, family=family)
                self._transports[version] = transport

    def close(self) -> None:
        for transport in self._transports.values():
            transport.close()

    async def ask(self, to: Nameserver, opcode: int, question: bytes, answer: bytes, timeout: float) -> Any:
        """The reply to one question, or to a NOTIFY with a record in its answer section; its signature holds.

        Raises TimeoutError when none comes, OSError when none can.
        """
        transport = self._transports.get(to.address.version)
        if transport is None:
            raise OSError(f"there is no socket for IPv{to.address.version}")
        key = None if to.key is None else self.keys[dns.name.from_text(to.key)]
        where = self._place(to)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[where] = future
        try:
            async with self._sending:
                packet, mac = _packet(key, opcode, where[2], question, answer)
                transport.sendto(packet, (str(to.address), to.port))
                await asyncio.sleep(0)
            async with asyncio.timeout(timeout):
                while True:
                    reply = verified(await future, key, mac)
                    # One that is forged or of another question leaves us waiting for the right one.
                    if reply is not None and int(reply.opcode()) == opcode:
                        return reply
                    future = self._waiting[where] = asyncio.get_running_loop().create_future()
        finally:
            self._waiting.pop(where, None)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if len(data) < 12 or not data[2] & 0x80:
            return
        future = self._waiting.get((str(ip_address(addr[0].partition("%")[0])), addr[1], int.from_bytes(data[:2])))
        if future is not None and not future.done():
            future.set_result(data)

    def _place(self, to: Nameserver) -> tuple[str, int, int]:
        """Where the reply will be looked for: nobody else waits there."""
        while True:
            place = (str(to.address), to.port, randbelow(_IDS))
            if place not in self._waiting:
                return place


def own_addresses(hosts: Iterable[str]) -> dict[int, IPv4Address | IPv6Address | None]:
    """By which other nameservers know us: the first that is listened on, of each IP version."""
    found: dict[int, IPv4Address | IPv6Address | None] = {}
    for host in hosts:
        address = ip_address(host.partition("%")[0])
        found.setdefault(address.version, None if address.is_unspecified else address)
    return {4: None, 6: None} | found


def _packet(
    key: dns.tsig.Key | None, opcode: int, query_id: int, question: bytes, answer: bytes
) -> tuple[bytes, bytes]:
    """A question, and its signature."""
    flags = opcode << 11 | (0x0400 if opcode == rrtype.NOTIFY else 0)  # NOTIFY has AA (RFC 1996 §3.3)
    records = _ONE if answer else bytes(2)
    packet = b"".join((query_id.to_bytes(2), flags.to_bytes(2), _ONE, records, bytes(4), question, answer))
    if key is None:
        return packet, b""
    signer = Signer(key, query_id, b"")
    return signer.sign(packet), signer.mac
