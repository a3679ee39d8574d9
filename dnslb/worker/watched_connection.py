"""A connection of DNS over TCP that is looked at.

Others pay nothing for it: an open connection becomes one of this class, and is again what it was.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from time import time_ns

from dnslb.answer.responder import ForTransfers
from dnslb.dns.dnstap import Endpoints
from dnslb.worker.bugs import Bugs
from dnslb.worker.tcp import Connection
from dnslb.worker.transaction import Transaction, Watcher, host_and_port, own_address

Respond = Callable[[bytes, bytes], bytes | None]


class Recorder:
    """Responds as ``respond`` does, and remembers what a connection got in its turn, for ``watchers`` to look at."""

    def __init__(self, respond: Respond, watchers: Sequence[Watcher], bugs: Bugs) -> None:
        self._respond = respond
        self._watchers = watchers
        self._bugs = bugs
        self._address = b""
        self._replies: list[bytes | None] = []

    def __call__(self, query: bytes, address: bytes) -> bytes | None:
        self._address = address
        self._replies.append(None)  # also if a bug keeps it from getting one
        try:
            reply = self._replies[-1] = self._respond(query, address)
        except ForTransfers:  # it is another process that answers
            self._replies.pop()
            raise
        return reply

    def show(self, received: bytes, sock: socket.socket) -> None:
        """Let the watchers look at what was answered of these octets since it was last shown."""
        replies, self._replies = self._replies, []
        if not replies:
            return
        seen = _Seen(sock, self._address, received, replies)
        for watch in self._watchers:
            try:
                watch(seen)
            except Exception:  # our bug: the loop goes on
                self._bugs.report(seen.query(0))


class WatchedConnection(Connection):
    """Its ``respond`` is a ``Recorder``."""

    __slots__ = ()  # as many as a connection has that is not looked at

    def _answer(self, until: float) -> int:
        received, recorder = self._received, self._respond
        count = super()._answer(until)
        if isinstance(recorder, Recorder):
            recorder.show(received, self._sock)
        return count


class _Seen:
    """What a connection got in its turn: a ``TransactionBatch``."""

    def __init__(self, sock: socket.socket, address: bytes, received: bytes, replies: list[bytes | None]) -> None:
        self._sock = sock
        self._peer = host_and_port(address)
        self._queries = _messages(received, len(replies))
        self._replies = replies

    def __len__(self) -> int:
        return len(self._replies)

    def query(self, index: int) -> bytes:
        return self._queries[index]

    def client(self, index: int) -> bytes:
        return self._peer[0]

    def of_reply(self, index: int, start: int, end: int) -> bytes:
        return (self._replies[index] or b"")[start - 2 : end - 2]

    def transaction(self, index: int) -> Transaction:
        query, rest = self._queries[index], self._replies[index]
        ends = Endpoints("tcp", *self._peer, *own_address(self._sock))
        return Transaction(time_ns(), ends, query, None if rest is None else query[:2] + rest)


def _messages(octets: bytes, count: int) -> list[bytes]:
    """The first so many, each behind two octets of length."""
    found, at = [], 0
    for _ in range(count):
        end = at + 2 + int.from_bytes(octets[at : at + 2])
        found.append(octets[at + 2 : end])
        at = end
    return found
