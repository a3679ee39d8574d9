"""What a worker does not answer itself, connections and packets, goes over socket pairs to the process that does.

UDP promises nothing: a packet that finds no room is lost, and its sender asks again.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

from dnslb.ipc.handover import Handover, message_pair

_HEAD = struct.Struct("=B28s64s")  # of which socket, sockaddr, control message of the packet's destination
_MOST = 1 << 16
_ROOM = 1 << 18      # octets on the way, if the system permits


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet, and where its reply goes."""

    number: int      # of the socket, in the order of the endpoints
    name: bytes      # struct sockaddr of the client, as the system gave it
    control: bytes   # struct cmsghdr with our address that was asked; zeros: there is one only
    octets: bytes


class Forwarding:
    """Both ends: workers put in, one process takes out."""

    def __init__(self) -> None:
        self._entry, self.exit = message_pair(_ROOM)

    @property
    def descriptors(self) -> tuple[int, int]:
        return self._entry.fileno(), self.exit.fileno()

    def put(self, number: int, octets: bytes, name: bytes, control: bytes) -> None:
        """Leave a packet; lost when there is no room."""
        with suppress(OSError):
            self._entry.send(_HEAD.pack(number, name, control) + octets, socket.MSG_DONTWAIT)

    def take(self) -> Packet | None:
        """The next packet; None when there is none."""
        try:
            octets = self.exit.recv(_MOST)
        except BlockingIOError:
            return None
        if len(octets) < _HEAD.size:
            return None
        number, name, control = _HEAD.unpack_from(octets)
        return Packet(number, name, control, octets[_HEAD.size :])


class Inlet:
    """All that comes in to that process."""

    def __init__(self) -> None:
        self.connections = Handover()
        self.packets = Forwarding()

    @property
    def descriptors(self) -> list[int]:
        return [*self.connections.descriptors, *self.packets.descriptors]
