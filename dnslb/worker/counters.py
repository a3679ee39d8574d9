"""What a worker counts, and how it reports it: each report tells what was counted since the one before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

from dnslb.answer.snapshot import RRsetKey, Serving, Snapshot
from dnslb.worker.arrivals import Arrivals
from dnslb.worker.bugs import Bugs
from dnslb.worker.connections import Connections
from dnslb.worker.messages import AskedCounts, Counts, LeadCounts, ZoneCounts
from dnslb.worker.rate_limit import NONE_HELD, RateLimit
from dnslb.worker.record_counts import RecordCounts
from dnslb.worker.reply_counter import ReplyCounter

_PIECE = 500  # pools in one message


@dataclass(frozen=True, slots=True)
class Counters:
    """Reads the counters of all parts of a worker; the parts themselves count."""

    snapshot: Snapshot
    connections: Connections
    bugs: Bugs
    udp: ReplyCounter
    tcp: ReplyCounter
    limit: RateLimit | None = None
    records: RecordCounts = field(default_factory=RecordCounts)
    arrivals: Arrivals = field(default_factory=lambda: Arrivals((), Random()))

    def report(self) -> Iterator[Counts | LeadCounts | ZoneCounts | AskedCounts]:
        """Everything that was counted, message by message."""
        yield self.take()
        turning = self.snapshot.turning
        for start in range(0, len(turning), _PIECE):
            yield LeadCounts(self.snapshot.led(turning[start : start + _PIECE]))
        yield from map(ZoneCounts, self.snapshot.zone_turns.take_counts())
        yield from map(AskedCounts, self.arrivals.take())

    def take(self) -> Counts:
        """Everything but the answers by leading address.  The counters begin at zero again."""
        counts = Counts(
            udp=self.udp.take(),
            tcp=self.tcp.take(),
            packed=self.snapshot.packed,
            accepted=self.connections.accepted,
            evicted=self.connections.evicted,
            open=len(self.connections),
            bugs=self.bugs.count,
            records=self.records.take(),
            held=NONE_HELD if self.limit is None else self.limit.take(),
        )
        self.snapshot.packed = self.connections.accepted = self.connections.evicted = self.bugs.count = 0
        return counts

    def put_in_force(self, servings: Mapping[RRsetKey, Serving]) -> LeadCounts:
        """Let the pools serve this from now on.  The answers that were led by what they have served before."""
        return LeadCounts(self.snapshot.update(servings))
