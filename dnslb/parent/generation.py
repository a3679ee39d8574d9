"""One generation of the server: a catalog, what its pools serve, and the workers that answer from it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address

from dnslb.balance.operator_order import Order, Scope
from dnslb.balance.pool import Address
from dnslb.config.catalog import Catalog
from dnslb.config.settings import Settings
from dnslb.dns import rrtype
from dnslb.dns.name import Name, closest
from dnslb.ipc.handover import Handover
from dnslb.ipc.sockets import Sockets
from dnslb.parent.balancer import Balancer
from dnslb.parent.state import State
from dnslb.parent.telling.totals import Totals
from dnslb.parent.workers import Workers
from dnslb.probe.schedule import Schedule


class Generation:
    """It begins with ``start``, whether or not its backends have been probed, and ends with ``stop``."""

    def __init__(  # noqa: PLR0913, PLR0917 - what its workers need
        self,
        catalog: Catalog,
        settings: Settings,
        shares: list[list[Sockets]],
        totals: Totals,
        tell_hung: Callable[[str], None],
        listener: socket.socket | None,
        handovers: Sequence[Handover],
    ) -> None:
        self.catalog = catalog
        self.balancer = Balancer(catalog.pools)
        self.workers = Workers(catalog.zones, settings, shares, totals, tell_hung, listener, handovers)
        self.workers.near = {owner: pool.near for owner, pool in catalog.pools.items() if pool.near is not None}
        self._totals = totals

    async def follow(self, old: Generation) -> None:
        """Before ``start``: go on where the old generation is, so that its clients notice nothing."""
        plain = {owner: _addresses(old.catalog, owner) for owner in self.balancer.pools.keys() - old.balancer.pools}
        self.balancer.inherit(old.balancer, plain)
        # Else the first moment after a reload would be slow: every reply would have to be packed anew.
        self.workers.questions, self.workers.stands = await old.workers.recall()

    async def start(
        self, schedule: Schedule, left: float | None, orders: Mapping[Scope, Order], before: State
    ) -> None:
        """Answer, on sockets that an older generation may still answer on too.  Raises WorkersFailed.

        ``left``: the Unix time up to which an earlier life of the server may have known what the schedule recalls.
        ``before``: what that life has left, at the first start.
        """
        keys = self.balancer.keys
        self.balancer.healths = {key: health for key, health in schedule.healths.items() if key in keys}
        self.balancer.recalled = schedule.recalled & keys
        self.balancer.faults = {key: reason for key, reason in schedule.faults.items() if key in keys}
        self.balancer.left = left
        self.balancer.orders = dict(orders)
        if before.clocks:
            self.balancer.remember(before.clocks, before.is_last)
        self.balancer.hasten = schedule.hasten
        await self.balancer.prepare()
        self.balancer.start(self.workers.publish)
        self.workers.servings = dict(self.balancer.servings)
        await self.workers.come_up()
        self._totals.keep_only(self.balancer.rdatas)
        self._totals.generations += 1

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
        self.balancer.stop()
        await self.workers.stop()

    async def make_way(self) -> None:
        """The same, when another generation answers: it goes on with the TCP connections."""
        self.balancer.stop()
        await self.workers.make_way()


def _addresses(catalog: Catalog, owner: Name) -> list[Address]:
    """Those that a zone lists under the name."""
    apex = closest(owner, catalog.zones)
    node = catalog.zones[apex].nodes.get(owner, ()) if apex is not None else ()
    rrsets = [rrset for rrset in node if rrset.rrtype in rrtype.ADDRESS_TYPES.values()]
    return [ip_address(rdata) for rrset in rrsets for rdata in rrset.rdatas]
