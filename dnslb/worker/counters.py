"""What a worker counts, and its reports of that: each tells all since the one before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dnslb.answer.snapshot import Key, Serving, Snapshot
from dnslb.worker.bugs import Bugs
from dnslb.worker.connections import Connections
from dnslb.worker.messages import Counts, LeadCounts
from dnslb.worker.reply_counter import ReplyCounter

_PIECE = 500  # pools in one message


@dataclass(frozen=True, slots=True)
class Counters:
    """Some of the counting happens in the parts themselves."""

    snapshot: Snapshot
    connections: Connections
    bugs: Bugs
    udp: ReplyCounter
    tcp: ReplyCounter

    def report(self) -> Iterator[Counts | LeadCounts]:
        """All of it, message by message."""
        yield self.take()
        turning = self.snapshot.turning
        for start in range(0, len(turning), _PIECE):
            yield LeadCounts(self.snapshot.led(turning[start : start + _PIECE]))

    def take(self) -> Counts:
        """All but the answers that each address has led; what is counted begins anew."""
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

    def put_in_force(self, servings: Mapping[Key, Serving]) -> LeadCounts:
        """The pools serve this from now on: the answers that were led by what they have served up to now."""
        return LeadCounts(self.snapshot.update(servings))
