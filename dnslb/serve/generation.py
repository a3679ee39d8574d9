"""One generation of the server: a catalog, what its pools serve, and the workers that answer from it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping

from dnslb.balance.admin import Admin, Scope
from dnslb.balance.health import Health
from dnslb.catalog import Catalog
from dnslb.probe.schedule import Key
from dnslb.serve.balancer import Balancer
from dnslb.serve.crew import Crew
from dnslb.serve.ledger import Ledger
from dnslb.serve.sockets import Sockets
from dnslb.settings import Settings


class Generation:
    """It begins with ``start``, when all that it probes has been probed, and ends with ``stop``."""

    def __init__(  # noqa: PLR0913, PLR0917 - what its workers need
        self,
        catalog: Catalog,
        settings: Settings,
        shares: list[list[Sockets]],
        ledger: Ledger,
        tell_hung: Callable[[str], None],
        listener: socket.socket | None,
    ) -> None:
        self.catalog = catalog
        self.balancer = Balancer(catalog.pools)
        self.crew = Crew(catalog.zones, settings, shares, ledger, tell_hung, listener)
        self._ledger = ledger

    async def follow(self, old: Generation) -> None:
        """Before ``start``: go on where the old generation is, so that its clients notice nothing."""
        self.balancer.inherit(old.balancer)
        # Else the first moment after a reload would be slow: every reply would have to be packed anew.
        self.crew.questions = await old.crew.recall()

    async def start(self, healths: Mapping[Key, Health], orders: Mapping[Scope, Admin]) -> None:
        """Answer, on sockets that an older generation may still answer on too.  Raises WorkersFailed."""
        self.balancer.healths = {key: health for key, health in healths.items() if key in self.balancer.keys}
        self.balancer.orders = dict(orders)
        await self.balancer.prepare()
        self.balancer.start(self.crew.publish)
        self.crew.servings = dict(self.balancer.servings)
        await self.crew.come_up()
        self._ledger.keep(self.balancer.rdatas)
        self._ledger.generations += 1

    async def settled(self) -> None:
        """Wait until every worker answers by all that verdicts and orders have changed up to now."""
        await self.balancer.settled()
        await self.crew.settled()

    async def answer(self) -> None:
        """Wait until every worker has said once more that it listens."""
        self.crew.publish({})
        await self.crew.settled()

    async def stop(self) -> None:
        """Answer what is held, and leave."""
        self.balancer.stop()
        await self.crew.stop()
