"""Makes a zone of records, which come one by one in the order of the file.

Whether a record by itself is right, the reader has checked.  Here it joins its RRset, and what is wrong between the
records of one RRset is reported.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

from dnslb.dns import name, rrtype
from dnslb.dns.mistake import Mistake, Part, error, warning
from dnslb.dns.name import Name
from dnslb.dns.place import Places
from dnslb.dns.rdata import canonical
from dnslb.dns.zone import Node, RRset, Zone

# A node or an RRset of more members than this is built in dictionaries: growing a tuple copies it each time.
_NARROW = 8

_CUTTING = frozenset({rrtype.NS, rrtype.DNAME})
_SINGLE = frozenset({rrtype.CNAME, rrtype.DNAME, rrtype.SOA})
TARGETED = frozenset({rrtype.NS, rrtype.MX, rrtype.SRV})  # types whose targets are checked one by one


class _Growing:
    """An RRset, still growing, of a node that has many records."""

    __slots__ = ("place", "rdatas", "ttl")

    def __init__(self, rrset: RRset) -> None:
        self.ttl = rrset.ttl
        self.place = rrset.place
        self.rdatas = {canonical(rrset.rrtype, rdata): rdata for rdata in rrset.rdatas}


class Builder:
    """The zone under construction.  Owners must be in lower case, and at or below the apex."""

    def __init__(self, apex: Name, report: Callable[[int, Mistake], None]) -> None:
        self.apex = apex
        self.report = report
        self.nodes: dict[Name, Node] = {apex: ()}
        # Of the records behind the first of an RRset of these types.
        self.later_places: dict[tuple[Name, int], array[int]] = {}
        self._cuts: set[Name] = set()
        self._wide: dict[Name, dict[int, _Growing]] = {}
        self._unequal: set[tuple[Name, int]] = set()

    def add(self, owner: Name, type_: int, ttl: int, rdata: bytes, place: int) -> None:
        """Lay one record into its RRset.  A duplicate is dropped with a warning."""
        nodes = self.nodes
        node = nodes.get(owner)
        if not node:
            if owner in self._wide:
                self._add_wide(owner, type_, ttl, rdata, place)
                return
            nodes[owner] = (RRset(type_, ttl, (rdata,), place),)
            if node is None and owner[1 + owner[0] :] not in nodes:
                self._add_parents(owner)
            if type_ in _CUTTING:
                self._keep_cut(owner, type_)
            return
        for rrset in node:
            if rrset.rrtype == type_:
                grown = self._grown(owner, rrset, ttl, rdata, place)
                nodes[owner] = tuple([grown if other is rrset else other for other in node])
                if len(grown.rdatas) > _NARROW:
                    self._widen(owner)
                return
        added = (*node, RRset(type_, ttl, (rdata,), place))
        # Mostly the types come in order.
        nodes[owner] = added if type_ > rrset.rrtype else tuple(sorted(added))
        if type_ in _CUTTING:
            self._keep_cut(owner, type_)
        if len(node) >= _NARROW:
            self._widen(owner)

    def _grown(self, owner: Name, rrset: RRset, ttl: int, rdata: bytes, place: int) -> RRset:
        type_, before, rdatas, first = rrset
        octets = canonical(type_, rdata)
        if any(canonical(type_, other) == octets for other in rdatas):
            self._warn_duplicate(owner, type_, place)
        elif self._admit(owner, type_, (before, ttl), place):
            rdatas = (*rdatas, rdata)
        return RRset(type_, min(before, ttl), rdatas, first)

    def build(self, places: Places) -> Zone:
        """The zone so far.  The builder must not be used after it."""
        for owner, growing in self._wide.items():
            self.nodes[owner] = tuple(
                RRset(type_, rrset.ttl, tuple(rrset.rdatas.values()), rrset.place)
                for type_, rrset in sorted(growing.items(), key=_by_type)
            )
        self._wide.clear()
        return Zone(self.apex, self.nodes, frozenset(self._cuts), places)

    def _add_parents(self, owner: Name) -> None:
        """Empty non-terminals between the owner and the apex (RFC 8020 §2)."""
        nodes = self.nodes
        owner = owner[1 + owner[0] :]
        while owner not in nodes:
            nodes[owner] = ()
            owner = owner[1 + owner[0] :]

    def _keep_cut(self, owner: Name, type_: int) -> None:
        if type_ == rrtype.DNAME or (type_ == rrtype.NS and owner != self.apex):
            self._cuts.add(owner)

    def _widen(self, owner: Name) -> None:
        self._wide[owner] = {rrset.rrtype: _Growing(rrset) for rrset in self.nodes[owner]}
        self.nodes[owner] = ()

    def _add_wide(self, owner: Name, type_: int, ttl: int, rdata: bytes, place: int) -> None:
        growing = self._wide[owner].get(type_)
        if growing is None:
            self._wide[owner][type_] = _Growing(RRset(type_, ttl, (rdata,), place))
            self._keep_cut(owner, type_)
            return
        octets = canonical(type_, rdata)
        if octets in growing.rdatas:
            self._warn_duplicate(owner, type_, place)
        elif self._admit(owner, type_, (growing.ttl, ttl), place):
            growing.rdatas[octets] = rdata
        growing.ttl = min(growing.ttl, ttl)

    def _admit(self, owner: Name, type_: int, ttls: tuple[int, int], place: int) -> bool:
        """Whether the RRset may have one more record.  The TTLs are that of the RRset and that of the new record."""
        if type_ in _SINGLE:
            fact = f"{name.text(owner)} has two different {rrtype.text(type_)} records"
            self.report(place, error(Part.TYPE, fact, f"keep one; {_why_single(type_)}"))
            return False
        # Signatures take the TTLs of what they cover, so those of one owner differ rightly (RFC 4034 §3).
        if ttls[0] != ttls[1] and type_ != rrtype.RRSIG and (owner, type_) not in self._unequal:
            self._unequal.add((owner, type_))
            self._warn_unequal(owner, type_, ttls, place)
        if type_ in TARGETED:
            self.later_places.setdefault((owner, type_), array("Q")).append(place)
        return True

    def _warn_duplicate(self, owner: Name, type_: int, place: int) -> None:
        fact = f"{name.text(owner)} has the same {rrtype.text(type_)} record twice"
        self.report(place, warning(Part.TYPE, fact, "remove one; it is served once (RFC 2181 §5)"))

    def _warn_unequal(self, owner: Name, type_: int, ttls: tuple[int, int], place: int) -> None:
        fact = f"{name.text(owner)} has {rrtype.text(type_)} records of TTL {ttls[0]} and {ttls[1]}"
        remedy = f"give them one TTL; the lowest, at most {min(ttls)}, is used (RFC 2181 §5.2)"
        self.report(place, warning(Part.TTL, fact, remedy))


def _by_type(member: tuple[int, _Growing]) -> int:
    return member[0]


def _why_single(type_: int) -> str:
    if type_ == rrtype.SOA:
        return "a zone has one SOA (RFC 1035 §5.2)"
    return "a name has one alias at most (RFC 2181 §10.1, RFC 6672 §2.4)"

