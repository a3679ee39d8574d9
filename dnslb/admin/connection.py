"""HTTP/1.1 on one connection of an operator: requests in, replies out, whatever the client does.

h11 knows the protocol; here are the bounds and the clock.  What a request means, ``api`` knows.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address

import h11

from dnslb.admin.admission import Admission, Slot
from dnslb.admin.api import Api, respond, work_of
from dnslb.admin.certificate import Certificate
from dnslb.admin.event_stream import unless_done
from dnslb.admin.exchange import Refusal, Reply, Request, failure
from dnslb.admin.guard import Guard, Role, has_wrong_token, known_by, refusal
from dnslb.admin.render_queue import Dropped
from dnslb.admin.stream import Stream
from dnslb.admin.throttle import Throttle
from dnslb.balance.pool import Address
from dnslb.ipc.peer import peer

MOST_BODY = 64 << 10   # octets
MOST_HEADER = 16 << 10
PATIENCE = 5.0         # seconds for a client to send a request, or to take a piece of a reply
LONGEST = 30.0         # seconds for a client to take a reply
_PIECE = 64 << 10      # octets of a reply that are written at once
_CHUNK = 4 << 10       # octets read at once: also what a header may be over its bound
_MOST_CHUNKS = 256     # of a body: each costs more than its octets
_PARTING = 1.0         # seconds to take what a client still sends, lest it lose the reply

_log = logging.getLogger("dnslb")


class _TooLarge(Exception):
    """The body of the request."""


@dataclass(frozen=True, slots=True)
class Common:
    """What all connections to one listener share."""

    api: Api
    guard: Guard | None  # None: whoever can connect may do everything
    admission: Admission = field(default_factory=Admission)
    throttle: Throttle = field(default_factory=Throttle)
    certificate: Certificate | None = None  # None: without TLS
    shaking: asyncio.Lock = field(default_factory=asyncio.Lock)  # TLS handshakes, one after the other
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def wait_to_read(self) -> None:
        """Wait until octets may be read: in each turn of the loop, one connection of a listener may read some."""
        async with self._reading:
            await asyncio.sleep(0)


class Connection:
    """Answers the requests on one connection."""

    def __init__(self, stream: Stream, sock: socket.socket, slot: Slot, common: Common) -> None:
        """``sock``: the connection itself, below the stream."""
        self._stream = stream
        self._user = user_of(sock)
        self._source = source_of(sock)
        self._slot = slot
        self._common = common
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEADER)
        self._method = ""  # of the request, once it is known

    async def run(self) -> None:
        """Answer requests until the client leaves or misbehaves."""
        while await self._exchange():
            self._slot.since = self._loop.time()
            await self._common.wait_to_read()

    async def _exchange(self) -> bool:
        """Answer one request; whether another may follow."""
        try:
            async with asyncio.timeout(PATIENCE):
                request = await self._request()
        except TimeoutError:
            if self._http.their_state is h11.IDLE and not self._http.trailing_data[0]:
                return False  # it has asked nothing more
            self._common.api.refused[Refusal.SLOW] += 1
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
                    octets = await self._stream.receive(_CHUNK)
                    await self._common.wait_to_read()
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
                    return Request(
                        self._method, head.target.decode(), bytes(body), headers, self._slot.client,
                        user=self._user, source=self._source,
                    )  # fmt: skip
                case _:
                    return None

    async def _safely(self, request: Request) -> Reply:
        try:
            return await self._answer(request)
        except Exception:
            _log.exception("a bug in dnslb: please report it with this request: %s %s", request.method, request.target)
            return failure(500, "a bug in dnslb", "see the log of the server")

    async def _answer(self, request: Request) -> Reply:
        guard, api = self._common.guard, self._common.api
        if guard is not None:
            token = known_by(guard, request)
            request = replace(
                request,
                is_trusted=token is not None,
                token=None if token is None else token.name,
                is_operators=token is not None and token.role is Role.OPERATE,
            )
        refused = refusal(guard, request) if guard is not None else None
        if refused is not None:
            if has_wrong_token(refused):
                await self._delay_wrong_token()
            return refused
        work = work_of(request)
        if work is None:
            return await respond(api, request)
        with self._common.admission.at_work(self._slot, work) as may:
            return await respond(api, request) if may else api.busy()

    async def _delay_wrong_token(self) -> None:
        """Tell of the wrong token, and keep who sent it waiting: in a slot that goes to whoever needs it."""
        self._common.api.refused[Refusal.TOKEN] += 1
        delay, told = self._common.throttle.record_failure(self._slot.client, self._loop.time())
        if told:
            more = f" ({told - 1} more since the last such line)" if told > 1 else ""
            _log.warning("a wrong token from %s%s", self._slot.client, more)
        await asyncio.sleep(delay)

    async def _send(self, reply: Reply) -> None:
        self._slot.since = self._loop.time()
        headers = [
            ("Content-Type", reply.content_type),
            *_length(reply),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *reply.headers,
        ]
        reason = HTTPStatus(reply.status).phrase
        octets = self._http.send(h11.Response(status_code=reply.status, reason=reason, headers=headers)) or b""
        try:
            async with asyncio.timeout(LONGEST):
                if self._method == "HEAD" or reply.stream is not None:
                    await self._write(octets)
                elif reply.long is None:
                    await self._write(octets + (self._http.send(h11.Data(data=reply.body)) or b""))
                else:
                    await self._write(octets)
                    number = 0
                    while (piece := reply.long.piece(number)) is not None:
                        await self._write(self._http.send(h11.Data(data=piece)))
                        number += 1
                if reply.stream is None or self._method == "HEAD":
                    await self._write(self._http.send(h11.EndOfMessage()))
        except (TimeoutError, Dropped):
            self._common.api.refused[Refusal.SLOW] += 1
            raise
        if reply.stream is not None and self._method != "HEAD":
            await self._send_stream(reply.stream)

    async def _send_stream(self, stream: AsyncGenerator[str, None]) -> None:
        """Until the client leaves.  One that does not take what is sent is dropped: raises TimeoutError."""
        leaving = asyncio.ensure_future(self._stream.receive(_CHUNK))
        try:
            async with aclosing(unless_done(leaving, stream)) as texts:
                async for text in texts:
                    await self._write(self._http.send(h11.Data(data=text.encode())))
                    self._slot.since = self._loop.time()
        except TimeoutError:
            self._common.api.refused[Refusal.SLOW] += 1
            raise
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)

    async def _write(self, octets: bytes | None) -> None:
        """However long they are: to hand over too many at once would keep probes waiting."""
        whole = memoryview(octets or b"")
        for start in range(0, len(whole), _PIECE):
            async with asyncio.timeout(PATIENCE):
                await self._stream.send(whole[start : start + _PIECE])
            await asyncio.sleep(0)

    async def _part(self) -> None:
        """Close when the client has: what it goes on sending would else make the system drop our reply."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PARTING):
                await self._stream.finish()
                while await self._stream.receive(_CHUNK):
                    await self._common.wait_to_read()


def _length(reply: Reply) -> list[tuple[str, str]]:
    if reply.stream is not None:
        return []
    return [("Content-Length", str(len(reply.body) if reply.long is None else reply.long.size))]


def user_of(sock: socket.socket) -> int | None:
    """The user id of the process that has connected, as the system tells it; None for a connection over TCP."""
    return peer(sock).user if sock.family == socket.AF_UNIX else None


def source_of(sock: socket.socket) -> Address | None:
    """The address of whoever has connected over TCP.  Raises OSError when it has left."""
    if sock.family == socket.AF_UNIX:
        return None
    address = ip_address(str(sock.getpeername()[0]).partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
