"""When pools are worked out, and how what that changes goes out: in pieces, so that all else has its turn.

A lone change goes out at once; what follows it closely goes out together.  However many pools change, probes and
requests have their turn; and pools whose backends have died come before those that only time changes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from math import inf

from dnslb.answer.served_pool import ServedPool
from dnslb.answer.snapshot import RRsetKey, Serving
from dnslb.dns.name import Name
from dnslb.system import wall_clock

_GATHER = 0.05  # seconds from one publication to the next, unless the pools to be worked out take longer
_TURN = 0.005   # seconds of working out pools in a row


class Publisher:
    """``rest`` is called when nothing urgent is left."""

    def __init__(self, rest: Callable[[], object]) -> None:
        self._rest = rest
        # From the start to the end, and no longer: they hold who holds us, and what is frozen must be in no cycle.
        self._work_out: Callable[[ServedPool], Mapping[RRsetKey, Serving]] | None = None
        self._publish: Callable[[Mapping[RRsetKey, Serving]], object] | None = None
        self._urgent: OrderedDict[Name, ServedPool] = OrderedDict()  # a verdict or an order has changed
        self._due: OrderedDict[Name, ServedPool] = OrderedDict()     # time has changed
        self._clocks: dict[Name, asyncio.TimerHandle] = {}  # until a pool is due
        self._next: asyncio.TimerHandle | asyncio.Handle | None = None  # when we go on
        self._published = -inf             # when anything was, by the loop's clock
        self._settled = asyncio.Event()    # set when nothing urgent is left

    @property
    def is_started(self) -> bool:
        return self._publish is not None

    def start(
        self,
        work_out: Callable[[ServedPool], Mapping[RRsetKey, Serving]],
        publish: Callable[[Mapping[RRsetKey, Serving]], object],
    ) -> None:
        """From now on publish all changes; at once those of pools that have become due since they were worked out.

        ``work_out`` gives what a pool serves otherwise than before.
        """
        self._work_out, self._publish = work_out, publish
        if self._due:
            self._flush()

    def stop(self) -> None:
        self._work_out = self._publish = None
        self._urgent.clear()
        self._settled.set()
        for clock in self._clocks.values():
            clock.cancel()

    def urge(self, pool: ServedPool) -> None:
        """A verdict has changed: work the pool out soon, once for all that changes until then."""
        if self._publish is not None:
            self._gather(self._urgent, pool)

    def publish_now(self, pools: Iterable[ServedPool]) -> None:
        """Work these pools out and publish them before this returns.  If that takes long, the rest follows soon."""
        for pool in pools if self._publish is not None else ():
            self._urgent[pool.owner] = pool
        if self._urgent:
            self._flush()

    def wake(self, pool: ServedPool, seconds: float | None) -> None:
        """Work the pool out after so many seconds because time changes it; None: time alone never does."""
        clock = self._clocks.pop(pool.owner, None)
        if clock is not None:
            clock.cancel()
        if seconds is not None:
            self._clocks[pool.owner] = wall_clock.look_in(seconds, self._gather, self._due, pool)

    def forget(self, pool: ServedPool) -> None:
        """There is another of the same name, which is to be worked out instead."""
        self.wake(pool, None)
        self._due.pop(pool.owner, None)
        self._urgent.pop(pool.owner, None)

    async def settled(self) -> None:
        """Wait until all pools that are urgent now are worked out and published."""
        if self._urgent:
            await self._settled.wait()

    def _gather(self, waiting: OrderedDict[Name, ServedPool], pool: ServedPool) -> None:
        waiting[pool.owner] = pool
        if self._next is None:
            loop = asyncio.get_running_loop()
            left = self._published + _GATHER - loop.time()
            self._next = loop.call_later(left, self._flush) if left > 0 else loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Work out some of the pools that wait, and publish them."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._work_out is None or self._publish is None:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + _TURN
        changes: dict[RRsetKey, Serving] = {}
        while (waiting := self._urgent or self._due) and loop.time() < until:
            _, pool = waiting.popitem(last=False)
            changes |= self._work_out(pool)
        if changes:
            self._publish(changes)
        self._published = loop.time()
        if self._urgent or self._due:
            self._next = loop.call_soon(self._flush)
        if not self._urgent:
            self._rest()
            settled, self._settled = self._settled, asyncio.Event()
            settled.set()
