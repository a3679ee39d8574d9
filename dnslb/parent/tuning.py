"""Every few seconds, what is known of hidden load goes to the pools that go by it, and to the workers."""

from __future__ import annotations

import asyncio
import time

from dnslb.answer.hidden_loads import HiddenLoads
from dnslb.dns import rrtype
from dnslb.parent.balancer import Balancer
from dnslb.parent.workers import Workers
from dnslb.system.pace import gently

INTERVAL = 10.0  # seconds


class Tuning:
    """Of one generation, from its start to its end."""

    def __init__(self, loads: HiddenLoads, workers: Workers) -> None:
        self._loads = loads
        self._workers = workers
        self._running: asyncio.Task[None] | None = None

    def start(self, balancer: Balancer) -> None:
        """Nothing is done when no pool has its hidden load counted."""
        counted = balancer.served.counted
        self._loads.keep_only(counted)
        if counted:
            self._running = asyncio.get_running_loop().create_task(self._run(balancer))

    def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()

    async def _run(self, balancer: Balancer) -> None:
        told = self._loads.classes
        while True:
            await asyncio.sleep(INTERVAL)
            async for _ in gently(self._loads.work_out(time.monotonic())):
                pass
            pools = balancer.served.going_by_load
            if pools and self._loads.classes != told:
                told = self._loads.classes
                self._workers.publish({}, classes=told)
            for pool in pools:
                kinds = {version: rrtype.ADDRESS_TYPES[version] for version in pool.pool.zone_ttls}
                crowds = {version: self._loads.crowds((pool.owner, kind)) for version, kind in kinds.items()}
                if crowds != pool.crowds:
                    pool.crowds = crowds
                    balancer.reconsider(pool)
