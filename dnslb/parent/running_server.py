"""The running server, as operators may ask of it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import chain

from dnslb import __version__
from dnslb.balance.operator_order import Mode
from dnslb.control.change import Change, Event
from dnslb.control.effect import Effect
from dnslb.control.errors import Delayed, Rejected
from dnslb.control.lookup import Lookup
from dnslb.control.order import Left, OrderRequest, OrderResult
from dnslb.control.registration import Gone, Joined, JoinRequest
from dnslb.control.reload import Reloaded
from dnslb.control.status import Peer, PoolStatus, ProbeStatus, ServerStatus, Status, ZoneStatus
from dnslb.control.timeline import Timeline
from dnslb.control.top import TopQueries
from dnslb.control.updated import UpdatedRRset
from dnslb.dns import name
from dnslb.dns.name import Name
from dnslb.parent import amendment, concerned, joining, recall, safety
from dnslb.parent.balancer import linger
from dnslb.parent.concerned import Concerned
from dnslb.parent.generation import Generation
from dnslb.parent.generations import Generations
from dnslb.parent.reload import Reloader
from dnslb.parent.telling import drain_clock, lookup, metrics, preview, rotated_status, status, top
from dnslb.parent.telling.recorder import Recorder
from dnslb.parent.telling.rotated_status import Listing
from dnslb.system.pace import gently

_LONGEST = 20.0  # seconds for the workers to acknowledge an order


class RunningServer:
    """Is ``control.operations.Operations``."""

    def __init__(self, generations: Generations, reloader: Reloader, recorder: Recorder) -> None:
        self._generations = generations
        self._reloader = reloader
        self._recorder = recorder
        self._started = generations.memory.began
        self._ordering = asyncio.Lock()  # one order at a time, however long it is

    def status(self, pattern: str | None) -> Status:
        now, reloader = time.time(), self._reloader
        balancer, catalog = self._current.balancer, self._current.catalog
        listing = Listing(self._current.rotated, balancer.pools)
        standing = self._generations.orders.standing
        serials = self._generations.transfers.published
        return Status(
            now=now,
            directory=str(reloader.directory),
            loaded=reloader.loaded,
            refused=reloader.refused,
            zones=(self._zone(name.text(apex), serials.get(apex, zone.serial)) for apex, zone in catalog.zones.items()),
            pools=self._pools(pattern, listing, now),
            unlisted=listing.unlisted(),
            orders=(status.order_status(scope, order) for scope, order in standing.items()),
            server=self._server(),
            restart=reloader.waiting,
            secondaries=tuple(self._generations.transfers.status()),
            replicas=tuple(self._generations.inbound.status(catalog)),
        )

    async def reload(self, by: str) -> Reloaded:
        return await self._reloader.reload(by)

    async def order(self, wanted: OrderRequest) -> OrderResult:
        generations = self._generations
        async with self._ordering:
            generation, about = await self._concerned(wanted)
            given = time.time()
            await self._check(generation, wanted, about, given)
            await generations.include({one.owner for one in about if one.owner not in generation.balancer.pools})
            work = generations.orders.give(wanted, about, given)
            altered = {(one.owner, one.address) async for some in gently(work) for one in some if one is not None}
            if wanted.now:
                generations.trust([(one.owner, one.address) for one in about])
            # What we have said we do must outlive a crash in the next moment.
            warning = generations.memory.file.take_for_orders() or await generations.memory.file.save()
        try:
            async with asyncio.timeout(_LONGEST):
                await generations.settled()
        except TimeoutError:
            raise Delayed from None
        generations.memory.file.save_soon()  # what was much to work out may have changed answers since
        now = time.time()
        async for _ in gently(linger(generation.balancer, altered, given, now)):
            pass
        if altered:
            generations.memory.file.save_soon()  # the drain clocks
        clocks = drain_clock.clocks(generation.balancer, wanted, about, altered, now)
        told = [clock async for some in gently(clocks) for clock in some]
        left: tuple[Left, ...] = ()
        if wanted.mode is not Mode.READY:
            work_left = safety.left(generation.balancer, wanted, about, now)
            left = [each async for some in gently(work_left) for each in some if each is not None][-1]
        return OrderResult(tuple(told), () if warning is None else (warning,), left)

    async def join(self, wanted: JoinRequest) -> Joined:
        return joining.join(self._generations, wanted)

    async def leave(self, wanted: JoinRequest) -> Gone:
        return await joining.leave(self._generations, wanted)

    def updates(self) -> Iterator[UpdatedRRset]:
        return self._generations.updates.told()

    async def drop_updates(self, name: str, kind: str | None, by: str) -> int:
        return await self._generations.updates.drop(name, kind, by)

    async def top(self) -> TopQueries:
        return top.top(await recall.top(self._current.workers))

    async def effect(self, wanted: OrderRequest) -> Effect:
        generation, about = await self._concerned(wanted)
        now, standing = time.time(), self._generations.orders.standing
        after = amendment.amended(standing, wanted, about, now)
        refused = ""
        try:
            await self._check(generation, wanted, about, now)
        except Rejected as rejected:
            refused = rejected.fact
        return Effect(
            rrsets=preview.effects(generation.balancer, after, wanted, about, now),
            standing=preview.standing(standing, about),
            refused=refused,
        )

    def timeline(self, pattern: str | None) -> Timeline:
        return self._recorder.timeline(self._owners(pattern))

    def history(self) -> tuple[Change, ...]:
        return self._generations.memory.changes

    def lookup(self, name: Name, kind: int, client: bytes) -> Lookup:
        catalog, served = self._current.catalog, self._current.balancer.served
        return lookup.lookup(catalog.zones, catalog.pools, lambda owner: served[owner].servings(), (name, kind), client)

    def follow(self, last: str | None) -> AsyncIterator[Event | None]:
        return self._generations.memory.follow(last)

    def probes(self, pattern: str | None) -> Iterator[ProbeStatus | None]:
        pools, records = self._current.balancer.pools, self._generations.prober.records
        for owner in self._owners(pattern):
            if owner is None or owner not in pools:
                yield None
            else:
                yield from status.probe_statuses(pools[owner], records)

    def metrics(self) -> Iterator[str]:
        prober = self._generations.prober
        return metrics.pieces(metrics.View(
            pid=os.getpid(),
            started=self._started,
            now=time.time(),
            generation=self._current,
            totals=self._generations.totals,
            records=prober.records,
            faults=prober.faults,
            schedule=prober.schedule,
            reloads=self._reloader.reloads,
            transfers=self._generations.transfers,
            updates=self._generations.updates,
            inbound=self._generations.inbound,
        ))  # fmt: skip

    def silent(self) -> tuple[int, ...]:
        return tuple(self._current.workers.silent)

    @property
    def _current(self) -> Generation:
        return self._generations.current

    def _zone(self, apex: str, serial: int) -> ZoneStatus:
        reloader = self._reloader
        owner = name.fold(name.parse(apex, name.ROOT))
        changed, updated = reloader.reloads.changed.get(apex), self._generations.updates.number(owner)
        return ZoneStatus(apex, serial, changed, reloader.zone_changes.get(apex, ""), updated)

    def _server(self) -> ServerStatus:
        totals = self._generations.totals
        return ServerStatus(
            version=__version__,
            started=self._started,
            generation=totals.generations,
            workers=self._current.workers.size,
            restarts=totals.restarts,
            hung=totals.hung,
            silent=self.silent(),
            queries=totals.queries,
            name=self._generations.name,
            recorded=totals.recorded.total(),
            unrecorded=totals.unrecorded.total(),
            peers=tuple(Peer(called, url) for called, url in self._current.catalog.settings.peers.items()),
            held=totals.held,
        )

    async def _check(self, generation: Generation, wanted: OrderRequest, about: list[Concerned], now: float) -> None:
        """Whether the pools concerned allow it.  Raises Rejected."""
        if wanted.mode is Mode.READY or wanted.force or not safety.concerns_any_rule(about):
            return
        after = amendment.amended(self._generations.orders.standing, wanted, about, now)
        async for _ in gently(safety.check(generation.balancer, wanted, about, after, now)):
            pass

    async def _concerned(self, wanted: OrderRequest) -> tuple[Generation, list[Concerned]]:
        """What the order is about, among what is served.  Raises Unknown, Rejected."""
        while True:
            generation = self._current
            work = concerned.concerned(generation.balancer, wanted, generation.rotated)
            about = [one async for some in gently(work) for one in some if one is not None]
            # Meanwhile a reload may have ended.
            if generation is self._current:
                return generation, about

    def _owners(self, pattern: str | None, listing: Listing | None = None) -> Iterable[Name | None]:
        """Of the pools whose names match, and of names without a policy.  Raises Unknown."""
        pools = self._current.balancer.pools
        if pattern is None:
            return chain(list(pools), listing.owners() if listing is not None else ())
        return concerned.matching(pools, pattern, self._current.rotated)

    def _pools(self, pattern: str | None, listing: Listing, now: float) -> Iterator[PoolStatus | None]:
        balancer, rotated = self._current.balancer, self._current.rotated
        for owner in self._owners(pattern, listing):
            if owner is None:
                yield None
            elif owner in balancer.served:
                registered = self._generations.registrations.of(balancer.served[owner].name)
                yield status.pool_status(balancer, self._generations.totals, owner, now, registered)
            elif (pool := rotated.pool(owner)) is not None:
                yield rotated_status.pool_status(pool)
