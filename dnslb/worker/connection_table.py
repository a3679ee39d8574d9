"""The open TCP connections of a worker: so many in all, so many of one client, and which is the first to go.

No sockets are touched here, and no clock is read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from dnslb.worker.tcp import Connection


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the connections of one worker."""

    connections: int  # open at once, in all
    per_client: int   # from one IPv4 address or IPv6 /64
    idle: float       # seconds without a whole query after which a connection is closed


class _ByProgress:
    """Connections in the order of their last progress: the longest ago comes first."""

    __slots__ = ("due", "resting")

    def __init__(self) -> None:
        self.resting: OrderedDict[Connection, None] = OrderedDict()
        self.due: OrderedDict[Connection, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self.resting) + len(self.due)

    def first(self) -> Connection:
        """The first to go: one to which a reply is due only if it is to all."""
        return next(iter(self.resting or self.due))

    def put(self, connection: Connection) -> None:
        """At the end: it has just progressed."""
        here, there = (self.due, self.resting) if connection.is_due else (self.resting, self.due)
        there.pop(connection, None)
        here[connection] = None
        here.move_to_end(connection)

    def put_first(self, connection: Connection) -> None:
        """Before all others: they have progressed since it has."""
        order = self.due if connection.is_due else self.resting
        order[connection] = None
        order.move_to_end(connection, last=False)

    def remove(self, connection: Connection) -> None:
        self.resting.pop(connection, None)
        self.due.pop(connection, None)


class ConnectionTable:
    def __init__(self, limits: Limits) -> None:
        self.most = limits.connections
        self._per_client = limits.per_client
        self._open: dict[int, Connection] = {}  # by descriptor
        self._all = _ByProgress()
        self._clients: dict[bytes, _ByProgress] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._open.values())

    def __contains__(self, connection: Connection) -> bool:
        return self._open.get(connection.descriptor) is connection

    def get(self, descriptor: int) -> Connection | None:
        return self._open.get(descriptor)

    def in_the_way(self, client: bytes) -> Connection | None:
        """Which has to go before one more of the client may come in; None: there is room."""
        own = self._clients.get(client)
        if own is not None and len(own) >= self._per_client:
            return own.first()
        return self.first() if len(self._open) >= self.most else None

    def first(self) -> Connection | None:
        """The first to go, whoever has it."""
        return self._all.first() if self._open else None

    def add(self, connection: Connection) -> None:
        self._open[connection.descriptor] = connection
        self.put_last(connection)

    def add_first(self, connection: Connection) -> None:
        """One that was idle for longer than all others."""
        self._open[connection.descriptor] = connection
        self._all.put_first(connection)
        self._clients.setdefault(connection.client, _ByProgress()).put_first(connection)

    def put_last(self, connection: Connection) -> None:
        """It has just progressed."""
        self._all.put(connection)
        self._clients.setdefault(connection.client, _ByProgress()).put(connection)

    def remove(self, connection: Connection) -> None:
        del self._open[connection.descriptor]
        self._all.remove(connection)
        own = self._clients[connection.client]
        own.remove(connection)
        if not own:
            del self._clients[connection.client]

    def latest(self) -> list[Connection]:
        """Those to which replies are due, then the others; of each the last to have progressed first."""
        return [*reversed(self._all.due), *reversed(self._all.resting)]

    def idle_longest(self) -> Connection | None:
        """The one whose last progress is the longest ago."""
        firsts = [next(iter(order)) for order in (self._all.resting, self._all.due) if order]
        return min(firsts, key=lambda connection: connection.active, default=None)
