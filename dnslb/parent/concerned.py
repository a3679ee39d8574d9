"""What an order concerns: the addresses that its names and patterns mean, in pools and of names without a policy.

Of these a pattern means such as have several addresses, and an address those too, unless no other name has it: where
there is but one, nothing else could be handed out.

Pure: no clock, no I/O.  What may take long is worked out by iterators; they yield None where others may have a turn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import translate
from ipaddress import ip_address
from itertools import chain

from dnslb.balance.operator_order import Mode
from dnslb.balance.pool import Address, Pool
from dnslb.config.rotated import Rotated
from dnslb.control.errors import Rejected, Unknown
from dnslb.control.order import OrderRequest
from dnslb.dns import name
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.parent.balancer import Balancer
from dnslb.text.spelling import similarity

_MOST_COMPARED = 1_000_000  # addresses and names that the patterns of an order are compared with
_MOST_LIKENED = 10_000      # names that a misspelt one is compared with
_MOST_MADE = 10_000         # names without a policy that an order may concern: each takes memory from then on
_MOST_NAMED = 4             # pools, in a text
_OFTEN = 50                 # names looked at between two pauses
_WILD = frozenset("*?[")
_NONE = Rotated()


@dataclass(frozen=True, slots=True)
class Concerned:
    """An address in a pool."""

    owner: Name
    pool: Pool
    address: Address


def matching(pools: Mapping[Name, Pool], pattern: str, rotated: Rotated = _NONE) -> Iterator[Name | None]:
    """The owners whose names match a name or a pattern of the shell.  Raises Unknown when none does."""
    found = False
    for owner in _matches(pools, pattern, rotated):
        found = found or owner is not None
        yield owner
    if found:
        return
    wanted, best, closest = _plain(pattern), -1.0, None
    others = (None if owner is None else name.text(owner) for owner in rotated.several())
    for number, called in enumerate(chain([pool.owner for pool in pools.values()], others)):
        if number == _MOST_LIKENED:
            break
        if called is not None and (like := similarity(wanted, _plain(called))) > best:
            best, closest = like, called
        if number % _OFTEN == 0:
            yield None
    remedy = f"did you mean {closest}?"
    if closest is None:
        remedy = "there are none: list several A or AAAA records of a name in its zone file, and it is one"
    raise Unknown(f"no pool is called {pattern}", remedy)


def _matches(pools: Mapping[Name, Pool], pattern: str, rotated: Rotated) -> Iterator[Name | None]:
    if _WILD.isdisjoint(pattern):
        owner = _owner(pattern)
        if owner is not None and (owner in pools or rotated.pool(owner) is not None):
            yield owner
        return
    matches = _matcher(_plain(pattern))
    for number, (owner, pool) in enumerate(list(pools.items())):
        if matches(_plain(pool.owner)):
            yield owner
        elif number % _OFTEN == 0:
            yield None
    for other in rotated.several():
        yield other if other is not None and other not in pools and matches(_plain(name.text(other))) else None


def concerned(
    balancer: Balancer, wanted: OrderRequest, rotated: Rotated = _NONE
) -> Iterator[Concerned | None]:
    """What the order is about.  Raises Unknown for a name or address that nobody has, Rejected for too much work.

    ``rotated`` has the names without a policy.
    """
    pools = balancer.pools
    chosen: Mapping[Name, Pool] = pools
    compared = made = 0
    if wanted.names:
        named: dict[Name, Pool] = {}
        for pattern in wanted.names:
            compared = _count(compared, 1 if _WILD.isdisjoint(pattern) else len(pools))
            for owner in matching(pools, pattern, rotated):
                pool = None if owner is None else pools.get(owner) or rotated.pool(owner)
                if owner is not None and pool is not None:
                    # Of a million names that a pattern means, most do not have the address.
                    is_new = owner not in pools and len(named) >= _MOST_NAMED
                    if not is_new or _has_any(pool, wanted.addresses):
                        named[owner] = pool
                        made = _count_made(made, is_new)
                yield None
        chosen, rotated = named, _NONE
    elif wanted.mode is Mode.READY:
        # What has no pool yet, no order has taken out.
        rotated = _NONE if not all(map(_is_address, wanted.addresses)) else rotated
    told: set[tuple[Name, Address]] = set()
    new = {owner: pool for owner, pool in chosen.items() if owner not in pools} if wanted.names else {}
    made = 0
    for pattern in wanted.addresses:
        found = False
        for one in chain(_meant(balancer, chosen, new, pattern), _meant_besides(balancer, pattern, rotated)):
            compared = _count(compared, 1)
            if one is None:
                yield None
                continue
            found = True
            if (one.owner, one.address) not in told:
                told.add((one.owner, one.address))
                made = _count_made(made, one.owner not in pools)
                yield one
        if not found:
            what = f"backend of {_listed(chosen)}" if wanted.names else "address of any name that is served here"
            raise Unknown(f"{pattern} is no {what}", "see `dnslb status` for the addresses")


def _meant(
    balancer: Balancer, chosen: Mapping[Name, Pool], new: Mapping[Name, Pool], pattern: str
) -> Iterator[Concerned | None]:
    """What an address or a pattern means in these pools, and a None for each address that it does not.

    ``new`` are those that the balancer has not.
    """
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
    for owner, pool in new.items():
        is_held = any(backend.address == address for backend in pool.backends)
        yield Concerned(owner, pool, address) if is_held else None


def _meant_besides(balancer: Balancer, pattern: str, rotated: Rotated) -> Iterator[Concerned | None]:
    """The same of names that have no pool yet."""
    if not _is_address(pattern):
        matches = _matcher(pattern.lower())
        for owner in rotated.several():
            pool = None if owner is None or owner in balancer.pools else rotated.pool(owner)
            yield None
            if owner is not None and pool is not None:
                yield from (
                    Concerned(owner, pool, backend.address) if matches(str(backend.address)) else None
                    for backend in pool.backends
                )
        return
    address = ip_address(pattern)
    alone: list[Name] = []
    is_found = bool(balancer.served.holding(address))
    for holding in rotated.holding([address]):
        owner, has_others = (None, False) if holding is None else holding
        pool = None if owner is None or owner in balancer.pools else rotated.pool(owner)
        if owner is not None and pool is not None and has_others:
            is_found = True
            yield Concerned(owner, pool, address)
        elif owner is not None and pool is not None and len(alone) < _MOST_MADE:
            alone.append(owner)
        yield None
    for owner in alone if not is_found else ():
        pool = rotated.pool(owner)
        yield None if pool is None else Concerned(owner, pool, address)


def _count(compared: int, more: int) -> int:
    """Raises Rejected."""
    if compared + more > _MOST_COMPARED:
        raise Rejected("the patterns are too many for so many pools", "give fewer, or names and addresses themselves")
    return compared + more


def _count_made(made: int, is_new: bool) -> int:
    """Raises Rejected."""
    if made + is_new > _MOST_MADE:
        fact = f"the order concerns more than {_MOST_MADE:,} names without a policy"
        raise Rejected(fact, "give names, or patterns of names, before the addresses")
    return made + is_new


def _has_any(pool: Pool, patterns: Iterable[str]) -> bool:
    """Whether one of these addresses and patterns means an address of it."""
    texts = [str(backend.address) for backend in pool.backends]
    return any(
        ip_address(pattern) in {backend.address for backend in pool.backends}
        if _is_address(pattern)
        else any(map(_matcher(pattern.lower()), texts))
        for pattern in patterns
    )


def _is_address(pattern: str) -> bool:
    try:
        ip_address(pattern)
    except ValueError:
        return False
    return True


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
