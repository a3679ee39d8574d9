"""One zone as its secondaries see it: the version that was published last, and when there will be another.

Pure: the time is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dnslb.answer.snapshot import RRsetKey
from dnslb.dns.name import Name
from dnslb.dns.zone import RRset
from dnslb.transfer.content import Content, between
from dnslb.transfer.journal import Journal, Step
from dnslb.transfer.serial import following, is_newer

PAUSE = 1.0          # seconds between two versions of a zone; the first after a rest goes out at once
_UNSAVED = 2.0       # seconds by which a life that was killed may be ahead of the serial that it saved last
MOST_JOURNAL = 4 << 20  # octets of the steps of a zone


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

    content: Content                  # the zone as it is written, with what the pools serve now
    ceilings: Mapping[RRsetKey, int]  # the TTL of each RRset of a pool that has been at rest for long
    last_serial: int | None = None    # from an earlier life of the server
    is_replica: bool = False          # it comes from a primary, whose serials it has while no pool lies over it
    version: Version | None = None
    journal: Journal = field(default_factory=lambda: Journal(MOST_JOURNAL))

    def inherit(self, version: Version) -> None:
        """Go on from what another process has published."""
        self.version = version
        for step in version.steps:
            self.journal.add(step)

    def lay(self, rrsets: Mapping[RRsetKey, RRset]) -> None:
        """From now on the pools serve this."""
        laid = {owner: dict(kinds) for owner, kinds in self.content.laid.items()}
        for (owner, kind), rrset in rrsets.items():
            laid.setdefault(owner, {})[kind] = rrset
        self.content = Content(self.content.zone, laid)

    @property
    def earliest(self) -> float:
        """The Unix time from which on there may be another version."""
        return 0.0 if self.version is None else self.version.at + PAUSE

    def publish(self, now: float) -> Version | None:
        """The next version: what the pools serve now, but no rung of a TTL that climbs; None: nothing is other."""
        wanted, before = self._wanted(), self.version
        if before is None:
            unsaved = 0.0 if self.last_serial is None else _UNSAVED
            serial = self._following(self.last_serial, wanted, now + unsaved)
        else:
            change, serial = between(before.content, wanted), self._following(before.serial, wanted, now)
            # A new serial alone is news only if it is the primary's.
            if not change and wanted.soa(0) == before.content.soa(0) and serial != wanted.zone.serial:
                return None
            self.journal.add(Step(before.content.soa(before.serial), wanted.soa(serial), change))
        self.version = Version(wanted, serial, now, tuple(self.journal.steps))
        return self.version

    def _following(self, last: int | None, wanted: Content, now: float) -> int:
        """The serial of the next version."""
        written = wanted.zone.serial
        # Of a plain copy each serial stands for the same records, here and there, now and before a restart.
        is_same = self.version is None and last == written
        if self.is_replica and not wanted.laid and (last is None or is_same or is_newer(written, last)):
            return written
        return following(last, written, now)

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
