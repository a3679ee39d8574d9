"""TCP connections are accepted, a few in each turn of the loop.  When the system has no room, there is a pause."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from time import monotonic

from dnslb.worker.connection_table import ConnectionTable
from dnslb.worker.tcp import Connection

_ACCEPTING = 0.001  # seconds of a round for all listening sockets
_PAUSE = 1.0        # seconds without accepting when the system has no more descriptors or memory
_CALM = 3.0         # seconds without such a pause after which it is over

_log = logging.getLogger("dnslb")


class Accepting:
    """``let_in`` is called with each new connection and its peer.  It raises OSError when the system has no room for
    one more; then ``evict`` is called with one of the table.
    """

    def __init__(
        self,
        table: ConnectionTable,
        let_in: Callable[[socket.socket, tuple[str, int]], None],
        evict: Callable[[Connection], None],
    ) -> None:
        self._table = table
        self._let_in = let_in
        self._evict = evict
        self._loop = asyncio.get_running_loop()
        self._listening: list[socket.socket] = []
        self._calming: asyncio.TimerHandle | None = None  # while the system has failed us lately

    def listen(self, sock: socket.socket) -> None:
        """Accept connections on this socket from now on."""
        self._listening.append(sock)
        self._loop.add_reader(sock, self._accept, sock)

    def stop(self) -> None:
        """Accept nothing more."""
        self._stop_reading()
        self._listening.clear()

    def _accept(self, listener: socket.socket) -> None:
        """Called in every round of the loop in which a client waits to be let in."""
        end = monotonic() + _ACCEPTING / len(self._listening)
        while True:
            try:
                self._let_in(*listener.accept())
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error)
                return
            if monotonic() >= end:
                return

    def _pause(self, error: OSError) -> None:
        """Accept nothing for a while: trying again at once would fail again, and keep the loop busy with that."""
        self._stop_reading()
        if self._calming is None:
            _log.error(
                "TCP connections cannot be accepted: %s, with %d open; trying again every %g s%s",
                (error.strerror or str(error)).lower(), len(self._table), _PAUSE,
                " (raise LimitNOFILE or ulimit -n, or lower tcp_connections)" if error.errno == errno.EMFILE else "",
            )  # fmt: skip
        else:
            self._calming.cancel()
        victim = self._table.first()
        if victim is not None:
            self._evict(victim)
        if error.errno == errno.EMFILE:
            # The limit is this process's own: from now on one goes before the system says no.
            self._table.most = max(1, len(self._table))
        self._calming = self._loop.call_later(_PAUSE + _CALM, self._calm)
        self._loop.call_later(_PAUSE, self._read_again)

    def _stop_reading(self) -> None:
        for sock in self._listening:
            self._loop.remove_reader(sock)

    def _read_again(self) -> None:
        for sock in self._listening:
            self._loop.add_reader(sock, self._accept, sock)

    def _calm(self) -> None:
        self._calming = None
        _log.warning("TCP connections are accepted again; at most %d", self._table.most)
