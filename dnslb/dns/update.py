"""Dynamic updates (RFC 2136): what has to be so, and what is to change, held against the records of a zone.

Pure: whoever calls knows who may change what.  Owners come in folded, record data uncompressed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from dnslb.dns import name, rdata, rrtype
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.dns.zone import Node, RRset, find

_KEPT_AT_APEX = frozenset({rrtype.SOA, rrtype.NS})
_BESIDE_CNAME = frozenset({rrtype.CNAME, rrtype.RRSIG, rrtype.NSEC})  # RFC 4034 §3 and §4
_SINGLE = frozenset({rrtype.CNAME, rrtype.DNAME})

Read: TypeAlias = Callable[[Name], Node]  # what a zone has under a name
Changes: TypeAlias = dict[tuple[Name, int], RRset | None]  # by owner and type: as it is to be; None: not at all


class Record(NamedTuple):
    """One record of the prerequisites or of the updates."""

    owner: Name
    rrtype: int
    rrclass: int  # IN, ANY or NONE: what is meant with it (§2.4, §2.5)
    ttl: int
    rdata: bytes  # empty where there is none


class Refused(Exception):
    """The update is not carried out; the rcode is for the peer, the reason for the operator."""

    def __init__(self, rcode: int, reason: str) -> None:
        super().__init__(reason)
        self.rcode = rcode
        self.reason = reason


def check_updates(apex: Name, records: Iterable[Record]) -> None:
    """Whether the records can be updates of the zone at all (§3.4.1).  Raises Refused."""
    for one in records:
        _check_owner(apex, one)
        is_any = one.rrtype == rrtype.ANY
        match one.rrclass:
            case rrtype.IN:
                is_sound = not rrtype.is_meta(one.rrtype) and one.ttl < 1 << 31 and _is_rdata(one)
            case rrtype.ANY_CLASS:
                is_sound = not one.ttl and not one.rdata and (is_any or not rrtype.is_meta(one.rrtype))
            case rrtype.NONE_CLASS:
                is_sound = not one.ttl and not rrtype.is_meta(one.rrtype)
            case _:
                is_sound = False
        if not is_sound:
            raise Refused(rrtype.FORMERR, f"no update: {_text(one)}")


def check_prerequisites(apex: Name, read: Read, records: Sequence[Record]) -> None:
    """Whether all is as it has to be (§3.2).  Raises Refused."""
    wanted: dict[tuple[Name, int], set[bytes]] = {}
    for one in records:
        if one.ttl:
            raise Refused(rrtype.FORMERR, f"a prerequisite with a TTL: {_text(one)}")
        _check_owner(apex, one)
        is_there = bool(read(one.owner)) if one.rrtype == rrtype.ANY else bool(find(read(one.owner), one.rrtype))
        rcodes = _ABOUT_NAMES if one.rrtype == rrtype.ANY else _ABOUT_RRSETS
        match one.rrclass:
            case rrtype.IN:
                wanted.setdefault((one.owner, one.rrtype), set()).add(rdata.canonical(one.rrtype, one.rdata))
            case rrtype.ANY_CLASS | rrtype.NONE_CLASS if not one.rdata:
                if is_there != (one.rrclass == rrtype.ANY_CLASS):
                    raise Refused(rcodes[is_there], f"{_text(one)} is {'' if is_there else 'not '}there")
            case _:
                raise Refused(rrtype.FORMERR, f"no prerequisite: {_text(one)}")
    for (owner, kind), rdatas in wanted.items():
        rrset = find(read(owner), kind)
        if rrset is None or {rdata.canonical(kind, octets) for octets in rrset.rdatas} != rdatas:
            raise Refused(rrtype.NXRRSET, f"{name.text(owner)} {rrtype.text(kind)} is otherwise")


def changes(apex: Name, read: Read, records: Iterable[Record]) -> Changes:
    """What the updates, which are sound, make of the RRsets that they touch (§3.4.2).

    What RFC 2136 passes over in silence is: the SOA and the last NS of the zone are not removed, nothing comes beside a
    CNAME, and no CNAME beside anything.
    """
    nodes: dict[Name, dict[int, _Growing]] = {}
    touched: dict[tuple[Name, int], None] = {}
    for one in records:
        if one.owner not in nodes:
            nodes[one.owner] = {rrset.rrtype: _Growing(rrset) for rrset in read(one.owner)}
        node = nodes[one.owner]
        touched |= dict.fromkeys((one.owner, kind) for kind in (*node, one.rrtype))
        match one.rrclass:
            case rrtype.IN:
                _add(node, one)
            case rrtype.ANY_CLASS:
                for kind in list(node) if one.rrtype == rrtype.ANY else [one.rrtype]:
                    if one.owner != apex or kind not in _KEPT_AT_APEX:
                        node.pop(kind, None)
            case rrtype.NONE_CLASS if one.rrtype != rrtype.SOA:
                _remove(node, one, is_apex=one.owner == apex)
    found: Changes = {}
    for owner, kind in touched:
        grown = nodes[owner].get(kind)
        rrset = None if grown is None else RRset(kind, grown.ttl, tuple(grown.rdatas.values()), grown.place)
        if rrset != find(read(owner), kind):
            found[owner, kind] = rrset
    return found


class _Growing:
    """An RRset under way, whose records are found by what is compared of them."""

    __slots__ = ("place", "rdatas", "ttl")

    def __init__(self, rrset: RRset) -> None:
        self.ttl, self.place = rrset.ttl, rrset.place
        self.rdatas = {rdata.canonical(rrset.rrtype, octets): octets for octets in rrset.rdatas}


def _add(node: dict[int, _Growing], one: Record) -> None:
    if one.rrtype not in _BESIDE_CNAME and rrtype.CNAME in node:
        return
    if one.rrtype == rrtype.CNAME and not node.keys() <= _BESIDE_CNAME:
        return
    grown = node.setdefault(one.rrtype, _Growing(RRset(one.rrtype, one.ttl, ())))
    grown.ttl = one.ttl  # one for all (RFC 2181 §5.2): what came last
    if one.rrtype in _SINGLE:
        grown.rdatas.clear()
    grown.rdatas.setdefault(rdata.canonical(one.rrtype, one.rdata), one.rdata)


def _remove(node: dict[int, _Growing], one: Record, *, is_apex: bool) -> None:
    grown, gone = node.get(one.rrtype), rdata.canonical(one.rrtype, one.rdata)
    if grown is None or gone not in grown.rdatas or (is_apex and one.rrtype == rrtype.NS and len(grown.rdatas) == 1):
        return
    del grown.rdatas[gone]
    if not grown.rdatas:
        del node[one.rrtype]


def _check_owner(apex: Name, one: Record) -> None:
    if not name.is_at_or_below(one.owner, apex):
        raise Refused(rrtype.NOTZONE, f"{name.text(one.owner)} is outside {name.text(apex)}")


def _is_rdata(one: Record) -> bool:
    """Whether a zone file could hold it."""
    try:
        return rdata.parse(one.rrtype, _generic(one.rdata), name.ROOT) == one.rdata
    except Mistaken:
        return False


def _generic(octets: bytes) -> list[str]:
    return ["\\#", str(len(octets)), *([octets.hex()] if octets else [])]


def _text(one: Record) -> str:
    return f"{name.text(one.owner)} {rrtype.text(one.rrtype)}"


_ABOUT_NAMES = {True: rrtype.YXDOMAIN, False: rrtype.NXDOMAIN}
_ABOUT_RRSETS = {True: rrtype.YXRRSET, False: rrtype.NXRRSET}
