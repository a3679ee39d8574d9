"""What the pools serve, worked out again whenever a verdict, an order or the time changes it.

Lives in the parent.  ``balance`` decides; here its decisions become RRsets, and the clock is read.  A lone change goes
out at once; what follows it closely goes out together.  However many pools change, probes and requests have their turn.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

from dnslb.balance import admin, selection, ttl
from dnslb.balance.admin import Admin, Mode, Scope
from dnslb.balance.health import Health, Outcome
from dnslb.balance.order import Rotation
from dnslb.balance.pool import Address, Backend, Pool
from dnslb.balance.selection import Selection
from dnslb.balance.ttl import Member, Ttl
from dnslb.dns.name import Name
from dnslb.dns.zone import RRset
from dnslb.probe.schedule import Key as Asked
from dnslb.snapshot import KINDS, Key, Serving

_GATHER = 0.05  # seconds from one publication to the next, unless the pools to be worked out take longer
_TURN = 0.005   # seconds of working out pools in a row
_SOONEST, _LATEST = 0.01, 60.0  # seconds from one working out of a pool by time alone to the next
_NAMED = 4  # backends in one line of the log

_log = logging.getLogger("dnslb")


@dataclass(slots=True)
class _RRset:
    """One RRset of a pool, as it was last worked out."""

    selection: Selection
    changed_at: float | None  # Unix time of the last change of its addresses; None: since the start
    ttl: Ttl
    serving: Serving


@dataclass(slots=True)
class _Desk:
    """A pool and what was worked out for it."""

    owner: Name
    pool: Pool
    rrsets: dict[int, _RRset] = field(default_factory=dict)  # by IP version
    timer: asyncio.TimerHandle | None = None
    verdicts: list[tuple[Asked, Health]] = field(default_factory=list)  # changed since, to be logged


class Balancer:
    """Keeps ``servings`` right, and hands every change of them to ``publish``.  ``clock`` gives Unix time."""

    def __init__(self, pools: Mapping[Name, Pool], clock: Callable[[], float] = time.time) -> None:
        self.healths: dict[Asked, Health] = {}
        self.orders: dict[Scope, Admin] = {}
        self.servings: dict[Key, Serving] = {}
        self.copies: dict[Key, dict[Address, float]] = {}  # when caches have lost an address, as handed out until now
        self._clock = clock
        self._publish: Callable[[Mapping[Key, Serving]], object] | None = None
        self._desks = {owner: _Desk(owner, pool) for owner, pool in pools.items()}
        self._asking: dict[Asked, list[_Desk]] = {}
        for desk in self._desks.values():
            for key in dict.fromkeys(_asked(desk.pool)):
                self._asking.setdefault(key, []).append(desk)
        self._holding: dict[Address, list[_Desk]] = {}
        for desk in self._desks.values():
            for backend in desk.pool.backends:
                self._holding.setdefault(backend.address, []).append(desk)
        self._urgent: OrderedDict[Name, _Desk] = OrderedDict()  # to be worked out: a verdict or an order has changed
        self._due: OrderedDict[Name, _Desk] = OrderedDict()     # the same, because of the time
        self._next: asyncio.TimerHandle | asyncio.Handle | None = None  # when that goes on
        self._published = -inf  # when anything was, by the loop's clock
        self._prepared: set[Name] = set()  # pools that are worked out already, before the start
        self._settled = asyncio.Event()  # set when nothing urgent is to be worked out any more

    @property
    def keys(self) -> set[Asked]:
        """All that must be probed."""
        return set(self._asking)

    @property
    def pools(self) -> dict[Name, Pool]:
        return {owner: desk.pool for owner, desk in self._desks.items()}

    def pool(self, owner: Name) -> Pool:
        return self._desks[owner].pool

    @property
    def rdatas(self) -> dict[Key, set[bytes]]:
        """Every address of every pool, handed out or not."""
        found: dict[Key, set[bytes]] = {}
        for owner, desk in self._desks.items():
            for backend in desk.pool.backends:
                found.setdefault((owner, KINDS[backend.address.version]), set()).add(backend.address.packed)
        return found

    def asking(self, key: Asked) -> list[tuple[Pool, Backend]]:
        """The backends that go by this key."""
        found = [(desk.pool, backend) for desk in self._asking.get(key, ()) for backend in desk.pool.backends]
        return [(pool, backend) for pool, backend in found if backend.target == key[1]]

    def holding(self, address: Address) -> list[tuple[Name, Pool]]:
        """The pools that have the address, with their owners."""
        return [(desk.owner, desk.pool) for desk in self._holding.get(address, ())]

    def hear(self, key: Asked, outcome: Outcome, before: Health | None, after: Health) -> None:
        """One more probe has ended."""
        self.healths[key] = after
        if before is not None and (before.up, before.streak) == (after.up, after.streak):
            return
        for desk in self._asking.get(key, ()):
            self._prepared.discard(desk.owner)
            if self._publish is not None:
                if before is not None and before.up != after.up:
                    desk.verdicts.append((key, after))
                self._concern(self._urgent, desk)

    async def prepare(self) -> None:
        """Before ``start``: work out what there are many of, with pauses."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _TURN
        for desk in self._desks.values():
            self._begin(desk)
            if loop.time() > until:
                await asyncio.sleep(0)
                until = loop.time() + _TURN

    def start(self, publish: Callable[[Mapping[Key, Serving]], object]) -> None:
        """Work everything out for the first time, into ``servings``; later changes go to ``publish``."""
        for desk in self._desks.values():
            if desk.owner not in self._prepared:
                self._begin(desk)
            _tell_who_is_down(desk, _healths(desk.pool, self.healths))
        self._publish = publish
        if self._due:
            self._flush()  # some have become due since they were prepared

    def _begin(self, desk: _Desk) -> None:
        # What another life of the server has handed out is still in caches.
        now = self._clock()
        for version in desk.pool.zone_ttls:
            self._assume_copies(desk, version, now + ttl.bounds(desk.pool, version).ceiling)
        self._work_out(desk)
        self._prepared.add(desk.owner)

    def inherit(self, old: Balancer) -> None:
        """Before ``start``: the answers go on from those of the old generation, which caches hold.

        So what has changed a moment ago is not trusted the more for a reload.
        """
        now = self._clock()
        self.copies = old.copies
        for desk in self._desks.values():
            if desk.owner in old._desks:
                known = old._desks[desk.owner].rrsets
                desk.rrsets = {version: known[version] for version in desk.pool.zone_ttls if version in known}
            else:
                # Until now the records were those of the zone file.
                for version, seconds in desk.pool.zone_ttls.items():
                    self._assume_copies(desk, version, now + seconds)

    def obey(self, orders: Mapping[Scope, Admin]) -> None:
        """From now on these orders stand.

        What they change is published before this returns, unless it is much: then when it is ``settled``.
        """
        before, self.orders = self.orders, dict(orders)
        changed = {scope for scope in before.keys() | orders.keys() if before.get(scope) != orders.get(scope)}
        if self._publish is None:
            return
        for scope in changed:
            for desk in self._holding.get(scope.address, ()):
                self._urgent[desk.owner] = desk
        if self._urgent:
            self._flush()

    async def settled(self) -> None:
        """Wait until all that verdicts and orders have changed up to now is worked out and published."""
        if self._urgent:
            await self._settled.wait()

    def rrset(self, owner: Name, version: int) -> tuple[Selection, Ttl]:
        """What is handed out, and for how long, as last worked out."""
        found = self._desks[owner].rrsets[version]
        return found.selection, found.ttl

    def expires(self, owner: Name, address: Address, now: float) -> float:
        """When no cache holds the address any more, if nobody hands it out from ``now`` on."""
        known = self.copies.get((owner, KINDS[address.version]), {}).get(address, now)
        return max(now, known + ttl.OVERTIME)

    def stop(self) -> None:
        now = self._clock()
        for desk in self._desks.values():
            for version in desk.rrsets:
                self._note_copies(desk, version, now)
        self._publish = None
        self._urgent.clear()
        self._settled.set()
        for desk in self._desks.values():
            if desk.timer is not None:
                desk.timer.cancel()

    def _concern(self, waiting: OrderedDict[Name, _Desk], desk: _Desk) -> None:
        """Work the pool out anew, once for all that changes until then."""
        waiting[desk.owner] = desk
        if self._next is None:
            loop = asyncio.get_running_loop()
            left = self._published + _GATHER - loop.time()
            self._next = loop.call_later(left, self._flush) if left > 0 else loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Work out some of the pools that wait, and publish them."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._publish is None:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + _TURN
        changes: dict[Key, Serving] = {}
        while (waiting := self._urgent or self._due) and loop.time() < until:
            _, desk = waiting.popitem(last=False)
            changes |= self._work_out(desk)
            for key, health in desk.verdicts:
                _tell(desk, key, health)
            desk.verdicts.clear()
        if changes:
            self._publish(changes)
        self._published = loop.time()
        if self._urgent or self._due:
            self._next = loop.call_soon(self._flush)
        if not self._urgent:
            settled, self._settled = self._settled, asyncio.Event()
            settled.set()

    def _work_out(self, desk: _Desk) -> dict[Key, Serving]:
        """What it serves otherwise than before."""
        now = self._clock()
        times = []
        changes = {}
        healths = _healths(desk.pool, self.healths)
        for version in desk.pool.zone_ttls:
            rrset = _work_out(desk.pool, version, healths, self.orders, desk.rrsets.get(version), now)
            self._note_copies(desk, version, now)
            desk.rrsets[version] = rrset
            key = (desk.owner, KINDS[version])
            if self.servings.get(key) != rrset.serving:
                self.servings[key] = changes[key] = rrset.serving
            times.append(rrset.ttl.until)
        times.append(selection.next_change(desk.pool, healths, self.orders, now))
        self._wake(desk, min((at for at in times if at is not None), default=None), now)
        return changes

    def _note_copies(self, desk: _Desk, version: int, now: float) -> None:
        """What is handed out up to now, caches may hold for its TTL from now on."""
        if version in desk.rrsets:
            rrset = desk.rrsets[version]
            copies = self.copies.setdefault((desk.owner, KINDS[version]), {})
            for address in _addresses(rrset.selection):
                copies[address] = max(copies.get(address, 0.0), now + rrset.serving.rrset.ttl)

    def _assume_copies(self, desk: _Desk, version: int, until: float) -> None:
        copies = self.copies.setdefault((desk.owner, KINDS[version]), {})
        for backend in desk.pool.backends:
            if backend.address.version == version:
                copies.setdefault(backend.address, until)

    def _wake(self, desk: _Desk, at: float | None, now: float) -> None:
        if desk.timer is not None:
            desk.timer.cancel()
        loop = asyncio.get_running_loop()
        if at is None:
            desk.timer = None
        else:
            # The loop's clock is not set, and stands still while the machine sleeps: look at the other now and then.
            desk.timer = loop.call_later(min(max(_SOONEST, at - now), _LATEST), self._concern, self._due, desk)


