"""A catalog zone (RFC 9432): the zones that are transferred, listed in a zone, so that secondaries learn of new ones.

Pure.  It is transferred and never answered from.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha1

from dnslb.dns import rrtype
from dnslb.dns.name import Name
from dnslb.dns.zone import Node, RRset, Zone

_PTR, _TXT = 12, 16
_INVALID: Name = b"\x07invalid\0"  # the nameserver of what is no zone to be asked (RFC 9432 §4.1)
_VERSION = b"\x012"
_TTL = 0                           # nobody caches it
_NUMBERS = b"".join(number.to_bytes(4) for number in (1, 60, 10, 2_419_200, 0))  # serial, refresh, retry, expire, …


def catalog_zone(apex: Name, members: Iterable[Name]) -> Zone:
    """The zone ``apex`` that lists the members.  Its serial is left to its versions."""
    nodes: dict[Name, Node] = {
        apex: (RRset(rrtype.NS, _TTL, (_INVALID,)), RRset(rrtype.SOA, _TTL, (_INVALID * 2 + _NUMBERS,))),
        b"\x07version" + apex: (RRset(_TXT, _TTL, (_VERSION,)),),
        b"\x05zones" + apex: (),
    }
    for member in members:
        # The same for as long as the zone is there: who has it need not fetch it anew (RFC 9432 §4.1).
        label = sha1(member, usedforsecurity=False).hexdigest().encode()
        nodes[bytes((len(label),)) + label + b"\x05zones" + apex] = (RRset(_PTR, _TTL, (member,)),)
    return Zone(apex, nodes, frozenset())
