"""Long work in an event loop, a little at a time: what must be prompt has its turn in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

_STRETCH = 0.002      # seconds of work without a pause, and what the step then under way takes
_LONGEST_REST = 0.02  # seconds: on a busy machine a stretch may seem longer than it was

_T = TypeVar("_T")


async def gently(work: Iterable[_T]) -> AsyncIterator[list[_T]]:
    """What the work yields, in lists.  After each the loop rests from it for as long as it has taken.

    So a probe, which is a chain of turns of the loop, waits for a stretch or two of the work and not for one in each
    turn, and all such work together leaves half of the time to others.  A step of the work, up to its next yield,
    must be short itself.
    """
    found: list[_T] = []
    began = time.monotonic()
    for one in work:
        found.append(one)
        if time.monotonic() - began >= _STRETCH:
            yield found
            await _rest(began)
            found, began = [], time.monotonic()
    yield found
    await _rest(began)


async def _rest(began: float) -> None:
    await asyncio.sleep(min(time.monotonic() - began, _LONGEST_REST))
