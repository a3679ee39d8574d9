"""One generation of the server: a catalog, what its pools serve, and the workers that answer from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_address

from dnslb.answer.snapshot import RRsetKey, Serving
from dnslb.balance.operator_order import Order, Scope
from dnslb.balance.pool import Address, Pool
from dnslb.config.catalog import Catalog
from dnslb.config.rotated import Rotated
from dnslb.config.settings import Settings
from dnslb.dns import name, rrtype
from dnslb.dns.name import Name, closest
from dnslb.dns.zone import Zone
from dnslb.parent import recall
from dnslb.parent.balancer import Balancer
from dnslb.parent.query_log import QueryLogFile
from dnslb.parent.shared_assignment import SharedAssignment
from dnslb.parent.state import State
from dnslb.parent.telling.totals import Totals
from dnslb.parent.transfers import Transfers
from dnslb.parent.tuning import Tuning
from dnslb.parent.worker_process import WorkerSockets
from dnslb.parent.workers import Workers
from dnslb.probe.schedule import Schedule


class Generation:
    """It begins with ``start``, whether or not its backends have been probed, and ends with ``stop``."""

    def __init__(  # noqa: PLR0913, PLR0917 - what its processes need
        self,
        catalog: Catalog,
        settings: Settings,
        socks: WorkerSockets,
        totals: Totals,
        tell_hung: Callable[[str], None],
        transfers: Transfers,
    ) -> None:
        """``settings`` are those of the catalog, with the options of the command line above them."""
        self.catalog = catalog
        self.settings = settings
        self.balancer = Balancer({})
        near = {owner: pool.near for owner, pool in catalog.pools.items() if pool.near is not None}
        needs_transfers = catalog.transfers or catalog.replicas or catalog.updates
        inlet = transfers.inlet if needs_transfers else None
        absent = {apex: Zone(apex, {}, frozenset()) for apex in catalog.absent}
        self._assignment = SharedAssignment({**catalog.zones, **absent}, settings, near, transfers=inlet)
        self._assignment.clients = catalog.clients
        self._assignment.cookie_secrets = catalog.cookie_secrets or self._assignment.cookie_secrets
        self.workers = Workers(self._assignment, socks, totals, tell_hung)
        self._tuning = Tuning(totals.loads, self.workers)
        self.rotated = Rotated(catalog.zones, catalog.pools, settings.order)
        self._totals = totals
        self._query_log = None if settings.query_log is None else QueryLogFile(settings.query_log.file)
        self._transfers = transfers
        self._is_transferred = False  # whether it is what secondaries get

    def balance(self, pools: Mapping[Name, Pool]) -> None:
        """First of all: keep right what these serve, which are the catalog's and who has joined them."""
        self.balancer = Balancer(pools)

    async def follow(self, old: Generation) -> None:
        """Before ``start``: go on where the old generation is, so that its clients notice nothing."""
        plain = {owner: _addresses(old.catalog, owner) for owner in self.balancer.pools.keys() - old.balancer.pools}
        self.balancer.follow(old.balancer, plain)
        # Else the first moment after a reload would be slow: every reply would have to be packed anew.
        self._assignment.questions, self._assignment.turns = await recall.state(old.workers)

    def include(self, owners: Iterable[Name]) -> Iterator[None]:
        """Balance these names too, though no policy names them: orders concern them."""
        for owner in owners:
            pool = None if owner in self.balancer.pools else self.rotated.pool(owner)
            if pool is not None:
                self.balancer.include(owner, pool)
            yield

    def include_ordered(self, orders: Mapping[Scope, Order]) -> Iterator[None]:
        """The same for those that these orders concern."""
        everywhere = {scope.address for scope in orders if scope.owner is None}
        yield from self.include(
            [name.fold(name.parse(scope.owner, name.ROOT)) for scope in orders if scope.owner is not None]
        )
        for holding in self.rotated.holding(everywhere) if everywhere else ():
            yield from self.include([holding[0]] if holding is not None and holding[1] else [])

    async def start(
        self, schedule: Schedule, left: float | None, orders: Mapping[Scope, Order], before: State
    ) -> None:
        """Answer, on sockets that an older generation may still answer on too.  Raises WorkersFailed.

        ``left``: the Unix time up to which an earlier life of the server may have known what the schedule recalls.
        ``before``: what that life has left, at the first start.
        """
        keys = self.balancer.keys
        self.balancer.verdicts.healths = schedule.known
        self.balancer.verdicts.recalled = schedule.recalled & keys
        self.balancer.verdicts.faults = {key: reason for key, reason in schedule.faults.items() if key in keys}
        self.balancer.verdicts.left = left
        self.balancer.orders = dict(orders)
        if before.clocks:
            self.balancer.remember(before.clocks, before.is_last)
        self.balancer.hasten = schedule.hasten
        await self.balancer.prepare()
        self.balancer.start(self._publish)
        self._assignment.servings = self.balancer.served.servings()
        if self._query_log is not None:
            self._assignment.query_log = self._query_log.start()
        self._assignment.soas = self._transfers.soas(self.catalog)
        self._assignment.counted = self.balancer.served.counted
        if self.balancer.served.going_by_load:
            self._assignment.classes = self._totals.loads.classes
        await self.workers.come_up()
        self._tuning.start(self.balancer)
        self._totals.keep_only(self.balancer.served.rdatas())
        self._totals.generations += 1

    def transfer(self) -> None:
        """From now on what this generation answers is what secondaries get."""
        self._is_transferred = True
        self._transfers.begin(self.catalog, self.workers, self._assignment.servings, self.balancer.copies)

    def _publish(self, servings: Mapping[RRsetKey, Serving]) -> None:
        self.workers.publish(servings)
        if self._is_transferred:
            self._transfers.serve(servings)

    async def settled(self) -> None:
        """Wait until every worker answers by all that verdicts and orders have changed up to now."""
        await self.balancer.settled()
        await self.workers.settled()

    async def answer(self) -> None:
        """Wait until every worker has said once more that it listens."""
        self.workers.publish({})
        await self.workers.settled()

    async def stop(self) -> None:
        """Answer what is held, and leave."""
        self._tuning.stop()
        self.balancer.stop()
        await self.workers.stop()
        await self._close_query_log()

    async def make_way(self) -> None:
        """The same, when another generation answers: it goes on with the TCP connections."""
        self._tuning.stop()
        self.balancer.stop()
        await self.workers.make_way()
        await self._close_query_log()

    async def _close_query_log(self) -> None:
        """Once no worker writes to it any more."""
        if self._query_log is not None:
            await self._query_log.stop()


def _addresses(catalog: Catalog, owner: Name) -> list[Address]:
    """Those that a zone lists under the name."""
    apex = closest(owner, catalog.zones)
    node = catalog.zones[apex].nodes.get(owner, ()) if apex is not None else ()
    rrsets = [rrset for rrset in node if rrset.rrtype in rrtype.ADDRESS_TYPES.values()]
    return [ip_address(rdata) for rrset in rrsets for rdata in rrset.rdatas]
