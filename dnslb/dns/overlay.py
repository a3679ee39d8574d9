"""How the records of a zone differ from those in its file, and the zone with that laid over it.

The file may change below it: what was added stays, what was removed stays away, and all else is as the file says.
Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from dnslb.dns import name, rdata, rrtype
from dnslb.dns.name import Name
from dnslb.dns.zone import Node, RRset, Zone, find

_BESIDE_CNAME = frozenset({rrtype.CNAME, rrtype.RRSIG, rrtype.NSEC})

Key: TypeAlias = tuple[Name, int]  # owner and type


class Difference(NamedTuple):
    """What one RRset has, and has not, otherwise than in the file."""

    ttl: int | None  # None: the file's
    added: tuple[bytes, ...]
    removed: tuple[bytes, ...] = ()

    def __bool__(self) -> bool:
        return self.ttl is not None or bool(self.added or self.removed)


@dataclass(frozen=True, slots=True)
class Overlay:
    """Of one zone."""

    owners: Mapping[Name, Mapping[int, Difference]] = field(default_factory=dict)  # by type
    raised: int = 0  # how often the serial was, above that of the file

    def node(self, zone: Zone, owner: Name) -> Node:
        """What the zone has under a name."""
        written = zone.nodes.get(owner, ())
        made = laid(written, self.owners[owner]) if owner in self.owners else written
        return made if is_sound(made, is_apex=owner == zone.apex) else written

    def amended(self, differences: Mapping[Key, Difference]) -> Overlay:
        """With these in the place of those before, and a serial that says so."""
        owners = dict(self.owners)
        for (owner, kind), one in differences.items():
            kinds = {**owners.pop(owner, {}), kind: one}
            if kept := {each: other for each, other in kinds.items() if other}:
                owners[owner] = kept
        return Overlay(owners, self.raised + 1)


def difference(written: RRset | None, wanted: RRset | None) -> Difference:
    """How the RRset that is wanted differs from the one in the file.  False if it does not."""
    have = () if written is None else written.rdatas
    want = () if wanted is None else wanted.rdatas
    kind = (written or wanted or RRset(0, 0, ())).rrtype
    added, removed = _without(kind, want, have), _without(kind, have, want)
    is_other = written is None or added or (wanted is not None and wanted.ttl != written.ttl)
    return Difference(wanted.ttl if wanted is not None and is_other else None, added, removed)


def laid_over(zone: Zone, overlay: Overlay) -> tuple[Zone, list[Name]]:
    """The zone as it is to be served; and the owners at which the file and the overlay do not go together.

    There the file counts: who edits it must not be kept from it, nor a server from starting.
    """
    nodes, refused = dict(zone.nodes), []
    emptied = []
    for owner, differences in overlay.owners.items():
        made = laid(zone.nodes.get(owner, ()), differences)
        if not is_sound(made, is_apex=owner == zone.apex):
            refused.append(owner)
            continue
        if made:
            _add_parents(nodes, owner)
        else:
            emptied.append(owner)
        nodes[owner] = made
    _prune(nodes, zone.apex, emptied)
    nodes[zone.apex] = _renumbered(nodes[zone.apex], overlay.raised)
    changed = overlay.owners.keys()
    cuts = (zone.cuts - changed) | {owner for owner in changed if _cuts(nodes.get(owner, ()), owner == zone.apex)}
    return replace(zone, nodes=nodes, cuts=cuts), refused


def laid(written: Node, differences: Mapping[int, Difference]) -> Node:
    """One name: what the file says of it, with the differences."""
    rrsets = {rrset.rrtype: rrset for rrset in written}
    for kind, one in differences.items():
        before = rrsets.pop(kind, None)
        ttl = one.ttl if one.ttl is not None or before is None else before.ttl
        kept = () if before is None else _without(kind, before.rdatas, one.removed)
        rdatas = (*kept, *_without(kind, one.added, kept))
        if rdatas and ttl is not None:
            rrsets[kind] = RRset(kind, ttl, rdatas, 0 if before is None else before.place)
    return tuple(sorted(rrsets.values()))


def is_sound(made: Node, *, is_apex: bool) -> bool:
    """Whether a zone may have this under a name."""
    kinds = {rrset.rrtype for rrset in made}
    return (rrtype.CNAME not in kinds or kinds <= _BESIDE_CNAME) and (not is_apex or {rrtype.SOA, rrtype.NS} <= kinds)


def _without(kind: int, rdatas: Iterable[bytes], others: Iterable[bytes]) -> tuple[bytes, ...]:
    there = {rdata.canonical(kind, octets) for octets in others}
    return tuple(octets for octets in rdatas if rdata.canonical(kind, octets) not in there)


def _add_parents(nodes: dict[Name, Node], owner: Name) -> None:
    """Empty non-terminals between the owner and the apex (RFC 8020 §2)."""
    while owner not in nodes:
        nodes[owner] = ()
        owner = name.parent(owner)


def _prune(nodes: dict[Name, Node], apex: Name, emptied: list[Name]) -> None:
    """Names without records exist only above others."""
    children = Counter(name.parent(owner) for owner in nodes if owner != apex) if emptied else Counter[Name]()
    for owner in emptied:
        each = owner
        while each != apex and nodes.get(each) == () and not children[each]:
            del nodes[each]
            each = name.parent(each)
            children[each] -= 1


def _renumbered(made: Node, raised: int) -> Node:
    soa = find(made, rrtype.SOA)
    if soa is None or not raised:
        return made
    octets = soa.rdatas[0]
    serial = (int.from_bytes(octets[-20:-16]) + raised) % (1 << 32)
    raised_soa = soa._replace(rdatas=(octets[:-20] + serial.to_bytes(4) + octets[-16:],))
    return tuple(raised_soa if rrset is soa else rrset for rrset in made)


def _cuts(made: Node, is_apex: bool) -> bool:
    return find(made, rrtype.DNAME) is not None or (find(made, rrtype.NS) is not None and not is_apex)
