"""What a worker counts, and what it tells its parent of that: all since it last told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dnslb.serve.bugs import Bugs
from dnslb.serve.heads import Heads
from dnslb.serve.tcp import Limits
from dnslb.snapshot import Key, Led, Snapshot


@dataclass(frozen=True, slots=True)
class Tally:
    """What a worker tells."""

    udp: Mapping[bytes, int]  # replies by their head
    tcp: Mapping[bytes, int]
    packed: int               # replies that were not found ready
    accepted: int             # TCP connections
    rejected: int             # TCP connections over the limits
    open: int                 # TCP connections, now
    bugs: int


@dataclass(frozen=True, slots=True)
class Leads:
    """What a worker tells of some pools: answers by the address that led them."""

    led: Mapping[Key, Led]


@dataclass(slots=True)
class Counts:
    """What a worker counts; some of it stands where it happens."""

    snapshot: Snapshot
    limits: Limits
    bugs: Bugs
    udp: Heads = field(default_factory=Heads)
    tcp: Heads = field(default_factory=Heads)

    def take(self) -> Tally:
        """All of it, and begin anew."""
        tally = Tally(
            udp=self.udp.take(),
            tcp=self.tcp.take(),
            packed=self.snapshot.packed,
            accepted=self.limits.accepted,
            rejected=self.limits.rejected,
            open=len(self.limits.open),
            bugs=self.bugs.count,
        )
        self.snapshot.packed = self.limits.accepted = self.limits.rejected = self.bugs.count = 0
        return tally
