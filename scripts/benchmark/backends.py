"""Backends to be probed: sockets of the loopback that accept connections and close them at once.

A thread of this process serves them all, so that what they cost is ours and not the servers'.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from types import TracebackType
from typing import Self

BACKLOG = 128
PORTS = range(20000, 30000)     # below the ephemeral ports: nobody is given one of these by chance
SPARE_FILES = 100               # beside the sockets
PRIORITY = -10                  # of the thread that notes times
TICK = 0.2                      # seconds until the thread looks whether something has changed


class Backends:
    """One socket on each address, all on one port.  A backend is dead (it refuses) until it is revived."""

    def __init__(self, addresses: Sequence[str]) -> None:
        soft, hard = getrlimit(RLIMIT_NOFILE)
        setrlimit(RLIMIT_NOFILE, (min(hard, max(soft, len(addresses) + SPARE_FILES)), hard))
        self.port, self._sockets = bind_all(addresses)
        self._selector = selectors.DefaultSelector()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.accepted = 0       # connections so far

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self._selector.close()
        for listener in self._sockets.values():
            listener.close()

    def revive(self, *addresses: str) -> None:
        for address in addresses:
            self._sockets[address].listen(BACKLOG)
            self._selector.register(self._sockets[address], selectors.EVENT_READ)

    def kill(self, *addresses: str) -> None:
        """From now on they refuse; ``revive`` brings them back."""
        for address in addresses:
            self._selector.unregister(self._sockets[address])
            # A listening socket that is shut down listens no more, and keeps its port.
            self._sockets[address].shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(TICK):
                self._accept(key.fileobj)

    def _accept(self, listener: object) -> None:
        if isinstance(listener, socket.socket):
            with contextlib.suppress(OSError):  # the prober may have given up
                while True:
                    listener.accept()[0].close()
                    self.accepted += 1
                    self._note(listener)

    def _note(self, listener: socket.socket) -> None:
        """One was accepted."""


class Witness(Backends):
    """Backends that note when each is probed."""

    def __init__(self, addresses: Sequence[str]) -> None:
        super().__init__(addresses)
        self.probed: dict[str, list[float]] = {address: [] for address in addresses}  # by time.monotonic

    def _serve(self) -> None:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PRIORITY)
        super()._serve()

    def _note(self, listener: socket.socket) -> None:
        self.probed[listener.getsockname()[0]].append(time.monotonic())

    def lateness(self, addresses: Sequence[str], interval: float, since: float, until: float) -> float:
        """Seconds by which the latest probe of these came later than ``interval`` after the one before."""
        latest = 0.0
        for address in addresses:
            times = [since, *(at for at in self.probed[address] if since <= at <= until), until]
            latest = max(latest, *(after - before for before, after in pairwise(times)))
        return max(0.0, latest - interval)


def bind_all(addresses: Sequence[str]) -> tuple[int, dict[str, socket.socket]]:
    """A port that is free on all addresses, and the sockets that hold it there without listening."""
    for port in Random().sample(PORTS, 100):
        with contextlib.ExitStack() as stack:
            sockets = {}
            try:
                for address in addresses:
                    sockets[address] = stack.enter_context(socket.socket())
                    sockets[address].setblocking(False)
                    sockets[address].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sockets[address].bind((address, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                raise
            stack.pop_all()
            return port, sockets
    raise OSError("no port is free on all addresses of the backends")
