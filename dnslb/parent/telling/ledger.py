"""What the workers have counted, of all generations: told by them, and added up here.

Sums never fall, whoever dies.  What a killed worker had not told yet, a second's worth at most, is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from itertools import count
from typing import TypeAlias

from dnslb.answer.snapshot import Key, Serving
from dnslb.balance.rotation import Rotation
from dnslb.worker.counters import Counts, LeadCounts

Moment: TypeAlias = tuple[int, int]  # a crew, and an update to it: later ones are greater

_START = (0, 0)


class Ledger:
    """The sums."""

    def __init__(self) -> None:
        self.udp: Counter[bytes] = Counter()  # replies, by their head
        self.tcp: Counter[bytes] = Counter()
        self.packed = 0
        self.accepted = 0
        self.evicted = 0
        self.bugs = 0
        self.restarts = 0                 # of workers that died
        self.hung = 0                     # of these, those that were killed because they hung
        self.generations = 0              # that were served
        self.open: dict[int, int] = {}    # TCP connections, by worker
        self._led: dict[Key, Counter[bytes]] = {}
        self._recent: dict[Key, Counter[bytes]] = {}  # since what is handed out changed last
        self._handed_out: dict[Key, tuple[tuple[bytes, ...], Rotation]] = {}
        self._since: dict[Key, Moment] = {}
        self._crews = count(1)

    @property
    def queries(self) -> int:
        return self.udp.total() + self.tcp.total()

    def led(self, key: Key) -> Mapping[bytes, int]:
        """Answers that each address of the RRset led; those that led none are not there."""
        return self._led.get(key, {})

    def achieved(self, key: Key, rdata: bytes) -> float | None:
        """An address's share of those since what is handed out changed last; None: there were none."""
        recent = self._recent.get(key)
        return recent[rdata] / recent.total() if recent else None

    def enlist(self) -> int:
        """The number of a new crew."""
        return next(self._crews)

    def hear(self, pid: int, tally: Counts) -> None:
        """A worker tells what it has counted."""
        self.udp.update(tally.udp)
        self.tcp.update(tally.tcp)
        self.packed += tally.packed
        self.accepted += tally.accepted
        self.evicted += tally.evicted
        self.bugs += tally.bugs
        self.open[pid] = tally.open

    def credit(self, leads: LeadCounts, moment: Moment) -> None:
        """A worker that answered by the update of that moment tells which addresses led its answers."""
        for key, led in leads.led.items():
            _add(self._led, key, led)
            if moment >= self._since.get(key, _START):
                _add(self._recent, key, led)

    def bury(self, pid: int) -> None:
        """A worker has ended."""
        self.open.pop(pid, None)

    def note(self, servings: Mapping[Key, Serving], moment: Moment) -> None:
        """From that moment on the pools serve this."""
        for key, serving in servings.items():
            handed_out = serving.rrset.rdatas, serving.rotation
            if self._handed_out.get(key) != handed_out:
                self._handed_out[key] = handed_out
                self._since[key] = moment
                self._recent.pop(key, None)

    def keep(self, pools: Mapping[Key, Collection[bytes]]) -> None:
        """Forget the leading answers of addresses that are in no pool any more."""
        for kept in (self._led, self._recent):
            for key in list(kept):
                kept[key] = Counter({rdata: led for rdata, led in kept[key].items() if rdata in pools.get(key, ())})
                if not kept[key]:
                    del kept[key]
        self._handed_out = {key: found for key, found in self._handed_out.items() if key in pools}
        self._since = {key: moment for key, moment in self._since.items() if key in pools}


def _add(sums: dict[Key, Counter[bytes]], key: Key, led: Mapping[bytes, int]) -> None:
    total = sums.get(key)
    if total is None:
        total = sums[key] = Counter()
    # Counter.update takes longer for so few, and there may be ten thousand pools.
    for rdata, answers in led.items():
        total[rdata] += answers
