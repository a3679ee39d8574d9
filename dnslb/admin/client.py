"""The other end of the control socket: one request, one reply, from a command."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import h11

PATIENCE = 30.0      # seconds for a reply that is there when it is worked out
_CHUNK = 64 << 10
_SOONEST = 0.2       # seconds after which a busy server is asked again, at least


class Unreachable(Exception):
    """No server answers on the socket; the text says what to do."""


def ask(path: Path, method: str, target: str, value: object = None, patience: float = PATIENCE) -> tuple[int, Any]:
    """Send a request; the HTTP status and the JSON of the reply.  A server that is too busy is asked again.

    Raises Unreachable, also when there is no whole reply after ``patience`` seconds.
    """
    deadline = time.monotonic() + patience
    try:
        while True:
            status, pause, body = _exchange(path, method, target, value, deadline)
            if pause is None or time.monotonic() + pause >= deadline:
                return status, json.loads(body)
            time.sleep(pause)
    except (FileNotFoundError, ConnectionRefusedError):
        raise Unreachable(f"no dnslb listens on {path}; start it, or give its --control PATH") from None
    except TimeoutError:
        fact = f"dnslb on {path} has not answered within {patience:g} s"
        done = "" if method == "GET" else "; it may yet do what was asked"
        raise Unreachable(f"{fact}{done}; it hangs or is very busy: look at its log") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Unreachable(f"dnslb cannot be asked on {path}: {reason}") from None
    except (h11.RemoteProtocolError, ValueError):
        raise Unreachable(f"what listens on {path} is no dnslb, or it has ended; look at its log") from None


def _exchange(path: Path, method: str, target: str, value: object, deadline: float) -> tuple[int, float | None, bytes]:
    """Status; seconds after which to ask again, if the server says so; body."""
    body = b"" if value is None else json.dumps(value).encode()
    http = h11.Connection(h11.CLIENT)
    headers = [("Host", "dnslb"), ("Content-Length", str(len(body))), ("Connection", "close")]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        _connect(sock, path, deadline)
        request = http.send(h11.Request(method=method, target=target, headers=headers)) or b""
        sock.sendall(request + (http.send(h11.Data(data=body)) or b"") + (http.send(h11.EndOfMessage()) or b""))
        return _reply(http, sock, deadline)


def _connect(sock: socket.socket, path: Path, deadline: float) -> None:
    while True:
        _wait_until(sock, deadline)
        try:
            sock.connect(os.fspath(path))
        except BlockingIOError:  # so many wait to be let in that the system does not let us wait (unix(7))
            time.sleep(_SOONEST)
        else:
            return


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
