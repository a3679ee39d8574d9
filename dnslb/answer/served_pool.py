"""A pool, and what it serves from one moment to the next: worked out anew when a verdict, an order or time changes it.

Pure: no clock, no logging; whoever calls knows the time, and publishes what has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from dnslb.answer.copies import Copies
from dnslb.answer.served import Before, Facts, Served, work_out
from dnslb.answer.snapshot import RRsetKey, Serving
from dnslb.balance import selection, ttl
from dnslb.balance.burdens import Burdens, judged
from dnslb.balance.health import Health, ProbeKey
from dnslb.balance.hidden_load import Crowd
from dnslb.balance.judgement import Judgement
from dnslb.balance.load import NOBODY, Burden
from dnslb.balance.operator_order import Order, Scope
from dnslb.balance.pool import Address, Backend, Pool
from dnslb.balance.reading import Reading
from dnslb.balance.verdicts import Verdicts
from dnslb.dns import rrtype
from dnslb.dns.name import Name

_NOTHING = Before()


@dataclass(frozen=True, slots=True)
class Change:
    """What has come of working a pool out."""

    servings: dict[RRsetKey, Serving]  # what is served otherwise than before
    soon: list[ProbeKey]          # who should be probed soon
    next_at: float | None         # Unix time from which on it serves something else, if nothing else changes


class ServedPool:
    """It is worked out for the first time by ``begin``; ``owner`` is folded."""

    def __init__(self, owner: Name, pool: Pool, verdicts: Verdicts) -> None:
        self.owner = owner
        self.pool = pool
        self.name = pool.owner  # as text
        self.judgement = Judgement(pool, verdicts)
        self.burdens = Burdens(pool)
        self.rrsets: dict[int, Served] = {}  # by IP version
        self.crowds: Mapping[int, Mapping[int, Crowd]] = {}  # by IP version: who asks, by class of their hidden load
        self._before: dict[int, Before] = {}  # by IP version: what was handed out before this pool was

    # Before it is worked out.

    def follow(self, old: ServedPool) -> None:
        """Before a reload this was served under the name: caches hold it."""
        self.rrsets = {
            version: served
            for version, served in old.rrsets.items()
            if version in self.pool.zone_ttls and version not in old.judgement.withheld
        }
        self.crowds = old.crowds
        self.judgement.served = set(self.rrsets)
        self.judgement.follow(old.judgement)
        self.burdens.follow(old.burdens)

    def succeed(self, old: ServedPool, now: float) -> None:
        """The same pool with other backends, while it is served: it is worked out next."""
        self.follow(old)
        self._before = old._before
        self.judgement.begin(now)

    def follow_records(self, addresses: Iterable[Address], copies: Copies, now: float) -> None:
        """Before a reload there was no pool: the zone's records, if any, were served as they stand in its file."""
        plain = list(addresses)
        self.judgement.stand_in(dict.fromkeys(plain, Health()))
        for version in {address.version for address in plain}:
            self._before[version] = Before({address for address in plain if address.version == version})
        self.judgement.served = self._before.keys() & self.pool.zone_ttls.keys()
        for each, seconds in self.pool.zone_ttls.items():
            self.assume_copies(copies, each, now + seconds)

    def begin(
        self, orders: Mapping[Scope, Order], changed_at: Mapping[str, float], copies: Copies, now: float
    ) -> Change:
        """``changed_at`` are the times of the last changes in an earlier life of the server, by ``label``."""
        self.judgement.begin(now)
        for version in self.pool.zone_ttls:
            if (at := changed_at.get(self.label(version))) is not None:
                self._before[version] = Before(self._before.get(version, _NOTHING).addresses, at)
            # What another life of the server has handed out is still in caches.
            self.assume_copies(copies, version, now + ttl.bounds(self.pool, version).ceiling)
        return self.work_out(orders, copies, now)

    def assume_copies(self, copies: Copies, version: int, until: float) -> None:
        """Addresses of which nothing else is known may have been handed out up to now."""
        addresses = [backend.address for backend in self.backends(version)]
        copies.assume((self.owner, rrtype.ADDRESS_TYPES[version]), addresses, until)

    # From then on.

    def work_out(self, orders: Mapping[Scope, Order], copies: Copies, now: float) -> Change:
        """What is served from ``now`` on."""
        judgement = self.judgement
        known = judgement.known()
        soon = judgement.withhold(known, orders, now)
        unsure = judgement.all_unsure(known)
        servings: dict[RRsetKey, Serving] = {}
        burdens = self.burdens.in_force(orders, now)
        edges = [selection.next_change(self.pool, judged(known, burdens), orders, now, burdens)]
        for version in self.pool.zone_ttls:
            shown, is_withheld = self.rrsets.get(version), version in judgement.withheld
            if is_withheld and shown is not None and shown.serving.withheld:
                continue  # nobody sees it
            healths = judged(judgement.without_awaited(version, known, orders, now), burdens)
            facts = Facts(now, healths, orders, unsure, burdens, self.crowds.get(version, {}))
            served = work_out(self.pool, version, facts, self._handed_out_before(version), is_withheld)
            self.note_copies(copies, version, now)
            self.rrsets[version] = served
            if shown is None or shown.serving != served.serving:
                servings[self.owner, rrtype.ADDRESS_TYPES[version]] = served.serving
            edges.append(served.ttl.until)
        return Change(servings, soon, min((at for at in edges if at is not None), default=None))

    def record_load(self, target: Address, reading: Reading, now: float) -> tuple[Burden, Burden]:
        """A backend was asked how busy it is.  Its burden before, and after."""
        ttl_in_force = max((served.ttl.seconds for served in self.rrsets.values()), default=0)
        return self.burdens.record(target, reading, ttl_in_force, now)

    def verdict(self, backend: Backend) -> Health | None:
        """What it goes by: its probe's verdict, or its agent's."""
        burden = self.burdens.get(backend.target, NOBODY)
        return burden.verdict or self.judgement.verdict(backend)

    def begin_serving(self) -> set[int]:
        """The IP versions that are served, and were not when this was asked last, nor before this generation."""
        begun = self.rrsets.keys() - self.judgement.withheld - self.judgement.served
        self.judgement.served |= begun
        return begun

    def note_copies(self, copies: Copies, version: int, now: float) -> None:
        """What is handed out up to now, caches may hold for its TTL from now on."""
        served = self.rrsets.get(version)
        if served is not None and not served.serving.withheld:
            key = (self.owner, rrtype.ADDRESS_TYPES[version])
            copies.hand_out(key, served.addresses, now + served.serving.rrset.ttl)

    def _handed_out_before(self, version: int) -> Before:
        served = self.rrsets.get(version)
        if served is None or (served.serving.withheld and version not in self.judgement.served):
            return self._before.get(version, _NOTHING)
        return Before(served.addresses, served.changed_at)

    # What there is to tell.

    def servings(self) -> dict[RRsetKey, Serving]:
        """What it serves of each RRset at the moment."""
        return {
            (self.owner, rrtype.ADDRESS_TYPES[version]): replace(rrset.serving, withheld=self.is_withheld(version))
            for version, rrset in self.rrsets.items()
        }

    def is_withheld(self, version: int) -> bool:
        """Whether queries get no reply yet."""
        return version in self.judgement.withheld

    def is_unseen(self, backends: Iterable[Backend]) -> bool:
        """Whether none of these has been in an answer yet, nor could have been."""
        return {each.address.version for each in backends} <= self.judgement.withheld - self.judgement.served

    def is_empty(self, version: int) -> bool:
        """Whether queries get an empty answer, for want of an address."""
        return not self.is_withheld(version) and not self.rrsets[version].selection.shares

    def handed_out(self, version: int) -> frozenset[Address]:
        """What is in the answers, as last worked out."""
        return frozenset(self.rrsets[version].addresses) if version in self.rrsets else frozenset()

    def backends(self, version: int) -> list[Backend]:
        """Those of the RRset, handed out or not."""
        return [backend for backend in self.pool.backends if backend.address.version == version]

    def label(self, version: int) -> str:
        """The RRset, as text."""
        return f"{self.name} {rrtype.address_text(version)}"

    def last_changes(self, now: float) -> dict[str, float]:
        """When its answers changed, by ``label``, as far as that matters still: their TTLs have not climbed yet."""
        return {
            self.label(version): served.changed_at
            for version, served in self.rrsets.items()
            if served.changed_at is not None and now - served.changed_at < ttl.bounds(self.pool, version).ceiling
        }
