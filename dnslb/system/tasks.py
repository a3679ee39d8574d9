"""Ways to run work in an event loop: again and again, and unless something else comes first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress

_PAUSE = 1.0  # seconds after a bug

_log = logging.getLogger("dnslb")


async def again_and_again(work: Callable[[], Coroutine[object, object, None]]) -> None:
    """Do it until cancelled.  A bug in it is logged, and it goes on."""
    while True:
        try:
            await work()
        except Exception:
            _log.exception("a bug in dnslb: please report it")
            await asyncio.sleep(_PAUSE)


async def unless(event: asyncio.Event, work: Coroutine[object, object, None]) -> bool:
    """Whether the work was done; not when the event comes first.  Raises what the work raises."""
    doing, told = asyncio.create_task(work), asyncio.create_task(event.wait())
    await asyncio.wait((doing, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not doing.done():
        doing.cancel()
        with suppress(asyncio.CancelledError):
            await doing
        return False
    doing.result()
    return True
