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
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dnslb import __version__
from dnslb.balance.health import Health, Outcome
from dnslb.balance.operator_order import Scope
from dnslb.config.catalog import Catalog, Fingerprint
from dnslb.config.settings import Settings
from dnslb.control.change import Change
from dnslb.control.errors import Delayed, NotReloaded
from dnslb.control.operations import Operations
from dnslb.control.order import OrderRequest, OrderResult
from dnslb.control.reload import Refusal, Reloaded
from dnslb.control.status import ProbeStatus, ServerStatus, Status, ZoneStatus
from dnslb.dns import name
from dnslb.dns.name import Name
from dnslb.ipc import sockets
from dnslb.ipc.handover import Handover
from dnslb.ipc.inherited import Inherited
from dnslb.ipc.offer import Offer
from dnslb.ipc.sockets import Sockets
from dnslb.parent import difference, held_edit, reading, restart, state
from dnslb.parent.balancer import Balancer
from dnslb.parent.generation import Generation
from dnslb.parent.orders import Orders
from dnslb.parent.probe_faults import ProbeFaults
from dnslb.parent.reading import NotAnswered, Reading
from dnslb.parent.service import Service
from dnslb.parent.state import State
from dnslb.parent.state_file import StateFile, StateTaken
from dnslb.parent.telling import event, history, metrics, status
from dnslb.parent.telling.history import History
from dnslb.parent.telling.hooks import Hooks
from dnslb.parent.telling.probe_record import ProbeRecords
from dnslb.parent.telling.status import Concerned
from dnslb.parent.telling.totals import Totals
from dnslb.parent.watch import Watch
from dnslb.parent.workers import WorkersFailed
from dnslb.probe import ProbeKey
from dnslb.probe.schedule import Schedule
from dnslb.system import logs, privileges
from dnslb.system.pace import gently
from dnslb.system.tasks import again_and_again, unless
from dnslb.text.problem import Level, Problem, has_errors

_MOST_BY_DEFAULT = 4
_LONGEST = 20.0  # seconds for the workers to acknowledge an order
_SHOWN = 3  # mistakes, in the event of a refused reload
_LAG = 1.0  # seconds by which probes may start late before we say so
_LAG_LOOK = 30.0  # seconds from one look to the next
_TRY, _TRIES = 0.1, 50  # seconds from one try to have the state directory to the next, and how many
_NOT_RELOADED = {"what": "not reloaded"}

_log = logging.getLogger("dnslb")


def worker_count(settings: Settings) -> int:
    return settings.workers or min(len(os.sched_getaffinity(0)), _MOST_BY_DEFAULT)


def run(  # noqa: PLR0913, PLR0917 - all that was opened before privileges are dropped, and what is called later
    directory: Path,
    catalog: Catalog,
    override: Callable[[Settings], Settings],
    announce: Callable[[], None],
    control: Callable[[Operations], Awaitable[None]],
    inherited: Inherited,
    warned: Iterable[Problem] = (),
) -> None:
    """Serve the catalog of ``directory`` until SIGTERM or SIGINT; ``announce`` is called once all workers answer.

    ``override`` puts the options of the command line above the settings of the directory, now and at a reload.
    ``control`` lets operators in, from the announcement until it is cancelled.  ``inherited`` is what another server
    has handed over; that one ends once all our workers answer.  Of what is ``warned`` already, nobody is told again.
    Raises CannotListen, CannotDrop, StateTaken or WorkersFailed, with nothing left running.
    """
    service = Service(os.environ)
    # What was edited since the reading began must be noticed, however long the start takes.
    watch = Watch(str(directory), catalog.sources, catalog.fingerprint)
    settings = override(catalog.settings)
    shares = sockets.open_all(settings.listen, worker_count(settings), inherited.pairs)
    directory_of_state = state.default_directory(settings.state, os.environ, os.getuid())
    if settings.user is not None:
        if catalog.pools:
            privileges.make_for(settings.user, directory_of_state)
        privileges.drop(settings.user)
    privileges.keep_to_ourselves()
    state_file = StateFile(directory_of_state)
    if inherited.is_from_parent:
        state_file.borrow()
    elif catalog.pools:
        state_file.take()
    # The zones are never garbage: do not walk them again, here or in any worker.
    gc.collect()
    gc.freeze()
    parent = _Parent(directory, override, shares, watch, state_file, service, inherited)
    parent.warned = set(map(_gist, warned))
    try:
        asyncio.run(parent.run(catalog, announce, control))
    finally:
        state_file.close()


