"""What the pools serve, worked out again whenever a verdict, an order or the time changes it.

Lives in the parent.  ``balance`` decides; here its decisions become RRsets, and the clock is read.  A lone change goes
out at once; what follows it closely goes out together.  However many pools change, probes and requests have their turn.

**Before a backend is judged.**  Nothing waits for probes but who asks for a pool of which nothing is known:

- A pool that is new is withheld until all its backends that no order takes out have an outcome, for each type of its
  own; after 5 s at the latest, and then those without one count as up.  Queries for it get no reply meanwhile: a
  resolver asks again, while it would keep an error.
- What an earlier life of the server has left counts at once.  Who was down is down.  Who was up, when the server left,
  is up for as long as caches may hold its last answers, but no more than 5 minutes; after that it is unknown.
- A new backend of a pool that is served already is not handed out beside others that are up until it has passed; nor
  is one that was up, and then not probed for a while, in maint.  When it cannot be probed, and that is our fault, it
  counts as up after 5 s.  The operator may have it handed out at once (``trust``).
- Under a new probe all backends of a pool go by their last verdicts for a moment: else whoever passes first would get
  all clients until the next one does, for as long as caches keep that answer.  After it those that were up, and have
  not passed, are handed out only when no other has; those that were down stay down.
- Who was down in an earlier life of the server, and passes now, is probed quickly on to ``rise`` while no other of the
  pool is up.  Where the answer would be empty (``when_all_down: none``) until then, it is withheld.

What is handed out without having been probed since the start, or while it cannot be probed, has the lowest TTL.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType

from dnslb.answer.snapshot import Key, Serving
from dnslb.balance import selection, ttl
from dnslb.balance.health import Health, Outcome
from dnslb.balance.operator_order import Mode, Order, Scope, leaves_for, mode_for
from dnslb.balance.pool import Address, AllDown, Backend, Pool
from dnslb.balance.rotation import Rotation
from dnslb.balance.selection import Selection
from dnslb.balance.ttl import Member, Ttl
from dnslb.dns import rrtype
from dnslb.dns.name import Name
from dnslb.dns.zone import RRset
from dnslb.parent.bounded_log import BoundedLog, Kind
from dnslb.probe import ProbeKey

_GATHER = 0.05  # seconds from one publication to the next, unless the pools to be worked out take longer
_TURN = 0.005   # seconds of working out pools in a row
_SOONEST, _LATEST = 0.01, 60.0  # seconds from one working out of a pool by time alone to the next
_NAMED = 4  # backends in one line of the log
_PATIENCE = 5.0  # seconds for probes to find out who is up, before all that are not known to be down count as up
_MOMENT = 0.5    # seconds for which last verdicts stand in for those of a new probe
_TRUSTED = 300.0  # seconds for which it is believed that a backend is still up, at most
_UNJUDGED = "is not judged yet"
_UNCONFIRMED = "has not been probed since the start"
_UP = Health()

_BEGIN_DOWN = Kind(logging.WARNING, "down", "%d more begin with backends that are down")
_FAILS_OPEN = Kind(logging.ERROR, "fails open", "%d more fail open: no backend is up")
_EMPTY = Kind(logging.ERROR, "empty", "%d more answers are empty (NODATA): no backend is available")
_NORMAL = Kind(logging.INFO, "back to normal", "%d more are back to normal")

_log = logging.getLogger("dnslb")


@dataclass(slots=True)
class _RRset:
    """One RRset of a pool, as it was last worked out."""

    selection: Selection
    changed_at: float | None  # Unix time of the last change of its addresses; None: since the start
    ttl: Ttl
    serving: Serving


@dataclass(frozen=True, slots=True)
class _Before:
    """What was handed out of an RRset."""

    addresses: Collection[Address] | None = None  # None: not known
    changed_at: float | None = None               # Unix time of the last change of them; None: not known


@dataclass(slots=True)
class _Desk:
    """A pool and what was worked out for it."""

    owner: Name
    pool: Pool
    rrsets: dict[int, _RRset] = field(default_factory=dict)  # by IP version
    timer: asyncio.TimerHandle | None = None
    verdicts: list[tuple[ProbeKey, Health]] = field(default_factory=list)  # changed since, to be logged
    firsts: set[ProbeKey] = field(default_factory=set)  # of these: by their first probe
    served: set[int] = field(default_factory=set)    # IP versions that were served before this generation
    withheld: set[int] = field(default_factory=set)  # IP versions that are not served yet
    awaited: set[ProbeKey] = field(default_factory=set)  # of which nothing is known, and which do not count as up yet
    stand_ins: dict[ProbeKey, Health] = field(default_factory=dict)  # by what went before, until there is an outcome
    plain: dict[int, set[Address]] = field(default_factory=dict)  # by IP version: served before there was a pool
    proxies: dict[Address, Address] = field(default_factory=dict)  # what is probed instead, by backend
    troubled: set[int] = field(default_factory=set)  # IP versions of which the log says that all is not well

    def asked(self, address: Address) -> ProbeKey | None:
        """What its backend goes by."""
        probe = self.pool.probe
        return None if probe is None else (probe, self.proxies.get(address, address))


class Balancer:
    """Keeps ``servings`` right, and hands every change of them to ``publish``.  ``clock`` gives Unix time."""

    def __init__(self, pools: Mapping[Name, Pool], clock: Callable[[], float] = time.time) -> None:
        self.healths: dict[ProbeKey, Health] = {}
        self.recalled: set[ProbeKey] = set()    # of these: from an earlier life of the server
        self.left: float | None = None       # Unix time up to which that life may have known them
        self.changed_at: Mapping[str, float] = {}  # of the answers of an earlier life, by ``_label``
        self.returning: set[ProbeKey] = set()   # that were down then, and have not failed since
        self.doubted: set[ProbeKey] = set()     # that were up, were not probed for a while, and have no outcome since
        self.hasten: Callable[[ProbeKey], object] = _leave  # is asked to have a key probed again soon
        self.faults: dict[ProbeKey, str] = {}   # what cannot be probed, by no fault of its own, and why
        self.orders: dict[Scope, Order] = {}
        self.servings: dict[Key, Serving] = {}
        self.copies: dict[Key, dict[Address, float]] = {}  # when caches have lost an address, as handed out until now
        self._clock = clock
        self._publish: Callable[[Mapping[Key, Serving]], object] | None = None
        self._desks = {owner: _Desk(owner, pool) for owner, pool in pools.items()}
        self._asking: dict[ProbeKey, list[_Desk]] = {}
        self._users: dict[ProbeKey, list[tuple[Pool, Backend]]] = {}
        for desk in self._desks.values():
            asked = _asked(desk.pool)
            for key in dict.fromkeys(asked):
                self._asking.setdefault(key, []).append(desk)
            for key, backend in zip(asked, desk.pool.backends, strict=False):
                self._users.setdefault(key, []).append((desk.pool, backend))
        self._holding: dict[Address, list[_Desk]] = {}
        for desk in self._desks.values():
            for backend in desk.pool.backends:
                self._holding.setdefault(backend.address, []).append(desk)
                if backend.probe_address is not None:
                    desk.proxies[backend.address] = backend.probe_address
        self._urgent: OrderedDict[Name, _Desk] = OrderedDict()  # to be worked out: a verdict or an order has changed
        self._due: OrderedDict[Name, _Desk] = OrderedDict()     # the same, because of the time
        self._next: asyncio.TimerHandle | asyncio.Handle | None = None  # when that goes on
        self._published = -inf  # when anything was, by the loop's clock
        self._lines = BoundedLog()
        self._prepared: set[Name] = set()  # pools that are worked out already, before the start
        self._settled = asyncio.Event()  # set when nothing urgent is to be worked out any more
        self._patience: list[asyncio.TimerHandle] = []  # until it runs out
        self._is_patient = True

    @property
    def keys(self) -> set[ProbeKey]:
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
                address = backend.address
                found.setdefault((owner, rrtype.ADDRESS_TYPES[address.version]), set()).add(address.packed)
        return found

    def asking(self, key: ProbeKey) -> Sequence[tuple[Pool, Backend]]:
        """The backends that go by this key."""
        return self._users.get(key, ())

    def holding(self, address: Address) -> list[tuple[Name, Pool]]:
        """The pools that have the address, with their owners."""
        return [(desk.owner, desk.pool) for desk in self._holding.get(address, ())]

    def hear(self, key: ProbeKey, outcome: Outcome, before: Health | None, after: Health) -> None:
        """One more probe has ended."""
        is_doubted = key in self.doubted
        is_first = before is None or key in self.recalled or is_doubted
        is_known = not is_first and key not in self.faults
        self.healths[key] = after
        self.recalled.discard(key)
        self.doubted.discard(key)
        self.faults.pop(key, None)
        if after.up or not after.streak:
            self.returning.discard(key)
        if is_known and before is not None and (before.up, before.streak) == (after.up, after.streak):
            return
        for desk in self._asking.get(key, ()):
            believed = desk.stand_ins.pop(key, before)
            was_up = None if key in desk.awaited and is_doubted else believed is None or believed.up
            desk.awaited.discard(key)
            self._prepared.discard(desk.owner)
            if self._publish is None:
                continue
            # What is withheld tells who is down when it is not any more.
            if was_up is not after.up and not _versions(desk.pool, key) <= desk.withheld - desk.served:
                desk.verdicts.append((key, after))
                if is_first:
                    desk.firsts.add(key)
            self._concern(self._urgent, desk)

    def miss(self, key: ProbeKey, reason: str) -> None:
        """A probe could not be made, which says nothing of the target."""
        is_known = self.faults.get(key) == reason
        self.faults[key] = reason
        for desk in self._asking.get(key, ()) if not is_known else ():
            self._prepared.discard(desk.owner)
            if not self._is_patient:
                desk.awaited.discard(key)
            if self._publish is not None:
                self._concern(self._urgent, desk)

    def doubt(self, keys: Iterable[ProbeKey]) -> None:
        """Nobody has probed these for a while: those that were up are not handed out beside others before they pass."""
        for key in keys:
            health = self.healths.get(key)
            if key in self._asking and (health is None or health.up):
                self.doubted.add(key)
                self.faults.pop(key, None)  # what kept us from probing then, may not now
                for desk in self._asking[key]:
                    desk.stand_ins.pop(key, None)
                    desk.awaited.add(key)
                    self._reconsider(desk)

    def trust(self, chosen: Iterable[tuple[Name, Address]]) -> None:
        """Hand these out though they have not passed yet, unless they are known to be down: an operator says so."""
        for owner, address in chosen:
            desk = self._desks.get(owner)
            key = desk.asked(address) if desk is not None else None
            if desk is not None and key in desk.awaited:
                desk.awaited.discard(key)
                self._reconsider(desk)

    def awaits(self, owner: Name, address: Address) -> bool:
        """Whether the address has to pass a probe before it is handed out beside others."""
        desk = self._desks[owner]
        return desk.asked(address) in desk.awaited

    def _reconsider(self, desk: _Desk) -> None:
        self._prepared.discard(desk.owner)
        if self._publish is not None:
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
            # Of what was served before it is known who is down.
            for version in desk.rrsets.keys() - desk.withheld - desk.served:
                _tell_who_is_down(self._lines, desk, version, self._known(desk))
            desk.served |= desk.rrsets.keys() - desk.withheld
            _tell_trouble(self._lines, desk)
        self._lines.finish()
        self._publish = publish
        loop = asyncio.get_running_loop()
        self._patience.append(loop.call_later(_PATIENCE, self._lose_patience))
        if any(desk.stand_ins for desk in self._desks.values()):
            self._patience.append(loop.call_later(_MOMENT, self._judge_anew))
        if self._due:
            self._flush()  # some have become due since they were prepared

    def _begin(self, desk: _Desk) -> None:
        now = self._clock()
        self._await(desk, now)
        # What another life of the server has handed out is still in caches.
        for version in desk.pool.zone_ttls:
            self._assume_copies(desk, version, now + ttl.bounds(desk.pool, version).ceiling)
        self._work_out(desk)
        self._prepared.add(desk.owner)

    def inherit(self, old: Balancer, plain: Mapping[Name, Collection[Address]] = MappingProxyType({})) -> None:
        """Before ``start``: the answers go on from those of the old generation, which caches hold.

        So what has changed a moment ago is not trusted the more for a reload, and who was handed out without a verdict
        is, until there is one.  ``plain`` are the addresses that were served under names which had no pool yet.
        """
        now = self._clock()
        self.copies = old.copies  # one for both: the old one hands out until the new one does
        self._forget_copies(old, now)
        self.changed_at = old.changed_at
        self.returning = old.returning & self._asking.keys()
        self.doubted = old.doubted & self._asking.keys()
        for desk in self._desks.values():
            if desk.owner in old._desks:
                before = old._desks[desk.owner]
                desk.rrsets = {
                    version: rrset
                    for version, rrset in before.rrsets.items()
                    if version in desk.pool.zone_ttls and version not in before.withheld
                }
                desk.served = set(desk.rrsets)
                desk.troubled = before.troubled & desk.served
                desk.awaited = before.awaited & set(_asked(desk.pool))
                self._stand_in(desk, old._verdicts(before))
            else:
                self._stand_in(desk, dict.fromkeys(plain.get(desk.owner, ()), Health()))
                for address in plain.get(desk.owner, ()):
                    desk.plain.setdefault(address.version, set()).add(address)
                desk.served = desk.plain.keys() & desk.pool.zone_ttls.keys()
                # Until now the records were those of the zone file.
                for version, seconds in desk.pool.zone_ttls.items():
                    self._assume_copies(desk, version, now + seconds)

    def obey(self, orders: Mapping[Scope, Order]) -> None:
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

    def verdict(self, owner: Name, backend: Backend) -> Health | None:
        """What the pool goes by; None when it knows nothing of the backend, or does not probe it."""
        return self._known(self._desks[owner]).get(backend.target)

    def unsure(self, owner: Name, backend: Backend) -> str:
        """Why nobody knows whether the backend is up, or still is; nothing when it is known."""
        desk = self._desks[owner]
        return self._unsure(desk, backend.target) if desk.pool.probe is not None else ""

    def is_empty(self, owner: Name, version: int) -> bool:
        """Whether queries get an empty answer, for want of an address."""
        desk = self._desks[owner]
        return version not in desk.withheld and not desk.rrsets[version].selection.shares

    def is_withheld(self, owner: Name, version: int) -> bool:
        """Whether queries get no reply yet."""
        return version in self._desks[owner].withheld

    def rrset(self, owner: Name, version: int) -> tuple[Selection, Ttl]:
        """What is handed out, and for how long, as last worked out."""
        found = self._desks[owner].rrsets[version]
        return found.selection, found.ttl

    def changes(self) -> dict[str, float]:
        """When answers changed, by ``_label``, as far as that matters still: their TTLs have not climbed yet."""
        now = self._clock()
        return {
            _label(desk.pool, version): rrset.changed_at
            for desk in self._desks.values()
            for version, rrset in desk.rrsets.items()
            if rrset.changed_at is not None and now - rrset.changed_at < ttl.bounds(desk.pool, version).ceiling
        }

    def expires(self, owner: Name, address: Address, now: float) -> float:
        """When no cache holds the address any more, if nobody hands it out from ``now`` on."""
        return max(now, self.last_copy(owner, address, now))

    def last_copy(self, owner: Name, address: Address, now: float) -> float:
        """The same of one that is not handed out; and if none holds it any more, since when."""
        return self.copies.get((owner, rrtype.ADDRESS_TYPES[address.version]), {}).get(address, now) + ttl.OVERTIME

    def linger(self, concerned: Iterable[tuple[Name, Address]], since: float, now: float) -> Iterator[None]:
        """Of these, what has been taken out of the answers since then, some worker may have handed out until now."""
        for owner, address in concerned:
            rrset = self._desks[owner].rrsets[address.version]
            copies = self.copies.get((owner, rrtype.ADDRESS_TYPES[address.version]), {})
            if address in copies and rrset.changed_at is not None and rrset.changed_at >= since:
                copies[address] += now - since
            yield

    def handed_out(self, owner: Name, version: int) -> frozenset[Address]:
        """What is in the pool's answers, as last worked out."""
        rrset = self._desks[owner].rrsets.get(version)
        return frozenset() if rrset is None else frozenset(_addresses(rrset.selection))

    def remember(self, clocks: Mapping[Scope, float], is_last: bool) -> None:
        """Caches lose these addresses then, which another life of the server has handed out.

        Unless that is the ``last`` that is to be said, who was down may have returned in the moment before a crash.
        Then workers without a parent have handed it out until now, with the lowest TTL.
        """
        now = self._clock()
        desks = {desk.pool.owner: desk for desk in self._desks.values()}
        for scope, lost in clocks.items():
            desk, version = desks.get(scope.owner or ""), scope.address.version
            if desk is not None and version in desk.pool.zone_ttls:
                is_sure = is_last or self._is_kept_out(scope, now)
                least = 0.0 if is_sure else now + ttl.bounds(desk.pool, version).floor
                copies = self.copies.setdefault((desk.owner, rrtype.ADDRESS_TYPES[version]), {})
                copies[scope.address] = max(lost, least, copies.get(scope.address, 0.0))

    def _is_kept_out(self, scope: Scope, now: float) -> bool:
        """Whether an order has stood since the end of the earlier life of the server, and stands."""
        times = (self.left or 0.0, now)
        return all(mode_for(self.orders, scope.owner or "", scope.address, at) is not Mode.READY for at in times)

    def stop(self) -> None:
        now = self._clock()
        for desk in self._desks.values():
            for version in desk.rrsets:
                self._note_copies(desk, version, now)
        self._publish = None
        self._urgent.clear()
        self._settled.set()
        for timer in self._patience:
            timer.cancel()
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
                _tell(self._lines, desk, key, health)
            desk.verdicts.clear()
            _tell_trouble(self._lines, desk)
        if changes:
            self._publish(changes)
        self._published = loop.time()
        if self._urgent or self._due:
            self._next = loop.call_soon(self._flush)
        if not self._urgent:
            self._lines.finish()
            settled, self._settled = self._settled, asyncio.Event()
            settled.set()

    def _work_out(self, desk: _Desk) -> dict[Key, Serving]:
        """What it serves otherwise than before."""
        now = self._clock()
        times = []
        changes = {}
        healths = self._known(desk)
        held = self._hold(desk, healths, now)
        released = {version for version in desk.withheld - held if not self._awaits(desk, version, now)}
        desk.withheld = (desk.withheld - released) | held
        unsure = self._all_unsure(desk, healths)
        for version in desk.pool.zone_ttls:
            shown = desk.rrsets.get(version)
            if version in desk.withheld and shown is not None and shown.serving.withheld:
                continue  # nobody sees it
            known = self._without_awaited(desk, version, healths, now)
            before = self._before(desk, version)
            rrset = _work_out(desk.pool, version, known, self.orders, before, now, unsure, version in desk.withheld)
            self._note_copies(desk, version, now)
            desk.rrsets[version] = rrset
            key = (desk.owner, rrtype.ADDRESS_TYPES[version])
            if self.servings.get(key) != rrset.serving:
                self.servings[key] = changes[key] = rrset.serving
            times.append(rrset.ttl.until)
        for version in released - desk.served if self._publish is not None else ():
            _tell_who_is_down(self._lines, desk, version, healths)
            desk.served.add(version)
        times.append(selection.next_change(desk.pool, healths, self.orders, now))
        self._wake(desk, min((at for at in times if at is not None), default=None), now)
        return changes

    def _before(self, desk: _Desk, version: int) -> _Before:
        """What is known of the answer up to now."""
        rrset = desk.rrsets.get(version)
        if rrset is None or (rrset.serving.withheld and version not in desk.served):
            return _Before(desk.plain.get(version), self.changed_at.get(_label(desk.pool, version)))
        return _Before(_addresses(rrset.selection), rrset.changed_at)

    def _note_copies(self, desk: _Desk, version: int, now: float) -> None:
        """What is handed out up to now, caches may hold for its TTL from now on."""
        if version in desk.rrsets and not desk.rrsets[version].serving.withheld:
            rrset = desk.rrsets[version]
            copies = self.copies.setdefault((desk.owner, rrtype.ADDRESS_TYPES[version]), {})
            for address in _addresses(rrset.selection):
                copies[address] = max(copies.get(address, 0.0), now + rrset.serving.rrset.ttl)

    def _forget_copies(self, old: Balancer, now: float) -> None:
        """Of addresses that are in no pool now, nor were before, once no cache has them any more."""
        for key, copies in list(self.copies.items()):
            desks = [each._desks[key[0]] for each in (old, self) if key[0] in each._desks]
            if len(copies) > max((len(desk.pool.backends) for desk in desks), default=0):
                kept = {backend.address for desk in desks for backend in desk.pool.backends}
                for address in [each for each, lost in copies.items() if each not in kept and lost < now]:
                    del copies[address]

    def _assume_copies(self, desk: _Desk, version: int, until: float) -> None:
        copies = self.copies.setdefault((desk.owner, rrtype.ADDRESS_TYPES[version]), {})
        for backend in desk.pool.backends:
            if backend.address.version == version:
                copies.setdefault(backend.address, until)

    # What is not known yet.

    def _await(self, desk: _Desk, now: float) -> None:
        """See which backends the pool knows nothing of."""
        asked = _asked(desk.pool)
        unknown = {key for key in asked if key in desk.awaited or not self._is_trusted(desk.pool, key, now)}
        self.returning |= {key for key in asked if key in self.recalled and not self.healths[key].up}
        desk.stand_ins = {key: health for key, health in desk.stand_ins.items() if key in unknown}
        desk.awaited = unknown - desk.stand_ins.keys()
        desk.withheld = {version for version in desk.pool.zone_ttls if version not in desk.served}

    def _is_trusted(self, pool: Pool, key: ProbeKey, now: float) -> bool:
        health = self.healths.get(key)
        if health is None or key not in self.recalled or not health.up:
            return health is not None
        cached = min((ttl.bounds(pool, version).ceiling for version in pool.zone_ttls), default=0)
        # A time to come is a clock that was set.
        return self.left is not None and 0 <= now - self.left <= min(cached, _TRUSTED)

    def _stand_in(self, desk: _Desk, verdicts: Mapping[Address, Health]) -> None:
        """Go by these verdicts, by backend, as long as the pool's probe has none of its own."""
        if desk.pool.probe is not None:
            desk.stand_ins = {
                (desk.pool.probe, backend.target): verdicts[backend.address]
                for backend in desk.pool.backends
                if backend.address in verdicts
            }

    def _known(self, desk: _Desk) -> dict[Address, Health]:
        """By probed address."""
        keys = _asked(desk.pool)
        known = {key[1]: health for key in keys if (health := self.healths.get(key)) is not None}
        if desk.awaited or desk.stand_ins:  # seldom; and to look a key up takes its time
            known |= {key[1]: health for key, health in desk.stand_ins.items()}
            known = {key[1]: known[key[1]] for key in keys if key[1] in known and key not in desk.awaited}
        return known

    def _verdicts(self, desk: _Desk) -> dict[Address, Health]:
        """By backend; of those that are not judged, but count as up, as well."""
        known, probe = self._known(desk), desk.pool.probe
        return {
            backend.address: known.get(backend.target, Health())
            for backend in desk.pool.backends
            if probe is None or (probe, backend.target) not in desk.awaited
        }

    def _unsure(self, desk: _Desk, target: Address) -> str:
        if desk.pool.probe is None:
            return ""
        key = (desk.pool.probe, target)
        if key in self.faults:
            return f"cannot be probed: {self.faults[key]}"
        if key in self.recalled and key not in desk.awaited:
            return _UNCONFIRMED
        is_open = key in desk.awaited or key in desk.stand_ins or key in self.doubted
        return "" if key in self.healths and not is_open else _UNJUDGED

    def _all_unsure(self, desk: _Desk, known: Mapping[Address, Health]) -> dict[Address, str]:
        """By probed address."""
        targets = {backend.target for backend in desk.pool.backends}
        # Seldom anybody is, and to look a key up takes its time.
        is_sure = len(known) == len(targets) and not (self.recalled or self.faults or self.doubted or desk.stand_ins)
        return {} if is_sure else {target: self._unsure(desk, target) for target in targets}

    def _awaits(self, desk: _Desk, version: int, now: float) -> bool:
        """Whether a backend that could be handed out is not judged yet."""
        return any(
            (desk.pool.probe, backend.target) in desk.awaited and self._is_ready(desk, backend, now)
            for backend in desk.pool.backends
            if backend.address.version == version
        )

    def _is_ready(self, desk: _Desk, backend: Backend, now: float) -> bool:
        return mode_for(self.orders, desk.pool.owner, backend.address, now) is Mode.READY

    def _without_awaited(
        self, desk: _Desk, version: int, healths: dict[Address, Health], now: float
    ) -> dict[Address, Health]:
        """The same, with those down that are not judged yet, if there is anybody else to hand out."""
        awaited = {target for _, target in desk.awaited}
        others = (
            backend
            for backend in desk.pool.backends
            if backend.address.version == version and backend.target not in awaited
        )
        if not awaited or not any(
            healths.get(backend.target, _UP).up and self._is_ready(desk, backend, now) for backend in others
        ):
            return healths
        return healths | dict.fromkeys(awaited, Health(up=False))

    def _hold(self, desk: _Desk, healths: Mapping[Address, Health], now: float) -> set[int]:
        """The IP versions of which none is up that could be handed out, though some may return in a moment.

        These are probed soon again; and what would be empty is withheld meanwhile.
        """
        held: set[int] = set()
        for version in desk.pool.zone_ttls if self.returning else ():
            ready = [
                backend
                for backend in desk.pool.backends
                if backend.address.version == version and self._is_ready(desk, backend, now)
            ]
            if any(healths.get(backend.target, _UP).up for backend in ready):
                continue
            returning = [key for backend in ready if (key := desk.asked(backend.address)) in self.returning]
            for key in returning:
                if key is not None and key not in self.recalled:
                    self.hasten(key)
            if returning and self._is_patient and desk.pool.when_all_down is AllDown.NONE:
                held.add(version)
        return held

    def _judge_anew(self) -> None:
        """New probes have had their moment: last verdicts do not stand in for theirs any more."""
        for desk in self._desks.values():
            late = {key for key, health in desk.stand_ins.items() if health.up and key not in self.faults}
            if late:
                desk.stand_ins = {key: health for key, health in desk.stand_ins.items() if key not in late}
                desk.awaited |= late
                self._concern(self._urgent, desk)

    def _lose_patience(self) -> None:
        """Probes have had their time: from now on nothing is withheld."""
        self._is_patient = False
        opened: list[str] = []
        pools = 0
        for desk in self._desks.values():
            late = desk.awaited if desk.withheld else desk.awaited & self.faults.keys()
            if late:
                pools += 1
                targets = {target for _, target in late}
                names = (backend.address for backend in desk.pool.backends if backend.target in targets)
                opened += (f"{desk.pool.owner.removesuffix('.')} {address}" for address in names)
                desk.awaited = desk.awaited - late
            if late or desk.withheld:
                self._concern(self._urgent, desk)
        if opened:
            more = f" and {len(opened) - _NAMED} more" if len(opened) > _NAMED else ""
            _log.warning(
                "%d backends of %d pools are not judged after %g s, and count as up: %s%s",
                len(opened), pools, _PATIENCE, ", ".join(opened[:_NAMED]), more,
            )  # fmt: skip

    def _wake(self, desk: _Desk, at: float | None, now: float) -> None:
        if desk.timer is not None:
            desk.timer.cancel()
        loop = asyncio.get_running_loop()
        if at is None:
            desk.timer = None
        else:
            # The loop's clock is not set, and stands still while the machine sleeps: look at the other now and then.
            desk.timer = loop.call_later(min(max(_SOONEST, at - now), _LATEST), self._concern, self._due, desk)


