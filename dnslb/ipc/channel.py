"""Messages between the parent and a worker, over a socket pair.

Pickles behind four octets of length: both ends are the same program, and nobody else has the sockets.  However many
wait, packets and probes have their turn between them.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

_LENGTH = 4    # octets
_TURN = 0.002  # seconds of hearing messages in a row


def packed(message: object) -> bytes:
    """The message as the octets that go over a channel."""
    octets = pickle.dumps(message)
    return len(octets).to_bytes(_LENGTH) + octets


class Channel(asyncio.Protocol):
    """One end.  ``receive`` is called with every message of the other end."""

    def __init__(self, receive: Callable[[Any], None]) -> None:
        self._receive = receive
        self._call: Callable[[], None] | None = None  # when the other end has ended
        self._has_ended = False   # and all that came before is heard
        self._is_ending = False
        self._is_delivering = False  # in later turns of the loop
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
        if not self._is_delivering:
            self._deliver()

    def eof_received(self) -> bool:
        self._is_ending = True
        if not self._is_delivering:
            self._end()
        return True  # this end may still have something to say

    def connection_lost(self, exc: Exception | None) -> None:
        self.eof_received()
        self._lost.set()

    def _deliver(self) -> None:
        """Pass on what has come, for a while; the rest in the loop's next turn."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _TURN
        self._is_delivering = False
        while (message := self._next()) is not None:
            self._receive(pickle.loads(message))
            if loop.time() >= until:
                self._is_delivering = True
                loop.call_soon(self._deliver)
                return
        if self._is_ending:
            self._end()

    def _next(self) -> bytearray | None:
        """The next whole message, taken from what was received."""
        received = self._received
        end = _LENGTH + int.from_bytes(received[:_LENGTH])
        if len(received) < max(end, _LENGTH):
            return None
        message = received[_LENGTH:end]
        del received[:end]
        return message

    def when_ended(self, call: Callable[[], None]) -> None:
        """Call this when the other end has finished or is gone, and all its messages were delivered."""
        self._call = call
        if self._has_ended:
            self._end()

    def _end(self) -> None:
        self._has_ended = True
        self._receive = _hear_nothing  # who hears us holds us, and what is frozen must be in no cycle
        call, self._call = self._call, None
        if call is not None:
            call()

    def send(self, message: object) -> None:
        """Send the message, now or as soon as the channel is open."""
        self.send_packed(packed(message))

    def send_packed(self, frame: bytes) -> None:
        """Send a message that is packed already, since it goes to others too."""
        if self._transport is None:
            self._unsent.append(frame)
        elif not self._transport.is_closing():
            self._transport.write(frame)

    def finish(self) -> None:
        """Send nothing more, and let the other end know.  Its messages are still received."""
        self._is_finished = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    async def sent(self) -> None:
        """After ``close``: wait until everything is sent, or the other end is gone."""
        await self._lost.wait()


def _hear_nothing(message: object) -> None:
    """All that the other end had to say was heard."""
