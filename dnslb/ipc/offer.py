"""How a server, or a worker that is left of it, hands its sockets over to the server that is to answer after it.

``takeover`` is the other side.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from dnslb.ipc import takeover_messages as messages
from dnslb.ipc.peer import peer
from dnslb.ipc.sockets import Sockets

_START = 600.0  # seconds for a new server to come up

_log = logging.getLogger("dnslb")


class Offer:
    """Hands our sockets over to one server at a time.  ``taken`` is called once that server answers on them.

    Whoever may take over is root, or the user that we are: both can end us anyway.
    """

    def __init__(
        self,
        listener: socket.socket,
        part: tuple[int, int],
        is_parent: bool,
        taken: Callable[[int], None],
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``part`` is which part of all sockets is ours, from 0, and of how many; ``prepare`` is called before."""
        self.pairs: list[Sockets] = []
        self.admin_sockets: Mapping[str, socket.socket] = {}
        self._listener = listener
        self._part = part
        self._is_parent = is_parent
        self._taken = taken
        self._prepare = prepare
        self._task: asyncio.Task[None] | None = None
        self._sock: socket.socket | None = None
        self._taker = 0
        self._is_open = False

    @property
    def is_busy(self) -> bool:
        """Whether somebody is about to take over."""
        return self._task is not None

    def open(self) -> None:
        self._is_open = True
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Hand over nothing more.  A server that has taken over learns from this that we are done."""
        self._shut()
        if self._task is not None:
            self._task.cancel()
        if self._sock is not None:
            self._sock.close()

    def _shut(self) -> None:
        if self._is_open:
            self._is_open = False
            asyncio.get_running_loop().remove_reader(self._listener.fileno())

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:  # another process was quicker
            return
        sock.setblocking(False)
        pid, user, _ = peer(sock)
        if user not in (0, os.geteuid()):
            sock.close()
            return
        if self._task is not None:
            with suppress(OSError):
                sock.send(messages.frame({"refused": f"pid {self._taker} takes over already; wait for it"}))
            sock.close()
            return
        self._sock, self._taker = sock, pid
        self._task = asyncio.get_running_loop().create_task(self._hand_over(sock, pid))
        self._task.add_done_callback(self._end)
        if not self._is_parent:
            # So that who comes next meets another worker.
            asyncio.get_running_loop().remove_reader(self._listener.fileno())

    def _end(self, task: asyncio.Task[None]) -> None:
        """It has taken over, or has given up."""
        self._task = None
        if not task.cancelled() and task.exception() is not None:
            _log.error("a bug in dnslb: please report it", exc_info=task.exception())
        if self._is_open and not self._is_parent:
            asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    async def _hand_over(self, sock: socket.socket, pid: int) -> None:
        has_asked = has_taken = False
        try:
            async with asyncio.timeout(messages.PATIENCE):
                request = await messages.receive(sock)
            if request.get("take") != messages.VERSION:
                return
            has_asked = True
            if self._prepare is not None:
                await self._prepare()
            async with asyncio.timeout(messages.PATIENCE):
                for message, socks in self._messages():
                    await messages.send(sock, message, socks)
            async with asyncio.timeout(_START):
                said = await messages.receive(sock)
            if said.get("answers") is True:
                # Who asks from now on is for the new server, which listens too.
                self._shut()
                self._taken(pid)
                has_taken = True
        except (OSError, ValueError):  # TimeoutError is an OSError
            if has_asked:
                _log.warning("pid %d has not taken over: it has left, or taken too long", pid)
        finally:
            if not has_taken:  # else it is closed when we are done
                sock.close()

    def _messages(self) -> Iterable[tuple[dict[str, Any], list[socket.socket]]]:
        for pair in self.pairs:
            yield {"endpoint": str(pair.endpoint)}, [pair.udp, pair.tcp]
        for name, sock in self.admin_sockets.items():
            yield {"door": name}, [sock]
        yield {"listener": True}, [self._listener]
        number, of = self._part
        yield {"end": True, "share": number, "of": of, "is_parent": self._is_parent}, []
