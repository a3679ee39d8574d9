"""The parent process: opens the sockets, drops privileges, lives as long as the server.  It never answers a query."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Mapping

from dnslb.dns.name import Name
from dnslb.dns.zone import Zone
from dnslb.serve import privileges, sockets
from dnslb.serve.crew import Crew
from dnslb.serve.sockets import Sockets
from dnslb.settings import Settings

_MOST_BY_DEFAULT = 4


def worker_count(settings: Settings) -> int:
    return settings.workers or min(len(os.sched_getaffinity(0)), _MOST_BY_DEFAULT)


def run(zones: Mapping[Name, Zone], settings: Settings, announce: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; ``announce`` is called once all workers answer.

    Raises CannotListen, CannotDrop or WorkersFailed, with nothing left running.
    """
    shares = sockets.open_all(settings.listen, worker_count(settings))
    if settings.user is not None:
        privileges.drop(settings.user)
    # The zones are never garbage: do not walk them again, here or in any worker.
    gc.collect()
    gc.freeze()
    asyncio.run(_serve(zones, settings, shares, announce))


async def _serve(
    zones: Mapping[Name, Zone], settings: Settings, shares: list[list[Sockets]], announce: Callable[[], None]
) -> None:
    leaving = asyncio.Event()
    for signalled in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signalled, leaving.set)
    crew = Crew(zones, settings, shares, {})
    told = asyncio.create_task(leaving.wait())
    coming = asyncio.create_task(crew.come_up())
    try:
        await asyncio.wait((coming, told), return_when=asyncio.FIRST_COMPLETED)
        if coming.done():
            coming.result()
            announce()
            await told
    finally:
        coming.cancel()
        await crew.stop()
