"""Where operators connect: the control socket, and the TCP address if there is one.

In every turn of the loop one connection at most has octets read into a request.  A client that keeps us waiting, be it
for its request or to take its reply, holds a slot only as long as nobody else needs one: ``admission`` says who goes.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network
from typing import Any

from dnslb.admin.api import Api
from dnslb.admin.certificate import Certificate
from dnslb.admin.connection import PATIENCE, Common, Connection, source_of, user_of
from dnslb.admin.exchange import Refusal
from dnslb.admin.guard import Guard
from dnslb.admin.render_queue import Dropped
from dnslb.admin.stream import PlainStream, Stream, TlsStream
from dnslb.control.operations import Operations

_PAUSE = 1.0           # seconds from a connection that could not be accepted to the next
_QUIET = 60.0          # seconds from one line of the log about that to the next
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # at accept; else the client has left already

_log = logging.getLogger("dnslb")


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket where operators come in."""

    sock: socket.socket
    guard: Guard | None = None  # None: whoever can connect may do everything
    certificate: Certificate | None = None  # None: without TLS
    watch: Callable[[], Coroutine[Any, Any, None]] | None = None  # renews the certificate until cancelled


async def serve(listeners: Iterable[Listener], operations: Operations) -> None:
    """Accept operators on all listeners until cancelled."""
    refused = Counter[Refusal]()
    async with asyncio.TaskGroup() as group:
        for listener in listeners:
            # Queues of its own: a crowd over TCP keeps no command waiting.
            group.create_task(_Acceptor(listener, Api(operations, refused)).run())
            if listener.watch is not None:
                group.create_task(listener.watch())


class _Acceptor:
    """Accepts operators on one listener."""

    def __init__(self, listener: Listener, api: Api) -> None:
        self._sock = listener.sock
        self._common = Common(api, listener.guard, certificate=listener.certificate)
        self._connections: set[asyncio.Task[None]] = set()
        self._quiet = 0.0  # until then the log is not told again that nobody can be let in

    async def run(self) -> None:
        """Accept connections until cancelled."""
        try:
            while True:
                self._let_in(await self._accept())
                # Lest it loses its slot to the next before its request was read, which may have come already.
                await asyncio.sleep(0)
                await self._common.wait_to_read()
        finally:
            self._sock.close()
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await self._common.api.stop()

    async def _accept(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(self._sock)
            except OSError as error:
                is_ours = error.errno in _OURS
                if is_ours and loop.time() >= self._quiet:
                    reason = (error.strerror or str(error)).lower()
                    _log.error("no operator can be let in: %s; it is tried again every second", reason)
                    self._quiet = loop.time() + _QUIET
                await asyncio.sleep(_PAUSE if is_ours else 0)
            else:
                return sock

    def _let_in(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            client = _client(sock)
        except OSError:  # it has left
            sock.close()
            return
        task = loop.create_task(self._serve(sock, client))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        task.add_done_callback(lambda _: sock.close())

    async def _serve(self, sock: socket.socket, client: Hashable) -> None:
        task, now = asyncio.current_task(), asyncio.get_running_loop().time()
        if task is None:
            raise RuntimeError("a connection is a task")

        def evict() -> None:
            self._common.api.refused[Refusal.EVICTED] += 1
            task.cancel()

        slot = self._common.admission.admit(client, evict, now)
        try:
            with suppress(OSError, Dropped):  # it has left, or is too slow
                await Connection(await self._stream(sock), sock, slot, self._common).run()
        finally:
            self._common.admission.release(slot)


    async def _stream(self, sock: socket.socket) -> Stream:
        """Raises OSError; also when a client does not shake hands in time."""
        if self._common.certificate is None:
            return PlainStream(sock)
        stream = TlsStream(sock, self._common.certificate.context)
        try:
            async with asyncio.timeout(PATIENCE):
                await stream.shake_hands(self._common.shaking)
        except TimeoutError:
            self._common.api.refused[Refusal.SLOW] += 1
            raise
        return stream


def _client(sock: socket.socket) -> str:
    """Who counts as one: a user of this machine, an IPv4 address, or an IPv6 network, whose owner has all of it."""
    if (user := user_of(sock)) is not None:
        return f"user {user}"
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    address = source_of(sock)
    return str(ip_network((address, 64), strict=False) if isinstance(address, IPv6Address) else address)
