"""Messages between the parent and a worker, over a socket pair.

Pickles behind four octets of length: both ends are the same program, and nobody else has the sockets.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

_LENGTH = 4  # octets


class Channel(asyncio.Protocol):
    """One end.  ``heard`` gets every message of the other end, ``lost`` is called when that is gone."""

    def __init__(self, heard: Callable[[Any], None], lost: Callable[[], None] = lambda: None) -> None:
        self._heard = heard
        self._lost = lost
        self._received = bytearray()
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream transport is needed")
        self._transport = transport
        transport.writelines(self._unsent)
        self._unsent.clear()
        if self._is_closed:
            transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= _LENGTH:
            end = _LENGTH + int.from_bytes(self._received[:_LENGTH])
            if len(self._received) < end:
                return
            message = pickle.loads(self._received[_LENGTH:end])
            del self._received[:end]
            self._heard(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost()

    def say(self, message: object) -> None:
        """Send the message, now or as soon as the channel is open."""
        octets = pickle.dumps(message)
        frame = len(octets).to_bytes(_LENGTH) + octets
        if self._transport is None:
            self._unsent.append(frame)
        elif not self._transport.is_closing():
            self._transport.write(frame)

    def close(self) -> None:
        """Send what is unsent, then end: the other end sees that."""
        self._is_closed = True
        if self._transport is not None:
            self._transport.close()
