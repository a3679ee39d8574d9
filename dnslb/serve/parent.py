"""The parent process: opens the sockets, drops privileges, probes, reloads, and lives as long as the server.

It never answers a query, so no flood can keep it from probing.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from dnslb import __version__, state
from dnslb import catalog as catalogs
from dnslb.balance import admin
from dnslb.balance.admin import Admin, Scope
from dnslb.balance.health import Health, Outcome
from dnslb.catalog import Catalog, Fingerprint
from dnslb.dns import name
from dnslb.dns.name import Name
from dnslb.operations import (
    Change,
    Clock,
    Delayed,
    NotReloaded,
    Operations,
    ProbeStatus,
    Refusal,
    Reloaded,
    ServerStatus,
    Status,
    Wanted,
    ZoneChange,
    ZoneStatus,
)
from dnslb.probe.schedule import Key, Schedule
from dnslb.problem import has_errors
from dnslb.serve import metrics, operations, privileges, sockets
from dnslb.serve.crew import WorkersFailed
from dnslb.serve.generation import Generation
from dnslb.serve.keeper import Keeper, StateTaken
from dnslb.serve.ledger import Ledger
from dnslb.serve.record import Records
from dnslb.serve.sockets import Sockets
from dnslb.settings import Settings
from dnslb.state import State

_MOST_BY_DEFAULT = 4
_SOONEST = 0.01  # seconds from one look at the orders' times to the next
_LONGEST = 20.0  # seconds for the workers to acknowledge an order
_REMEMBERED = 1000  # changes
_WATCH = 0.5  # seconds from one look at the files to the next; an edit is read when two looks find the same
_LAG = 1.0  # seconds by which probes may start late before we say so
_LAG_LOOK = 30.0  # seconds from one look to the next

_log = logging.getLogger("dnslb")


def worker_count(settings: Settings) -> int:
    return settings.workers or min(len(os.sched_getaffinity(0)), _MOST_BY_DEFAULT)


def run(
    directory: Path,
    catalog: Catalog,
    override: Callable[[Settings], Settings],
    announce: Callable[[], None],
    control: Callable[[Operations], Awaitable[None]],
) -> None:
    """Serve the catalog of ``directory`` until SIGTERM or SIGINT; ``announce`` is called once all workers answer.

    ``override`` puts the options of the command line above the settings of the directory, now and at a reload.
    ``control`` lets operators in, from the announcement until it is cancelled.
    Raises CannotListen, CannotDrop, StateTaken or WorkersFailed, with nothing left running.
    """
    # What is edited from now on must be noticed, however long the start takes.
    seen = catalogs.fingerprint(directory, catalog.sources)
    settings = override(catalog.settings)
    shares = sockets.open_all(settings.listen, worker_count(settings))
    directory_of_state = state.default_directory(settings.state, os.environ, os.getuid())
    if settings.user is not None:
        if catalog.pools:
            privileges.make_for(settings.user, directory_of_state)
        privileges.drop(settings.user)
    keeper = Keeper(directory_of_state) if catalog.pools else None
    # The zones are never garbage: do not walk them again, here or in any worker.
    gc.collect()
    gc.freeze()
    parent = _Parent(directory, directory_of_state, override, shares, keeper)
    try:
        asyncio.run(parent.run(catalog, seen, announce, control))
    finally:
        if parent.keeper is not None:
            parent.keeper.stop()


class _Parent:
    def __init__(
        self,
        directory: Path,
        directory_of_state: Path,
        override: Callable[[Settings], Settings],
        shares: list[list[Sockets]],
        keeper: Keeper | None,
    ) -> None:
        self.keeper = keeper
        self._directory = directory
        self._directory_of_state = directory_of_state
        self._override = override
        self._shares = shares
        self._generation: Generation | None = None
        self._listening: list[Generation] = []  # to outcomes and orders: the generation, and one that is to come
        self._orders: dict[Scope, Admin] = {}
        self._edge: asyncio.TimerHandle | None = None  # the next time at which an order begins or ends
        self._paused: set[Key] = set()
        self._history: deque[Change] = deque(maxlen=_REMEMBERED)
        self._refused: Refusal | None = None
        self._loaded = self._started = time.time()
        self._reloads = self._refusals = 0
        self._changed: dict[str, float] = {}  # when a zone's present records were read, if not at the start
        self._ledger = Ledger()
        self._records = Records()
        self._reloading = asyncio.Lock()
        self._schedule = Schedule((), self._hear)
        self._leaving = asyncio.Event()
        self._edited = asyncio.Event()
        self._seen: Fingerprint = frozenset()    # of the files as they were last read
        self._looked: Fingerprint = frozenset()  # of the files at the last look

    async def run(
        self,
        catalog: Catalog,
        seen: Fingerprint,
        announce: Callable[[], None],
        control: Callable[[Operations], Awaitable[None]],
    ) -> None:
        self._seen = self._looked = seen
        loop = asyncio.get_running_loop()
        for signalled in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signalled, self._leaving.set)
        loop.add_signal_handler(signal.SIGHUP, self._edited.set)
        tasks: list[asyncio.Future[None]] = [asyncio.create_task(self._schedule.run())]
        try:
            if not await self._unless_leaving(self._begin(catalog)):
                return
            tasks.append(asyncio.ensure_future(control(self)))
            announce()
            tasks.append(asyncio.create_task(_again_and_again(self._reload_when_edited)))
            tasks.append(asyncio.create_task(_again_and_again(self._mind_the_lag)))
            if self._override(catalog.settings).watch:
                tasks.append(asyncio.create_task(_again_and_again(self._watch)))
            await self._leaving.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._edge is not None:
                self._edge.cancel()
            if self._generation is not None:
                await self._generation.stop()

    # What operators ask.

    def status(self, pattern: str | None) -> Status:
        generation, now = self._current(), time.time()
        balancer, catalog = generation.balancer, generation.catalog
        return Status(
            now=now,
            directory=str(self._directory),
            loaded=self._loaded,
            refused=self._refused,
            zones=tuple(ZoneStatus(name.text(apex), zone.serial) for apex, zone in catalog.zones.items()),
            pools=tuple(operations.pool_status(balancer, self._ledger, owner, now) for owner in self._owners(pattern)),
            orders=tuple(operations.order_status(scope, order) for scope, order in self._orders.items()),
            server=ServerStatus(
                version=__version__,
                started=self._started,
                generation=self._ledger.generations,
                workers=len(self._shares),
                restarts=self._ledger.restarts,
                queries=self._ledger.queries,
            ),
        )

    async def reload(self) -> Reloaded:
        """Read everything aside; with any mistake nothing changes."""
        async with self._reloading:
            return await self._reload()

    async def order(self, wanted: Wanted) -> tuple[Clock, ...]:
        generation, given = self._current(), time.time()
        about = operations.concerned(generation.balancer.pools, wanted)
        self._obey(operations.amended(self._orders, wanted, about, given))
        if self.keeper is not None:
            self.keeper.save()  # what we have said we do must outlive a crash in the next moment
        targets = dict.fromkeys((one.pool.owner if wanted.names else None, one.address) for one in about)
        for owner, address in targets:
            reason = "; ".join(filter(None, (wanted.reason, "planned" if wanted.at is not None else "")))
            self._remember(Change(given, owner, str(address), wanted.mode.value, reason))
            _log.info("%s: %s %s%s", owner or "all names", address, wanted.mode.value, _in_brackets(reason))
        try:
            async with asyncio.timeout(_LONGEST):
                for each in list(self._listening):
                    await each.settled()
        except TimeoutError:
            raise Delayed from None
        now = time.time()
        return tuple(operations.clock(generation.balancer, wanted, one, now - given, now) for one in about)

    def history(self) -> tuple[Change, ...]:
        return tuple(self._history)

    def probes(self, pattern: str | None) -> tuple[ProbeStatus, ...]:
        pools = self._current().balancer.pools
        return tuple(
            status
            for owner in self._owners(pattern)
            for status in operations.probe_statuses(pools[owner], self._records)
        )

    def metrics(self) -> Iterator[str]:
        reloads = metrics.Reloads(
            self._reloads, self._refusals, self._refused is not None, self._loaded, self._changed
        )
        return metrics.pieces(metrics.View(
            pid=os.getpid(),
            started=self._started,
            now=time.time(),
            generation=self._current(),
            ledger=self._ledger,
            records=self._records,
            schedule=self._schedule,
            reloads=reloads,
        ))  # fmt: skip

    def silent(self) -> tuple[int, ...]:
        return tuple(self._current().crew.silent)

    def _owners(self, pattern: str | None) -> list[Name]:
        """Of the pools whose names match.  Raises Unknown."""
        pools = self._current().balancer.pools
        return list(pools) if pattern is None else operations.matching(pools, pattern)

    def _current(self) -> Generation:
        if self._generation is None:
            raise RuntimeError("nobody can ask before the first generation answers")
        return self._generation

    def _remember(self, change: Change) -> None:
        self._history.append(change)

    # Orders.

    def _obey(self, orders: dict[Scope, Admin]) -> None:
        """From now on these orders stand."""
        self._orders = orders
        for generation in self._listening:
            generation.balancer.obey(orders)
        self._pause()
        self._wake()
        if self.keeper is not None:
            self.keeper.note()

    def _pause(self) -> None:
        """Probe nothing that is in maint everywhere."""
        wanted = set[Key]()
        if self._listening:
            wanted = operations.to_pause(self._listening[-1].balancer, self._orders, time.time())
        for key in wanted - self._paused:
            self._schedule.pause(key)
        for key in self._paused - wanted:
            self._schedule.resume(key)
        self._paused = wanted

    def _probe(self, generations: list[Generation], healths: dict[Key, Health]) -> None:
        """From now on probe for these generations."""
        keys = {key for generation in generations for key in generation.balancer.keys}
        self._schedule.replace_keys(keys, healths)
        self._records.keep(keys)
        self._paused &= keys
        self._pause()

    def _wake(self) -> None:
        """Set the clock for the next order that begins or ends."""
        if self._edge is not None:
            self._edge.cancel()
        now = time.time()
        at = operations.next_edge(self._orders, now)
        loop = asyncio.get_running_loop()
        self._edge = None if at is None else loop.call_later(max(_SOONEST, at - now), self._pass_edge, now)

    def _pass_edge(self, before: float) -> None:
        """Some order has begun or ended since."""
        now = time.time()
        for scope, order in self._orders.items():
            over = admin.is_over(order, now)
            if over or (order.at is not None and before < order.at <= now):
                what, reason = ("ready", f"{order.mode.value} is over") if over else (order.mode.value, order.reason)
                self._remember(Change(now, scope.owner, str(scope.address), what, reason))
                _log.info("%s: %s %s%s", scope.owner or "all names", scope.address, what, _in_brackets(reason))
        self._obey({scope: order for scope, order in self._orders.items() if not admin.is_over(order, now)})

    # Generations.

    async def _begin(self, catalog: Catalog) -> None:
        """A new generation takes over the sockets; the old one, if any, leaves.  Raises WorkersFailed."""
        old, new = self._generation, Generation(catalog, self._override(catalog.settings), self._shares, self._ledger)
        healths = self._schedule.healths
        if self.keeper is not None and old is None:
            healths, self._orders = self.keeper.load(new.balancer.keys)
        # The old generation answers until the new one does, and so is probed until then.
        both = [new] if old is None else [old, new]
        self._listening.append(new)
        self._probe(both, healths)
        try:
            # No answer before every backend has been probed.
            await self._schedule.first_round()
            if old is not None:
                new.balancer.inherit(old.balancer)
            await new.start(self._schedule.healths, self._orders)
        except BaseException:
            self._listening.remove(new)
            await new.stop()
            self._probe(both[:-1], {})
            raise
        self._generation = new
        self._listening = [new]
        self._probe([new], {})
        self._wake()
        if self.keeper is not None:
            self.keeper.start(self._state)
            self.keeper.note()
        if old is not None:
            await old.stop()

    async def _watch(self) -> None:
        """Notice an edit: something differs from what was read, and has stopped changing."""
        await asyncio.sleep(_WATCH)
        now = catalogs.fingerprint(self._directory, self._current().catalog.sources)
        if now == self._looked != self._seen:
            self._seen = now
            self._edited.set()
        self._looked = now

    async def _mind_the_lag(self) -> None:
        """Say so when probes start late: then the promised failover times do not hold."""
        await asyncio.sleep(_LAG_LOOK)
        if self._schedule.lag > _LAG:
            _log.warning(
                "probes are %.0f s late (%d in flight): deaths are noticed later than promised",
                self._schedule.lag, self._schedule.in_flight,
            )  # fmt: skip

    async def _reload_when_edited(self) -> None:
        await self._edited.wait()
        self._edited.clear()
        with suppress(NotReloaded):  # it is in the log, and in the status
            await self.reload()

    async def _reload(self) -> Reloaded:
        """Raises NotReloaded."""
        was = self._current().catalog
        self._seen = catalogs.fingerprint(self._directory, was.sources)
        # In a thread, so that probes go on meanwhile; it ends with its work, since we fork.
        thread = ThreadPoolExecutor(1)
        try:
            loop = asyncio.get_running_loop()
            catalog, problems = await loop.run_in_executor(thread, catalogs.load, self._directory)
        finally:
            thread.shutdown(wait=False)
        for problem in problems:
            _log.warning("%s", problem)
        told = tuple(map(str, problems))
        if has_errors(problems):
            _log.error("not reloaded: see the lines above; the old data go on being served")
            raise self._refuse("the files have mistakes", "mend them and reload", told)
        if _fixed(self._override(catalog.settings)) != _fixed(self._override(was.settings)):
            fixed = "listen, workers, user, watch, state and control change only when dnslb is started again"
            _log.warning("%s", fixed)
            told = (*told, fixed)
        try:
            if self.keeper is None and catalog.pools:
                self.keeper = Keeper(self._directory_of_state)
            await self._begin(catalog)
        except (StateTaken, WorkersFailed) as error:
            _log.error("not reloaded: %s; the old data go on being served", error)
            raise self._refuse(str(error), "reload again when that is mended", told) from None
        self._loaded, self._refused = time.time(), None
        self._reloads += 1
        gc.freeze()
        zones = _changes(was, catalog)
        self._changed |= {zone.zone: self._loaded for zone in zones if zone.changed}
        changes = [_text(zone) for zone in zones if zone.changed]
        if was.pools != catalog.pools:
            changes.append(f"{len(catalog.pools)} pools")
        _log.info("reloaded %s: %s", self._directory, "; ".join(changes) or "nothing has changed")
        return Reloaded(zones, len(catalog.pools), was.pools != catalog.pools, told)

    def _refuse(self, fact: str, remedy: str, problems: tuple[str, ...]) -> NotReloaded:
        self._refusals += 1
        self._refused = Refusal(time.time(), fact, problems)
        return NotReloaded(fact, remedy, problems)

    async def _unless_leaving(self, work: Coroutine[object, object, None]) -> bool:
        """Whether the work was done; not when we are told to leave first.  Raises what it raises."""
        doing, told = asyncio.create_task(work), asyncio.create_task(self._leaving.wait())
        await asyncio.wait((doing, told), return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if not doing.done():
            doing.cancel()
            with suppress(asyncio.CancelledError):
                await doing
            return False
        doing.result()
        return True

    def _hear(self, key: Key, outcome: Outcome, before: Health | None, after: Health) -> None:
        self._records.hear(key, outcome, before, after)
        for generation in self._listening:
            generation.balancer.hear(key, outcome, before, after)
        if before is not None and before.up != after.up and self._generation is not None:
            for pool, backend in self._generation.balancer.asking(key):
                what = "up" if after.up else "down"
                self._remember(Change(after.since, pool.owner, str(backend.address), what, after.reason))
        if self.keeper is not None and (before is None or before.up != after.up):
            self.keeper.note()

    def _state(self) -> State:
        # Two probes may ask the same, at another pace: then it is up if one of them finds it up.
        healths = sorted(self._schedule.healths.items(), key=lambda item: item[1].up)
        return State(self._orders, {state.key(*key): health for key, health in healths})


async def _again_and_again(work: Callable[[], Coroutine[object, object, None]]) -> None:
    """Do it until cancelled.  A bug in it is logged, and it goes on."""
    while True:
        try:
            await work()
        except Exception:
            _log.exception("a bug in dnslb: please report it")
            await asyncio.sleep(1.0)


def _fixed(settings: Settings) -> tuple[object, ...]:
    """What a reload cannot change."""
    return settings.listen, settings.workers, settings.user, settings.watch, settings.state, settings.control


def _changes(was: Catalog, now: Catalog) -> tuple[ZoneChange, ...]:
    """What a reload has done, zone by zone."""
    changes = []
    for apex in sorted(was.zones.keys() | now.zones.keys()):
        old, new = was.zones.get(apex), now.zones.get(apex)
        is_same = old is not None and new is not None and old.serves_as(new)
        before, after = (zone.serial if zone is not None else None for zone in (old, new))
        changes.append(ZoneChange(name.text(apex), before, after, not is_same))
    return tuple(changes)


def _text(change: ZoneChange) -> str:
    if change.after is None:
        return f"{change.zone} removed"
    if change.before is None:
        return f"{change.zone} added, serial {change.after}"
    if change.before == change.after:
        return f"{change.zone} changed, serial not raised"
    return f"{change.zone} serial {change.before} → {change.after}"


def _in_brackets(reason: str) -> str:
    return f" ({reason})" if reason else ""
