"""A zone: its RRsets by owner name, frozen.

The smallest shape that answers questions, since a zone may hold millions of records: a node is a tuple of RRsets, and
an empty non-terminal is the empty tuple (RFC 8020 §2).  Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from dnslb.dns import rrtype
from dnslb.dns.name import Name, starts
from dnslb.dns.place import Places


class RRset(NamedTuple):
    """The records of one owner and type.  One TTL for all of them (RFC 2181 §5.2)."""

    rrtype: int
    ttl: int                    # seconds, 0 to 2**31-1 (RFC 2181 §8)
    rdatas: tuple[bytes, ...]   # uncompressed wire form, distinct, in the file's order
    place: int = 0              # of the first record, for ``Zone.places``; 0 when it came from no file


Node: TypeAlias = tuple[RRset, ...]


def find(node: Node, wanted: int) -> RRset | None:
    """The node's RRset of that type."""
    for rrset in node:
        if rrset.rrtype == wanted:
            return rrset
    return None


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone, checked: there is exactly one SOA, at the apex; every owner is at or below the apex, in lower case."""

    apex: Name
    nodes: Mapping[Name, Node]      # every owner, and every empty non-terminal above one
    cuts: frozenset[Name]           # names that hold DNAME, or NS below the apex: what lies below is not answered here
    places: Places = field(default=Places(), compare=False)  # what turns ``RRset.place`` into file and line
    # Nodes that are served in place of those above for the time being.  They are kept apart so that a zone of millions
    # of names need not be copied when one pool changes.
    overlay: Mapping[Name, Node] = field(default_factory=dict, compare=False)

    def node(self, name: Name) -> Node | None:
        """What is served of a name; None when it does not exist."""
        node = self.overlay.get(name)
        return self.nodes.get(name) if node is None else node

    def encloser(self, name: Name) -> Name:
        """The name itself or its closest ancestor that exists, for a name at or below the apex (RFC 4592 §3.3.1)."""
        return self.encloser_at(name, starts(name) or [])

    def encloser_at(self, name: Name, begins: Sequence[int]) -> Name:
        """The same for a caller who knows where the labels begin.  When a name exists, all its ancestors exist too."""
        if name in self.nodes:
            return name
        encloser = self.apex
        edge = len(name) - len(self.apex)
        for at in reversed(begins):
            if at < edge:
                if name[at:] not in self.nodes:
                    break
                encloser = name[at:]
        return encloser

    def topmost_cut(self, name: Name) -> Name | None:
        """The highest cut at or above the name, which is at or below the apex: the one that a look-up meets first."""
        topmost = None
        cuts, apex = self.cuts, self.apex
        while True:
            if name in cuts:
                topmost = name
            if name == apex:
                return topmost
            name = name[1 + name[0] :]

    @property
    def soa(self) -> RRset:
        soa = find(self.nodes[self.apex], rrtype.SOA)
        if soa is None:
            raise ValueError("a zone without SOA")
        return soa

    @property
    def negative_ttl(self) -> int:
        """Seconds for which a negative answer may be cached: the SOA's TTL or MINIMUM, the lower (RFC 2308 §5)."""
        soa = self.soa
        return min(soa.ttl, int.from_bytes(soa.rdatas[0][-4:]))

    @property
    def serial(self) -> int:
        """Of the SOA: the first of the five numbers at its end (RFC 1035 §3.3.13)."""
        return int.from_bytes(self.soa.rdatas[0][-20:-16])
