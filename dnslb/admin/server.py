"""HTTP/1.1 on the control socket and on the TCP address: requests in, replies out, whatever the client does.

h11 knows the protocol; here are the sockets, the bounds and the clock.  What a request means, ``api`` knows.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TypeAlias

import h11

from dnslb.admin.api import Reply, Request, failure, respond
from dnslb.admin.guard import Guard, is_trusted, refusal
from dnslb.operations import Operations

MOST_BODY = 64 << 10   # octets
MOST_HEADER = 16 << 10
MOST_CLIENTS = 64      # at one door
PATIENCE = 5.0         # seconds for a client to send a request, or to take a reply
_PIECE = 256 << 10     # octets of a reply that are written at once
_CHUNK = 4 << 10       # octets read at once: also what a header may be over its bound

_log = logging.getLogger("dnslb")

Answer: TypeAlias = Callable[[Request], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Door:
    """A listening socket where operators come in."""

    sock: socket.socket
    guard: Guard | None = None  # None: whoever can connect may do everything


class _TooLarge(Exception):
    """The body of the request."""


async def serve(doors: Iterable[Door], operations: Operations) -> None:
    """Let operators in, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for door in doors:
            group.create_task(_keep(door, operations))


async def _keep(door: Door, operations: Operations) -> None:
    talking: set[asyncio.Task[None]] = set()

    async def answer(request: Request) -> Reply:
        if door.guard is not None:
            request = replace(request, is_trusted=is_trusted(door.guard, request))
        refused = refusal(door.guard, request) if door.guard is not None else None
        return refused or await respond(operations, request)

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(talking) >= MOST_CLIENTS:
            writer.close()
            return
        talking.add(task)
        try:
            # Of a cancelled one, asyncio's streams would log a traceback.
            with suppress(asyncio.CancelledError):
                await _Conversation(reader, writer, answer).run()
        finally:
            talking.discard(task)
            writer.close()

    server = await asyncio.start_server(meet, sock=door.sock, limit=_CHUNK)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        server.close()
        for task in list(talking):
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)


class _Conversation:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEADER)
        self._method = ""  # of the request, once it is known

    async def run(self) -> None:
        """Answer requests until the client leaves or misbehaves."""
        with suppress(ConnectionError, TimeoutError):
            while await self._exchange():
                pass

    async def _exchange(self) -> bool:
        """Answer one request; whether another may follow."""
        try:
            async with asyncio.timeout(PATIENCE):
                request = await self._request()
        except TimeoutError:
            reply = failure(408, f"the request was not complete within {PATIENCE:g} s", "send it at once")
        except _TooLarge:
            reply = failure(413, f"the body is longer than {MOST_BODY} octets", "send less")
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
        return False

    async def _request(self) -> Request | None:
        """The next request; None when the client has left."""
        head: h11.Request | None = None
        body = bytearray()
        self._method = ""
        while True:
            event = self._http.next_event()
            match event:
                case h11.NEED_DATA:
                    if self._http.they_are_waiting_for_100_continue:
                        await self._write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
                    self._http.receive_data(await self._reader.read(_CHUNK))
                case h11.Request():
                    head, self._method = event, event.method.decode()
                case h11.Data():
                    body += event.data
                    if len(body) > MOST_BODY:
                        raise _TooLarge
                case h11.EndOfMessage() if head is not None:
                    headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
                    return Request(self._method, head.target.decode(), bytes(body), headers)
                case _:
                    return None

    async def _safely(self, request: Request) -> Reply:
        try:
            return await self._answer(request)
        except Exception:
            _log.exception("a bug in dnslb: please report it with this request: %s %s", request.method, request.target)
            return failure(500, "a bug in dnslb", "see the log of the server")

    async def _send(self, reply: Reply) -> None:
        reason = HTTPStatus(reply.status).phrase
        headers = [
            ("Content-Type", reply.content_type),
            ("Content-Length", str(len(reply.body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *reply.headers,
        ]
        octets = self._http.send(h11.Response(status_code=reply.status, reason=reason, headers=headers)) or b""
        body = b"" if self._method == "HEAD" else reply.body
        octets += self._http.send(h11.Data(data=body[:_PIECE])) or b""
        await self._write(octets)
        # To copy a long body at once would keep probes waiting.
        for start in range(_PIECE, len(body), _PIECE):
            await self._write(self._http.send(h11.Data(data=body[start : start + _PIECE])))
        await self._write(self._http.send(h11.EndOfMessage()))

    async def _write(self, octets: bytes | None) -> None:
        self._writer.write(octets or b"")
        async with asyncio.timeout(PATIENCE):
            await self._writer.drain()
