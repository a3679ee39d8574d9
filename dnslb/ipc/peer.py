"""Who is at the other end of a connection over a Unix socket, as the system tells it (SO_PEERCRED, unix(7))."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

_UCRED = struct.Struct("=iII")


class Peer(NamedTuple):
    """The process that has connected or listens, with the user and group that it had then."""

    pid: int
    user: int
    group: int


def peer(sock: socket.socket) -> Peer:
    return Peer(*_UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))
