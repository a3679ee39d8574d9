"""UDP in batches that are looked at: what came and what went still lies in the buffers once a batch is answered.

So batches that nobody looks at pay nothing for those that are: these are others, which take their place.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from time import time_ns
from typing import Any

from dnslb.dns.dnstap import Endpoints
from dnslb.dns.edns import PAYLOAD
from dnslb.dns.reply_kind import NO_REPLY, UNSENT
from dnslb.worker.transaction import Transaction, Watcher, host_and_port, own_address
from dnslb.worker.udp import CONTROL, ID, NAME, Batches

_OWN = {socket.AF_INET: slice(24, 28), socket.AF_INET6: slice(16, 32)}  # where packet information has our address


class WatchedBatches(Batches):
    """Answers as the others do, and then shows itself to each of ``watchers``, who must not wait.

    It is a ``TransactionBatch``: of the queries that were answered last.
    """

    def __init__(self, sock: socket.socket, *others: Any) -> None:
        """``others``: as for the batches that it replaces."""
        super().__init__(sock, *others)
        self.watchers: Sequence[Watcher] = ()
        self._own = own_address(sock)
        self._own_slice = _OWN[sock.family]
        self._count = 0
        self._at = 0

    def __len__(self) -> int:
        return self._count

    def query(self, index: int) -> bytes:
        return self._packet(index)

    def client(self, index: int) -> bytes:
        return host_and_port(self._address(index))[0]

    def of_reply(self, index: int, start: int, end: int) -> bytes:
        at = index * PAYLOAD - ID
        return bytes(self._replies[at + start : at + end])

    def transaction(self, index: int) -> Transaction:
        self._at = self._at or time_ns()
        query = self.query(index)
        ends = Endpoints("udp", *host_and_port(self._address(index)), *self._own_address(index))
        return Transaction(self._at, ends, query, self._reply(index, query[:ID]))

    def _batch(self) -> int:
        self._count, self._at = super()._batch(), 0
        if self._count:
            for watch in self.watchers:
                try:
                    watch(self)
                except Exception:  # our bug: the loop goes on
                    self._bugs.report(self.query(0))
        return self._count

    def _address(self, index: int) -> bytes:
        return bytes((self._told or self._clients)[index * NAME : (index + 1) * NAME])

    def _own_address(self, index: int) -> tuple[bytes, int]:
        """Where the query came to."""
        host, port = self._own
        if self._interfaces is not None:
            host = bytes(self._controls[index * CONTROL : (index + 1) * CONTROL][self._own_slice])
        return host, port

    def _reply(self, index: int, id_: bytes) -> bytes | None:
        start = index * PAYLOAD
        if self._replies[start : start + len(NO_REPLY)] in (NO_REPLY, UNSENT):
            return None
        return id_ + self._replies[start : start + self._out_sizes[index]]
