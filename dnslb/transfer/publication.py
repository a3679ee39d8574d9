"""One zone as its secondaries see it: the version that was published last, and when there will be another.

Pure: the time is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dnslb.dns.name import Name
from dnslb.dns.zone import RRset
from dnslb.transfer.content import Content, between
from dnslb.transfer.journal import Journal, Step
from dnslb.transfer.serial import following

PAUSE = 1.0          # seconds between two versions of a zone; the first after a rest goes out at once
MOST_JOURNAL = 4 << 20  # octets of the steps of a zone

Key = tuple[Name, int]  # owner in the zone, and type


@dataclass(frozen=True, slots=True)
class Version:
    """What was published, as it goes on from one process to the next."""

    content: Content
    serial: int
    at: float                     # Unix time
    steps: tuple[Step, ...] = ()  # up to it


@dataclass(slots=True)
class Publication:
    """A zone with the addresses that its pools serve, as versions with serials."""

    content: Content               # the zone as it is written, with what the pools serve now
    ceilings: Mapping[Key, int]    # the TTL of each RRset of a pool that has been at rest for long
    version: Version | None = None
    journal: Journal = field(default_factory=lambda: Journal(MOST_JOURNAL))

    def inherit(self, version: Version) -> None:
        """Go on from what another process has published."""
        self.version = version
        for step in version.steps:
            self.journal.add(step)

    def lay(self, rrsets: Mapping[Key, RRset]) -> None:
        """From now on the pools serve this."""
        laid = {owner: dict(kinds) for owner, kinds in self.content.laid.items()}
        for (owner, kind), rrset in rrsets.items():
            laid.setdefault(owner, {})[kind] = rrset
        self.content = Content(self.content.zone, laid)

    def due(self) -> float | None:
        """The Unix time from which on there may be another version; None when nothing has changed that travels."""
        if self.version is None:
            return 0.0
        wanted = self._wanted()
        before = self.version
        is_other = between(before.content, wanted) or wanted.soa(0) != before.content.soa(0)
        return before.at + PAUSE if is_other else None

    def publish(self, now: float) -> Version:
        """The next version: what the pools serve now, but no rung of a TTL that only climbs."""
        wanted = self._wanted()
        before = self.version
        written = wanted.zone.serial
        serial = following(None if before is None else before.serial, written, now)
        if before is not None:
            change = between(before.content, wanted)
            self.journal.add(Step(before.content.soa(before.serial), wanted.soa(serial), change))
        self.version = Version(wanted, serial, now, tuple(self.journal.steps))
        return self.version

    def _wanted(self) -> Content:
        """What would be published now: a TTL that is on its way up stays where it is until it has arrived."""
        if self.version is None:
            return self.content
        published = self.version.content.laid
        laid = {
            owner: {kind: self._held(owner, rrset, published.get(owner, {}).get(kind)) for kind, rrset in kinds.items()}
            for owner, kinds in self.content.laid.items()
        }
        return Content(self.content.zone, laid)

    def _held(self, owner: Name, rrset: RRset, before: RRset | None) -> RRset:
        ceiling = self.ceilings.get((owner, rrset.rrtype), 0)
        if before is None or not before.ttl < rrset.ttl < ceiling or set(before.rdatas) != set(rrset.rdatas):
            return rrset
        return rrset._replace(ttl=before.ttl)