def _leave(key: ProbeKey) -> None:
    """It is probed when it is due."""


def at_rest(pools: Mapping[Name, Pool]) -> dict[Key, Serving]:
    """What the pools serve while every backend is up and nothing has changed for long."""
    return {
        (owner, rrtype.ADDRESS_TYPES[version]): _work_out(pool, version, {}, {}, _Before(), 0.0).serving
        for owner, pool in pools.items()
        for version in pool.zone_ttls
    }


def _asked(pool: Pool) -> list[ProbeKey]:
    """What is probed for the pool, in the order of its backends."""
    return [(pool.probe, backend.target) for backend in pool.backends] if pool.probe is not None else []


def _versions(pool: Pool, key: ProbeKey) -> set[int]:
    """Of the backends that go by the key."""
    return {backend.address.version for backend in pool.backends if backend.target == key[1]}


def _work_out(  # noqa: PLR0913, PLR0917 - everything that decides an RRset, and nothing else
    pool: Pool,
    version: int,
    healths: Mapping[Address, Health],
    orders: Mapping[Scope, Order],
    before: _Before,
    now: float,
    unsure: Mapping[Address, str] = MappingProxyType({}),
    withheld: bool = False,
) -> _RRset:
    chosen = selection.select(pool, version, healths, orders, now)
    handed_out = set(_addresses(chosen))
    changed_at = None if before.changed_at is None else min(before.changed_at, now)
    if before.addresses is not None and set(before.addresses) != handed_out:
        changed_at = now
    members = [
        Member(
            backend.address,
            healths.get(backend.target),
            leaves_for(orders, pool.owner, backend.address, now),
            _counts(backend, handed_out, healths, mode_for(orders, pool.owner, backend.address, now)),
            unsure.get(backend.target, "") if backend.address in handed_out else "",
        )
        for backend in pool.backends
    ]
    lasting = ttl.ttl(pool, version, members, chosen.fails_open, changed_at, now)
    weights = tuple(share.weight for share in chosen.shares)
    rotation = Rotation(pool.order, weights if len(set(weights)) > 1 else None, pool.answers)
    rdatas = tuple(share.address.packed for share in chosen.shares)
    serving = Serving(
        RRset(rrtype.ADDRESS_TYPES[version], lasting.seconds, rdatas),
        rotation,
        chosen.fails_open,
        floor=ttl.bounds(pool, version).floor,
        withheld=withheld,
    )
    return _RRset(chosen, changed_at, lasting, serving)


