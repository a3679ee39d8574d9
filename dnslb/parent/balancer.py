"""The balancer: verdicts, orders and time come in, and what the pools serve goes out.

It lives in the parent, reads the clock, and puts together what others do: ``balance.judgement`` says how a pool judges
its backends, ``answer.served_pool`` what it serves, ``publisher`` when that is worked out, ``pool_log`` what is logged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import MappingProxyType

from dnslb.answer.copies import Copies
from dnslb.answer.served_pool import Change, ServedPool
from dnslb.answer.served_pools import ServedPools
from dnslb.answer.snapshot import RRsetKey, Serving
from dnslb.balance import ttl
from dnslb.balance.health import Health, ProbeKey
from dnslb.balance.operator_order import Mode, Order, Scope, mode_for
from dnslb.balance.pool import Address, Pool
from dnslb.balance.verdicts import Verdicts
from dnslb.dns import rrtype
from dnslb.dns.name import Name
from dnslb.parent.publisher import Publisher
from dnslb.parent.telling.pool_log import PoolLog

_TURN = 0.005    # seconds of preparing pools in a row
_PATIENCE = 5.0  # seconds for probes to find out who is up, before all that are not known to be down count as up
_MOMENT = 0.5    # seconds for which last verdicts stand in for those of a new probe


class Balancer:
    """Keeps right what the pools of one generation serve, and publishes each change.  ``clock`` gives Unix time."""

    def __init__(self, pools: Mapping[Name, Pool], clock: Callable[[], float] = time.time) -> None:
        self.verdicts = Verdicts()
        self.orders: dict[Scope, Order] = {}
        self.copies = Copies()
        self.changed_at: Mapping[str, float] = {}  # Unix times of the last changes in an earlier life of the server
        self.hasten: Callable[[ProbeKey], object] = _leave  # is asked to have a key probed again soon
        self.pools = dict(pools)
        self.included: set[Name] = set()  # of them, those that no policy names
        self.served = ServedPools(pools, self.verdicts)
        self._clock = clock
        self._log = PoolLog()
        self._publisher = Publisher(self._log.finish)
        self._prepared: set[Name] = set()  # pools that are worked out already, before the start
        self._timers: list[asyncio.TimerHandle] = []

    @property
    def keys(self) -> set[ProbeKey]:
        """All that must be probed."""
        return set(self.served.probed)

    # Before the first answer.

    def follow(self, old: Balancer, plain: Mapping[Name, Collection[Address]] = MappingProxyType({})) -> None:
        """Before ``start``: the answers go on from those of the old generation, which caches hold.

        So what has changed a moment ago is not trusted the more for a reload, and who was handed out without a verdict
        is, until there is one.  ``plain`` are the addresses that were served under names which had no pool yet.
        """
        now = self._clock()
        self.copies = old.copies  # one for both: the old one hands out until the new one does
        self.copies.forget((old.pools, self.pools), now)
        self.changed_at = old.changed_at
        self.verdicts.follow(old.verdicts, self.keys)
        for owner, pool in self.served.items():
            if owner in old.served:
                pool.follow(old.served[owner])
                self._log.follow(old._log, pool)
            else:
                pool.follow_records(plain.get(owner, ()), self.copies, now)

    def remember(self, clocks: Mapping[Scope, float], is_last: bool) -> None:
        """Caches lose these addresses then, which another life of the server has handed out.

        Unless that is the ``last`` that is to be said, who was down may have returned in the moment before a crash.
        Then workers without a parent have handed it out until now, with the lowest TTL.
        """
        now = self._clock()
        pools = {pool.name: pool for pool in self.served.values()}
        for scope, lost_at in clocks.items():
            pool, version = pools.get(scope.owner or ""), scope.address.version
            if pool is not None and version in pool.pool.zone_ttls:
                is_sure = is_last or _is_kept_out(self, scope, now)
                least = 0.0 if is_sure else now + ttl.bounds(pool.pool, version).floor
                key = pool.owner, rrtype.ADDRESS_TYPES[version]
                self.copies.hand_out(key, [scope.address], max(lost_at, least))

    async def prepare(self) -> None:
        """Before ``start``: work out what there are many of, with pauses."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _TURN
        for pool in list(self.served.values()):
            self._begin(pool)
            if loop.time() > until:
                await asyncio.sleep(0)
                until = loop.time() + _TURN

    def start(self, publish: Callable[[Mapping[RRsetKey, Serving]], object]) -> None:
        """Work everything out for the first time, into ``served``; later changes go to ``publish``."""
        for pool in self.served.values():
            if pool.owner not in self._prepared:
                self._begin(pool)
            self._log.tell(pool)
        self._log.finish()
        loop = asyncio.get_running_loop()
        self._timers.append(loop.call_later(_PATIENCE, self._lose_patience))
        if any(pool.judgement.stand_ins for pool in self.served.values()):
            self._timers.append(loop.call_later(_MOMENT, self._judge_anew))
        self._publisher.start(self._work_out, publish)

    def _begin(self, pool: ServedPool) -> None:
        now = self._clock()
        change = pool.begin(self.orders, self.changed_at, self.copies, now)
        self._follow_up(pool, change, now)
        self._prepared.add(pool.owner)

    def stop(self) -> None:
        now = self._clock()
        for pool in self.served.values():
            for version in pool.rrsets:
                pool.note_copies(self.copies, version, now)
        self._publisher.stop()
        for timer in self._timers:
            timer.cancel()

    # What changes.

    def include(self, owner: Name, pool: Pool) -> None:
        """Balance this name too, which was rotated without a policy; what orders change of it is published then."""
        now = self._clock()
        self.pools[owner], served = pool, self.served.add(owner, pool)
        self.included.add(owner)
        served.follow_records([backend.address for backend in pool.backends], self.copies, now)
        if self._publisher.is_started:
            self._begin(served)

    def replace(self, pools: Mapping[Name, Pool]) -> None:
        """Some have joined or left these, which have other backends from now on.  It is published as by ``obey``."""
        now = self._clock()
        for owner, pool in pools.items():
            self.pools[owner] = pool
            self._publisher.forget(self.served.replace(owner, pool, now))
        self._publisher.publish_now(self.served[owner] for owner in pools)

    def record(self, key: ProbeKey, before: Health | None, after: Health) -> None:
        """One more probe has ended."""
        finding = self.verdicts.record(key, before, after)
        if finding is None:
            return
        for pool, backends in self.served.going_by(key):
            is_new = pool.judgement.record(finding)
            # What is withheld tells who is down when it is not any more.
            if is_new and self._publisher.is_started and not pool.is_unseen(backends):
                self._log.note_verdict(pool, backends, finding)
            self.reconsider(pool)

    def record_fault(self, key: ProbeKey, reason: str) -> None:
        """A probe could not be made, which says nothing of the target."""
        is_news = self.verdicts.record_fault(key, reason)
        for pool, _ in self.served.going_by(key) if is_news else ():
            pool.judgement.record_fault(key)
            self.reconsider(pool)

    def doubt(self, keys: Iterable[ProbeKey]) -> None:
        """Nobody has probed these for a while: those that were up are not handed out beside others before they pass."""
        for key in keys:
            for pool, _ in self.served.going_by(key) if self.verdicts.doubt(key) else ():
                pool.judgement.doubt(key)
                self.reconsider(pool)

    def trust(self, chosen: Iterable[tuple[Name, Address]]) -> None:
        """Hand these out though they have not passed yet, unless they are known to be down: an operator says so."""
        for owner, address in chosen:
            pool = self.served.get(owner)
            if pool is not None and pool.judgement.trust(address):
                self.reconsider(pool)

    def obey(self, orders: Mapping[Scope, Order]) -> None:
        """From now on these orders stand.

        What they change is published before this returns, unless it is much: then when it is ``settled``.
        """
        before, self.orders = self.orders, dict(orders)
        changed = {scope for scope in before.keys() | orders.keys() if before.get(scope) != orders.get(scope)}
        self._publisher.publish_now(pool for scope in changed for pool in self.served.holding(scope.address))

    async def settled(self) -> None:
        """Wait until all that verdicts and orders have changed up to now is worked out and published."""
        await self._publisher.settled()

    def _judge_anew(self) -> None:
        """New probes have had their moment: last verdicts do not stand in for theirs any more."""
        for pool in self.served.values():
            if pool.judgement.judge_anew():
                self._publisher.urge(pool)

    def _lose_patience(self) -> None:
        """Probes have had their time: from now on nothing is withheld."""
        self.verdicts.is_patient = False
        opened = []
        for pool in self.served.values():
            backends = pool.judgement.lose_patience()
            if backends:
                opened.append((pool, backends))
            if backends or pool.judgement.withheld:
                self._publisher.urge(pool)
        self._log.tell_not_judged(opened, _PATIENCE)

    def reconsider(self, pool: ServedPool) -> None:
        """Something that decides what it serves has changed."""
        self._prepared.discard(pool.owner)
        self._publisher.urge(self.served[pool.owner])  # another may have taken its place

    def _work_out(self, pool: ServedPool) -> Mapping[RRsetKey, Serving]:
        """What it serves otherwise than before."""
        now = self._clock()
        change = pool.work_out(self.orders, self.copies, now)
        self._follow_up(pool, change, now)
        self._log.tell(pool)
        return change.servings

    def _follow_up(self, pool: ServedPool, change: Change, now: float) -> None:
        for key in change.soon:
            self.hasten(key)
        self._publisher.wake(pool, None if change.next_at is None else change.next_at - now)


def linger(
    balancer: Balancer, concerned: Iterable[tuple[Name, Address]], since: float, now: float
) -> Iterator[None]:
    """Of these, what has been taken out of the answers since then, some worker may have handed out until now."""
    for owner, address in concerned:
        changed_at = balancer.served[owner].rrsets[address.version].changed_at
        if changed_at is not None and changed_at >= since:
            balancer.copies.extend(owner, address, now - since)
        yield


def _is_kept_out(balancer: Balancer, scope: Scope, now: float) -> bool:
    """Whether an order has stood since the end of the earlier life of the server, and stands."""
    times = (balancer.verdicts.left or 0.0, now)
    return all(mode_for(balancer.orders, scope.owner or "", scope.address, at) is not Mode.READY for at in times)


def _leave(key: ProbeKey) -> None:
    """It is probed when it is due."""
