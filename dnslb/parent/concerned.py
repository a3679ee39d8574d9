"""What an order concerns: the addresses, in the pools, that its names and patterns mean.

Pure: no clock, no I/O.  What may take long is worked out by iterators; they yield None where others may have a turn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import translate
from ipaddress import ip_address

from dnslb.balance.pool import Address, Pool
from dnslb.control.errors import Rejected, Unknown
from dnslb.control.order import OrderRequest
from dnslb.dns import name
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.parent.balancer import Balancer
from dnslb.text.spelling import similarity

_MOST_COMPARED = 1_000_000  # addresses and names that the patterns of an order are compared with
_MOST_LIKENED = 10_000      # names that a misspelt one is compared with
_MOST_NAMED = 4             # pools, in a text
_OFTEN = 50                 # names looked at between two pauses
_WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Concerned:
    """An address in a pool."""

    owner: Name
    pool: Pool
    address: Address


def matching(pools: Mapping[Name, Pool], pattern: str) -> Iterator[Name | None]:
    """The owners whose names match a name or a pattern of the shell.  Raises Unknown when none does."""
    found = False
    for owner in _matches(pools, pattern):
        found = found or owner is not None
        yield owner
    if found:
        return
    wanted, best, closest = _plain(pattern), -1.0, None
    for number, pool in enumerate(pools.values()):
        if number == _MOST_LIKENED:
            break
        if (like := similarity(wanted, _plain(pool.owner))) > best:
            best, closest = like, pool.owner
        if number % _OFTEN == 0:
            yield None
    remedy = "there are no pools at all" if closest is None else f"did you mean {closest}?"
    raise Unknown(f"no pool is called {pattern}", remedy)


def _matches(pools: Mapping[Name, Pool], pattern: str) -> Iterator[Name | None]:
    if _WILD.isdisjoint(pattern):
        owner = _owner(pattern)
        if owner in pools:
            yield owner
        return
    matches = _matcher(_plain(pattern))
    for number, (owner, pool) in enumerate(pools.items()):
        if matches(_plain(pool.owner)):
            yield owner
        elif number % _OFTEN == 0:
            yield None


def concerned(balancer: Balancer, wanted: OrderRequest) -> Iterator[Concerned | None]:
    """What the order is about.  Raises Unknown for a name or address that no pool has, Rejected for too much work."""
    pools = balancer.pools
    chosen = pools
    compared = 0
    if wanted.names:
        chosen = {}
        for pattern in wanted.names:
            compared = _count(compared, 1 if _WILD.isdisjoint(pattern) else len(pools))
            for owner in matching(pools, pattern):
                if owner is not None:
                    chosen[owner] = pools[owner]
                yield None
    told: set[tuple[Name, Address]] = set()
    for pattern in wanted.addresses:
        found = False
        for one in _meant(balancer, chosen, pattern):
            compared = _count(compared, 1)
            if one is None:
                yield None
                continue
            found = True
            if (one.owner, one.address) not in told:
                told.add((one.owner, one.address))
                yield one
        if not found:
            where = _listed(chosen) if wanted.names else "any pool"
            raise Unknown(f"{pattern} is no backend of {where}", "see `dnslb status` for the addresses")


def _meant(balancer: Balancer, chosen: Mapping[Name, Pool], pattern: str) -> Iterator[Concerned | None]:
    """What an address or a pattern means in these pools, and a None for each address that it does not."""
    try:
        address = ip_address(pattern)
    except ValueError:
        matches = _matcher(pattern.lower())
        for owner, pool in chosen.items():
            for backend in pool.backends:
                yield Concerned(owner, pool, backend.address) if matches(str(backend.address)) else None
        return
    for held in balancer.served.holding(address):
        yield Concerned(held.owner, held.pool, address) if held.owner in chosen else None


def _count(compared: int, more: int) -> int:
    """Raises Rejected."""
    if compared + more > _MOST_COMPARED:
        raise Rejected("the patterns are too many for so many pools", "give fewer, or names and addresses themselves")
    return compared + more


def _listed(pools: Mapping[Name, Pool]) -> str:
    owners = [pool.owner for pool in pools.values()]
    more = [f"{len(owners) - _MOST_NAMED} more"] if len(owners) > _MOST_NAMED else []
    return ", ".join(owners[:_MOST_NAMED] + more)


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _owner(text: str) -> Name | None:
    """The name that the text means; None when it is none."""
    try:
        return name.fold(name.parse(text, name.ROOT))
    except Mistaken:
        return None


def _matcher(pattern: str) -> Callable[[str], object]:
    """Whether a text matches a pattern of the shell.  Its expression has no way back: no pattern takes it long."""
    return re.compile(translate(pattern)).match
