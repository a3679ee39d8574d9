"""Agents that say what a test wants, on real sockets of the loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress


class Agents:
    """One on each address, all on one port.  ``says`` may be changed while they run; None: it accepts and is silent."""

    def __init__(self, homes: Sequence[str], port: int, says: bytes) -> None:
        self.says: dict[str, bytes | None] = dict.fromkeys(homes, says)
        self.asked = dict.fromkeys(homes, 0)
        self._listeners = [socket.create_server((home, port), backlog=128) for home in homes]
        for home, listener in zip(homes, self._listeners, strict=True):
            threading.Thread(target=self._serve, args=(home, listener), daemon=True).start()

    def close(self) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _serve(self, home: str, listener: socket.socket) -> None:
        kept = []
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                self.asked[home] += 1
                said = self.says[home]
                if said is None:
                    kept.append(client)
                    continue
                with client, suppress(OSError):
                    client.sendall(said)


@contextmanager
def agents(homes: Sequence[str], port: int, says: bytes = b"up\n") -> Iterator[Agents]:
    running = Agents(homes, port, says)
    try:
        yield running
    finally:
        running.close()
