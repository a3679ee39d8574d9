"""Probes that were made, judged anew: what other settings would have taken out of the answers, and when.

Pure.  Verdicts, selection and TTLs are the server's own code.  A record tells what was seen at some times; who would
have probed at others is told what was seen last.  A recorded failure stays one, however long the new timeout.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from random import Random
from typing import NamedTuple, TypeAlias

from dnslb.balance import health
from dnslb.balance.health import Health, Outcome
from dnslb.balance.pool import Address, Pool, Probe
from dnslb.simulation.authority import Authority

_LATE = 1.1    # times the pause: a probe that was made that late was the next one all the same
_EARLY = 0.89  # times the pause: the schedule cuts it by a tenth at most
_SILENCE = 300.0  # seconds without a probe after which nobody knows what was there: the server was away, or in maint


class Seen(NamedTuple):
    """One probe as it was recorded."""

    start: float  # Unix time
    took: float   # seconds
    ok: bool

    @property
    def end(self) -> float:
        return self.start + self.took


class Judged(NamedTuple):
    """One probe as other settings would have made it."""

    at: float     # Unix time at which it has ended
    target: Address
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Absence:
    """A time in which an address was not handed out, in Unix time."""

    address: Address
    begin: float
    end: float      # that of its record, if it lasted so long
    reason: str     # of the verdict
    failing: float  # seconds of it in which probes failed


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a pool would have done."""

    absences: tuple[Absence, ...]  # in the order of time
    exposed: float  # seconds for which all clients together went to failing backends: 1 s of half of them is 0.5

    @property
    def away(self) -> float:
        """Seconds, all addresses together."""
        return sum(each.end - each.begin for each in self.absences)

    @property
    def failing(self) -> float:
        """Of these, seconds in which probes failed."""
        return sum(each.failing for each in self.absences)


Records: TypeAlias = Mapping[Address, Sequence[Seen]]  # by probed address, in the order of time, none empty


def replay(pool: Pool, version: int, records: Records) -> Replayed:
    """What the pool, by its present settings, would have made of the records.  It has a probe."""
    probe = pool.probe
    if probe is None or not records:
        return Replayed((), 0.0)
    authority = Authority(pool, version, Random(0))
    handed_out = _HandedOut(authority, min(seen[0].start for seen in records.values()))
    for judged in merge(*(_judge(target, seen, probe) for target, seen in records.items()), key=lambda each: each.at):
        while authority.next_at <= judged.at:
            at = authority.next_at
            authority.advance(at)
            handed_out.note(at)
        authority.observe(judged.target, judged.outcome, judged.at)
        handed_out.note(judged.at)
    handed_out.end({target: seen[-1].end for target, seen in records.items()})
    failing = {target: _Failing(seen) for target, seen in records.items()}
    known = [(each.address, failing[each.target]) for each in authority.backends if each.target in failing]
    absences = [absence for address, failures in known for absence in handed_out.absences(address, failures)]
    absences.sort(key=lambda absence: (absence.begin, str(absence.address)))
    return Replayed(tuple(absences), sum(handed_out.exposed(address, failures) for address, failures in known))


def _judge(target: Address, record: Sequence[Seen], probe: Probe) -> Iterator[Judged]:
    """The outcomes that this probe would have had, at its own pace."""
    starts = [seen.start for seen in record]
    known, at, place = Health(), starts[0], 0
    while True:
        seen = record[place]
        is_late = seen.took > probe.timeout
        took = min(seen.took, probe.timeout)
        reason = f"no answer within {probe.timeout:g} s" if is_late else "passed" if seen.ok else "failed"
        outcome = Outcome(seen.ok and not is_late, reason, took)
        known = health.observe(known, outcome, probe, at + took)
        yield Judged(at + took, target, outcome)
        pause = max(health.pause(known, probe), took)
        # What was recorded when this probe would have been made; else what was seen last.
        following = bisect_right(starts, at + _EARLY * pause - 1e-9)
        if following == len(starts):
            return
        if starts[following] <= at + _LATE * pause or starts[following] - starts[place] > _SILENCE:
            at, place = starts[following], following
        else:
            at += pause
            place = bisect_right(starts, at) - 1


