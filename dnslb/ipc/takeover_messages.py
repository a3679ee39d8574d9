"""The messages between two servers when one takes over from the other.

Messages are JSON behind four octets of length; descriptors come in the order in which messages announce them.
"""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from typing import Any

VERSION = 1     # of what is said
LENGTH = 4      # octets
LONGEST = 4096  # octets of a message
PATIENCE = 5.0  # seconds for the other end to say what it must say at once


async def receive(sock: socket.socket) -> dict[str, Any]:
    """The next message.  Raises OSError and ValueError."""
    octets = b""
    end = LENGTH
    while len(octets) < end:
        more = await asyncio.get_running_loop().sock_recv(sock, end - len(octets))
        if not more:
            raise ConnectionError("the other end has left")
        octets += more
        if len(octets) == LENGTH:
            end += int.from_bytes(octets)
            if end > LONGEST:
                raise ValueError("the message is too long")
    return parse(octets[LENGTH:])


async def send(sock: socket.socket, message: dict[str, Any], socks: list[socket.socket]) -> None:
    """Send a message, and the sockets that it announces."""
    octets = frame(message)
    while True:
        try:
            sent = socket.send_fds(sock, [octets], [passed.fileno() for passed in socks])
        except BlockingIOError:
            await asyncio.sleep(0.01)
            continue
        await asyncio.get_running_loop().sock_sendall(sock, octets[sent:])
        return


def parse(octets: bytes | bytearray) -> dict[str, Any]:
    """The message in these octets.  Raises ValueError."""
    with suppress(RecursionError):  # as good as no JSON
        match json.loads(octets):
            case dict(message):
                return message
    raise ValueError("it speaks another language: stop it, and start this one")


def frame(message: dict[str, Any]) -> bytes:
    """The message as the octets that are sent."""
    octets = json.dumps(message).encode()
    return len(octets).to_bytes(LENGTH) + octets
