"""Takes a sample of what is served every ten seconds, and keeps the last hour of them in memory.

Never on a disk, and never more than ``MOST_POOLS`` pools: an RRset of three addresses costs 6 KB, all
together 10 MB at most, and a sample of 500 pools 10 ms in small steps.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from itertools import islice

from dnslb.control.timeline import RRsetTimeline, Timeline
from dnslb.dns import rrtype
from dnslb.dns.name import Name
from dnslb.parent.balancer import Balancer
from dnslb.parent.generations import Generations
from dnslb.parent.telling.series import SAMPLES, STRETCH, Counted, RRsetSeries
from dnslb.parent.telling.totals import Totals
from dnslb.system.pace import gently

EVERY = 10.0      # seconds from one sample to the next
MOST_POOLS = 500  # the first ones of the catalog


class Recorder:
    def __init__(self, generations: Generations) -> None:
        self._generations = generations
        self._at = time.time()
        self._queries = Counted(SAMPLES, generations.totals.queries)
        self._series: dict[tuple[Name, int], RRsetSeries] = {}

    async def run(self) -> None:
        """Take the next sample when it is due."""
        await asyncio.sleep(EVERY - time.monotonic() % EVERY)
        await self.sample(time.time())

    async def sample(self, now: float) -> None:
        totals, balancer = self._generations.totals, self._generations.current.balancer
        self._queries.sample(totals.queries)
        self._at = now
        async for _ in gently(self._sample(balancer, totals)):
            pass

    def _sample(self, balancer: Balancer, totals: Totals) -> Iterator[None]:
        before, self._series = self._series, {}
        pools = list(islice(balancer.served.items(), MOST_POOLS))
        wanted = [(owner, version) for owner, pool in pools for version in pool.pool.zone_ttls]
        # All at once: who asks meanwhile must find them.
        self._series = {key: before.get(key) or RRsetSeries() for key in wanted}
        yield
        for owner, pool in pools:
            for version in pool.rrsets:
                series = self._series.get((owner, version))
                if series is not None:
                    series.sample(pool, version, totals.led((owner, rrtype.ADDRESS_TYPES[version])))
            yield

    def timeline(self, owners: Iterable[Name | None]) -> Timeline:
        """Of these pools, as far as they are sampled."""
        pools = self._generations.current.balancer.pools
        return Timeline(
            at=self._at,
            every=EVERY,
            stretch=EVERY * STRETCH,
            queries=self._queries.ring.numbers(),
            rrsets=self._told(owners),
            left_off=max(0, len(pools) - MOST_POOLS),
        )

    def _told(self, owners: Iterable[Name | None]) -> Iterator[RRsetTimeline | None]:
        pools = self._generations.current.balancer.pools
        for owner in owners:
            yield None
            if owner is not None and owner in pools:
                found = ((version, self._series.get((owner, version))) for version in (4, 6))
                yield from (one.told(pools[owner].owner, version) for version, one in found if one is not None)
