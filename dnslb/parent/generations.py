"""One generation of the server after another, and all that lasts longer: counts, probes, orders, memory and hooks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping

from dnslb.balance.health import Health, ProbeKey
from dnslb.balance.judgement import keys
from dnslb.balance.pool import Address
from dnslb.config.catalog import NOTHING, Catalog
from dnslb.config.settings import Settings
from dnslb.control.change import Change
from dnslb.dns import name
from dnslb.dns.name import Name
from dnslb.parent import state
from dnslb.parent.balancer import Balancer
from dnslb.parent.generation import Generation
from dnslb.parent.inbound import Inbound
from dnslb.parent.memory import Memory
from dnslb.parent.orders import Orders
from dnslb.parent.prober import Prober
from dnslb.parent.registrations import Registrations
from dnslb.parent.state import State
from dnslb.parent.state_file import StateFile
from dnslb.parent.telling import drain_clock, event
from dnslb.parent.telling.hooks import Hooks
from dnslb.parent.telling.totals import Totals
from dnslb.parent.transfers import Transfers
from dnslb.parent.updates import Updates
from dnslb.parent.worker_process import WorkerSockets
from dnslb.system.pace import gently
from dnslb.transfer.messages import UpdateRequest


class Generations:
    """``override`` puts the options of the command line above the settings of a catalog."""

    def __init__(self, override: Callable[[Settings], Settings], socks: WorkerSockets, state_file: StateFile) -> None:
        self.socks = socks
        self.totals = Totals()
        self.hooks = Hooks(self._event, self._worked_out)
        self.memory = Memory(state_file, self.hooks.tell)
        self.orders = Orders(self._obey, self.memory.remember)
        self.registrations = Registrations(self._register, self.memory.remember)
        self.prober = Prober(self.memory, self.orders.hold)
        udp = socks.shares[0].udp_by_endpoint()
        self.inbound = Inbound(udp)
        self.transfers = Transfers(udp, self.inbound.notify, self._update)
        self.updates = Updates(state_file.directory, lambda: state_file.is_taken)
        self.read = NOTHING  # what was read last, and is served: without what updates have changed
        self._override = override
        self._current: Generation | None = None
        self._acting: list[Generation] = []   # on outcomes and orders: the current one, and one that is to come
        self._before = State()  # what an earlier life of the server has left

    @property
    def current(self) -> Generation:
        """The one that answers."""
        if self._current is None:
            raise RuntimeError("nobody can ask before the first generation answers")
        return self._current

    @property
    def name(self) -> str:
        """Of this server, among others."""
        return self.current.settings.server_id or os.uname().nodename

    async def begin(self, catalog: Catalog) -> None:
        """A new generation takes over the sockets; the old one, if any, leaves.  Raises WorkersFailed."""
        old = self._current
        settings, known = self._override(catalog.settings), self._recall(catalog)
        served = self.updates.laid_over(catalog)
        new = Generation(served, settings, self.socks, self.totals, self._remember_hung, self.transfers)
        new.balance(self.registrations.laid_over(catalog.pools))
        new.balancer.changed_at = known.changed_at
        verdicts = self.prober.schedule.healths | _verdicts(known, new.balancer)
        # The old generation answers until the new one does, and so is probed until then.
        self._act([*self._acting, new], verdicts)
        try:
            async for _ in gently(new.include_ordered(self.orders.standing)):
                pass
            # Nobody waits for probes here: the balancer knows what must not be answered yet.
            if old is not None:
                await new.follow(old)
            left = self.memory.file.left
            await new.start(self.prober.schedule, left, self.orders.standing, self._before)
        except BaseException:
            self._acting = [] if old is None else [old]
            await (new.stop() if old is None else new.make_way())
            self._act(self._acting)
            self.updates.serve_later()
            raise
        new.transfer()
        self.inbound.follow(catalog)
        self._current, self._before, self.read = new, State(), catalog
        self._act([new])
        self.registrations.keep_permitted(catalog.pools.values())
        self.orders.wake()
        self.memory.file.start(self._state)
        self.memory.file.save_soon()
        if old is not None:
            await old.make_way()

    async def take_over_state(self) -> None:
        """The server before us has ended: what was ordered there until then stands here."""
        known = await self.memory.recall_from_predecessor()
        if known is not None:
            async for _ in gently(self.current.include_ordered(known.orders)):
                pass
            self.orders.standing = dict(known.orders)
            self.orders.wake()
            self._obey()
            self.current.balancer.remember(known.clocks, known.is_last)
            self.registrations.recall(known.registrations, self.current.catalog.pools.values())
            self.updates.recall()

    async def include(self, owners: Iterable[Name]) -> None:
        """Balance these names too, though no policy names them: an order is to concern them."""
        wanted = list(owners)
        for each in list(self._acting) if wanted else ():
            async for _ in gently(each.include(wanted)):
                pass

    def trust(self, chosen: Iterable[tuple[Name, Address]]) -> None:
        """Hand these out though they have not passed a probe yet, unless they are known to be down."""
        for each in self._acting:
            each.balancer.trust(chosen)

    async def settled(self) -> None:
        """Wait until every worker answers by all that verdicts and orders have changed up to now."""
        for each in list(self._acting):
            await each.settled()

    async def answer(self) -> None:
        """Wait until every worker has said once more that it listens."""
        await self.current.answer()

    async def stop(self) -> None:
        await self.inbound.stop()
        await self.transfers.stop()
        await self.updates.stop()
        if self._current is not None:
            await self._current.stop()

    def _act(self, generations: list[Generation], verdicts: Mapping[ProbeKey, Health] | None = None) -> None:
        """From now on these are told of outcomes and orders, and probed for."""
        self._acting = generations
        self.prober.probe_for([each.balancer for each in generations], self.orders.standing, verdicts or {})

    def _obey(self) -> None:
        """From now on other orders stand."""
        resumed = self.prober.pause(self.orders.standing)
        for each in self._acting:
            each.balancer.doubt(resumed)
            each.balancer.obey(self.orders.standing)
        self.memory.file.save_soon()

    def _register(self, owners: set[str]) -> bool:
        """Some have joined these pools, or left them.  False while a generation begins."""
        if self._current is None or len(self._acting) > 1:
            return False
        balancer, written = self._current.balancer, self._current.catalog.pools
        named = {name.fold(name.parse(owner, name.ROOT)) for owner in owners} & written.keys()
        pools = self.registrations.laid_over({owner: written[owner] for owner in named})
        concerned = {key for owner in named for pool in (balancer.pools[owner], pools[owner]) for key in keys(pool)}
        balancer.replace(pools)
        self.prober.adjust(concerned, self.orders.standing)
        self.memory.file.save_soon()
        return True

    async def _update(self, asked: UpdateRequest) -> tuple[int, str]:
        return await self.updates.give(asked, self.read)

    def _remember_hung(self, fact: str) -> None:
        """A worker hung, and is replaced."""
        self.memory.remember(Change(time.time(), None, "", "worker hung", fact))

    def _event(self, change: Change) -> bytes:
        return event.encode(change, self.name, self.current.balancer)

    async def _worked_out(self) -> None:
        await self.current.balancer.settled()

    def _recall(self, catalog: Catalog) -> State:
        """Take up what an earlier life of the server has left, if it has not been: that is empty."""
        known = self.memory.recall()
        if known is None:
            return State()
        self.orders.standing = dict(known.orders)
        self._before = known
        self.transfers.recall(known.serials)
        self.registrations.recall(known.registrations, catalog.pools.values())
        self.updates.recall()
        return known

    def _state(self) -> State:
        """All that is to be saved."""
        schedule, orders = self.prober.schedule, self.orders.standing
        # Two probes may ask the same, at another pace: then it is up if one of them finds it up.
        # That somebody was up before the start, or before maint, is no news until a probe has found it so again.
        stale = schedule.recalled | schedule.paused
        known = ((key, health) for key, health in schedule.healths.items() if not (health.up and key in stale))
        healths = sorted(known, key=lambda item: item[1].up)
        verdicts = {state.key(*key): health for key, health in healths}
        clocks = dict(drain_clock.kept_clocks(self._acting[0].balancer))
        changed_at = self.current.balancer.served.last_changes(time.time())
        serials = self.transfers.kept_serials()
        joined = self.registrations.kept()
        return State(
            orders, verdicts, self.memory.changes, clocks, changed_at, serials=serials, registrations=joined
        )


def _verdicts(known: State, balancer: Balancer) -> dict[ProbeKey, Health]:
    """What an earlier life of the server has left of what is probed for this one."""
    return {key: health for key in balancer.keys if (health := known.healths.get(state.key(*key))) is not None}
