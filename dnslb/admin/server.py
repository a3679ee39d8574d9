"""HTTP/1.1 on the control socket and on the TCP address: requests in, replies out, whatever the client does.

h11 knows the protocol; here are the sockets, the bounds and the clock.  What a request means, ``api`` knows; who may
stay, ``admission``.

In every turn of the loop one connection at most has octets read into a request.  A client that keeps us waiting, be it
for its request or to take its reply, holds a slot only as long as nobody else needs one.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
from collections import Counter
from collections.abc import Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address, ip_network

import h11

from dnslb.admin import api as answering
from dnslb.admin.admission import Admission, Slot
from dnslb.admin.api import Api, Refusal, Reply, Request, failure, respond
from dnslb.admin.guard import Guard, has_wrong_token, known_by, refusal
from dnslb.admin.render_queue import Dropped
from dnslb.admin.throttle import Throttle
from dnslb.control.operations import Operations

MOST_BODY = 64 << 10   # octets
MOST_HEADER = 16 << 10
PATIENCE = 5.0         # seconds for a client to send a request, or to take a piece of a reply
LONGEST = 30.0         # seconds for a client to take a reply
_PIECE = 64 << 10      # octets of a reply that are written at once
_CHUNK = 4 << 10       # octets read at once: also what a header may be over its bound
_MOST_CHUNKS = 256     # of a body: each costs more than its octets
_PARTING = 1.0         # seconds to take what a client still sends, lest it lose the reply
_PAUSE = 1.0           # seconds from a connection that could not be accepted to the next
_QUIET = 60.0          # seconds from one line of the log about that to the next
_CREDENTIALS = struct.Struct("3i")  # of a peer on a Unix socket: process, user, group (unix(7))
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # at accept; else the client has left already

_log = logging.getLogger("dnslb")


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket where operators come in."""

    sock: socket.socket
    guard: Guard | None = None  # None: whoever can connect may do everything


class _TooLarge(Exception):
    """The body of the request."""


async def serve(listeners: Iterable[Listener], operations: Operations) -> None:
    """Let operators in, until cancelled."""
    refused = Counter[Refusal]()
    async with asyncio.TaskGroup() as group:
        for listener in listeners:
            # Lines of its own: a crowd over TCP keeps no command waiting.
            group.create_task(_Acceptor(listener, Api(operations, refused)).keep())


