"""What changes, as it changes: server-sent events (HTML Living Standard §9.2), for programs and pages."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Hashable
from contextlib import aclosing

from dnslb.admin.json_stream import fields
from dnslb.admin.render_queue import Full
from dnslb.control.change import Event

CONTENT_TYPE = "text/event-stream"
_MOST, _MOST_OF_ONE = 16, 8  # followers: of all, and of one client


class Followers:
    """How many follow, and who."""

    def __init__(self) -> None:
        self._clients: Counter[Hashable] = Counter()

    def counted(self, client: Hashable, stream: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        """The stream, of one follower more as long as it lasts.  Raises Full."""
        if self._clients.total() >= _MOST or self._clients[client] >= _MOST_OF_ONE:
            raise Full
        return self._count(client, stream)

    async def _count(self, client: Hashable, stream: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        self._clients[client] += 1
        try:
            async with aclosing(stream):
                async for text in stream:
                    yield text
        finally:
            self._clients[client] -= 1


async def texts(events: AsyncIterator[Event | None]) -> AsyncGenerator[str, None]:
    """The events as they are sent; a comment when there are none for a while, to see whether anybody listens."""
    yield ": dnslb\n\n"
    async for event in events:
        if event is None:
            yield ": nothing new\n\n"
            continue
        if event.lost:
            yield f"event: lost\ndata: {json.dumps({'lost': event.lost})}\n\n"
        yield f"id: {event.id}\ndata: {json.dumps(fields(event.change))}\n\n"


async def unless_done(other: asyncio.Future[bytes], stream: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """What the stream gives, until it ends or the other is done."""
    coming: asyncio.Future[str | None] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(anext(stream, None))
            await asyncio.wait((other, coming), return_when=asyncio.FIRST_COMPLETED)
            text = coming.result() if coming.done() and not other.done() else None
            if text is None:
                return
            yield text
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        await stream.aclose()
