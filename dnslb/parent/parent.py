"""The parent process: opens the sockets, drops privileges, and lives as long as the server.

It never answers a query, so no flood can keep it from probing.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path

from dnslb import __version__
from dnslb.config import state_directory
from dnslb.config.catalog import Catalog
from dnslb.config.settings import Settings
from dnslb.control.change import Change
from dnslb.control.errors import NotReloaded
from dnslb.control.operations import Operations
from dnslb.ipc import sockets
from dnslb.ipc.inherited import Inherited
from dnslb.ipc.offer import Offer
from dnslb.parent import restart
from dnslb.parent.arrivals import Arrivals
from dnslb.parent.generations import Generations
from dnslb.parent.reading import Reading
from dnslb.parent.reload import Reloader
from dnslb.parent.running_server import RunningServer
from dnslb.parent.service import Service
from dnslb.parent.state_file import StateFile
from dnslb.parent.telling.recorder import Recorder
from dnslb.parent.watch import Watch
from dnslb.parent.worker_process import WorkerSockets
from dnslb.system import confinement, privileges
from dnslb.system.tasks import again_and_again, unless

_MOST_BY_DEFAULT = 4

_log = logging.getLogger("dnslb")


def worker_count(settings: Settings) -> int:
    return settings.workers or min(len(os.sched_getaffinity(0)), _MOST_BY_DEFAULT)


def run(  # noqa: PLR0913, PLR0917 - all that was opened before privileges are dropped, and what is called later
    directory: Path,
    found: Reading,
    override: Callable[[Settings], Settings],
    inherited: Inherited,
    announce: Callable[[], None],
    control: Callable[[Operations], Awaitable[None]],
) -> None:
    """Serve what was ``found`` in the directory until SIGTERM or SIGINT; its warnings are not told again.

    ``override`` puts the options of the command line above the settings of the directory, now and at a reload.
    ``inherited`` is what another server has handed over; that one ends once all our workers answer.
    ``announce`` is called then.  ``control`` lets operators in, from the announcement until it is cancelled.
    Raises CannotListen, CannotDrop, StateTaken or WorkersFailed, with nothing left running.
    """
    service, catalog = Service(os.environ), found.catalog.at(time.time())
    if why := confinement.unavailable():
        _log.warning("workers may do all that their user may: %s", why)
    # What was edited since the reading began must be noticed, however long the start takes.
    watch = Watch(str(directory), catalog.sources, catalog.fingerprint)
    settings = override(catalog.settings)
    shares = sockets.open_all(settings.listen, worker_count(settings), inherited.pairs)
    state_file = _state_file(settings, catalog.needs_state, inherited)
    # The zones are never garbage: do not walk them again, here or in any worker.
    gc.collect()
    gc.freeze()
    generations = Generations(override, WorkerSockets(shares, inherited.listener), state_file)
    reloader = Reloader(directory, generations, watch, service, settings)
    reloader.warnings.keep_only(found.problems)
    parent = _Parent(generations, reloader, service, inherited)
    try:
        asyncio.run(parent.run(catalog, announce, control))
    finally:
        state_file.close()


def _state_file(settings: Settings, has_state: bool, inherited: Inherited) -> StateFile:
    """Ours, where that is needed; on the way to it privileges are dropped.  Raises CannotDrop, StateTaken."""
    directory = state_directory.default_directory(settings.state, os.environ, os.getuid())
    if settings.user is not None:
        if has_state:
            privileges.make_for(settings.user, directory)
        privileges.drop(settings.user)
    privileges.keep_nothing()
    state_file = StateFile(directory)
    if inherited.is_from_parent:
        state_file.borrow()
    elif has_state:
        state_file.take()
    else:
        state_file.take_if_ordered()
    return state_file


class _Parent:
    """Its life: signals, the takeover from another server, and the one by another."""

    def __init__(self, generations: Generations, reloader: Reloader, service: Service, inherited: Inherited) -> None:
        self._generations = generations
        self._reloader = reloader
        self._service = service
        self._inherited = inherited
        self._state_file = generations.memory.file
        self._leaving = asyncio.Event()
        self._hung_up = asyncio.Event()
        self._offer: Offer | None = None
        self._successor: int | None = None  # the process that has taken over from us

    async def run(
        self, catalog: Catalog, announce: Callable[[], None], control: Callable[[Operations], Awaitable[None]]
    ) -> None:
        self._heed_signals()
        generations = self._generations
        tasks: list[asyncio.Future[None]] = [
            asyncio.create_task(generations.prober.schedule.run()),
            asyncio.create_task(generations.prober.loads.schedule.run()),
        ]
        try:
            if not await unless(self._leaving, generations.begin(catalog)):
                return
            generations.hooks.replace(generations.current.settings.on_change)
            for change in generations.memory.own_changes:  # found by the first round
                generations.hooks.tell(change)
            if self._inherited.predecessors and not await unless(self._leaving, self._succeed()):
                return
            self._offer_to_others()
            recorder = Recorder(generations)
            tasks.append(asyncio.ensure_future(control(RunningServer(generations, self._reloader, recorder))))
            tasks.append(asyncio.create_task(again_and_again(recorder.run)))
            announce()
            self._record("started", f"dnslb {__version__}: {self._reloader.summary}")
            self._service.ready(self._reloader.summary)
            tasks += [asyncio.create_task(again_and_again(work)) for work in self._work()]
            await self._leaving.wait()
            if self._successor is None:
                self._record("stopped", "")
        finally:
            await self._end(tasks)

    def _record(self, what: str, reason: str) -> None:
        self._generations.memory.record(Change(time.time(), None, "", what, reason))

    def _heed_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for signalled in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signalled, self._leaving.set)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up.set)
        loop.add_signal_handler(signal.SIGUSR2, self._restart)

    def _work(self) -> Iterator[Callable[[], Coroutine[object, object, None]]]:
        """What is done again and again as long as we live."""
        yield self._reload_when_told
        yield Arrivals(self._generations, self._reloader).take
        yield self._generations.prober.report_lag
        yield self._reloader.serve_updates
        if self._service.interval is not None:
            yield self._keep_alive
        if self._generations.current.settings.watch:
            yield self._reloader.reload_when_edited

    async def _end(self, tasks: list[asyncio.Future[None]]) -> None:
        if self._successor is None:
            self._service.stopping()
        else:
            self._service.succeeded_by(self._successor)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._generations.prober.holds.stop()
        self._generations.orders.stop()
        await self._generations.hooks.stop()
        if self._successor is not None:
            # It waits for this: what was ordered here up to now must stand there.
            await self._generations.updates.stop()
            await self._state_file.stop()
            self._state_file.close()
        if self._offer is not None:
            self._offer.close()
        await self._generations.stop()
        await self._state_file.stop()

    async def _reload_when_told(self) -> None:
        await self._hung_up.wait()
        self._hung_up.clear()
        with suppress(NotReloaded):  # it is in the log, and in the status
            await self._reloader.reload()

    async def _keep_alive(self) -> None:
        await self._service.keep_alive(self._generations.answer)

    # From one server to the next.

    async def _succeed(self) -> None:
        """Our workers answer: who answered until now may leave, and what was ordered there meanwhile stands."""
        has_ended = await self._inherited.dismiss_predecessors()
        if not self._inherited.is_from_parent:
            _log.info("this server has taken over from the workers of one that was gone")
            if not has_ended:
                _log.warning("some of them do not end; they may still answer beside ours")
            return
        if not has_ended:
            _log.error("the server before this one does not end; its workers may still answer beside ours")
        else:
            _log.info("this server has taken over")
        if self._generations.current.catalog.needs_state:
            await self._generations.take_over_state()

    def _offer_to_others(self) -> None:
        """From now on another server can take over from us."""
        listener, shares = self._inherited.listener, self._generations.socks.shares
        if listener is None:
            return
        # Anew, so that the system tells whoever connects that it is we who listen.
        listener.listen()
        self._offer = Offer(listener, (0, len(shares)), True, self._leave_to, self._make_way)
        self._offer.pairs = [pair for share in shares for pair in share.sockets]
        self._offer.admin_sockets = self._inherited.admin_sockets
        self._offer.open()

    async def _make_way(self) -> None:
        """What another server is to begin with must be saved."""
        await self._state_file.save()

    def _leave_to(self, pid: int) -> None:
        """Another server answers on our sockets."""
        _log.info("pid %d has taken over: this server leaves", pid)
        self._successor = pid
        self._inherited.is_handed_on = True
        self._leaving.set()

    def _restart(self) -> None:
        """Start our program anew, which takes over from us."""
        if self._offer is None:
            _log.error("not started anew: without a control socket no server can take over from this one")
            return
        restart.start(self._service.environment)
