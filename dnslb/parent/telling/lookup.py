"""What a question would be answered with, by zones and by what their pools serve: at rest, or at the moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain
from random import Random

from dnslb.answer.snapshot import NOT_OURS, RRsetKey, Serving, Snapshot
from dnslb.balance.pool import Pool
from dnslb.balance.rotation import RRsetOrder
from dnslb.control.lookup import Lookup, Record
from dnslb.dns import name, rdata, rrtype
from dnslb.dns.answer import Answer, Placed
from dnslb.dns.name import Name
from dnslb.dns.zone import Zone

_TRANSFERS = (rrtype.AXFR, rrtype.IXFR)  # the responder refuses these by type, whatever the zone holds
_MOST = 20  # names that one answer leads to, at most: each may be a pool


def lookup(
    zones: Mapping[Name, Zone],
    pools: Mapping[Name, Pool],
    served: Callable[[Name], Mapping[RRsetKey, Serving]],
    asked: tuple[Name, int],
    client: bytes,
) -> Lookup:
    """The answer to a question for a name (as it is written) and a type by a client (its packed address, or nothing).

    ``served`` gives what the pool of that owner serves.  Only pools are asked that the answer leads to.
    """
    owner, kind = asked
    if kind in _TRANSFERS:
        return _told(NOT_OURS, False)
    snapshot = Snapshot(zones, RRsetOrder.CYCLIC, Random())
    servings: dict[RRsetKey, Serving] = {}
    while True:
        answer = snapshot.plain(name.fold(owner), kind.to_bytes(2) + rrtype.IN.to_bytes(2))
        found = _owners(answer, name.fold(owner)) & pools.keys() - {known for known, _ in servings}
        if not found or len(servings) > _MOST:
            break
        for each in found:
            servings |= served(each)
        snapshot.update({key: serving for key, serving in servings.items() if key[0] in found})
    is_withheld = answer.turning in servings and servings[answer.turning].withheld if answer.turning else False
    return _told(_windowed(answer, pools, servings, client), is_withheld)


def _owners(answer: Answer, asked: Name) -> set[Name]:
    """The names that the answer is made of."""
    sections = (answer.answer, answer.authority, answer.glue, answer.additional)
    owners = {name.fold(owner) for owner, _ in chain.from_iterable(sections)}
    return owners | {asked} | ({answer.turning[0]} if answer.turning else set())


def _windowed(
    answer: Answer, pools: Mapping[Name, Pool], servings: Mapping[RRsetKey, Serving], client: bytes
) -> Answer:
    """With so many of the pool's addresses as a reply to the client has."""
    if answer.turning is None or answer.turning not in servings or not answer.answer:
        return answer
    near = pools[answer.turning[0]].near
    most = servings[answer.turning].rotation.answers
    if near is not None and near.include(client):
        most = near.answers
    *before, (owner, rrset) = answer.answer
    shown = rrset._replace(rdatas=rrset.rdatas[:most])
    return replace(answer, answer=(*before, Placed(owner, shown)))


def _told(answer: Answer, is_withheld: bool) -> Lookup:
    additional = (*answer.glue, *answer.additional)
    return Lookup(
        rrtype.RCODES[answer.rcode],
        answer.authoritative,
        _records(answer.answer),
        _records(answer.authority),
        _records(additional),
        is_withheld,
    )


def _records(section: tuple[Placed, ...]) -> tuple[Record, ...]:
    return tuple(
        Record(name.text(owner), rrset.ttl, rrtype.text(rrset.rrtype), rdata.text(rrset.rrtype, record))
        for owner, rrset in section
        for record in rrset.rdatas
    )