def at_rest(pools: Mapping[Name, Pool]) -> dict[Key, Serving]:
    """What the pools serve while every backend is up and nothing has changed for long."""
    return {
        (owner, KINDS[version]): _work_out(pool, version, {}, {}, None, 0.0).serving
        for owner, pool in pools.items()
        for version in pool.zone_ttls
    }


def _asked(pool: Pool) -> list[Asked]:
    """What is probed for the pool, in the order of its backends."""
    return [(pool.probe, backend.target) for backend in pool.backends] if pool.probe is not None else []


def _healths(pool: Pool, known: Mapping[Asked, Health]) -> dict[Address, Health]:
    """By probed address."""
    return {key[1]: health for key in _asked(pool) if (health := known.get(key)) is not None}


def _work_out(  # noqa: PLR0913, PLR0917 - everything that decides an RRset, and nothing else
    pool: Pool,
    version: int,
    healths: Mapping[Address, Health],
    orders: Mapping[Scope, Admin],
    before: _RRset | None,
    now: float,
) -> _RRset:
    chosen = selection.select(pool, version, healths, orders, now)
    changed_at = None if before is None or before.changed_at is None else min(before.changed_at, now)
    if before is not None and _addresses(before.selection) != _addresses(chosen):
        changed_at = now
    handed_out = set(_addresses(chosen))
    members = [
        Member(
            backend.address,
            healths.get(backend.target),
            admin.leaves_for(orders, pool.owner, backend.address, now),
            _counts(backend, handed_out, healths, admin.mode_for(orders, pool.owner, backend.address, now)),
        )
        for backend in pool.backends
    ]
    lasting = ttl.ttl(pool, version, members, chosen.fails_open, changed_at, now)
    weights = tuple(share.weight for share in chosen.shares)
    rotation = Rotation(pool.order, weights if len(set(weights)) > 1 else None, pool.answers)
    rdatas = tuple(share.address.packed for share in chosen.shares)
    floor = ttl.bounds(pool, version).floor
    serving = Serving(RRset(KINDS[version], lasting.seconds, rdatas), rotation, chosen.fails_open, floor)
    return _RRset(chosen, changed_at, lasting, serving)


