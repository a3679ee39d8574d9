"""What a worker counts, and what it tells its parent of that: all since it last told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dnslb.answer.snapshot import Key, Led, Snapshot
from dnslb.worker.bugs import Bugs
from dnslb.worker.connections import Connections
from dnslb.worker.reply_counter import ReplyCounter


@dataclass(frozen=True, slots=True)
class Counts:
    """What a worker tells."""

    udp: Mapping[bytes, int]  # replies by their head
    tcp: Mapping[bytes, int]
    packed: int               # replies that were not found ready
    accepted: int             # TCP connections
    evicted: int              # TCP connections closed to make room
    open: int                 # TCP connections, now
    bugs: int


@dataclass(frozen=True, slots=True)
class LeadCounts:
    """What a worker tells of some pools: answers by the address that led them."""

    led: Mapping[Key, Led]


@dataclass(slots=True)
class Counters:
    """What a worker counts; some of it stands where it happens."""

    snapshot: Snapshot
    connections: Connections
    bugs: Bugs
    udp: ReplyCounter = field(default_factory=ReplyCounter)
    tcp: ReplyCounter = field(default_factory=ReplyCounter)

    def take(self) -> Counts:
        """All of it, and begin anew."""
        counts = Counts(
            udp=self.udp.take(),
            tcp=self.tcp.take(),
            packed=self.snapshot.packed,
            accepted=self.connections.accepted,
            evicted=self.connections.evicted,
            open=len(self.connections),
            bugs=self.bugs.count,
        )
        self.snapshot.packed = self.connections.accepted = self.connections.evicted = self.bugs.count = 0
        return counts