class _Parent:
    def __init__(  # noqa: PLR0913, PLR0917 - all that was opened before privileges were dropped
        self,
        directory: Path,
        override: Callable[[Settings], Settings],
        shares: list[list[Sockets]],
        watch: Watch,
        state_file: StateFile,
        service: Service,
        inherited: Inherited,
    ) -> None:
        self._directory = directory
        self._override = override
        self._shares = shares
        self._handovers = [Handover() for _ in shares]
        self._generation: Generation | None = None
        self._listening: list[Generation] = []  # to outcomes and orders: the generation, and one that is to come
        self._orders = Orders(self._obey, self._remember)
        self._left = State()  # by an earlier life of the server
        self._history = History()
        self._refused: Refusal | None = None
        self._loaded = self._started = time.time()
        self._reloads = self._refusals = 0
        self.warned: set[tuple[str, str, str]] = set()  # by the present files
        self._running: Settings | None = None  # with which the server was started
        self._waiting: tuple[str, ...] = ()    # settings that the files have otherwise now
        self._changed: dict[str, float] = {}  # when a zone's present records were read, if not at the start
        self._totals = Totals()
        self._records = ProbeRecords()
        self._reloading = asyncio.Lock()
        self._ordering = asyncio.Lock()  # one order at a time, however long it is
        self._faults = ProbeFaults()
        self._schedule = Schedule(self._record_outcome, self._record_fault)
        self._leaving = asyncio.Event()
        self._watch = watch
        self._state_file = state_file
        self._service = service
        self._inherited = inherited
        self._offer: Offer | None = None
        self._successor: int | None = None  # the process that has taken over from us
        self._hooks = Hooks(self._event, self._worked_out)
        self._hung_up = asyncio.Event()

    async def run(
        self,
        catalog: Catalog,
        announce: Callable[[], None],
        control: Callable[[Operations], Awaitable[None]],
    ) -> None:
        loop = asyncio.get_running_loop()
        for signalled in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signalled, self._leaving.set)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up.set)
        loop.add_signal_handler(signal.SIGUSR2, self._renew)
        tasks: list[asyncio.Future[None]] = [asyncio.create_task(self._schedule.run())]
        try:
            self._running = self._override(catalog.settings)
            if not await unless(self._leaving, self._begin(catalog)):
                return
            self._hooks.replace(self._settings.on_change)
            for change in self._history.changes:
                if change.at >= self._started:  # found by the first round
                    self._hooks.tell(change)
            if self._inherited.predecessors and not await unless(self._leaving, self._succeed()):
                return
            self._offer_to_others()
            tasks.append(asyncio.ensure_future(control(self)))
            announce()
            self._service.ready(self._summary())
            tasks.append(asyncio.create_task(again_and_again(self._reload_when_told)))
            tasks.append(asyncio.create_task(again_and_again(self._mind_the_lag)))
            if self._service.interval is not None:
                tasks.append(asyncio.create_task(again_and_again(self._keep_alive)))
            if self._settings.watch:
                tasks.append(asyncio.create_task(again_and_again(self._notice_edits)))
            await self._leaving.wait()
        finally:
            await self._end(tasks)

    async def _end(self, tasks: list[asyncio.Future[None]]) -> None:
        if self._successor is None:
            self._service.stopping()
        else:
            self._service.succeeded_by(self._successor)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._orders.stop()
        await self._hooks.stop()
        if self._successor is not None:
            # It waits for this: what was ordered here up to now must stand there.
            await self._state_file.stop()
            self._state_file.close()
        if self._offer is not None:
            self._offer.close()
        if self._generation is not None:
            await self._generation.stop()
        await self._state_file.stop()

    # From one server to the next.

    async def _succeed(self) -> None:
        """Our workers answer: who answered until now may leave, and what was ordered there meanwhile stands."""
        has_ended = await self._inherited.dismiss_predecessors()
        if not self._inherited.is_from_parent:
            _log.info("this server has taken over from the workers of one that was gone")
            return
        if not has_ended:
            _log.error("the server before this one does not end; its workers may still answer beside ours")
        else:
            _log.info("this server has taken over")
        if self._current().catalog.pools:
            await self._take_state()

    async def _take_state(self) -> None:
        for tried in range(_TRIES):
            try:
                self._state_file.take()
                break
            except StateTaken as error:
                if tried == _TRIES - 1:
                    _log.error("orders and verdicts are not saved: %s", error)
                await asyncio.sleep(_TRY)
        known = self._state_file.load()
        if known is None:
            return
        self._orders.standing = dict(known.orders)
        self._orders.wake()
        self._obey()
        self._current().balancer.remember(known.clocks, known.is_last)
        ours = [change for change in self._history.changes if change.at >= self._started]
        self._history = History(sorted({*known.history, *ours}, key=lambda change: change.at))
        self._state_file.save_soon()

    def _offer_to_others(self) -> None:
        """From now on another server can take over from us."""
        listener = self._inherited.listener
        if listener is None:
            return
        # Anew, so that the system tells whoever connects that it is we who listen.
        listener.listen()
        self._offer = Offer(listener, (0, len(self._shares)), True, self._leave_to, self._make_way)
        self._offer.pairs = [pair for share in self._shares for pair in share]
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

    def _renew(self) -> None:
        """Start our program anew, which takes over from us."""
        if self._offer is None:
            _log.error("not started anew: without a control socket no server can take over from this one")
            return
        restart.start(self._service.environment)

    # What operators ask.

    def status(self, pattern: str | None) -> Status:
        generation, now = self._current(), time.time()
        balancer, catalog = generation.balancer, generation.catalog
        return Status(
            now=now,
            directory=str(self._directory),
            loaded=self._loaded,
            refused=self._refused,
            zones=(ZoneStatus(name.text(apex), zone.serial) for apex, zone in catalog.zones.items()),
            pools=(
                None if owner is None else status.pool_status(balancer, self._totals, owner, now)
                for owner in self._owners(pattern)
            ),
            orders=(status.order_status(scope, order) for scope, order in self._orders.standing.items()),
            server=ServerStatus(
                version=__version__,
                started=self._started,
                generation=self._totals.generations,
                workers=len(self._shares),
                restarts=self._totals.restarts,
                hung=self._totals.hung,
                silent=self.silent(),
                queries=self._totals.queries,
            ),
            restart=self._waiting,
        )

    async def reload(self) -> Reloaded:
        """Read everything aside; with any mistake nothing changes."""
        async with self._reloading:
            with self._told_to_service():
                return await self._take(await self._read())

    async def _reload_edited(self, meant: Fingerprint | None) -> None:
        """Take an edit that was noticed, unless it may be half of one and is not known to be meant."""
        async with self._reloading:
            if self._watch.is_up_to_date:
                return
            with self._told_to_service():
                found = await self._read()
                lost = held_edit.losses(self._current().catalog, found.catalog)
                is_held = lost and self._settings.confirm and meant != found.catalog.fingerprint
                if is_held and not has_errors(found.problems):
                    self._hold(found, lost)
                else:
                    await self._take(found)

    @contextmanager
    def _told_to_service(self) -> Iterator[None]:
        self._service.reloading()
        try:
            yield
        finally:
            self._service.ready(self._summary())

    async def order(self, wanted: OrderRequest) -> OrderResult:
        async with self._ordering:
            generation, about = await self._concerned(wanted)
            given = time.time()
            work = self._orders.give(wanted, about, given)
            altered = {(one.owner, one.address) async for some in gently(work) for one in some if one is not None}
            if wanted.now:
                for each in self._listening:
                    each.balancer.trust((one.owner, one.address) for one in about)
            # What we have said we do must outlive a crash in the next moment.
            warning = await self._state_file.save()
        try:
            async with asyncio.timeout(_LONGEST):
                for each in list(self._listening):
                    await each.settled()
        except TimeoutError:
            raise Delayed from None
        self._state_file.save_soon()  # what was much to work out may have changed answers since
        now = time.time()
        async for _ in gently(generation.balancer.linger(altered, given, now)):
            pass
        if altered:
            self._state_file.save_soon()  # the drain clocks
        clocks = status.clocks(generation.balancer, wanted, about, altered, now)
        told = [clock async for some in gently(clocks) for clock in some]
        return OrderResult(tuple(told), () if warning is None else (warning,))

    async def _concerned(self, wanted: OrderRequest) -> tuple[Generation, list[Concerned]]:
        """What the order is about, among what is served.  Raises Unknown, Rejected."""
        while True:
            generation = self._current()
            work = status.concerned(generation.balancer, wanted)
            about = [one async for some in gently(work) for one in some if one is not None]
            # Meanwhile a reload may have ended.
            if generation is self._current():
                return generation, about

    def history(self) -> tuple[Change, ...]:
        return self._history.changes

    def probes(self, pattern: str | None) -> Iterator[ProbeStatus | None]:
        pools = self._current().balancer.pools
        for owner in self._owners(pattern):
            if owner is None:
                yield None
            else:
                yield from status.probe_statuses(pools[owner], self._records)

    def metrics(self) -> Iterator[str]:
        reloads = metrics.Reloads(
            self._reloads, self._refusals, self._refused is not None, self._loaded, self._changed, bool(self._waiting)
        )
        return metrics.pieces(metrics.View(
            pid=os.getpid(),
            started=self._started,
            now=time.time(),
            generation=self._current(),
            totals=self._totals,
            records=self._records,
            faults=self._faults,
            schedule=self._schedule,
            reloads=reloads,
        ))  # fmt: skip

    def silent(self) -> tuple[int, ...]:
        return tuple(self._current().workers.silent)

    def _owners(self, pattern: str | None) -> Iterable[Name | None]:
        """Of the pools whose names match.  Raises Unknown."""
        pools = self._current().balancer.pools
        return pools if pattern is None else status.matching(pools, pattern)

    def _current(self) -> Generation:
        if self._generation is None:
            raise RuntimeError("nobody can ask before the first generation answers")
        return self._generation

    @property
    def _settings(self) -> Settings:
        return self._override(self._current().catalog.settings)

    def _summary(self) -> str:
        """Our state in a line, for the service manager."""
        catalog, refused = self._current().catalog, self._refused
        served = f"{len(catalog.zones)} zones, {len(catalog.pools)} pools"
        if refused is None:
            return served
        at = time.strftime("%H:%M:%S", time.localtime(refused.at))
        return f"{served}; {'reload refused at' if refused.until is None else 'edit held since'} {at}: {refused.fact}"

    # What changes.

    def _record_outcome(self, key: ProbeKey, outcome: Outcome, before: Health | None, after: Health) -> None:
        """One more probe has ended."""
        if _log.isEnabledFor(logging.DEBUG):
            _tell_outcome(key, outcome)
        self._faults.record_probe(key)
        self._records.record_outcome(key, outcome, before, after)
        for generation in self._listening:
            generation.balancer.hear(key, outcome, before, after)
        if before is not None and before.up == after.up:
            return
        if before is not None and self._listening:
            for change in history.verdicts(self._listening[0].balancer, key, after):
                self._remember(change)
        self._state_file.save_soon()

    def _record_fault(self, key: ProbeKey, outcome: Outcome) -> None:
        """A probe could not be made, and that is our fault."""
        if _log.isEnabledFor(logging.DEBUG):
            _tell_outcome(key, outcome)
        self._faults.record_fault(key, outcome)
        for generation in self._listening:
            generation.balancer.miss(key, outcome.reason)

    def _obey(self) -> None:
        """From now on other orders stand."""
        resumed = self._pause()
        for generation in self._listening:
            generation.balancer.doubt(resumed)
            generation.balancer.obey(self._orders.standing)
        self._state_file.save_soon()

    def _remember(self, change: Change) -> None:
        self._history.add(change)
        self._hooks.tell(change)

    def _record_hung(self, fact: str) -> None:
        """A worker hung, and is replaced."""
        self._remember(Change(time.time(), None, "", "worker hung", fact))
        self._state_file.save_soon()

    def _event(self, change: Change) -> bytes:
        server = self._settings.server_id or os.uname().nodename
        return event.encode(change, server, self._current().balancer)

    async def _worked_out(self) -> None:
        await self._current().balancer.settled()

    def _state(self) -> State:
        # Two probes may ask the same, at another pace: then it is up if one of them finds it up.
        # That somebody was up before the start, or before maint, is no news until a probe has found it so again.
        stale = self._schedule.recalled | self._schedule.paused
        known = ((key, health) for key, health in self._schedule.healths.items() if not (health.up and key in stale))
        healths = sorted(known, key=lambda item: item[1].up)
        verdicts = {state.key(*key): health for key, health in healths}
        changes = {} if self._generation is None else self._generation.balancer.changes()
        return State(self._orders.standing, verdicts, self._history.changes, self._clocks(), changes)

    def _clocks(self) -> dict[Scope, float]:
        """When caches lose what is not handed out."""
        return dict(status.kept_clocks(self._listening[0].balancer)) if self._listening else {}

    def _recall(self, balancer: Balancer) -> dict[ProbeKey, Health]:
        """Take up what an earlier life of the server has left; its verdicts on what is probed for this one."""
        known = self._state_file.load()
        if known is None:
            return {}
        self._orders.standing = dict(known.orders)
        self._left = known
        self._history = History(known.history)
        balancer.changed_at = known.changed_at
        return {key: health for key in balancer.keys if (health := known.healths.get(state.key(*key))) is not None}

    def _probe(self, generations: list[Generation], healths: dict[ProbeKey, Health]) -> None:
        """From now on probe for these generations."""
        keys = {key for each in generations for key in each.balancer.keys}
        self._schedule.replace_keys(keys, healths)
        self._records.keep_only(keys)
        self._faults.keep(keys)
        self._pause()

    def _pause(self) -> set[ProbeKey]:
        """Probe nothing that is in maint everywhere.  What is probed again by that."""
        if not self._listening:
            return set()
        balancer = self._listening[-1].balancer
        return self._schedule.pause_only(status.to_pause(balancer, self._orders.standing, time.time()))

    # Generations.

    async def _begin(self, catalog: Catalog) -> None:
        """A new generation takes over the sockets; the old one, if any, leaves.  Raises WorkersFailed."""
        settings = self._override(catalog.settings)
        ours = (self._shares, self._totals, self._record_hung, self._inherited.listener, self._handovers)
        old, new = self._generation, Generation(catalog, settings, *ours)
        healths = self._schedule.healths | self._recall(new.balancer)
        # The old generation answers until the new one does, and so is probed until then.
        both = [new] if old is None else [old, new]
        self._listening.append(new)
        self._probe(both, healths)
        try:
            # Nobody waits for probes here: the balancer knows what must not be answered yet.
            if old is not None:
                await new.follow(old)
            await new.start(self._schedule, self._state_file.left, self._orders.standing, self._left)
        except BaseException:
            self._listening.remove(new)
            await (new.stop() if old is None else new.make_way())
            self._probe(both[:-1], {})
            raise
        self._generation, self._left = new, State()
        self._listening = [new]
        self._probe([new], {})
        self._orders.wake()
        self._state_file.start(self._state)
        self._state_file.save_soon()
        if old is not None:
            await old.make_way()

    async def _notice_edits(self) -> None:
        meant = await self._watch.edit(lambda: self._settings)
        with suppress(NotReloaded):  # it is in the log, and in the status
            await self._reload_edited(meant)

    async def _keep_alive(self) -> None:
        await self._service.keep_alive(lambda: self._current().answer())

    async def _mind_the_lag(self) -> None:
        """Say so when probes start late: then the promised failover times do not hold."""
        await asyncio.sleep(_LAG_LOOK)
        if self._schedule.lag > _LAG:
            _log.warning(
                "probes are %.0f s late (%d in flight): deaths are noticed later than promised",
                self._schedule.lag, self._schedule.in_flight,
            )  # fmt: skip

    async def _reload_when_told(self) -> None:
        await self._hung_up.wait()
        self._hung_up.clear()
        with suppress(NotReloaded):  # it is in the log, and in the status
            await self.reload()

    async def _read(self) -> Reading:
        """Raises NotReloaded."""
        try:
            return await reading.read(self._directory, self._current().catalog.sources, self._settings.settle)
        except NotAnswered as error:
            self._watch.resume()
            _log.error("not reloaded: %s; the old data go on being served", error, extra=_NOT_RELOADED)
            raise self._refuse(str(error), "reload again when that is mended", ()) from None

    async def _take(self, found: Reading) -> Reloaded:
        """Raises NotReloaded."""
        sources = self._current().catalog.sources | found.catalog.sources
        try:
            return await self._reload(found.catalog, found.problems)
        finally:
            # Only now: the process that watches is to share the memory of the new zones, not keep the old.
            self._watch.expect_edit(found.catalog.fingerprint, sources)

    def _hold(self, found: Reading, lost: tuple[str, ...]) -> None:
        until = time.time() + self._settings.confirm
        self._watch.hold(found.catalog.fingerprint, self._current().catalog.sources | found.catalog.sources)
        fact = "this may be half of an edit"
        self._refuse(fact, "reload to take it", lost, until)
        at = time.strftime("%H:%M:%S", time.localtime(until))
        logs.always(
            logging.WARNING, "not reloaded: %s: %s; the old data go on being served until %s, or until dnslb reload",
            fact, _some(lost), at, extra=_NOT_RELOADED,
        )  # fmt: skip

    async def _reload(self, catalog: Catalog, problems: list[Problem]) -> Reloaded:
        """Raises NotReloaded."""
        was = self._current().catalog
        told = tuple(map(str, problems))
        new = self._warn(problems)
        if has_errors(problems):
            # At whatever level is logged.
            for problem in problems:
                if problem.level is Level.ERROR:
                    _log.error("%s", problem)
            _log.error("not reloaded: see the lines above; the old data go on being served", extra=_NOT_RELOADED)
            raise self._refuse("the files have mistakes", "mend them and reload", told)
        try:
            if catalog.pools:
                self._state_file.take()
            gc.freeze()
            await self._begin(catalog)
        except (StateTaken, WorkersFailed) as error:
            _log.error("not reloaded: %s; the old data go on being served", error, extra=_NOT_RELOADED)
            raise self._refuse(str(error), "reload again when that is mended", told) from None
        self._loaded, self._refused = time.time(), None
        self._reloads += 1
        self.warned = set(map(_gist, problems))
        zones = tuple([zone async for some in gently(difference.zones(was, catalog)) for zone in some if zone])
        pools = tuple([pool async for some in gently(difference.pools(was, catalog)) for pool in some if pool])
        before, now = self._override(was.settings), self._override(catalog.settings)
        settings = difference.settings(before, now)
        text = difference.text(zones, pools, settings)
        _log.info("reloaded %s: %s", self._directory, text, extra={"what": "reloaded"})
        self._wait_for_start(difference.waiting(self._running or now, now))
        self._hooks.replace(self._settings.on_change)
        self._hooks.tell(Change(self._loaded, None, "", "reloaded", text))
        self._changed |= {zone.zone: self._loaded for zone in zones if zone.changed}
        return Reloaded(zones, len(catalog.pools), bool(pools), new, pools, settings, self._waiting)

    def _warn(self, problems: list[Problem]) -> tuple[str, ...]:
        """Log the warnings of which nobody was told yet, and give them."""
        new = [problem for problem in problems if problem.level is Level.WARNING and _gist(problem) not in self.warned]
        for problem in new:
            _log.warning("%s", problem)
        self.warned |= set(map(_gist, new))
        old = sum(problem.level is Level.WARNING for problem in problems) - len(new)
        more = (f"{old} warning{'' if old == 1 else 's'} as before: see `dnslb check`",) if old else ()
        return (*map(str, new), *more)

    def _wait_for_start(self, keys: tuple[str, ...]) -> None:
        """These settings change only at a start."""
        if keys and keys != self._waiting:
            _log.warning("%s: what the files say now holds when dnslb is started again", ", ".join(keys))
        self._waiting = keys

    def _refuse(self, fact: str, remedy: str, problems: tuple[str, ...], until: float | None = None) -> NotReloaded:
        self._refusals += 1
        self._refused = Refusal(time.time(), fact, problems, until)
        reason = ": ".join(filter(None, (fact, _some(problems))))
        self._hooks.tell(Change(self._refused.at, None, "", "not reloaded", reason))
        return NotReloaded(fact, remedy, problems)


def _some(problems: tuple[str, ...]) -> str:
    more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join(problems[:_SHOWN]) + more


def _gist(problem: Problem) -> tuple[str, str, str]:
    """The same, though lines were added before it."""
    return problem.file, problem.fact, problem.remedy


def _tell_outcome(key: ProbeKey, outcome: Outcome) -> None:
    what = "not made" if outcome.fault else "passed" if outcome.ok else "failed"
    fields = {"what": what, "address": str(key[1])}
    _log.debug("%s %s in %.1f ms: %s", state.key(*key), what, 1000 * outcome.took, outcome.reason, extra=fields)
