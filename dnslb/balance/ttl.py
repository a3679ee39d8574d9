"""How long an answer may be cached: no longer than it can be trusted.

Pure: no clock, no I/O.  The states of a pool's backends and the time come in, the TTL of one RRset comes out, with
the reason in words and the time at which it must be worked out again.

The TTL climbs and descends one ladder of rungs: the floor, twice the floor, four times … below the ceiling, and the
ceiling.  After a change it climbs, at each rung as soon as the answer has held that long.  Ahead of a planned leave
it descends: a rung is handed out only while a copy of it, kept by a resolver one second too long, is gone before the
backend is.  So no answer names a backend after it left, and yet a countdown of an hour takes ten new TTLs, not
3,600; nor do all caches run out in the same second.  Only the floor may outlive the leave, by at most itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import floor

from dnslb.balance.health import Health, flips_in
from dnslb.balance.pool import Address, Pool, Probe

# Seconds that a resolver keeps a record beyond its TTL: unbound counts in whole seconds.
OVERTIME = 1


@dataclass(frozen=True, slots=True)
class Member:
    """One backend of the RRset, now."""

    address: Address
    health: Health | None = None     # None: not probed
    leaves_at: float | None = None   # Unix time of a planned drain or maint
    counts: bool = True              # False: in drain or maint now, so that it holds nothing low
    unsure: str = ""                 # why nobody knows whether it is up, though it is handed out


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between what the TTL of an RRset moves, in seconds."""

    floor: int
    ceiling: int
    why: str  # the ceiling is what it is


@dataclass(frozen=True, slots=True)
class Ttl:
    """The TTL of an RRset, now."""

    seconds: int
    why: str              # one line for a person
    until: float | None   # Unix time from which on it would be another; None: not before the next event


def bounds(pool: Pool, version: int) -> Bounds:
    """The TTL's bounds for the pool's A (``version`` 4) or AAAA (6) RRset.

    The ceiling is the zone file's TTL, or ``max`` or what ``failover`` leaves, if lower.  The floor gives way to the
    ceiling: a promise binds more than ``min``.  Without a probe nobody notices a death, and ``failover`` binds nothing.
    Raises KeyError when the pool has no such RRset.
    """
    policy = pool.ttl
    ceiling, why = pool.zone_ttls[version], "zone file's TTL"
    if policy.max is not None and policy.max < ceiling:
        ceiling, why = policy.max, f"max: {policy.max}s"
    if policy.failover is not None and pool.probe is not None:
        left = max(1, _whole(policy.failover - pool.probe.detection - pool.delay - OVERTIME))
        if left < ceiling:
            ceiling, why = left, f"failover: {policy.failover:.9g}s"
    return Bounds(min(policy.min, ceiling), ceiling, why)


def ttl(  # noqa: PLR0913, PLR0917 - each is a fact of its own, and none belongs to another
    pool: Pool, version: int, members: Sequence[Member], fails_open: bool, changed_at: float | None, now: float
) -> Ttl:
    """The TTL of the pool's A (``version`` 4) or AAAA (6) RRset: the smallest that any rule of the pool allows.

    ``changed_at`` is the Unix time at which the answer last changed, None when it never did.  ``fails_open``: no
    backend is up, or too few are, and all are handed out.
    """
    limits = bounds(pool, version)
    counted = [member for member in members if member.counts and member.address.version == version]
    allowed = [Ttl(limits.ceiling, limits.why, None)]
    if pool.probe is not None:
        # Of what is not known to be right, nobody can say for how long it is.
        allowed += [Ttl(limits.floor, f"{one.address} {one.unsure}", None) for one in counted if one.unsure]
        allowed += _doubts(counted, pool.probe, limits, fails_open)
    if changed_at is not None:
        allowed.append(_climb(limits, changed_at, now))
    smallest = min(allowed, key=lambda one: one.seconds)
    # One that is down is in no answer, unless all are.
    leaving = [
        (member.leaves_at, member)
        for member in counted
        if member.leaves_at is not None and now < member.leaves_at and (fails_open or _is_up(member))
    ]
    if not leaving:
        return smallest
    leaves_at, member = min(leaving, key=lambda pair: pair[0])
    return _descend(smallest, limits, member.address, leaves_at, now)


def rungs(limits: Bounds) -> list[int]:
    """The floor, then powers of two times it (of 1 s, when it is 0), then the ceiling: all the steps of a ramp."""
    ladder = [limits.floor]
    rung = 2 * limits.floor or 1
    while rung < limits.ceiling:
        ladder.append(rung)
        rung *= 2
    return ladder if limits.ceiling == limits.floor else [*ladder, limits.ceiling]


def _whole(seconds: float) -> int:
    # 100 × 0.29 s are 29 s, although the product of the floats is less.
    return floor(round(seconds, 6))


def _is_up(member: Member) -> bool:
    return member.health is None or member.health.up


def _doubts(members: list[Member], probe: Probe, limits: Bounds, fails_open: bool) -> Iterator[Ttl]:
    """The TTL until the first verdict may change of those in doubt: with outcomes against it, or failing open."""
    doubtful = [
        (flips_in(member.health, probe), member.address, member.health)
        for member in members
        if member.health is not None and (fails_open or member.health.streak)
    ]
    if not doubtful:
        return
    soonest, address, health = min(doubtful, key=lambda doubt: doubt[0])
    if health.up:
        why = f"{address} may go down in {soonest:.9g} s ({health.streak} of {probe.fall} probes failed)"
    else:
        why = f"{address} may come up in {soonest:.9g} s ({health.streak} of {probe.rise} probes passed)"
    if fails_open:
        is_none = not any(member.health.up for member in members if member.health is not None)
        why = f"{'no backend is' if is_none else 'too few backends are'} up: {why}"
    seconds = _whole(soonest)
    yield Ttl(seconds, why, None) if seconds >= limits.floor else _at_floor(limits, why, None)


def _at_floor(limits: Bounds, why: str, until: float | None) -> Ttl:
    """What a rule would have lower than the floor."""
    return Ttl(limits.floor, f"{why}; min: {limits.floor}s", until)


def _climb(limits: Bounds, changed_at: float, now: float) -> Ttl:
    """The highest rung that is no more than the age of the answer."""
    # Ages are compared as times, lest a rounded difference put `until` before `now`.
    ladder = rungs(limits)
    climbed = [rung for rung in ladder[1:] if changed_at + rung <= now]
    ahead = [changed_at + rung for rung in ladder[1:] if now < changed_at + rung]
    why = f"the answer changed {max(0, floor(now - changed_at))} s ago"
    return Ttl(climbed[-1] if climbed else limits.floor, why, ahead[0] if ahead else None)


def _descend(smallest: Ttl, limits: Bounds, address: Address, leaves_at: float, now: float) -> Ttl:
    """What is allowed otherwise while it runs out before the backend leaves, then ever lower rungs."""
    if smallest.seconds == limits.floor:
        return smallest
    last = leaves_at - OVERTIME - smallest.seconds
    if now < last:  # then no rung below it is needed, and else none above it fits
        return replace(smallest, until=last if smallest.until is None else min(last, smallest.until))
    why = f"{address} leaves in {floor(leaves_at - now)} s"
    for rung in reversed(rungs(limits)[1:]):
        last = leaves_at - OVERTIME - rung
        if now < last:
            return Ttl(rung, why, last)
    if now < leaves_at - OVERTIME - limits.floor:
        return Ttl(limits.floor, why, leaves_at)
    return _at_floor(limits, why, leaves_at)
