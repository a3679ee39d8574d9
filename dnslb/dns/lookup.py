"""What a zone says about a name and a type: the algorithm of RFC 1034 §4.3.2, one step of it at a time.

Names come in folded.  Following an alias is ``answer``'s work.  Pure: no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dnslb.dns import rrtype
from dnslb.dns.name import Name
from dnslb.dns.zone import Node, RRset, Zone, find


@dataclass(frozen=True, slots=True)
class Hit:
    """The RRset asked for.  ``source`` is its owner in the zone: a wildcard when the name was synthesised."""

    source: Name
    rrset: RRset


@dataclass(frozen=True, slots=True)
class Alias:
    """A CNAME instead of the type asked for (RFC 1034 §3.6.2)."""

    source: Name
    rrset: RRset


@dataclass(frozen=True, slots=True)
class Redirection:
    """A DNAME above the name (RFC 6672 §3.2)."""

    owner: Name
    rrset: RRset


@dataclass(frozen=True, slots=True)
class Delegation:
    """The name lies at or below a zone cut; ``rrset`` is the cut's NS (RFC 1034 §4.2.1)."""

    cut: Name
    rrset: RRset


@dataclass(frozen=True, slots=True)
class NoData:
    """The name exists, the type does not (RFC 2308 §2.2).  ``source`` as in Hit."""

    source: Name


@dataclass(frozen=True, slots=True)
class NxDomain:
    """Neither the name nor anything below it exists (RFC 8020); ``encloser`` is the closest that does."""

    encloser: Name


Outcome: TypeAlias = Hit | Alias | Redirection | Delegation | NoData | NxDomain


def look_up(zone: Zone, name: Name, wanted: int) -> Outcome:
    """The outcome for folded ``name``, which is at or below the zone's apex."""
    if zone.cuts and (parting := _parting(zone, name, wanted)):
        return parting
    node = zone.node(name)
    if node is not None:
        return _at(node, name, wanted)
    encloser = zone.encloser(name)
    wildcard = b"\x01*" + encloser
    node = zone.node(wildcard)
    if node is None:
        return NxDomain(encloser)
    return _at(node, wildcard, wanted)


def _parting(zone: Zone, name: Name, wanted: int) -> Delegation | Redirection | None:
    """The topmost cut or DNAME on the way from the apex down to the name."""
    topmost = zone.topmost_cut(zone.encloser(name))
    if topmost is None:
        return None
    node = zone.nodes[topmost]
    ns = find(node, rrtype.NS)
    if ns is not None and topmost != zone.apex:
        # DS lives on the parent's side of the cut (RFC 4035 §3.1.4.1).
        return None if topmost == name and wanted == rrtype.DS else Delegation(topmost, ns)
    dname = find(node, rrtype.DNAME)
    return Redirection(topmost, dname) if dname is not None and topmost != name else None


def _at(node: Node, source: Name, wanted: int) -> Hit | Alias | NoData:
    if wanted == rrtype.ANY:
        # One RRset is answer enough (RFC 8482 §4.1).
        return Hit(source, node[0]) if node else NoData(source)
    rrset = find(node, wanted)
    if rrset is not None:
        return Hit(source, rrset)
    cname = find(node, rrtype.CNAME)
    return Alias(source, cname) if cname is not None else NoData(source)