def _counts(backend: Backend, handed_out: set[Address], healths: Mapping[Address, Health], mode: Mode) -> bool:
    """Whether what happens to the backend would change the answer: not to one in drain, nor to an idle spare."""
    health = healths.get(backend.target)
    is_spare = (health is None or health.up) and backend.address not in handed_out
    return mode is Mode.READY and not is_spare


def _label(pool: Pool, version: int) -> str:
    """The RRset, as text."""
    return f"{pool.owner} {rrtype.address_text(version)}"


def _addresses(chosen: Selection) -> list[Address]:
    return [share.address for share in chosen.shares]


def _tell(lines: BoundedLog, desk: _Desk, key: ProbeKey, health: Health) -> None:
    """One line for a changed verdict."""
    probe, target = key
    level, what = (logging.INFO, "up") if health.up else (logging.WARNING, "down")
    is_first = key in desk.firsts
    desk.firsts.discard(key)
    if not lines.admits(Kind(level, what, f"{target} is {what} for %d more pools", str(target))):
        return
    if is_first:
        verdict = "up (its first probe passed)" if health.up else f"down (its first probe failed: {health.reason})"
    elif health.up:
        verdict = f"up ({probe.rise} of {probe.rise} probes passed)"
    else:
        verdict = f"down ({probe.fall} of {probe.fall} probes failed: {health.reason})"
    for backend in desk.pool.backends:
        if backend.target == target:
            fields = {"what": what, "owner": desk.pool.owner, "address": str(backend.address)}
            _log_served(level, desk, backend.address.version, f"{backend.address} {verdict}", fields)


