"""A process that is kept alive: it is replaced when it dies, and followed by another when there is other work."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from dnslb.parent.forked_process import ForkedProcess
from dnslb.transfer.messages import Instruction, Notified, UpdateRequest

_PAUSE = 1.0     # seconds before one that died is replaced
_PARTING = 1.0   # seconds for it to leave at the end

_log = logging.getLogger("dnslb")


class KeptProcess:
    """There is none until ``begin``, and from ``leave`` on."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it does, and who hears of it
        self,
        what: str,
        work: Callable[[], Callable[[socket.socket], int]],
        receive: Callable[[Any], None],
        kept: Collection[int] = (),
        begun: Callable[[], None] = lambda: None,
        update: Callable[[UpdateRequest, Callable[[object], None]], None] = lambda asked, reply: None,
    ) -> None:
        """``what``: its name, for the log.  ``work`` gives the work of the next one, which gets the other end of the
        channel, and ``kept`` of our descriptors.  ``receive`` gets what it says, ``begun`` is called when there is one.
        ``update`` gets updates, also of those that finish what is under way, and where their replies go.
        """
        self._what = what
        self._work = work
        self._receive = receive
        self._kept = kept
        self._begun = begun
        self._update = update
        self._is_wanted = False
        self._current: ForkedProcess | None = None
        self._living: set[ForkedProcess] = set()  # with it: those that finish what is under way

    def __bool__(self) -> bool:
        """Whether there is one at the moment."""
        return self._current is not None

    def begin(self) -> None:
        """From now on there is another one; the one before finishes what is under way."""
        old, self._current, self._is_wanted = self._current, None, True
        self._start()
        self._dismiss(old)

    def leave(self) -> None:
        """None is needed any more."""
        old, self._current, self._is_wanted = self._current, None, False
        self._dismiss(old)

    def send(self, message: object) -> None:
        if self._current is not None:
            self._current.channel.send(message)

    async def stop(self) -> None:
        """End all of them."""
        self.leave()
        deadline = time.monotonic() + _PARTING
        while self._living and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        for leaving in self._living:
            leaving.kill()
        while self._living:
            await asyncio.sleep(0.005)

    def _start(self) -> None:
        if not self._is_wanted or self._current is not None:
            return
        try:
            started = ForkedProcess(self._work(), self._kept)
        except OSError as error:
            _log.error("no process can be started for %s: %s; trying again in %g s", self._what, error.strerror, _PAUSE)
            asyncio.get_running_loop().call_later(_PAUSE, self._start)
            return
        self._current = started
        self._living.add(started)
        started.open(partial(self._hear, started), partial(self._bury, started))
        self._begun()

    def _hear(self, process: ForkedProcess, said: object) -> None:
        if isinstance(said, UpdateRequest):
            self._update(said, process.channel.send)
        # What an old process says of a generation that is gone is no news; but what others have told it last is.
        elif process is self._current or isinstance(said, Notified):
            self._receive(said)

    def _bury(self, dead: ForkedProcess, status: int) -> None:
        """Called when a process has ended; the one that is wanted is replaced."""
        self._living.discard(dead)
        if dead is self._current:
            self._current = None
            _log.error("the process of %s ended with status %d; a new one follows in %g s", self._what, status, _PAUSE)
            asyncio.get_running_loop().call_later(_PAUSE, self._start)

    def _dismiss(self, process: ForkedProcess | None) -> None:
        if process is not None:
            process.channel.send(Instruction.LEAVE)  # and who is connected to it still may send updates
