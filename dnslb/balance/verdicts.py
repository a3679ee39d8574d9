"""What is known of the targets of probes, and how far it can be believed: the verdicts that all pools go by.

Pure: no clock, no I/O, no logging.  ``judgement`` says what a pool makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from dnslb.balance import ttl
from dnslb.balance.health import Health, ProbeKey
from dnslb.balance.pool import Pool

_TRUSTED = 300.0  # seconds for which it is believed that a backend is still up, at most


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe has shown that pools have to know."""

    key: ProbeKey
    before: Health | None
    after: Health
    is_first: bool     # since the start of the server, or since maint
    was_doubted: bool  # nobody had probed the target for a while


class Verdicts:
    """Of all targets.  ``healths`` belongs to whoever probes, and changes before ``record`` is called."""

    def __init__(self) -> None:
        self.healths: Mapping[ProbeKey, Health] = {}
        self.recalled: set[ProbeKey] = set()   # of these: from an earlier life of the server
        self.left: float | None = None         # Unix time up to which that life may have known them
        self.returning: set[ProbeKey] = set()  # that were down then, and have not failed since
        self.doubted: set[ProbeKey] = set()    # that were up, were not probed for a while, and have no outcome since
        self.faults: dict[ProbeKey, str] = {}  # what cannot be probed, by no fault of its own, and why
        self.is_patient = True                 # whether probes still have time to find out who is up

    @property
    def are_sure(self) -> bool:
        """Whether every health that is known has been found by a probe that was made when it was due."""
        return not (self.recalled or self.faults or self.doubted)

    def follow(self, old: Verdicts, keys: Set[ProbeKey]) -> None:
        """After a reload, what was to be found out of these still is."""
        self.returning = old.returning & keys
        self.doubted = old.doubted & keys

    def record(self, key: ProbeKey, before: Health | None, after: Health) -> Finding | None:
        """One more probe has ended; None when that changes nothing for any pool."""
        was_doubted = key in self.doubted
        is_first = before is None or key in self.recalled or was_doubted
        was_fault = key in self.faults
        self.recalled.discard(key)
        self.doubted.discard(key)
        self.faults.pop(key, None)
        if after.up or not after.streak:
            self.returning.discard(key)
        is_as_before = before is not None and (before.up, before.streak) == (after.up, after.streak)
        if is_as_before and not is_first and not was_fault:
            return None
        return Finding(key, before, after, is_first, was_doubted)

    def record_fault(self, key: ProbeKey, reason: str) -> bool:
        """A probe could not be made, which says nothing of the target.  Whether that is news."""
        is_news = self.faults.get(key) != reason
        self.faults[key] = reason
        return is_news

    def doubt(self, key: ProbeKey) -> bool:
        """Nobody has probed the target for a while.  Whether that matters: it does not if it was down."""
        health = self.healths.get(key)
        if health is not None and not health.up:
            return False
        self.doubted.add(key)
        self.faults.pop(key, None)  # what kept us from probing then, may not now
        return True

    def are_believed(self, pool: Pool, key: ProbeKey, now: float) -> bool:
        """Whether the pool may go by the verdict on this target, rather than wait for a probe."""
        health = self.healths.get(key)
        if health is None or key not in self.recalled or not health.up:
            return health is not None
        cached = min((ttl.bounds(pool, version).ceiling for version in pool.zone_ttls), default=0)
        # A time to come is a clock that was set.
        return self.left is not None and 0 <= now - self.left <= min(cached, _TRUSTED)
