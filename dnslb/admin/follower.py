"""The other end of the event stream, from a command: each change as it comes, also over a restart of the server."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import h11

from dnslb.admin.client import Server, Unreachable

_SILENCE = 40.0   # seconds without an octet after which the server is gone: it says something every 15
_PATIENCE = 30.0  # seconds for a connection
_PAUSE = 1.0      # seconds from one try to reach it again to the next
_CHUNK = 64 << 10
_LONGEST = 1 << 20  # octets of an event: it has a few hundred
_OK = 200


@dataclass(frozen=True, slots=True)
class Lost:
    """So many changes were made that are not known any more."""

    number: int


class Refused(Exception):
    """The server does not let us follow; the text says why."""


def follow(server: Server, complain: Callable[[str], None]) -> Iterator[dict[str, Any] | Lost]:
    """The changes from now on, for ever.  ``complain`` is told when the connection is lost, and made again.

    Raises Unreachable and Refused when it cannot be made at first.
    """
    last: str | None = None
    was_there = is_there = False
    while True:
        try:
            for event in _events(server, last):
                if was_there and not is_there:
                    complain(f"{server} is there again")
                was_there = is_there = True
                last = event.get("id", last)
                if "data" in event:
                    found = json.loads(event["data"])
                    yield Lost(found["lost"]) if event.get("event") == "lost" else found
            reason = "it has ended the connection"
        except (Unreachable, Refused, OSError, h11.RemoteProtocolError, ValueError, KeyError) as error:
            if not was_there:
                raise error if isinstance(error, Unreachable | Refused) else Unreachable(f"{server}: {error}") from None
            reason = str(error)
        if is_there:
            is_there = False
            complain(f"{server} is lost: {reason}; it is tried again every second")
        time.sleep(_PAUSE)


def _events(server: Server, last: str | None) -> Iterator[dict[str, str]]:
    """Until the connection ends.  An empty one first, when it is made; what is only a comment is empty too."""
    http = h11.Connection(h11.CLIENT)
    headers = [*server.headers.items(), ("Accept", "text/event-stream")]
    if last is not None:
        headers.append(("Last-Event-ID", last))
    with server.connect(time.monotonic() + _PATIENCE) as sock:
        sock.settimeout(_SILENCE)
        request = http.send(h11.Request(method="GET", target="/events", headers=headers)) or b""
        sock.sendall(request + (http.send(h11.EndOfMessage()) or b""))
        text = bytearray()
        for octets in _body(http, sock):
            text += octets
            *events, text = text.split(b"\n\n")
            if len(text) > _LONGEST:
                raise Refused(f"what listens on {server} is no dnslb")
            for event in events:
                lines = event.decode().splitlines()
                yield dict(line.split(": ", 1) for line in lines if ": " in line and not line.startswith(":"))


def _body(http: h11.Connection, sock: socket.socket) -> Iterator[bytes]:
    """Raises Refused."""
    status, refusal = 0, bytearray()
    while True:
        event = http.next_event()
        match event:
            case h11.NEED_DATA:
                http.receive_data(sock.recv(_CHUNK))
            case h11.Response():
                status = event.status_code
            case h11.Data() if status == _OK:
                yield bytes(event.data)
            case h11.Data():
                refusal += event.data
            case h11.EndOfMessage() if status != _OK:
                answer = json.loads(refusal)
                raise Refused(f"{answer['error']}; {answer['remedy']}")
            case _:
                return
