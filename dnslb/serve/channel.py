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
    """One end.  ``heard`` gets every message of the other end."""

    def __init__(self, heard: Callable[[Any], None]) -> None:
        self._heard = heard
        self._call: Callable[[], None] | None = None  # when the other end has ended
        self._has_ended = False
        self._lost = asyncio.Event()
        self._received = bytearray()
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._is_finished = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream transport is needed")
        self._transport = transport
        transport.writelines(self._unsent)
        self._unsent.clear()
        if self._is_finished:
            transport.write_eof()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= _LENGTH:
            end = _LENGTH + int.from_bytes(self._received[:_LENGTH])
            if len(self._received) < end:
                return
            message = pickle.loads(self._received[_LENGTH:end])
            del self._received[:end]
            self._heard(message)

    def eof_received(self) -> bool:
        self._end()
        return True  # this end may still have something to say

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        self._lost.set()

    def when_ended(self, call: Callable[[], None]) -> None:
        """Call this once all that the other end had to say is heard: it has finished, or is gone."""
        self._call = call
        if self._has_ended:
            self._end()

    def _end(self) -> None:
        self._has_ended = True
        call, self._call = self._call, None
        if call is not None:
            call()

    def say(self, message: object) -> None:
        """Send the message, now or as soon as the channel is open."""
        octets = pickle.dumps(message)
        frame = len(octets).to_bytes(_LENGTH) + octets
        if self._transport is None:
            self._unsent.append(frame)
        elif not self._transport.is_closing():
            self._transport.write(frame)

    def finish(self) -> None:
        """Say nothing more, and let the other end know: it may go on."""
        self._is_finished = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    async def sent(self) -> None:
        """After ``close``: wait until all that was said is sent, or nobody is left to hear it."""
        await self._lost.wait()
