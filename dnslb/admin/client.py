"""The other end of the control socket: one request, one reply, from a command."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import h11

_CHUNK = 64 << 10


class Unreachable(Exception):
    """No server answers on the socket; the text says what to do."""


def ask(path: Path, method: str, target: str, value: object = None) -> tuple[int, Any]:
    """The status and the JSON of the reply.  Raises Unreachable."""
    body = b"" if value is None else json.dumps(value).encode()
    http = h11.Connection(h11.CLIENT)
    headers = [("Host", "dnslb"), ("Content-Length", str(len(body))), ("Connection", "close")]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(os.fspath(path))
            request = http.send(h11.Request(method=method, target=target, headers=headers)) or b""
            sock.sendall(request + (http.send(h11.Data(data=body)) or b"") + (http.send(h11.EndOfMessage()) or b""))
            return _reply(http, sock)
    except (FileNotFoundError, ConnectionRefusedError):
        raise Unreachable(f"no dnslb listens on {path}; start it, or give its --control PATH") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Unreachable(f"dnslb cannot be asked on {path}: {reason}") from None
    except (h11.RemoteProtocolError, ValueError):
        raise Unreachable(f"what listens on {path} is no dnslb, or it has ended; look at its log") from None


def _reply(http: h11.Connection, sock: socket.socket) -> tuple[int, Any]:
    status, body = 0, bytearray()
    while True:
        event = http.next_event()
        match event:
            case h11.NEED_DATA:
                http.receive_data(sock.recv(_CHUNK))
            case h11.Response():
                status = event.status_code
            case h11.Data():
                body += event.data
            case h11.EndOfMessage():
                return status, json.loads(body)
