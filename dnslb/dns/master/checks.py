"""What is wrong with a zone as a whole, though every record of it can be read.

An error is something that BIND, NSD and Knot refuse to serve.  A warning is something that can be served, but was
probably not meant.  Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from dnslb.dns import name, rdata, rrtype
from dnslb.dns.master.builder import TARGETED
from dnslb.dns.mistake import Mistake, Part, error, warning
from dnslb.dns.name import ROOT, Name
from dnslb.dns.zone import Node, RRset, Zone, find

_KEY, _NSEC3 = rrtype.NUMBERS["KEY"], rrtype.NUMBERS["NSEC3"]
_ADDRESSES = frozenset({rrtype.A, rrtype.AAAA})
_SIGNATURES = frozenset({rrtype.RRSIG, rrtype.NSEC, _NSEC3})
_BESIDE_CNAME = frozenset({rrtype.CNAME, rrtype.RRSIG, rrtype.NSEC})  # RFC 4034 §3 and §4
_AT_CUT = frozenset({rrtype.NS, rrtype.DS, rrtype.RRSIG, rrtype.NSEC, rrtype.DNAME})
_PARTICULAR = frozenset({rrtype.CNAME, rrtype.DNAME, rrtype.SOA, rrtype.NS, rrtype.DS})  # where they are

_MAX_SETTLED = 10_000

LaterPlaces: TypeAlias = Mapping[tuple[Name, int], Sequence[int]]
Found: TypeAlias = tuple[int, Mistake]  # with the place of its entry; 0 means the whole file


def check(zone: Zone, later_places: LaterPlaces, lost: Collection[Name] | None) -> Iterator[Found]:
    """Everything that is wrong with the zone.

    ``later_places`` has the places of all but the first record of NS, MX and SRV RRsets.  ``lost`` are owners with
    records that could not be read, or None when not even their owners could be read: what is missing for that reason is
    not reported a second time.
    """
    yield from _check_apex(zone, lost)
    yield from _check_nodes(zone)
    yield from _check_cuts(zone)
    yield from _check_targets(zone, later_places, lost)


def _check_apex(zone: Zone, lost: Collection[Name] | None) -> Iterator[Found]:
    if lost is None or zone.apex in lost:
        return
    apex, node = name.text(zone.apex), zone.nodes[zone.apex]
    if find(node, rrtype.SOA) is None:
        remedy = f"begin it with {apex} 3600 IN SOA ns1 hostmaster 1 1d 2h 4w 5m (RFC 1035 §5.2)"
        yield 0, error(Part.WORD, f"the zone {apex} has no SOA", remedy)
    if find(node, rrtype.NS) is None:
        yield 0, error(Part.WORD, f"the zone {apex} has no NS at its apex", "add one for each of its nameservers")


def _check_nodes(zone: Zone) -> Iterator[Found]:
    doubled = zone.apex[:-1] + zone.apex
    is_signed = False
    for owner, node in zone.nodes.items():
        if owner.endswith(doubled) and node and zone.apex != ROOT and name.is_at_or_below(owner, doubled):
            fact = f"{name.text(owner)} has the zone's name twice"
            yield node[0].place, warning(Part.OWNER, fact, "end the owner with a dot if it was meant to be complete")
        for rrset in node:
            if rrset.rrtype in _PARTICULAR:
                yield from _check_rrset(zone, owner, node, rrset)
            elif rrset.rrtype in _SIGNATURES and not is_signed:
                is_signed = True
                remedy = "serve it elsewhere if validation matters"
                yield rrset.place, warning(Part.TYPE, "the zone is signed; dnslb serves it unsigned", remedy)


def _check_rrset(zone: Zone, owner: Name, node: Node, rrset: RRset) -> Iterator[Found]:
    """Whether the type may be at that owner, and beside the others there."""
    place = rrset.place
    match rrset.rrtype:
        case rrtype.CNAME if others := [other for other in node if other.rrtype not in _BESIDE_CNAME]:
            types = " and ".join(rrtype.text(one.rrtype) for one in [rrset, *others[:3]])
            place = max(place, min(other.place for other in others))
            remedy = "a CNAME must be alone (RFC 1034 §3.6.2)"
            yield place, error(Part.TYPE, f"{name.text(owner)} has {types}", remedy)
        case rrtype.DNAME if owner != zone.apex and find(node, rrtype.CNAME) is None:
            if (delegation := find(node, rrtype.NS)) is not None:
                remedy = "remove one of them: nobody knows which is to be followed (RFC 6672 §2.3)"
                place = max(place, delegation.place)
                yield place, warning(Part.TYPE, f"{name.text(owner)} has DNAME and NS", remedy)
        case rrtype.SOA if owner != zone.apex:
            remedy = "move it to the zone's own file (RFC 1034 §4.2.1)"
            yield place, error(Part.TYPE, f"{name.text(owner)} has an SOA and is not the apex", remedy)
        case rrtype.NS if name.is_wildcard(owner):
            remedy = "delegate the names one by one (RFC 4592 §4.2)"
            yield place, warning(Part.TYPE, f"{name.text(owner)} has NS: a wildcard cannot be delegated", remedy)
        case rrtype.DS if owner == zone.apex:
            yield place, warning(Part.TYPE, f"{name.text(owner)} has DS at the apex", "move it to the zone above")
        case rrtype.DS if find(node, rrtype.NS) is None:
            remedy = "add the NS of the delegation or remove the DS"
            yield place, warning(Part.TYPE, f"{name.text(owner)} has DS and no NS", remedy)


def _check_cuts(zone: Zone) -> Iterator[Found]:
    """Records that are never in an answer, since a delegation or DNAME above takes their place."""
    if not zone.cuts:
        return
    glue = _collect_glue(zone)
    apex, cuts = zone.apex, zone.cuts
    for owner, node in zone.nodes.items():
        if owner not in cuts and owner[1 + owner[0] :] == apex and apex not in cuts:
            continue  # most names: just below the apex
        cut = zone.topmost_cut(owner)
        if cut is None:
            continue
        is_dname = find(zone.nodes[cut], rrtype.NS) is None or cut == zone.apex
        if is_dname and owner == cut:
            continue
        for rrset in node:
            if owner == cut and rrset.rrtype in _AT_CUT:
                continue
            if not is_dname and rrset.rrtype in _ADDRESSES and owner in glue:
                continue
            kind = "DNAME" if is_dname else "delegation"
            fact = f"{name.text(owner)} {rrtype.text(rrset.rrtype)} is hidden by the {kind} {name.text(cut)}"
            remedy = f"remove it or the {kind}; it is never an answer"
            yield rrset.place, warning(Part.TYPE, fact, remedy)
            break  # once a name will do


def _collect_glue(zone: Zone) -> set[Name]:
    """The names in the zone's reach that some NS points at."""
    return {
        target
        for node in zone.nodes.values()
        for rrset in node
        if rrset.rrtype == rrtype.NS
        for octets in rrset.rdatas
        if (target := name.fold(octets)) in zone.nodes
    }


