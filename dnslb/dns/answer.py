"""The sections of a reply, as RRsets: aliases followed, referrals and negative answers furnished.

Pure: no I/O; knows no packets.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from dnslb.dns import rdata, rrtype
from dnslb.dns.lookup import Alias, Delegation, Hit, NoData, NxDomain, Redirection, look_up
from dnslb.dns.name import MAX_NAME, Name, fold, is_at_or_below
from dnslb.dns.zone import RRset, Zone, find

MAX_LINKS = 16  # aliases followed in one reply; a resolver asks on from the last

# Never answered as a type that there is not: DS may be the parent's (RFC 4035 §3.1.4.1), the others are no records.
_ANSWERED_APART = frozenset({rrtype.DS, rrtype.ANY, rrtype.AXFR, rrtype.IXFR})
_SERVICES = frozenset({rrtype.SVCB, rrtype.HTTPS})
_ALIAS_MODE = bytes(2)  # the priority: here, a target that is the root says that there is no service (RFC 9460 §2.5.1)


class Placed(NamedTuple):
    """An RRset in a section, under the owner name that the reply shows (a wildcard's is the name asked for)."""

    owner: Name
    rrset: RRset


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply before it is packed."""

    rcode: int = rrtype.NOERROR
    authoritative: bool = True
    answer: tuple[Placed, ...] = ()
    authority: tuple[Placed, ...] = ()
    glue: tuple[Placed, ...] = ()  # additional, without which a referral is of no use (RFC 9471 §2.1)
    additional: tuple[Placed, ...] = ()  # left out when it does not fit
    # The RRset whose records take turns: (owner in the zone, type).  It stands last in the answer section.  Those of a
    # referral do not: resolvers choose a server by its speed, and in a fixed order the names compress best.
    turning: tuple[Name, int] | None = None
    # When set: every other missing name below this one gets the same reply.
    covers: Name | None = None
    # The name that a DNAME made of the one asked for, as it stands in the CNAME (RFC 6672 §3.1).  With ``covers``, the
    # DNAME's owner: others get the same reply with their own name in it, unless that ``exists_below`` the target.
    substituted: Name | None = None
    # When set: questions of every other type get the same reply.  So one serves for all types that there are not.
    types_apart: frozenset[int] | None = None
    # The names whose records decided the reply, whether or not they had any.
    consulted: frozenset[Name] = frozenset()


def answer(zone: Zone, name: Name, wanted: int, apexes: Container[Name] = ()) -> Answer:
    """The reply to a question for folded ``name``, which is at or below the zone's apex.

    An alias is followed inside the zone only; what lies beyond is asked for separately by any resolver, since it must
    not trust us there (RFC 2181 §5.4.1).  That goes for the zones of this server, with these ``apexes``, as well.
    """
    reply = _follow(zone, name, wanted, apexes)
    first = reply.answer[0] if reply.answer else None
    if first is None or first.rrset.rrtype != rrtype.DNAME or first.owner == name:
        return reply
    return _below_dname(zone, name, reply)


def exists_below(zone: Zone, target: Name, name: Name, owner: Name) -> bool:
    """Whether what a DNAME at ``owner`` makes of ``name`` exists below ``target``, or a name between the two."""
    own = name[: len(name) - len(owner)]
    at = 0
    while at + 1 + own[at] < len(own):
        at += 1 + own[at]
    return own[at:] + target in zone.nodes


def _below_dname(zone: Zone, name: Name, reply: Answer) -> Answer:
    """The reply to a question that a DNAME redirects first of all, which others may share."""
    owner, dname = reply.answer[0]
    target = fold(dname.rdatas[0])
    if reply.rcode == rrtype.YXDOMAIN:
        return reply if name in zone.nodes else replace(reply, covers=owner)
    substituted = reply.answer[1].rrset.rdatas[0]
    # Behind the CNAME come records that a wildcard made of the new name; after one more alias the end is not the same.
    goes_on = any(owner != fold(substituted) or rrset.rrtype == rrtype.CNAME for owner, rrset in reply.answer[2:])
    # A name that leaves the zone may come back as its apex.
    comes_back = target != zone.apex and is_at_or_below(zone.apex, target)
    if goes_on or comes_back or name in zone.nodes or exists_below(zone, target, name, owner):
        return replace(reply, substituted=substituted)
    return replace(reply, substituted=substituted, covers=owner)


def _follow(zone: Zone, name: Name, wanted: int, apexes: Container[Name]) -> Answer:
    chain: tuple[Placed, ...] = ()
    covers: Name | None = None
    asked = name
    seen = {name}
    sources: tuple[Name, ...] = ()
    apart = _ANSWERED_APART
    for _ in range(MAX_LINKS):
        match look_up(zone, name, wanted):
            case Hit(source, rrset):
                hosts = _hosts(rrset, name)
                return Answer(
                    answer=(*chain, Placed(name, rrset)),
                    additional=tuple(_additional(zone, rrset, hosts, name)),
                    turning=(source, rrset.rrtype),
                    covers=_covered(asked, name, source, covers),
                    consulted=frozenset((*sources, source, *hosts)),
                )
            case NoData(source):
                return replace(
                    _negative(zone, rrtype.NOERROR),
                    answer=chain,
                    covers=_covered(asked, name, source, covers),
                    types_apart=apart | _types(zone, source),
                    consulted=frozenset((*sources, source)),
                )
            case NxDomain(encloser):
                negative = _negative(zone, rrtype.NXDOMAIN)
                return replace(
                    negative,
                    answer=chain,
                    covers=encloser if name is asked else _still_covered(name, covers),
                    types_apart=apart,
                    consulted=frozenset(sources),
                )
            case Delegation(cut) if chain and cut in apexes:
                break
            case Delegation(cut, rrset):
                referral = _referral(zone, cut, rrset)
                below = cut if name is asked and name not in zone.nodes else None
                # AA speaks of the first owner name in the answer section (RFC 1034 §4.3.2, RFC 2181 §5.4.1).
                return replace(
                    referral,
                    answer=chain,
                    authoritative=bool(chain),
                    covers=below or covers,
                    types_apart=apart,
                    consulted=referral.consulted.union(sources),
                )
            case Alias(source, rrset):
                covers = _covered(asked, name, source, covers)
                sources = (*sources, source)
                apart |= _types(zone, source)
                chain = (*chain, Placed(name, rrset))
                name = fold(rrset.rdatas[0])
            case Redirection(owner, rrset):
                covers = None
                chain = (*chain, Placed(owner, rrset))
                target = name[: -len(owner)] + rrset.rdatas[0]
                if len(target) > MAX_NAME:
                    return Answer(rcode=rrtype.YXDOMAIN, answer=chain)
                chain = (*chain, Placed(name, RRset(rrtype.CNAME, rrset.ttl, (target,))))
                if wanted == rrtype.CNAME:
                    return Answer(answer=chain)
                apart |= {rrtype.CNAME}
                name = fold(target)
        if name in seen:
            # Where a loop closes depends on where it was entered.
            covers = None
            break
        if not is_at_or_below(name, zone.apex):
            break
        seen.add(name)
    return Answer(answer=chain, covers=covers, types_apart=apart, consulted=frozenset(sources))


def _types(zone: Zone, name: Name) -> frozenset[int]:
    """Those that the name has."""
    return frozenset(rrset.rrtype for rrset in zone.node(name) or ())


def _covered(asked: Name, name: Name, source: Name, covers: Name | None) -> Name | None:
    """The parent of the wildcard, when it is what made the first name of the chain and no other."""
    if source == name:
        return covers
    # A later name that is missing may be the very name that another client asks for: then the replies differ.
    return source[2:] if name is asked else None


def _still_covered(missing: Name, covers: Name | None) -> Name | None:
    """``covers``, unless the missing name may be the very one that another client asks for: then the replies differ."""
    return None if covers is None or is_at_or_below(missing, covers) else covers


def _negative(zone: Zone, rcode: int) -> Answer:
    """NODATA or NXDOMAIN: the SOA, for as long as the answer may be cached (RFC 2308 §3)."""
    return Answer(rcode=rcode, authority=(Placed(zone.apex, zone.soa._replace(ttl=zone.negative_ttl)),))


def _referral(zone: Zone, cut: Name, ns: RRset) -> Answer:
    targets = dict.fromkeys(fold(target) for target in ns.rdatas)
    inside = [target for target in targets if is_at_or_below(target, cut)]
    beside = [target for target in targets if target not in inside]
    return Answer(
        authority=(Placed(cut, ns),),
        glue=tuple(_addresses(zone, inside)),
        additional=tuple(_addresses(zone, beside)),
        consulted=frozenset(targets),
    )


def _hosts(rrset: RRset, owner: Name) -> tuple[Name, ...]:
    """The hosts that the records name, whose addresses may come along (RFC 1035 §3.3.9, RFC 2782, RFC 9460 §4.1)."""
    is_service = rrset.rrtype in _SERVICES
    hosts: dict[Name, None] = {}
    for record in rrset.rdatas:
        target = rdata.target(rrset.rrtype, record)
        if target is None and is_service and record[:2] != _ALIAS_MODE:
            target = owner
        if target is not None and (target != owner or is_service):
            hosts[target] = None
    return tuple(hosts)


def _additional(zone: Zone, rrset: RRset, hosts: Iterable[Name], owner: Name) -> Iterator[Placed]:
    """What may come along with the answer: the services that the hosts offer, and their addresses."""
    if rrset.rrtype in _SERVICES:
        for host in hosts:
            service = find(zone.node(host) or (), rrset.rrtype)
            if service is not None and host != owner:
                yield Placed(host, service)
    yield from _addresses(zone, hosts)


def _addresses(zone: Zone, hosts: Iterable[Name]) -> Iterator[Placed]:
    for host in hosts:
        node = zone.node(host) or ()
        for wanted in (rrtype.A, rrtype.AAAA):
            if (rrset := find(node, wanted)) is not None:
                yield Placed(host, rrset)
