"""What a policy file may speak of: the owner names of a zone that have addresses.

The bridge between the names that an operator writes in YAML and the zone; pure.
"""

from __future__ import annotations

from collections.abc import Container
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv6Address
from itertools import chain

from dnslb.balance.pool import Address
from dnslb.config.policy import Owner
from dnslb.dns import name, rrtype
from dnslb.dns.lookup import Delegation, Redirection, look_up
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.dns.zone import RRset, Zone, find

_MOST_COMPARED = 1_000   # names of a zone that a misspelt one is compared with


def find_owner(zone: Zone, apexes: Container[Name], text: str) -> Owner | str:
    """The owner that ``text`` means: relative to the zone, absolute, or @.  Else why there is none: fact; remedy.

    ``apexes`` are those of all zones of this server: the deepest above a name answers for it.
    """
    try:
        owner = name.fold(name.parse(text, zone.apex))
    except Mistaken as error:
        return str(error)
    shown = name.text(owner)
    if not name.is_at_or_below(owner, zone.apex):
        return f"{shown} is outside the zone {name.text(zone.apex)}; move it to the policy file of its own zone"
    deepest = name.closest(owner, apexes)
    if deepest is not None and deepest != zone.apex:
        return f"{shown} is answered for by the zone {name.text(deepest)}; move it to the policy file of that zone"
    if owner not in zone.nodes:
        return f"the zone {name.text(zone.apex)} has no {shown}; {_closest(zone, owner)}"
    if isinstance(look_up(zone, owner, rrtype.A), Delegation | Redirection):
        return f"{shown} is not answered for here; a delegation or DNAME is above it"
    node = zone.nodes[owner]
    if find(node, rrtype.CNAME) is not None:
        return f"{shown} is an alias; name the owner that it leads to"
    rrsets = {
        version: rrset
        for version, type_ in rrtype.ADDRESS_TYPES.items()
        if (rrset := find(node, type_)) is not None
    }
    if not rrsets:
        return f"{shown} has no A or AAAA; give it addresses in the zone file"
    return Owner(
        name=shown,
        addresses=tuple(chain.from_iterable(_placed(zone, rrset) for rrset in rrsets.values())),
        zone_ttls={version: rrset.ttl for version, rrset in rrsets.items()},
        negative_ttl=zone.negative_ttl,
    )


def address(rdata: bytes) -> Address:
    """The address of an A or AAAA record."""
    return IPv4Address(rdata) if len(rdata) == 4 else IPv6Address(rdata)


def _placed(zone: Zone, rrset: RRset) -> list[tuple[Address, str]]:
    file, line, _ = zone.places.locate(rrset.place)
    place = f"{file}:{line}"
    return [(address(rdata), place) for rdata in rrset.rdatas]


def _closest(zone: Zone, owner: Name) -> str:
    names = [name.text(other) for other, node in zone.nodes.items() if node] if len(zone.nodes) < _MOST_COMPARED else []
    close = get_close_matches(name.text(owner), names, n=1)
    return f"did you mean {close[0]}?" if close else "add it to the zone file"