def _check_targets(zone: Zone, later_places: LaterPlaces, lost: Collection[Name] | None) -> Iterator[Found]:
    """Whether the hosts that NS, MX and SRV records name exist; each missing host is reported once."""
    missed: set[Name] = set()
    settled: set[Name] = set()  # mail for a million names goes to few hosts
    for owner, node in zone.nodes.items():
        for rrset in node:
            type_ = rrset.rrtype
            if type_ not in TARGETED:
                continue
            for index, octets in enumerate(rrset.rdatas):
                target = rdata.target(type_, octets)
                if target is None or target in missed or (target in settled and type_ != rrtype.NS):
                    continue
                is_served = _has_address(zone.nodes.get(target, ())) and (owner != zone.apex or not zone.cuts)
                mistake = None if is_served else _miss(zone, _Pointer(owner, type_, target), lost)
                if mistake is not None:
                    missed.add(target)
                    yield (later_places[owner, type_][index - 1] if index else rrset.place), mistake
                elif len(settled) < _MAX_SETTLED:
                    settled.add(target)


class _Pointer(NamedTuple):
    """A record that names a host."""

    owner: Name
    rrtype: int
    target: Name

    def __str__(self) -> str:
        return f"{rrtype.text(self.rrtype)} of {name.text(self.owner)}"

    def error(self, fact: str, remedy: str) -> Mistake:
        return error(Part.RDATA, fact, remedy, rdata.target_word(self.rrtype))

    def warning(self, fact: str, remedy: str) -> Mistake:
        return warning(Part.RDATA, fact, remedy, rdata.target_word(self.rrtype))


def _miss(zone: Zone, pointer: _Pointer, lost: Collection[Name] | None) -> Mistake | None:
    """What keeps the target from being a host with an address, so far as this zone can tell."""
    owner, type_, target = pointer
    node = zone.nodes.get(target)
    cut = zone.topmost_cut(target) if zone.cuts and name.is_at_or_below(target, zone.apex) else None
    if cut is not None and type_ == rrtype.NS and owner == zone.apex and _is_below_dname(zone, target, cut):
        fact = f"the {pointer} names {name.text(target)}, below the DNAME {name.text(cut)}"
        return pointer.error(fact, "name a host that is outside it (RFC 6672 §2.4)")
    if node is not None and _has_address(node):
        return None
    if _is_address(target):
        fact = f"the {pointer} names {name.text(target)}, which looks like an address"
        return pointer.warning(fact, "name a host that has A or AAAA")
    if not name.is_at_or_below(target, zone.apex):
        return None
    text = name.text(target)
    if zone.apex != ROOT and target.endswith(zone.apex[:-1] + zone.apex):
        fact = f"the {pointer} names {text}, the zone's name twice"
        return pointer.warning(fact, "end the name with a dot if it is complete")
    if lost is None or target in lost:
        return None
    if cut is not None and (cut != owner or type_ != rrtype.NS):
        return None  # its address would be in another zone
    if cut is not None:
        fact = f"{text} has no A or AAAA here, and the {pointer} needs one"
        return pointer.warning(fact, "add it as glue (RFC 1034 §4.2.1)")
    node = _covering(zone, target) if node is None else node
    if find(node, rrtype.CNAME):
        fact = f"the {pointer} names {text}, which has a CNAME"
        return pointer.warning(fact, "name the host itself (RFC 2181 §10.3)")
    if _has_address(node):
        return None
    return pointer.warning(f"the {pointer} names {text}, which has no A or AAAA", "add one, or name another host")


def _is_below_dname(zone: Zone, target: Name, cut: Name) -> bool:
    return target != cut and find(zone.nodes[cut], rrtype.DNAME) is not None


def _has_address(node: Node) -> bool:
    return find(node, rrtype.A) is not None or find(node, rrtype.AAAA) is not None


def _covering(zone: Zone, target: Name) -> Node:
    """The wildcard's node that answers for a name that is not there (RFC 4592 §3.3.1)."""
    encloser = target
    while encloser not in zone.nodes:
        encloser = name.parent(encloser)
    return zone.nodes.get(b"\x01*" + encloser, ())


def _is_address(target: Name) -> bool:
    """Whether the name's first labels are the parts of an IPv4 address, or its first one is an IPv6 address."""
    if not target[1 : 1 + target[0]].isdigit():
        return b":" in target[1 : 1 + target[0]]
    return len(labels := name.labels(target)[:4]) == 4 and all(label.isdigit() for label in labels)
