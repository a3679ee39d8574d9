"""What travels of a zone: its RRsets, with what the pools serve at the moment laid over them.  Pure.

The SOA is not among them: it frames a transfer, and its serial is the transfer's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from dnslb.dns import rrtype
from dnslb.dns.name import Name
from dnslb.dns.zone import Node, RRset, Zone, find

Laid: TypeAlias = Mapping[Name, Mapping[int, RRset]]  # RRsets by owner and type; empty ones are not there


@dataclass(frozen=True, slots=True)
class Content:
    """One version of a zone."""

    zone: Zone
    laid: Laid = field(default_factory=dict)

    def node(self, owner: Name) -> Node:
        """What travels of a name, without the SOA."""
        laid = self.laid.get(owner)
        node = self.zone.nodes.get(owner, ())
        if laid is None and owner != self.zone.apex:
            return node
        over = laid or {}
        kept = [rrset for rrset in node if rrset.rrtype not in over and rrset.rrtype != rrtype.SOA]
        return (*kept, *(rrset for rrset in over.values() if rrset.rdatas))

    def rrsets(self) -> Iterator[tuple[Name, RRset]]:
        """Every one with its owner, those of the apex first."""
        apex = self.zone.apex
        for rrset in self.node(apex):
            yield apex, rrset
        for owner in self.zone.nodes:
            if owner != apex:
                for rrset in self.node(owner):
                    yield owner, rrset

    def soa(self, serial: int) -> RRset:
        """The zone's SOA with that serial."""
        written = self.zone.soa
        rdata = written.rdatas[0]
        return RRset(rrtype.SOA, written.ttl, (rdata[:-20] + serial.to_bytes(4) + rdata[-16:],))


@dataclass(frozen=True, slots=True)
class Change:
    """What one version of a zone has, and the next one has not; and the other way round."""

    removed: tuple[tuple[Name, RRset], ...]
    added: tuple[tuple[Name, RRset], ...]

    @property
    def octets(self) -> int:
        """About as much as it takes to keep and to send."""
        return sum(
            (len(owner) + 10) * len(rrset.rdatas) + sum(map(len, rrset.rdatas))
            for owner, rrset in (*self.removed, *self.added)
        )

    def __bool__(self) -> bool:
        return bool(self.removed or self.added)


def between(old: Content, new: Content) -> Change:
    """What has changed between two versions of a zone.  Records are compared with their TTL."""
    if old.zone is new.zone:
        owners = (old.laid.keys() | new.laid.keys()) & new.zone.nodes.keys()
        return _of(old, new, sorted(owners))
    same = [
        owner for owner, node in new.zone.nodes.items()
        if old.zone.nodes.get(owner) != node or owner in old.laid or owner in new.laid
    ]  # fmt: skip
    return _of(old, new, same + [owner for owner in old.zone.nodes if owner not in new.zone.nodes])


def _of(old: Content, new: Content, owners: list[Name]) -> Change:
    removed: list[tuple[Name, RRset]] = []
    added: list[tuple[Name, RRset]] = []
    for owner in owners:
        before, after = old.node(owner), new.node(owner)
        for rrset in before:
            less = _without(rrset, find(after, rrset.rrtype))
            if less.rdatas:
                removed.append((owner, less))
        for rrset in after:
            more = _without(rrset, find(before, rrset.rrtype))
            if more.rdatas:
                added.append((owner, more))
    return Change(tuple(removed), tuple(added))


def _without(rrset: RRset, other: RRset | None) -> RRset:
    """The records of an RRset that the other one has not, or has with another TTL."""
    if other is None or other.ttl != rrset.ttl:
        return rrset
    there = frozenset(other.rdatas)
    return rrset._replace(rdatas=tuple(rdata for rdata in rrset.rdatas if rdata not in there))
