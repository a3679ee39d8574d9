"""One TCP connection of a secondary: its requests are answered one after the other, as fast as it reads."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

from dnslb.ipc.handover import ConnectionState
from dnslb.transfer.answering import Answered

_IDLE = 30.0        # seconds for the next request, and for a message to be taken
_MOST_ASKED = 1000  # requests of one connection

# What a request gets; None: nothing, and the end of the connection.
Answer = Callable[[bytes], Awaitable[Answered | None]]


async def converse(sock: socket.socket, state: ConnectionState, answer: Answer) -> None:
    """Go on with a connection that a worker has begun, until it ends or is of no use."""
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.write(state.unsent)
            early = state.received
            for _ in range(_MOST_ASKED):
                async with asyncio.timeout(_IDLE):
                    head, early = await _read(reader, early, 2)
                    packet, early = await _read(reader, early, int.from_bytes(head))
                if not await _answer(writer, await answer(packet)):
                    break
    finally:
        if writer.transport.get_write_buffer_size():
            writer.transport.abort()
        else:
            writer.close()


async def _answer(writer: asyncio.StreamWriter, answered: Answered | None) -> bool:
    """Whether the connection goes on.  A message is made when the one before has found room."""
    if answered is None:
        return False
    for message in answered.messages:
        writer.write(len(message).to_bytes(2) + message)
        async with asyncio.timeout(_IDLE):
            await writer.drain()
    # Who may have nothing keeps no place from those who may.
    return not answered.refused


async def _read(reader: asyncio.StreamReader, early: bytes, length: int) -> tuple[bytes, bytes]:
    """So many octets, first of those that have come early; and what is left of these."""
    taken = early[:length]
    if len(taken) < length:
        taken += await reader.readexactly(length - len(taken))
    return taken, early[length:]
