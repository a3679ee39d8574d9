"""What the workers have counted, of all generations: told by them, and added up here.

Sums never fall, whoever dies.  What a killed worker had not told yet, a second's worth at most, is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from itertools import count
from typing import TypeAlias

from dnslb.answer.hidden_loads import HiddenLoads
from dnslb.answer.snapshot import RRsetKey, Serving
from dnslb.balance.rotation import Rotation
from dnslb.dns.name import Name
from dnslb.parent.telling.limit_log import LimitLog
from dnslb.worker.messages import AskedCounts, Counts, LeadCounts, ZoneCounts

Stage: TypeAlias = tuple[int, int]  # the serial of the workers, and an update to them: later ones are greater

_START = (0, 0)


class Totals:
    """What all workers of all generations have counted, added up."""

    def __init__(self) -> None:
        self.udp: Counter[bytes] = Counter()  # replies, by their head
        self.tcp: Counter[bytes] = Counter()
        self.packed = 0
        self.accepted = 0
        self.evicted = 0
        self.bugs = 0
        self.zones: Counter[Name] = Counter()            # replies, by the zone that they came from
        self.recorded: Counter[str] = Counter(dnstap=0, query_log=0)    # records of queries written, by where they go
        self.unrecorded: Counter[str] = Counter(dnstap=0, query_log=0)  # and dropped
        self.held = 0                     # queries that the rate limit held up
        self.put_off = 0                  # of these, those that were told to come again
        self.limit_log = LimitLog()
        self.restarts = 0                 # of workers that died
        self.hung = 0                     # of these, those that were killed because they hung
        self.generations = 0              # that were served
        self.loads = HiddenLoads()
        self.open: dict[int, int] = {}    # TCP connections, by worker
        self._led: dict[RRsetKey, Counter[bytes]] = {}
        self._recent: dict[RRsetKey, Counter[bytes]] = {}  # since what is handed out changed last
        self._handed_out: dict[RRsetKey, tuple[tuple[bytes, ...], Rotation]] = {}
        self._since: dict[RRsetKey, Stage] = {}
        self._serials = count(1)

    @property
    def queries(self) -> int:
        return self.udp.total() + self.tcp.total()

    def led(self, key: RRsetKey) -> Mapping[bytes, int]:
        """Answers that each address of the RRset led; those that led none are not there."""
        return self._led.get(key, {})

    def achieved(self, key: RRsetKey, rdata: bytes) -> float | None:
        """An address's share of those since what is handed out changed last; None: there were none."""
        recent = self._recent.get(key)
        return recent[rdata] / recent.total() if recent else None

    def next_serial(self) -> int:
        """The number of a new set of workers: later ones are greater."""
        return next(self._serials)

    def add_counts(self, pid: int, counts: Counts) -> None:
        """A worker tells what it has counted."""
        self.udp.update(counts.udp)
        self.tcp.update(counts.tcp)
        self.packed += counts.packed
        self.accepted += counts.accepted
        self.evicted += counts.evicted
        self.bugs += counts.bugs
        self.open[pid] = counts.open
        self.held += counts.held.queries
        self.put_off += counts.held.put_off
        for name, (written, dropped) in counts.records.items():
            self.recorded[name] += written
            self.unrecorded[name] += dropped

    def add(self, said: LeadCounts | ZoneCounts | AskedCounts, stage: Stage, now: float) -> None:
        """A worker that answered by the update of that stage tells more; ``now`` is of a monotonic clock."""
        match said:
            case LeadCounts():
                self.add_leads(said, stage)
            case ZoneCounts():
                self.zones.update(said.replies)
            case AskedCounts():
                self.loads.add(said.asked, now)

    def add_leads(self, leads: LeadCounts, stage: Stage) -> None:
        """Which addresses led its answers."""
        for key, led in leads.led.items():
            _add(self._led, key, led)
            if stage >= self._since.get(key, _START):
                _add(self._recent, key, led)

    def forget_worker(self, pid: int) -> None:
        """A worker has ended: its connections are closed."""
        self.open.pop(pid, None)

    def begin_serving(self, servings: Mapping[RRsetKey, Serving], stage: Stage) -> None:
        """From that stage on the pools serve this."""
        for key, serving in servings.items():
            handed_out = serving.rrset.rdatas, serving.rotation
            if self._handed_out.get(key) != handed_out:
                self._handed_out[key] = handed_out
                self._since[key] = stage
                self._recent.pop(key, None)

    def keep_only(self, pools: Mapping[RRsetKey, Collection[bytes]]) -> None:
        """Forget the leading answers of addresses that are in no pool any more."""
        for kept in (self._led, self._recent):
            for key in list(kept):
                kept[key] = Counter({rdata: led for rdata, led in kept[key].items() if rdata in pools.get(key, ())})
                if not kept[key]:
                    del kept[key]
        self._handed_out = {key: found for key, found in self._handed_out.items() if key in pools}
        self._since = {key: stage for key, stage in self._since.items() if key in pools}


def _add(sums: dict[RRsetKey, Counter[bytes]], key: RRsetKey, led: Mapping[bytes, int]) -> None:
    total = sums.get(key)
    if total is None:
        total = sums[key] = Counter()
    # Counter.update takes longer for so few, and there may be ten thousand pools.
    for rdata, answers in led.items():
        total[rdata] += answers