class _Failing:
    """When probes of one target failed: from the first of a row to the next that passed."""

    def __init__(self, record: Sequence[Seen]) -> None:
        self._begins: list[float] = []
        self._ends: list[float] = []
        for seen in record:
            is_open = len(self._ends) < len(self._begins)
            if seen.ok and is_open:
                self._ends.append(seen.start)
            elif not seen.ok and not is_open:
                self._begins.append(seen.start)
        if len(self._ends) < len(self._begins):
            self._ends.append(record[-1].end)

    def within(self, begin: float, end: float) -> Iterator[tuple[float, float]]:
        """Those that overlap, cut to this."""
        place = max(0, bisect_right(self._begins, begin) - 1)
        while place < len(self._begins) and self._begins[place] < end:
            since, until = max(begin, self._begins[place]), min(end, self._ends[place])
            if since < until:
                yield since, until
            place += 1


class _Span(NamedTuple):
    """A time in which one address got one share of the answers."""

    begin: float
    end: float
    share: float
    expires: float  # when the last copy of it does that was handed out up to the end
    reason: str     # at the beginning, of the verdict


class _HandedOut:
    """What the pool handed out from ``begin`` on."""

    def __init__(self, authority: Authority, begin: float) -> None:
        self._authority = authority
        self._shares, self._ttl = authority.shares, authority.ttl
        self._at_rest = frozenset(self._shares)
        self._since = dict.fromkeys((each.address for each in authority.backends), (begin, ""))
        self._expires = dict.fromkeys(self._since, begin)
        self._spans: dict[Address, list[_Span]] = {address: [] for address in self._since}

    def note(self, at: float) -> None:
        """Up to now it was as noted last; from now on it is as the authority has it."""
        for address in self._shares:
            self._expires[address] = max(self._expires[address], at + self._ttl)
        shares = self._authority.shares
        if shares != self._shares:
            for backend in self._authority.backends:
                if shares.get(backend.address) != self._shares.get(backend.address):
                    self._close(backend.address, at, self._authority.health(backend.target).reason)
        self._shares, self._ttl = shares, self._authority.ttl

    def end(self, ends: Mapping[Address, float]) -> None:
        """There is no more.  ``ends``: of the records, by probed address."""
        self.note(max(ends.values()))
        for backend in self._authority.backends:
            since, _ = self._since[backend.address]
            self._close(backend.address, max(since, ends.get(backend.target, since)), "")

    def absences(self, address: Address, failing: _Failing) -> Iterator[Absence]:
        """Of what is handed out while all is up."""
        for span in self._spans[address] if address in self._at_rest else ():
            if not span.share and span.begin < span.end:
                failed = sum(until - since for since, until in failing.within(span.begin, span.end))
                yield Absence(address, span.begin, span.end, span.reason, failed)

    def exposed(self, address: Address, failing: _Failing) -> float:
        """Seconds for which all clients together went there while it failed.

        Those with a copy go on: of copies that were made evenly over time, so many as there is time left.
        """
        seconds, before = 0.0, _Span(0.0, 0.0, 0.0, 0.0, "")
        for span in self._spans[address]:
            for since, until in failing.within(span.begin, span.end):
                seconds += span.share * (until - since)
            if span.share < before.share and before.expires > before.end:
                left = before.expires - before.end
                for since, until in failing.within(before.end, before.expires):
                    mean = (before.expires - (since + until) / 2) / left
                    seconds += (before.share - span.share) * mean * (until - since)
            before = span
        return seconds

    def _close(self, address: Address, at: float, reason: str) -> None:
        """A new time begins for the address."""
        since, why = self._since[address]
        self._spans[address].append(_Span(since, at, self._shares.get(address, 0.0), self._expires[address], why))
        self._since[address] = at, reason