def _counts(backend: Backend, handed_out: set[Address], healths: Mapping[Address, Health], mode: Mode) -> bool:
    """Whether what happens to the backend would change the answer: not to one in drain, nor to an idle spare."""
    health = healths.get(backend.target)
    is_spare = (health is None or health.up) and backend.address not in handed_out
    return mode is Mode.READY and not is_spare


def _addresses(chosen: Selection) -> list[Address]:
    return [share.address for share in chosen.shares]


def _tell(desk: _Desk, key: Asked, health: Health) -> None:
    """One line for a changed verdict."""
    probe, target = key
    if health.up:
        level, verdict = logging.INFO, f"up ({probe.rise} of {probe.rise} probes passed)"
    else:
        level, verdict = logging.WARNING, f"down ({probe.fall} of {probe.fall} probes failed: {health.reason})"
    for backend in desk.pool.backends:
        if backend.target == target:
            fields = {"what": verdict.partition(" ")[0], "owner": desk.pool.owner, "address": str(backend.address)}
            _log_served(level, desk, backend.address.version, f"{backend.address} {verdict}", fields)


def _tell_who_is_down(desk: _Desk, healths: Mapping[Address, Health]) -> None:
    """One line for an RRset that begins with a backend down."""
    for version in desk.rrsets:
        down = [
            f"{backend.address} ({health.reason})"
            for backend in desk.pool.backends
            if backend.address.version == version
            and (health := healths.get(backend.target)) is not None
            and not health.up
        ]
        if down:
            more = f" and {len(down) - _NAMED} more" if len(down) > _NAMED else ""
            fact = f"down from the start: {', '.join(down[:_NAMED])}{more}"
            _log_served(logging.WARNING, desk, version, fact, {"what": "down", "owner": desk.pool.owner})


def _log_served(level: int, desk: _Desk, version: int, fact: str, fields: Mapping[str, str]) -> None:
    rrset = desk.rrsets[version]
    _log.log(
        level, "%s: %s; serving %d of %d%s, ttl %d",
        desk.pool.owner.removesuffix(".") or ".", fact, len(rrset.selection.shares),
        sum(backend.address.version == version for backend in desk.pool.backends),
        " though none is up" if rrset.selection.fails_open else "", rrset.ttl.seconds, extra=fields,
    )  # fmt: skip
