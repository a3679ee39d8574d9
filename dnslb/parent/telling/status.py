"""What an operator asks of the server, worked out: what an order concerns, and what there is to tell.

Values in, values out: ``parent`` holds what changes, and waits for the workers.  What may take long is worked out by
iterators; they yield None where others may have their turn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import translate
from ipaddress import ip_address

from dnslb.answer.snapshot import Key as ServedKey
from dnslb.balance.operator_order import Mode, Order, Scope, is_over, mode_at, mode_for, order_for
from dnslb.balance.pool import Address, Backend, Pool
from dnslb.balance.selection import Selection
from dnslb.balance.ttl import OVERTIME, bounds
from dnslb.control.errors import Rejected, Unknown
from dnslb.control.order import DrainClock, OrderRequest
from dnslb.control.status import BackendStatus, OrderStatus, PoolStatus, ProbeStatus, RRsetStatus
from dnslb.dns import name, rrtype
from dnslb.dns.name import BadName, Name
from dnslb.parent.balancer import Balancer
from dnslb.parent.telling.probe_record import ProbeRecords
from dnslb.parent.telling.totals import Totals
from dnslb.probe import ProbeKey
from dnslb.text.spelling import similarity

_REACH = 1.0  # seconds after its time within which a planned order reaches every worker
_MOST_COMPARED = 1_000_000  # addresses and names that the patterns of an order are compared with
_MOST_LIKENED = 10_000      # names that a misspelt one is compared with
_MOST_NAMED = 4             # pools, in a text
_OFTEN = 50                 # names or addresses looked at between two pauses
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
    for owner, pool in balancer.holding(address):
        yield Concerned(owner, pool, address) if owner in chosen else None


def _count(compared: int, more: int) -> int:
    """Raises Rejected."""
    if compared + more > _MOST_COMPARED:
        raise Rejected("the patterns are too many for so many pools", "give fewer, or names and addresses themselves")
    return compared + more


def _listed(pools: Mapping[Name, Pool]) -> str:
    owners = [pool.owner for pool in pools.values()]
    more = [f"{len(owners) - _MOST_NAMED} more"] if len(owners) > _MOST_NAMED else []
    return ", ".join(owners[:_MOST_NAMED] + more)


def amended(
    orders: Mapping[Scope, Order], wanted: OrderRequest, about: Iterable[Concerned], now: float
) -> dict[Scope, Order]:
    """The orders that stand from now on, without those that are over.  One that stands already stays as it is.

    Raises Rejected.
    """
    result = {scope: order for scope, order in orders.items() if not is_over(order, now)}
    given = Order(wanted.mode, now, wanted.at, wanted.until, wanted.reason, wanted.by)
    if is_over(given, now) or (wanted.at is not None and wanted.until is not None and wanted.until <= wanted.at):
        raise Rejected("the order would end before it begins", "give a later end")
    for one in about:
        own, general = Scope(one.pool.owner, one.address), Scope(None, one.address)
        scope = own if wanted.names else general
        if scope in result and _is_no_news(result[scope], given):
            continue
        if wanted.mode is Mode.READY:
            _make_ready(result, own, scope, given)
            continue
        is_planned = wanted.at is not None and wanted.at > now
        if is_planned and (mode := mode_at(result.get(scope), now)) is not Mode.READY and result[scope] != given:
            raise Rejected(
                f"{one.address} is in {mode.value} now, and a planned order would end that",
                "give the order for now, or make it ready first",
            )
        result[scope] = given
    return result


def _is_no_news(standing: Order, given: Order) -> bool:
    """Whether what is given stands already: for the same time, and for no other reason."""
    begins = standing.at if standing.at is not None and standing.at > given.since else None
    stands = standing.mode, begins, standing.until
    return stands == (given.mode, given.at, given.until) and given.reason in ("", standing.reason)


def is_altered(before: Mapping[Scope, Order], after: Mapping[Scope, Order], one: Concerned) -> bool:
    """Whether other orders stand for the address under the name than before."""
    scopes = Scope(one.pool.owner, one.address), Scope(None, one.address)
    return any(before.get(scope) != after.get(scope) for scope in scopes)


def _make_ready(orders: dict[Scope, Order], own: Scope, scope: Scope, given: Order) -> None:
    """End the orders that take the address out, now or when it was said; under one name by an exception, if need be."""
    general = Scope(None, own.address)
    ended = [own] if scope == own else [own, general]
    for each in ended:
        if given.at is not None and each in orders and orders[each].mode is not Mode.READY:
            until = orders[each].until
            orders[each] = replace(orders[each], until=given.at if until is None else min(until, given.at))
        elif given.at is None:
            orders.pop(each, None)
    if scope == own and general in orders and own not in orders:
        orders[own] = given


def to_pause(balancer: Balancer, orders: Mapping[Scope, Order], now: float) -> set[ProbeKey]:
    """What need not be probed: all that go by it are in maint."""
    if all(order.mode is not Mode.MAINT for order in orders.values()):
        return set()
    in_maint: dict[ProbeKey, bool] = {}
    for pool in balancer.pools.values():
        if pool.probe is not None:
            for backend in pool.backends:
                key = (pool.probe, backend.target)
                in_maint[key] = in_maint.get(key, True) and _is_in_maint(pool, backend, orders, now)
    return {key for key, is_in in in_maint.items() if is_in}


def next_edge(orders: Mapping[Scope, Order], now: float) -> float | None:
    """When the next order comes into force or is over."""
    edges = (time for order in orders.values() for time in (order.at, order.until) if time is not None)
    return min((time for time in edges if time > now), default=None)


def clocks(
    balancer: Balancer,
    wanted: OrderRequest,
    about: Iterable[Concerned],
    altered: Collection[tuple[Name, Address]],
    now: float,
) -> Iterator[DrainClock]:
    """What the order, in force everywhere, has done to each address; those that it has not ``altered`` were so."""
    last: Selection | None = None
    handed_out: set[Address] = set()
    for one in about:
        selection, _ = balancer.rrset(one.owner, one.address.version)
        # Of a pool with thousands of addresses the set is made once.
        if selection is not last:
            last, handed_out = selection, {share.address for share in selection.shares}
        yield _clock(balancer, wanted, one, handed_out, (one.owner, one.address) in altered, now)


def _clock(  # noqa: PLR0913, PLR0917 - an order, what it met, and when
    balancer: Balancer, wanted: OrderRequest, one: Concerned, handed_out: set[Address], changed: bool, now: float
) -> DrainClock:
    mode = mode_for(balancer.orders, one.pool.owner, one.address, now)
    expires = None
    if wanted.mode is Mode.READY:
        note = _why_not_ready(balancer, one, mode, handed_out, wanted)
    elif wanted.at is not None and wanted.at > now:
        floor = bounds(one.pool, one.address.version).floor
        expires = max(balancer.expires(one.owner, one.address, now), wanted.at + floor + OVERTIME + _REACH)
        note = "planned"
    elif mode is Mode.READY:
        note = "still handed out: it has an order of its own under this name"
    elif one.address in handed_out:
        note = "still handed out: no other address of the pool is ready"
    else:
        expires = balancer.last_copy(one.owner, one.address, now)
        note = "" if handed_out else "the pool has no address left: NODATA"
    kind = rrtype.address_text(one.address.version)
    standing = balancer.orders.get(Scope(one.pool.owner if wanted.names else None, one.address))
    since = None if standing is None else standing.since
    return DrainClock(one.pool.owner, kind, str(one.address), mode.value, expires, note, since, changed)


def order_status(scope: Scope, order: Order) -> OrderStatus:
    return OrderStatus(
        scope.owner, str(scope.address), order.mode.value, order.since, order.at, order.until, order.reason, order.by
    )


def kept_clocks(balancer: Balancer) -> Iterator[tuple[Scope, float]]:
    """When caches lose each address that a pool does not hand out."""
    for owner, pool in balancer.pools.items():
        for version in pool.zone_ttls:
            handed_out = frozenset() if balancer.is_withheld(owner, version) else balancer.handed_out(owner, version)
            copies = balancer.copies.get((owner, rrtype.ADDRESS_TYPES[version]), {})
            yield from ((Scope(pool.owner, each), lost) for each, lost in copies.items() if each not in handed_out)


def pool_status(balancer: Balancer, totals: Totals, owner: Name, now: float) -> PoolStatus:
    pool = balancer.pool(owner)
    rrsets = (_rrset_status(balancer, totals, owner, version, now) for version in sorted(pool.zone_ttls))
    return PoolStatus(pool.owner, rrsets)


def _rrset_status(balancer: Balancer, totals: Totals, owner: Name, version: int, now: float) -> RRsetStatus:
    pool, (selection, ttl) = balancer.pool(owner), balancer.rrset(owner, version)
    total = sum(share.weight for share in selection.shares)
    shares = {share.address: share.weight / total for share in selection.shares}
    statuses = (
        _backend_status(balancer, totals, (owner, rrtype.ADDRESS_TYPES[version]), backend, shares, now)
        for backend in pool.backends
        if backend.address.version == version
    )
    withheld, empty = balancer.is_withheld(owner, version), balancer.is_empty(owner, version)
    type_ = rrtype.address_text(version)
    return RRsetStatus(type_, ttl.seconds, ttl.why, selection.fails_open, withheld, statuses, empty)


def _backend_status(  # noqa: PLR0913, PLR0917 - what is known of an address lies in as many places
    balancer: Balancer, totals: Totals, key: ServedKey, backend: Backend, shares: Mapping[Address, float], now: float
) -> BackendStatus:
    pool, rdata = balancer.pool(key[0]), backend.address.packed
    health = balancer.verdict(key[0], backend)
    order = order_for(balancer.orders, pool.owner, backend.address, now)
    own = Scope(pool.owner, backend.address)
    scope = own if balancer.orders.get(own) is order else Scope(None, backend.address)
    return BackendStatus(
        address=str(backend.address),
        up=None if health is None else health.up,
        since=None if health is None else health.since,
        reason="" if health is None else health.reason,
        unsure=balancer.unsure(key[0], backend),
        streak=0 if health is None else health.streak,
        mode=mode_at(order, now).value,
        order=None if order is None else order_status(scope, order),
        weight=backend.weight,
        backup=backend.backup,
        handed_out=backend.address in shares,
        share=shares.get(backend.address, 0.0),
        led=totals.led(key).get(rdata, 0),
        achieved=totals.achieved(key, rdata),
        expires=None if backend.address in shares else balancer.last_copy(key[0], backend.address, now),
    )


def probe_statuses(pool: Pool, records: ProbeRecords) -> Iterator[ProbeStatus]:
    """Of its backends, as far as they were probed."""
    for backend in pool.backends if pool.probe is not None else ():
        record = records.get((pool.probe, backend.target)) if pool.probe is not None else None
        if record is not None:
            took, passed = tuple(record.took), tuple(map(bool, record.passed))
            yield ProbeStatus(pool.owner, str(backend.address), took, passed)


def _why_not_ready(
    balancer: Balancer, one: Concerned, mode: Mode, handed_out: set[Address], wanted: OrderRequest
) -> str:
    if wanted.at is not None:
        return "planned"
    if mode is not Mode.READY:
        return f"still in {mode.value}: it has another order"
    if one.address in handed_out:
        return ""
    if balancer.awaits(one.owner, one.address):
        return "handed out when its first probe passes; --now does not wait for that"
    return "not handed out: it is down, or a spare"


def _is_in_maint(pool: Pool, backend: Backend, orders: Mapping[Scope, Order], now: float) -> bool:
    return mode_for(orders, pool.owner, backend.address, now) is Mode.MAINT


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _owner(text: str) -> Name | None:
    """The name that the text means; None when it is none."""
    try:
        return name.fold(name.parse(text, name.ROOT))
    except (BadName, UnicodeEncodeError):
        return None


def _matcher(pattern: str) -> Callable[[str], object]:
    """Whether a text matches a pattern of the shell.  Its expression has no way back: no pattern takes it long."""
    return re.compile(translate(pattern)).match
