"""What a server takes over from its predecessors: their sockets, and the connections to them until they may leave."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from dnslb.ipc import takeover_messages as messages
from dnslb.ipc.peer import peer
from dnslb.ipc.sockets import Sockets

_MOST_PASSED = 16  # descriptors with one message
_END = 15.0        # seconds for an old server to save its state once it is told that it may go
_LEAVE = 3.0       # seconds for workers without a server to answer what they hold


class Predecessor:
    """A process whose sockets we take over; it answers as long as we do not.  All calls wait for it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.pid = peer(sock).pid
        self._octets = bytearray()
        self._passed: deque[int] = deque()

    def ask(self) -> Iterable[dict[str, Any]]:
        """Ask for its sockets; what it says of them, message by message.  Raises OSError and ValueError."""
        self.sock.sendall(messages.frame({"take": messages.VERSION}))
        while (message := self._receive()) is not None:
            yield message
            if "end" in message:
                return
        raise ConnectionError("the other end has left")

    def take(self) -> socket.socket:
        """The next socket that it has passed to us.  Raises ValueError when there is none."""
        if not self._passed:
            raise ValueError("a socket is missing")
        sock = socket.socket(fileno=self._passed.popleft())
        sock.setblocking(False)
        return sock

    def close(self) -> None:
        self.sock.close()
        while self._passed:
            os.close(self._passed.popleft())

    def _receive(self) -> dict[str, Any] | None:
        while True:
            end = messages.LENGTH + int.from_bytes(self._octets[:messages.LENGTH])
            if len(self._octets) >= messages.LENGTH and len(self._octets) >= end:
                message = messages.parse(self._octets[messages.LENGTH:end])
                del self._octets[:end]
                return message
            octets, passed, _, _ = socket.recv_fds(self.sock, messages.LONGEST, _MOST_PASSED)
            self._passed.extend(passed)
            if not octets:
                return None
            self._octets += octets


@dataclass(slots=True)
class Inherited:
    """What a server has taken over as it begins, and may hand on itself one day."""

    listener: socket.socket | None = None  # where those who want to take over from us connect; None: nobody can
    admin_sockets: dict[str, socket.socket] = field(default_factory=dict)  # where operators come in
    pairs: list[Sockets] = field(default_factory=list)
    is_from_parent: bool = False   # and so is all that the old server has, not only some shares
    is_handed_on: bool = False     # to yet another server
    predecessors: list[Predecessor] = field(default_factory=list)  # they answer as long as we do not

    def decline(self) -> None:
        """Take nothing over after all: the predecessors go on as if nobody had asked."""
        socks = [*self.admin_sockets.values(), *(sock for pair in self.pairs for sock in (pair.udp, pair.tcp))]
        for sock in (*socks, *(predecessor.sock for predecessor in self.predecessors)):
            sock.close()
        if self.listener is not None:
            self.listener.close()

    def adopt(self, socks: Mapping[str, socket.socket]) -> None:
        """Operators connect to these sockets.  Inherited ones that are not among them are closed."""
        for name, sock in self.admin_sockets.items():
            if socks.get(name) is not sock:
                sock.close()
        self.admin_sockets = dict(socks)

    async def dismiss_predecessors(self) -> bool:
        """Tell them that we answer.  Whether they have ended in time; the old server, if it lives, saves its state.

        Workers that answered beside ours would not know of an order that is given here.
        """
        for predecessor in self.predecessors:
            predecessor.sock.setblocking(False)
            with suppress(OSError):
                predecessor.sock.send(messages.frame({"answers": True}))
        try:
            async with asyncio.timeout(_END if self.is_from_parent else _LEAVE):
                await asyncio.gather(*(_ended(predecessor.sock) for predecessor in self.predecessors))
        except TimeoutError:
            return False
        finally:
            for predecessor in self.predecessors:
                predecessor.sock.close()
            self.predecessors.clear()
        return True


async def _ended(sock: socket.socket) -> None:
    """Wait until the other end has closed the connection."""
    with suppress(OSError):
        while await asyncio.get_running_loop().sock_recv(sock, messages.LONGEST):
            pass
