"""The open TCP connections of a worker: how many there may be, and which one is closed first to make room.

No sockets are touched here, and no clock is read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from dnslb.worker.tcp import Connection


@dataclass(frozen=True, slots=True)
class Limits:
    """What one worker allows its TCP connections."""

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
        """The one to close first.  One to which a reply is due is taken only if a reply is due to all."""
        return next(iter(self.resting or self.due))

    def put(self, connection: Connection) -> None:
        """Put it at the end: it has just progressed."""
        here, there = (self.due, self.resting) if connection.is_due else (self.resting, self.due)
        there.pop(connection, None)
        here[connection] = None
        here.move_to_end(connection)

    def put_first(self, connection: Connection) -> None:
        """Put it before all others: they have progressed since it has."""
        order = self.due if connection.is_due else self.resting
        order[connection] = None
        order.move_to_end(connection, last=False)

    def remove(self, connection: Connection) -> None:
        self.resting.pop(connection, None)
        self.due.pop(connection, None)


class ConnectionTable:
    """All connections, and those of each client, in the order of their last progress."""

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
        """The connection that must be closed before one more of this client may come in; None if there is room."""
        own = self._clients.get(client)
        if own is not None and len(own) >= self._per_client:
            return own.first()
        return self.first() if len(self._open) >= self.most else None

    def first(self) -> Connection | None:
        """The connection to close first, whichever client has it; None if there is none."""
        return self._all.first() if self._open else None

    def add(self, connection: Connection) -> None:
        self._open[connection.descriptor] = connection
        self._clients.setdefault(connection.client, _ByProgress())
        self.put_last(connection)

    def add_first(self, connection: Connection) -> None:
        """Add one that has been idle for longer than all others."""
        self._open[connection.descriptor] = connection
        self._all.put_first(connection)
        self._clients.setdefault(connection.client, _ByProgress()).put_first(connection)

    def put_last(self, connection: Connection) -> None:
        """Move it behind all others: it has just progressed."""
        self._all.put(connection)
        self._clients[connection.client].put(connection)

    def remove(self, connection: Connection) -> None:
        del self._open[connection.descriptor]
        self._all.remove(connection)
        own = self._clients[connection.client]
        own.remove(connection)
        if not own:
            del self._clients[connection.client]

    def latest(self) -> list[Connection]:
        """All: first those to which replies are due, then the others; in each group the latest progress first."""
        return [*reversed(self._all.due), *reversed(self._all.resting)]

    def idle_longest(self) -> Connection | None:
        """The connection whose last progress is the longest ago; None if there is none."""
        firsts = [next(iter(order)) for order in (self._all.resting, self._all.due) if order]
        return min(firsts, key=lambda connection: connection.active, default=None)
