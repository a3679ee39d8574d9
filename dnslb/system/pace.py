"""Long work in an event loop, a little at a time: what must be prompt has its turn in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TypeVar
from weakref import WeakKeyDictionary

_STRETCH = 0.002      # seconds of work without a pause, and what the step then under way takes
_LONGEST_REST = 0.02  # seconds: on a busy machine a stretch may seem longer than it was

_END = object()

_T = TypeVar("_T")

# Of each loop.  It goes to those who wait for it in the order in which they came.
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def gently(work: Iterable[_T]) -> AsyncIterator[list[_T]]:
    """What the work yields, in lists.  After each stretch the loop rests from all such work for as long as it took.

    So a probe, which is a chain of turns of the loop, waits for a stretch or two and not for one in each turn, and
    however much such work there is, it leaves half of the time to others.  A step of the work, up to its next yield,
    must be short itself.
    """
    turn = _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    steps, is_over = iter(work), False
    while not is_over:
        async with turn:
            began = time.monotonic()
            found, is_over = _stretch(steps, began + _STRETCH)
            await asyncio.sleep(min(time.monotonic() - began, _LONGEST_REST))
        yield found


def step_by_step(work: Iterator[object]) -> None:
    """Go on with the work once in each turn of the loop, until it ends."""
    if next(work, _END) is not _END:
        asyncio.get_running_loop().call_soon(step_by_step, work)


def _stretch(steps: Iterator[_T], until: float) -> tuple[list[_T], bool]:
    """What they yield until then, and whether that is all."""
    found = []
    for one in steps:
        found.append(one)
        if time.monotonic() >= until:
            return found, False
    return found, True