def _tell_who_is_down(lines: BoundedLog, desk: _Desk, version: int, healths: Mapping[Address, Health]) -> None:
    """One line for an RRset that begins with a backend down."""
    down = [
        f"{backend.address} ({_why_down(health, desk.pool)})"
        for backend in desk.pool.backends
        if backend.address.version == version
        and (health := healths.get(backend.target)) is not None
        and not health.up
    ]
    if down and lines.admits(_BEGIN_DOWN):
        more = f" and {len(down) - _NAMED} more" if len(down) > _NAMED else ""
        fact = f"down from the start: {', '.join(down[:_NAMED])}{more}"
        _log_served(logging.WARNING, desk, version, fact, {"what": "down", "owner": desk.pool.owner})


def _tell_trouble(lines: BoundedLog, desk: _Desk) -> None:
    """One line when an RRset begins to fail open or to be empty, and one when that is over."""
    for version in desk.rrsets.keys() - desk.withheld:
        chosen = desk.rrsets[version].selection
        is_troubled = chosen.fails_open or not chosen.shares
        if is_troubled == (version in desk.troubled):
            continue
        desk.troubled ^= {version}
        kind = _FAILS_OPEN if chosen.fails_open else _EMPTY if is_troubled else _NORMAL
        if lines.admits(kind):
            fields = {"what": kind.what, "owner": desk.pool.owner}
            about = f"{desk.pool.owner.removesuffix('.') or '.'} {rrtype.address_text(version)}"
            _log.log(kind.level, "%s: %s", about, _condition(desk, version), extra=fields)


def _condition(desk: _Desk, version: int) -> str:
    """How an RRset is served."""
    chosen = desk.rrsets[version].selection
    count = len(chosen.shares)
    if chosen.fails_open:
        return f"no backend is up: all {count} are handed out (fail open)"
    if not count:
        return "no backend is available: the answer is empty (NODATA)"
    total = sum(backend.address.version == version for backend in desk.pool.backends)
    return f"back to normal: serving {count} of {total}"


def _why_down(health: Health, pool: Pool) -> str:
    """The reason is that of the last probe, which may have passed: then it is not why."""
    if health.streak and pool.probe is not None:
        return f"only {health.streak} of {pool.probe.rise} probes passed"
    return health.reason


def _log_served(level: int, desk: _Desk, version: int, fact: str, fields: Mapping[str, str]) -> None:
    rrset = desk.rrsets[version]
    _log.log(
        level, "%s: %s; serving %d of %d%s, ttl %d",
        desk.pool.owner.removesuffix(".") or ".", fact, len(rrset.selection.shares),
        sum(backend.address.version == version for backend in desk.pool.backends),
        " though none is up" if rrset.selection.fails_open else "", rrset.ttl.seconds, extra=fields,
    )  # fmt: skip
