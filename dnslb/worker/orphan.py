"""A worker whose parent is gone: it goes on answering for a while, so that another server can take over.

It learns nothing of the backends any more; what that does to its answers, ``parent_watch`` knows.
"""

from __future__ import annotations

import asyncio
import logging
import socket

from dnslb.ipc.offer import Offer
from dnslb.ipc.sockets import Share

_LOOK = 0.05  # seconds from one look whether it may leave to the next

_log = logging.getLogger("dnslb")


class Orphan:
    """``leaving`` is set once the worker may leave: it is told so, another server has taken over, or time is up."""

    def __init__(self, name: str, listener: socket.socket | None, grace: float, leaving: asyncio.Event) -> None:
        """``listener`` is where another server can take over; without one nobody can be waited for."""
        self._name = name
        self._listener = listener
        self._grace = grace
        self._leaving = leaving
        self._task: asyncio.Task[None] | None = None
        self._offer: Offer | None = None  # its socket stays open until this process ends: so the taker knows

    def begin(self, share: Share) -> None:
        """To be called when the channel to the parent has ended: the parent has told us to leave before, or is gone."""
        if self._leaving.is_set() or self._listener is None or not self._grace:
            self._leaving.set()
            return
        _log.error(
            "%s: the parent is gone: answering for %g s more, or until it is started again", self._name, self._grace
        )
        offer = Offer(self._listener, (share.number, share.of), is_parent=False, taken=lambda pid: self._leaving.set())
        offer.pairs = share.sockets
        self._offer = offer
        self._task = asyncio.create_task(self._wait(offer))

    async def _wait(self, offer: Offer) -> None:
        offer.open()
        loop = asyncio.get_running_loop()
        end = loop.time() + self._grace
        # Who is about to take over is waited for.
        while not self._leaving.is_set() and (offer.is_busy or loop.time() < end):
            await asyncio.sleep(_LOOK)
        is_taken_over = self._leaving.is_set()
        self._leaving.set()
        if not is_taken_over:
            offer.close()
