"""What happens to a server: backends that come and go, orders, edits, reloads, and processes that die or hang."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from dnslb.admin import client
from soaking.world import World

SUSPENDED = 1.0    # seconds
EDIT = 15.0        # seconds within which an edit is noticed without a word
MOST_DOWN = 2      # backends of a pool at once
KILLED = 2.0       # seconds in which queries may be lost because a worker was killed
ORPHANED = 3.0     # seconds without a parent


@dataclass(slots=True)
class Troubles:
    """Makes them, and keeps the model true."""

    world: World
    rng: Random
    done: Counter[str] = field(default_factory=Counter)
    marks: list[tuple[float, str]] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)  # when workers were killed
    refused: list[str] = field(default_factory=list)  # what should have gone well
    # One at a time: an order is no order while the parent is gone.
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def again_and_again(self, what: Callable[[Troubles], Awaitable[None]], pause: float, until: float) -> None:
        """Make that trouble, with such pauses on average, as long as it is allowed."""
        while True:
            await asyncio.sleep(self.rng.uniform(0.5, 1.5) * pause)
            async with self._turn:
                if time.monotonic() >= until:
                    return
                self.marks.append((time.monotonic(), what.__name__))
                try:
                    await what(self)
                except client.Unreachable as error:
                    self.refused.append(f"{what.__name__}: {error}")
                self.done[what.__name__] += 1

    async def expect(self, wanted: int, method: str, target: str, value: object = None) -> bool:
        status, found = await self.world.ask(method, target, value)
        if status != wanted:
            self.refused.append(f"{method} {target} {value}: {status} {found}")
        return status == wanted


async def flap(troubles: Troubles) -> None:
    """A backend dies, or comes back."""
    world, rng = troubles.world, troubles.rng
    pool = world.pools[rng.choice(list(world.pools))]
    address = rng.choice(list(pool))
    lives = pool[address].lives
    if lives.last and sum(not backend.lives.last for backend in pool.values()) >= MOST_DOWN:
        return
    world.flip(address, lives)


async def order(troubles: Troubles) -> None:
    """An operator takes an address out, or lets it in again: the reply comes when that is so."""
    world, rng = troubles.world, troubles.rng
    pool = world.pools[rng.choice(list(world.pools))]
    out = [address for address, backend in pool.items() if not backend.serves.last]
    address = rng.choice(out or list(pool))
    serves, begin = pool[address].serves, time.monotonic()
    mode = "drain" if serves.last else "ready"
    serves.change(not serves.last, begin, begin + EDIT)
    wanted = {"mode": mode, "addresses": [address], "force": mode == "drain"}
    wanted = {key: value for key, value in wanted.items() if value}
    if await troubles.expect(200, "POST", "/orders", wanted):
        serves.confirm(time.monotonic())


async def reload(troubles: Troubles) -> None:
    """An edit, and the word for it."""
    world, begin = troubles.world, time.monotonic()
    world.version.change(world.version.last + 1, begin, begin + EDIT)
    world.write_zone(world.version.last)
    if await troubles.expect(200, "POST", "/reload"):
        world.version.confirm(time.monotonic())


async def edit(troubles: Troubles) -> None:
    """An edit that nobody tells of."""
    world, begin = troubles.world, time.monotonic()
    world.version.change(world.version.last + 1, begin, begin + EDIT)
    world.write_zone(world.version.last)


async def mistake(troubles: Troubles) -> None:
    """An edit with a mistake changes nothing, and is mended."""
    world = troubles.world
    world.write_zone(world.version.last, "broken A 192.0.2.300\n")
    await troubles.expect(409, "POST", "/reload")
    world.write_zone(world.version.last)
    await troubles.expect(200, "POST", "/reload")
    world.version.confirm(time.monotonic())


async def look(troubles: Troubles) -> None:
    """Monitoring, by many ways."""
    for target in ("/status", "/healthz", "/history", "/queries", "/probes", "/lookup/p1.soak.test/A"):
        await troubles.expect(200, "GET", target)


async def kill_worker(troubles: Troubles) -> None:
    workers = [pid for pid, is_worker in troubles.world.children().items() if is_worker]
    if workers:
        troubles.kills.append(time.monotonic())
        with suppress(ProcessLookupError):
            os.kill(troubles.rng.choice(workers), signal.SIGKILL)
        await asyncio.sleep(KILLED)


async def suspend_worker(troubles: Troubles) -> None:
    """For less than makes it be replaced: its queries wait."""
    await _suspend([pid for pid, is_worker in troubles.world.children().items() if is_worker][:1])


async def suspend_parent(troubles: Troubles) -> None:
    troubles.world.begin_blindness()
    await _suspend([troubles.world.parent])
    troubles.world.end_blindness()


async def kill_parent(troubles: Troubles) -> None:
    """Its workers answer on, until the next server has taken over from them."""
    world = troubles.world
    world.begin_blindness()
    world.kill()
    await asyncio.sleep(ORPHANED)
    await world.start()
    world.end_blindness()


async def take_over(troubles: Troubles) -> None:
    """An upgrade: a new server replaces the old one."""
    world = troubles.world
    world.begin_blindness()
    await world.take_over()
    world.end_blindness()


async def _suspend(pids: list[int]) -> None:
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if number == signal.SIGSTOP:
            await asyncio.sleep(SUSPENDED)