class _Acceptor:
    """Keeps one listener."""

    def __init__(self, listener: Listener, api: Api) -> None:
        self.guard = listener.guard
        self.api = api
        self.admission = Admission()
        self.throttle = Throttle()
        self._sock = listener.sock
        self._reading = asyncio.Lock()
        self._connections: set[asyncio.Task[None]] = set()
        self._quiet = 0.0  # until then the log is not told again that nobody can be let in

    async def keep(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._let_in(await self._accept())
                # Lest it loses its slot to the next before its request was read, which may have come already.
                await asyncio.sleep(0)
                await self.turn()
        finally:
            self._sock.close()
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await self.api.stop()

    async def turn(self) -> None:
        """Wait for the turn to read: one connection has it in a turn of the loop."""
        async with self._reading:
            await asyncio.sleep(0)

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
            self.api.refused[Refusal.EVICTED] += 1
            task.cancel()

        slot = self.admission.admit(client, evict, now)
        try:
            with suppress(OSError, Dropped):  # it has left, or is too slow
                await _Connection(sock, slot, self).run()
        finally:
            self.admission.release(slot)


class _Connection:
    """One connection."""

    def __init__(self, sock: socket.socket, slot: Slot, acceptor: _Acceptor) -> None:
        self._sock = sock
        self._slot = slot
        self._acceptor = acceptor
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEADER)
        self._method = ""  # of the request, once it is known

    async def run(self) -> None:
        """Answer requests until the client leaves or misbehaves."""
        while await self._exchange():
            self._slot.since = self._loop.time()
            await self._acceptor.turn()

    async def _exchange(self) -> bool:
        """Answer one request; whether another may follow."""
        try:
            async with asyncio.timeout(PATIENCE):
                request = await self._request()
        except TimeoutError:
            if self._http.their_state is h11.IDLE and not self._http.trailing_data[0]:
                return False  # it has asked nothing more
            self._acceptor.api.refused[Refusal.SLOW] += 1
            reply = failure(408, f"the request was not complete within {PATIENCE:g} s", "send it at once")
        except _TooLarge:
            reply = failure(413, f"the body is longer than {MOST_BODY} octets", "send less, in few chunks")
        except h11.RemoteProtocolError as error:
            reply = failure(error.error_status_hint, f"this is no HTTP/1.1 request: {error}", "mend the client")
        else:
            if request is None:
                return False
            await self._send(await self._safely(request))
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return False
            self._http.start_next_cycle()
            return True
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send(reply)
            await self._part()
        return False

    async def _request(self) -> Request | None:
        """The next request; None when the client has left."""
        head: h11.Request | None = None
        body, chunks = bytearray(), 0
        self._method = ""
        while True:
            event = self._http.next_event()
            match event:
                case h11.NEED_DATA:
                    if self._http.they_are_waiting_for_100_continue:
                        await self._write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
                    octets = await self._loop.sock_recv(self._sock, _CHUNK)
                    await self._acceptor.turn()
                    self._http.receive_data(octets)
                case h11.Request():
                    head, self._method = event, event.method.decode()
                case h11.Data():
                    body += event.data
                    chunks += 1
                    if len(body) > MOST_BODY or chunks > _MOST_CHUNKS:
                        raise _TooLarge
                case h11.EndOfMessage() if head is not None:
                    headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
                    target, client, user = head.target.decode(), self._slot.client, _user(self._sock)
                    return Request(self._method, target, bytes(body), headers, client, user=user)
                case _:
                    return None

    async def _safely(self, request: Request) -> Reply:
        try:
            return await self._answer(request)
        except Exception:
            _log.exception("a bug in dnslb: please report it with this request: %s %s", request.method, request.target)
            return failure(500, "a bug in dnslb", "see the log of the server")

    async def _answer(self, request: Request) -> Reply:
        guard, api = self._acceptor.guard, self._acceptor.api
        if guard is not None:
            token = known_by(guard, request)
            request = replace(request, is_trusted=token is not None, token=None if token is None else token.name)
        refused = refusal(guard, request) if guard is not None else None
        if refused is not None:
            if has_wrong_token(refused):
                await self._delay_wrong_token()
            return refused
        work = answering.work(request)
        if work is None:
            return await respond(api, request)
        with self._acceptor.admission.at_work(self._slot, work) as may:
            return await respond(api, request) if may else api.busy()

    async def _delay_wrong_token(self) -> None:
        """Tell of the wrong token, and keep who sent it waiting: in a slot that goes to whoever needs it."""
        self._acceptor.api.refused[Refusal.TOKEN] += 1
        delay, told = self._acceptor.throttle.record_failure(self._slot.client, self._loop.time())
        if told:
            more = f" ({told - 1} more since the last such line)" if told > 1 else ""
            _log.warning("a wrong token from %s%s", self._slot.client, more)
        await asyncio.sleep(delay)

    async def _send(self, reply: Reply) -> None:
        self._slot.since = self._loop.time()
        size = len(reply.body) if reply.long is None else reply.long.size
        headers = [
            ("Content-Type", reply.content_type),
            ("Content-Length", str(size)),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *reply.headers,
        ]
        reason = HTTPStatus(reply.status).phrase
        octets = self._http.send(h11.Response(status_code=reply.status, reason=reason, headers=headers)) or b""
        try:
            async with asyncio.timeout(LONGEST):
                if self._method == "HEAD":
                    await self._write(octets)
                elif reply.long is None:
                    await self._write(octets + (self._http.send(h11.Data(data=reply.body)) or b""))
                else:
                    await self._write(octets)
                    number = 0
                    while (piece := reply.long.piece(number)) is not None:
                        await self._write(self._http.send(h11.Data(data=piece)))
                        number += 1
                await self._write(self._http.send(h11.EndOfMessage()))
        except (TimeoutError, Dropped):
            self._acceptor.api.refused[Refusal.SLOW] += 1
            raise

    async def _write(self, octets: bytes | None) -> None:
        """However long they are: to hand over too many at once would keep probes waiting."""
        whole = memoryview(octets or b"")
        for start in range(0, len(whole), _PIECE):
            async with asyncio.timeout(PATIENCE):
                await self._loop.sock_sendall(self._sock, whole[start : start + _PIECE])
            await asyncio.sleep(0)

    async def _part(self) -> None:
        """Close when the client has: what it goes on sending would else make the system drop our reply."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PARTING):
                self._sock.shutdown(socket.SHUT_WR)
                while await self._loop.sock_recv(self._sock, _CHUNK):
                    await self._acceptor.turn()


def _user(sock: socket.socket) -> int | None:
    """Who has connected, as the system knows; None when that was over TCP."""
    if sock.family != socket.AF_UNIX:
        return None
    _, user, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(user)


def _client(sock: socket.socket) -> str:
    """Who counts as one: a user of this machine, an IPv4 address, or an IPv6 network, whose owner has all of it."""
    if (user := _user(sock)) is not None:
        return f"user {user}"
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    address = ip_address(sock.getpeername()[0].partition("%")[0])
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or ip_network((address, 64), strict=False))
    return str(address)
