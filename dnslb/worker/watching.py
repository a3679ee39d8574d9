"""Whether anybody looks at queries: as the settings say, and for as long as somebody asks what is asked most.

Only then is anything done for it: what answers is exchanged for what answers and is looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random

from dnslb.config.settings import Settings
from dnslb.worker.counters import Counters
from dnslb.worker.dnstap_stream import DnstapStream
from dnslb.worker.transaction import Watcher
from dnslb.worker.watchers import DnstapWatcher, QueryLogWatcher, TopCounts, TopWatcher

_LEASE = 15.0  # seconds that queries are counted after somebody has asked


class Watching:
    """Begins as soon as it is made, in the running loop."""

    def __init__(
        self, settings: Settings, query_log: int | None, show: Callable[[Sequence[Watcher]], None], counters: Counters
    ) -> None:
        """``query_log``: the pipe of who writes it.  ``show`` lets watchers look at all queries from now on."""
        self._show = show
        self._always: list[Watcher] = []
        self._stream: DnstapStream | None = None
        self._streaming: asyncio.Task[None] | None = None
        self._top: TopWatcher | None = None  # while somebody asks
        self._end: asyncio.TimerHandle | None = None
        rng, counts = Random(), counters.records
        if settings.dnstap is not None:
            self._stream = DnstapStream(settings.dnstap.socket, counts.dnstap)
            self._streaming = asyncio.get_running_loop().create_task(self._stream.run())
            self._always.append(DnstapWatcher(settings.dnstap, settings.server_id or "", self._stream, rng))
        if settings.query_log is not None and query_log is not None:
            self._always.append(QueryLogWatcher(settings.query_log, query_log, counts.query_log, rng))
        if counters.arrivals.is_wanted:
            self._always.append(counters.arrivals)
        if self._always:
            show(self._always)

    def top(self) -> TopCounts:
        """What was asked most since somebody has begun to ask this."""
        if self._end is not None:
            self._end.cancel()
        self._end = asyncio.get_running_loop().call_later(_LEASE, self._stop_counting)
        if self._top is None:
            self._top = TopWatcher()
            self._show([*self._always, self._top])
        return self._top.report()

    async def close(self) -> None:
        """When nothing is answered any more.  What was written is on its way."""
        if self._end is not None:
            self._end.cancel()
        if self._streaming is not None and self._stream is not None:
            self._streaming.cancel()
            await self._stream.close()

    def _stop_counting(self) -> None:
        self._top = self._end = None
        self._show(self._always)
