"""The parent process: opens the sockets, drops privileges, probes, and lives as long as the server.

It never answers a query, so no flood can keep it from probing.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress

from dnslb import state
from dnslb.balance.health import Health, Outcome
from dnslb.catalog import Catalog
from dnslb.probe.schedule import Key, Schedule
from dnslb.serve import privileges, sockets
from dnslb.serve.balancer import Balancer
from dnslb.serve.crew import Crew
from dnslb.serve.keeper import Keeper
from dnslb.serve.sockets import Sockets
from dnslb.settings import Settings
from dnslb.snapshot import Key as RRsetKey
from dnslb.snapshot import Serving
from dnslb.state import State

_MOST_BY_DEFAULT = 4


def worker_count(settings: Settings) -> int:
    return settings.workers or min(len(os.sched_getaffinity(0)), _MOST_BY_DEFAULT)


def run(catalog: Catalog, settings: Settings, announce: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; ``announce`` is called once all workers answer.

    Raises CannotListen, CannotDrop, StateTaken or WorkersFailed, with nothing left running.
    """
    shares = sockets.open_all(settings.listen, worker_count(settings))
    if settings.user is not None:
        privileges.drop(settings.user)
    keeper = Keeper(state.default_directory(settings.state, os.environ, os.getuid())) if catalog.pools else None
    # The zones are never garbage: do not walk them again, here or in any worker.
    gc.collect()
    gc.freeze()
    try:
        asyncio.run(_Parent(catalog, settings, shares, keeper).run(announce))
    finally:
        if keeper is not None:
            keeper.stop()


class _Parent:
    def __init__(
        self, catalog: Catalog, settings: Settings, shares: list[list[Sockets]], keeper: Keeper | None
    ) -> None:
        self._keeper = keeper
        self._balancer = Balancer(catalog.pools)
        healths, self._balancer.orders = keeper.load(self._balancer.keys) if keeper else ({}, {})
        self._schedule = Schedule(self._balancer.keys, self._hear, healths=healths)
        self._crew = Crew(catalog.zones, settings, shares)
        self._leaving = asyncio.Event()

    async def run(self, announce: Callable[[], None]) -> None:
        for signalled in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signalled, self._leaving.set)
        probing: asyncio.Task[None] | None = None
        try:
            # No answer before every backend has been probed.
            if not await self._unless_leaving(self._schedule.first_round()):
                return
            self._balancer.start(self._publish)
            self._crew.servings = dict(self._balancer.servings)
            probing = asyncio.create_task(self._schedule.run())
            if self._keeper is not None:
                self._keeper.start(self._state)
                self._keeper.note()
            if await self._unless_leaving(self._crew.come_up()):
                announce()
                await self._leaving.wait()
        finally:
            self._balancer.stop()
            if probing is not None:
                probing.cancel()
                with suppress(asyncio.CancelledError):
                    await probing
            await self._crew.stop()

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
        self._balancer.hear(key, outcome, before, after)
        if self._keeper is not None and (before is None or before.up != after.up):
            self._keeper.note()

    def _publish(self, servings: Mapping[RRsetKey, Serving]) -> None:
        self._crew.publish(servings)

    def _state(self) -> State:
        return State(self._balancer.orders, {state.key(*key): health for key, health in self._balancer.healths.items()})
