"""The parent process: opens the sockets, drops privileges, probes, reloads, and lives as long as the server.

It never answers a query, so no flood can keep it from probing.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from dnslb import catalog as catalogs
from dnslb import state
from dnslb.balance.health import Health, Outcome
from dnslb.catalog import Catalog, Fingerprint
from dnslb.dns import name
from dnslb.probe.schedule import Key, Schedule
from dnslb.problem import has_errors
from dnslb.serve import privileges, sockets
from dnslb.serve.balancer import Balancer
from dnslb.serve.crew import WorkersFailed
from dnslb.serve.generation import Generation
from dnslb.serve.keeper import Keeper, StateTaken
from dnslb.serve.sockets import Sockets
from dnslb.settings import Settings
from dnslb.state import State

_MOST_BY_DEFAULT = 4
_WATCH = 0.5  # seconds from one look at the files to the next; an edit is read when two looks find the same
_LAG = 1.0  # seconds by which probes may start late before we say so
_LAG_LOOK = 30.0  # seconds from one look to the next

_log = logging.getLogger("dnslb")


def worker_count(settings: Settings) -> int:
    return settings.workers or min(len(os.sched_getaffinity(0)), _MOST_BY_DEFAULT)


def run(
    directory: Path, catalog: Catalog, override: Callable[[Settings], Settings], announce: Callable[[], None]
) -> None:
    """Serve the catalog of ``directory`` until SIGTERM or SIGINT; ``announce`` is called once all workers answer.

    ``override`` puts the options of the command line above the settings of the directory, now and at a reload.
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
        asyncio.run(parent.run(catalog, seen, announce))
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
        self._listening: list[Balancer] = []  # to outcomes: the generation's, and that of one that is to come
        self._schedule = Schedule((), self._hear)
        self._leaving = asyncio.Event()
        self._edited = asyncio.Event()
        self._seen: Fingerprint = frozenset()    # of the files as they were last read
        self._looked: Fingerprint = frozenset()  # of the files at the last look

    async def run(self, catalog: Catalog, seen: Fingerprint, announce: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        for signalled in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signalled, self._leaving.set)
        loop.add_signal_handler(signal.SIGHUP, self._edited.set)
        tasks = [asyncio.create_task(self._schedule.run())]
        try:
            if not await self._unless_leaving(self._begin(catalog)):
                return
            announce()
            tasks.append(asyncio.create_task(_again_and_again(self._reload_when_edited)))
            tasks.append(asyncio.create_task(_again_and_again(self._mind_the_lag)))
            if self._override(catalog.settings).watch:
                self._seen = self._looked = seen
                tasks.append(asyncio.create_task(_again_and_again(self._watch)))
            await self._leaving.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._generation is not None:
                await self._generation.stop()

    async def _begin(self, catalog: Catalog) -> None:
        """A new generation takes over the sockets; the old one, if any, leaves.  Raises WorkersFailed."""
        old, new = self._generation, Generation(catalog, self._override(catalog.settings), self._shares)
        healths, orders = self.keeper.load(new.balancer.keys) if self.keeper and old is None else ({}, {})
        if old is not None:
            healths, orders = self._schedule.healths, old.balancer.orders
        # The old generation answers until the new one does, and so is probed until then.
        old_keys = old.balancer.keys if old is not None else set()
        self._schedule.replace_keys(old_keys | new.balancer.keys, healths)
        self._listening.append(new.balancer)
        try:
            # No answer before every backend has been probed.
            await self._schedule.first_round()
            await new.start(self._schedule.healths, orders)
        except BaseException:
            self._listening.remove(new.balancer)
            await new.stop()
            self._schedule.replace_keys(old_keys)
            raise
        self._generation = new
        self._listening = [new.balancer]
        self._schedule.replace_keys(new.balancer.keys)
        if self.keeper is not None:
            self.keeper.start(self._state)
            self.keeper.note()
        if old is not None:
            await old.stop()

    async def _watch(self) -> None:
        """Notice an edit: something differs from what was read, and has stopped changing."""
        await asyncio.sleep(_WATCH)
        sources = self._generation.catalog.sources if self._generation is not None else frozenset[str]()
        now = catalogs.fingerprint(self._directory, sources)
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
        await self._reload()

    async def _reload(self) -> None:
        """Read everything aside; with any mistake nothing changes."""
        # In a thread, so that probes go on meanwhile; it ends with its work, since we fork.
        thread = ThreadPoolExecutor(1)
        try:
            loop = asyncio.get_running_loop()
            catalog, problems = await loop.run_in_executor(thread, catalogs.load, self._directory)
        finally:
            thread.shutdown(wait=False)
        for problem in problems:
            _log.warning("%s", problem)
        if has_errors(problems):
            _log.error("not reloaded: see the lines above; the old data go on being served")
            return
        was = self._generation.catalog if self._generation is not None else catalog
        if _fixed(self._override(catalog.settings)) != _fixed(self._override(was.settings)):
            _log.warning("listen, workers, user, watch and state change only when dnslb is started again")
        try:
            if self.keeper is None and catalog.pools:
                self.keeper = Keeper(self._directory_of_state)
            await self._begin(catalog)
        except (StateTaken, WorkersFailed) as error:
            _log.error("not reloaded: %s; the old data go on being served", error)
            return
        gc.freeze()
        changes = _changes(was, catalog)
        _log.info("reloaded %s: %s", self._directory, "; ".join(changes) or "nothing has changed")

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
        for balancer in self._listening:
            balancer.hear(key, outcome, before, after)
        if self.keeper is not None and (before is None or before.up != after.up):
            self.keeper.note()

    def _state(self) -> State:
        orders = self._generation.balancer.orders if self._generation is not None else {}
        # Two probes may ask the same, at another pace: then it is up if one of them finds it up.
        healths = sorted(self._schedule.healths.items(), key=lambda item: item[1].up)
        return State(orders, {state.key(*key): health for key, health in healths})


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
    return settings.listen, settings.workers, settings.user, settings.watch, settings.state


def _changes(was: Catalog, now: Catalog) -> list[str]:
    """What a reload has changed, zone by zone."""
    changes = []
    for apex in sorted(was.zones.keys() | now.zones.keys()):
        old, new = was.zones.get(apex), now.zones.get(apex)
        if new is None:
            changes.append(f"{name.text(apex)} removed")
        elif old is None:
            changes.append(f"{name.text(apex)} added, serial {new.serial}")
        elif not old.serves_as(new):
            raised = f"serial {old.serial} → {new.serial}" if old.serial != new.serial else "changed, serial not raised"
            changes.append(f"{name.text(apex)} {raised}")
    if was.pools != now.pools:
        changes.append(f"{len(now.pools)} pools")
    return changes
