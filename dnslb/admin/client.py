"""The other end of the API: one request, one reply, from a command."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import h11

PATIENCE = 30.0      # seconds for a reply that is there when it is worked out
_CHUNK = 64 << 10
_SOONEST = 0.2       # seconds after which a busy server is asked again, at least


class Unreachable(Exception):
    """No server answers on the socket; the text says what to do."""


class Server(Protocol):
    """Where a server can be asked, which ``str`` tells."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What each request begins with."""

    def connect(self, deadline: float) -> socket.socket:
        """Raises Unreachable, TimeoutError and other OSErrors."""


@dataclass(frozen=True, slots=True)
class Local:
    """Is ``Server``: behind the control socket at this path."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Host": "dnslb"}

    def connect(self, deadline: float) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._connect(sock, deadline)
        except BaseException as error:
            sock.close()
            if isinstance(error, FileNotFoundError | ConnectionRefusedError):
                raise Unreachable(f"no dnslb listens on {self}; start it, or give its --control PATH") from None
            raise
        return sock

    def _connect(self, sock: socket.socket, deadline: float) -> None:
        while True:
            _wait_until(sock, deadline)
            try:
                sock.connect(os.fspath(self.path))
            except BlockingIOError:  # so many wait to be let in that the system does not let us wait (unix(7))
                time.sleep(_SOONEST)
            else:
                return


def ask(
    place: Path | Server, method: str, target: str, value: object = None, patience: float = PATIENCE
) -> tuple[int, Any]:
    """Send a request; the HTTP status and the JSON of the reply.  A server that is too busy is asked again.

    Raises Unreachable, also when there is no whole reply after ``patience`` seconds.
    """
    deadline = time.monotonic() + patience
    server = Local(place) if isinstance(place, Path) else place
    try:
        while True:
            status, pause, body = _exchange(server, method, target, value, deadline)
            if pause is None or time.monotonic() + pause >= deadline:
                return status, json.loads(body)
            time.sleep(pause)
    except TimeoutError:
        fact = f"dnslb on {server} has not answered within {patience:g} s"
        done = "" if method == "GET" else "; it may yet do what was asked"
        raise Unreachable(f"{fact}{done}; it hangs or is very busy: look at its log") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Unreachable(f"dnslb cannot be asked on {server}: {reason}") from None
    except (h11.RemoteProtocolError, ValueError):
        raise Unreachable(f"what listens on {server} is no dnslb, or it has ended; look at its log") from None


def _exchange(
    server: Server, method: str, target: str, value: object, deadline: float
) -> tuple[int, float | None, bytes]:
    """Status; seconds after which to ask again, if the server says so; body."""
    body = b"" if value is None else json.dumps(value).encode()
    http = h11.Connection(h11.CLIENT)
    headers = [*server.headers.items(), ("Content-Length", str(len(body))), ("Connection", "close")]
    with server.connect(deadline) as sock:
        _wait_until(sock, deadline)
        request = http.send(h11.Request(method=method, target=target, headers=headers)) or b""
        sock.sendall(request + (http.send(h11.Data(data=body)) or b"") + (http.send(h11.EndOfMessage()) or b""))
        return _reply(http, sock, deadline)


def _reply(http: h11.Connection, sock: socket.socket, deadline: float) -> tuple[int, float | None, bytes]:
    status, pause, body = 0, None, bytearray()
    while True:
        event = http.next_event()
        match event:
            case h11.NEED_DATA:
                _wait_until(sock, deadline)
                http.receive_data(sock.recv(_CHUNK))
            case h11.Response():
                status = event.status_code
                given = dict(event.headers).get(b"retry-after")
                pause = None if given is None else max(_SOONEST, float(given))
            case h11.Data():
                body += event.data
            case h11.EndOfMessage():
                return status, pause, bytes(body)


def _wait_until(sock: socket.socket, deadline: float) -> None:
    """Raises TimeoutError when it is past."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)
