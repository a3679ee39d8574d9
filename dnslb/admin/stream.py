"""The octets of one connection of an operator: as they come, or over TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from contextlib import suppress
from typing import Protocol

_PLAIN_REPLY = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    b'{"error": "this address speaks TLS", "remedy": "ask by https://"}\n'
)


class NotTls(OSError):
    """The client does not speak TLS, or does not trust us."""


class Stream(Protocol):
    async def receive(self, most: int) -> bytes:
        """The octets that came next, at most so many; none at the end.  Raises OSError."""

    async def send(self, octets: memoryview) -> None:
        """Raises OSError."""

    async def finish(self) -> None:
        """Nothing more will be sent.  Raises OSError."""


class PlainStream:
    """Is ``Stream``, without encryption."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()

    async def receive(self, most: int) -> bytes:
        return await self._loop.sock_recv(self._sock, most)

    async def send(self, octets: memoryview) -> None:
        await self._loop.sock_sendall(self._sock, octets)

    async def finish(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)


class TlsStream:
    """Is ``Stream``, over TLS, once hands are shaken."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._plain = PlainStream(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def shake_hands(self, turns: asyncio.Lock) -> None:
        """Do the TLS handshake.  Raises NotTls and OSError.

        It costs more than all else that a stranger can ask for: in ``turns`` each step is followed by as long a pause.
        """
        while True:
            async with turns:
                began = time.monotonic()
                is_done = await self._step()
                await asyncio.sleep(time.monotonic() - began)
            await self._flush()
            if is_done:
                return
            await self._fill("the client has left during the TLS handshake")

    async def receive(self, most: int) -> bytes:
        while True:
            try:
                return self._tls.read(most)
            except ssl.SSLWantReadError:
                await self._flush()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as error:
                raise NotTls(_reason(error)) from None
            octets = await self._plain.receive(most)
            if not octets:
                return b""
            self._incoming.write(octets)

    async def send(self, octets: memoryview) -> None:
        if octets:  # to write nothing would be an error
            self._tls.write(octets)
        await self._flush()

    async def finish(self) -> None:
        with suppress(ssl.SSLError):  # it wants the client's last word too
            self._tls.unwrap()
        await self._flush()
        await self._plain.finish()

    async def _step(self) -> bool:
        """Whether the handshake is over.  Raises NotTls and OSError."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            with suppress(OSError):
                # What tells the client why.
                await self._flush()
                if error.reason == "HTTP_REQUEST":
                    await self._plain.send(memoryview(_PLAIN_REPLY))
            raise NotTls(_reason(error)) from None
        return True

    async def _fill(self, otherwise: str) -> None:
        octets = await self._plain.receive(4096)
        if not octets:
            raise NotTls(otherwise)
        self._incoming.write(octets)

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._plain.send(memoryview(self._outgoing.read()))


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "broken").lower().replace("_", " ")
