"""Backends that behave well or badly, on real sockets of the loopback."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import TypeAlias, cast

import trustme

HOME = "127.0.1.11"
_FOREVER = 3600.0  # seconds

Behaviour: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(behaviour: Behaviour, home: str = HOME, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that treats each connection so; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await behaviour(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, home, 0, ssl=tls, limit=1 << 20)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def full_backlog(home: str = HOME) -> AsyncIterator[int]:
    """A port whose queue of connections is full: the next connection gets no answer."""
    with socket.create_server((home, 0), backlog=0) as server:
        others = [socket.socket() for _ in range(4)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(server.getsockname())
        yield server.getsockname()[1]
        for other in others:
            other.close()


def closed_port(home: str = HOME) -> int:
    """A port that nobody listens on: below the ephemeral range, so that nobody will be given it."""
    for port in range(20000, 30000):
        with socket.socket(socket.AF_INET6 if ":" in home else socket.AF_INET) as probe:
            if probe.connect_ex((home, port)):
                return port
    raise RuntimeError("every port is taken")


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(_FOREVER)


async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def closing_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Half-closes, so that what the client still sends cannot turn it into a reset."""
    writer.write_eof()
    await reader.read()


async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    _reset(writer)


async def _send_and_reset(begin: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(begin)
    await asyncio.sleep(0.05)  # a reset overtakes what has not been read
    _reset(writer)


def sending_and_resetting(begin: bytes) -> Behaviour:
    return partial(_send_and_reset, begin)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _answer(response: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(response)
    await writer.drain()


def answering(response: bytes) -> Behaviour:
    """Sends the octets and closes."""
    return partial(_answer, response)


async def _answer_and_hold(response: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _answer(response, reader, writer)
    await asyncio.sleep(_FOREVER)


def holding(response: bytes) -> Behaviour:
    """Sends the octets, then neither goes on nor closes."""
    return partial(_answer_and_hold, response)


async def _drip(response: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for at in range(len(response)):
        writer.write(response[at : at + 1])
        await asyncio.sleep(0.1)


def dripping(response: bytes) -> Behaviour:
    """One octet at a time."""
    return partial(_drip, response)


async def _repeat(begin: bytes, more: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(begin)
    while not writer.is_closing():
        writer.write(more)
        await writer.drain()
        await asyncio.sleep(0)


def endless(begin: bytes, more: bytes) -> Behaviour:
    """Sends the beginning, then the rest again and again, as fast as it is read."""
    return partial(_repeat, begin, more)


@asynccontextmanager
async def datagrams(reply: Callable[[bytes], list[bytes]], home: str = HOME) -> AsyncIterator[int]:
    """A UDP server that answers a packet with packets; its port."""

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.DatagramTransport, transport)

        def datagram_received(self, packet: bytes, client: tuple[str, int]) -> None:
            for answer in reply(packet):
                self.transport.sendto(answer, client)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Server, local_addr=(home, 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


@cache
def authority() -> trustme.CA:
    return trustme.CA()


def authority_file(directory: Path) -> str:
    path = directory / "ca.pem"
    authority().cert_pem.write_to_path(path)
    return str(path)


def certified(*names: str, begins: timedelta = timedelta(-30), ends: timedelta = timedelta(30)) -> ssl.SSLContext:
    """For a server with a certificate by our authority, valid between the two times from now."""
    now = datetime.now(UTC)
    issued = authority().issue_cert(*names, not_before=now + begins, not_after=now + ends)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    return context


def self_signed(directory: Path) -> ssl.SSLContext:
    """For a server with a certificate by nobody else."""
    path = directory / "self-signed.pem"
    itself = trustme.CA()
    itself.private_key_pem.write_to_path(path)
    itself.cert_pem.write_to_path(path, append=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
