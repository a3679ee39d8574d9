"""How open TCP connections go from a worker to its successor at a reload.

There is one for each share of the sockets, as old as the server: whoever has that share sends into one end when it
leaves, and takes from the other while it answers.  What no worker has taken yet, because it comes up again, waits.

A message is one connection, whole or not at all: its socket, and what its client is still owed.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

# Last progress, whether the client has ended, whether a proxy has yet to tell who it is, who it is, octets received.
_HEAD = struct.Struct("=d??28sI")
_MOST = 1 << 18     # octets of a message: more than a connection ever holds
_ROOM = 1 << 20     # octets in a handover, if the system permits: some hundred connections


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """What a connection holds besides its socket."""

    active: float    # its last progress, by the monotonic clock, which is the same in every process
    has_ended: bool  # no more queries are read from it
    received: bytes  # queries that are not answered, or not whole
    unsent: bytes    # replies that the client has not taken
    is_proxied: bool = False  # a proxy has yet to tell whose it is
    address: bytes = bytes(28)  # what it has told, a struct sockaddr; zeros: nothing


class Handover:
    """A socket pair.  A worker inherits both ends: it takes from one, and sends into the other when it leaves."""

    def __init__(self) -> None:
        self._entry, self.exit = message_pair(_ROOM)

    @property
    def descriptors(self) -> tuple[int, int]:
        return self._entry.fileno(), self.exit.fileno()

    def send(self, descriptor: int, state: ConnectionState) -> None:
        """Send a connection.  Raises BlockingIOError when there is no room now, OSError when there will be none."""
        head = _HEAD.pack(state.active, state.has_ended, state.is_proxied, state.address, len(state.received))
        socket.send_fds(self._entry, [head, state.received, state.unsent], [descriptor])

    def take(self) -> tuple[socket.socket, ConnectionState] | None:
        """The next connection; None when it was lost on the way, as we have no descriptor for it.

        Raises BlockingIOError when there is none.
        """
        octets, descriptors, _, _ = socket.recv_fds(self.exit, _MOST, 1)
        if not descriptors:
            return None
        active, has_ended, is_proxied, address, length = _HEAD.unpack_from(octets)
        end = _HEAD.size + length
        sock = socket.socket(fileno=descriptors[0])
        sock.setblocking(False)
        return sock, ConnectionState(active, has_ended, octets[_HEAD.size : end], octets[end:], is_proxied, address)


def message_pair(room: int) -> tuple[socket.socket, socket.socket]:
    """Where whole messages go in, and come out; neither end blocks.  ``room``: octets, if the system permits."""
    entry, exit_ = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (entry, exit_):
        end.setblocking(False)
    entry.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    return entry, exit_
