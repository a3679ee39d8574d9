"""Tells hooks what has changed.  Each has a queue of its own and gets one event at a time.

A hook that hangs or fails disturbs nobody else: it waits in its own task, for a bounded time, with a bounded queue.
Thousands of changes in one moment do not either: their events are made gently, and only those that fit the queues.
What is in the queues when the server ends is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress

from dnslb.config.hook import CommandHook, Hook
from dnslb.control.change import Change
from dnslb.parent.telling.delivery import deliver
from dnslb.system.pace import gently

MOST_WAITING = 1000           # events for one hook; then the oldest are dropped
_PAUSES = (1.0, 5.0, 15.0)    # seconds before a URL is tried again; then the event is given up

_SETTLING = 2.0               # seconds for what a change does to the answers to be worked out

_log = logging.getLogger("dnslb")


async def _at_once() -> None:
    await asyncio.sleep(0)


class Hooks:
    """``encode`` makes the event of a change, by what is served then: when all changes up to then are ``settled``."""

    def __init__(self, encode: Callable[[Change], bytes], settled: Callable[[], Awaitable[object]] = _at_once) -> None:
        self._encode = encode
        self._settled = settled
        self._queues: dict[Hook, _Queue] = {}
        self._left: list[_Queue] = []  # of hooks that are told no more, with events that came before
        self._changes: deque[tuple[Change, dict[Hook, _Queue]]] = deque()  # to be told, and whom
        self._task: asyncio.Task[None] | None = None  # makes events of them; None while there are none

    def replace(self, hooks: Iterable[Hook]) -> None:
        """From now on tell these.  What waits already is still told."""
        old = self._queues
        self._queues = {hook: old[hook] if hook in old else _Queue(hook) for hook in hooks}
        left = (*self._left, *(queue for hook, queue in old.items() if hook not in self._queues))
        self._left = [queue for queue in left if queue.task is not None or self._task is not None]

    def tell(self, change: Change) -> None:
        """Soon: when the balancer has worked out what the change does to the answers."""
        if not self._queues:
            return
        if len(self._changes) == MOST_WAITING:
            _, queues = self._changes.popleft()
            for queue in queues.values():
                queue.drop()
        self._changes.append((change, self._queues))
        if self._task is None:
            self._task = asyncio.create_task(self._make_events())

    async def stop(self) -> None:
        """End what is being told, and forget the rest."""
        queues = (*self._left, *self._queues.values())
        tasks = [task for task in (self._task, *(queue.task for queue in queues)) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make_events(self) -> None:
        try:
            while self._changes:
                changes, self._changes = self._changes, deque()
                # Where changes never end they settle never.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_SETTLING):
                        await self._settled()
                async for _ in gently(self._tell(changes)):
                    pass
        finally:
            self._task = None

    def _tell(self, changes: Iterable[tuple[Change, dict[Hook, _Queue]]]) -> Iterator[None]:
        for change, queues in changes:
            event = self._encode(change)
            for queue in queues.values():
                queue.add(event)
            yield


class _Queue:
    """What one hook is still to be told.  ``task`` tells it; None while there is nothing."""

    def __init__(self, hook: Hook) -> None:
        self.task: asyncio.Task[None] | None = None
        self._hook = hook
        self._events: deque[bytes] = deque()
        self._dropped = 0
        self._failed = 0  # events, since the last that was taken

    def add(self, event: bytes) -> None:
        if len(self._events) == MOST_WAITING:
            self._events.popleft()
            self.drop()
        self._events.append(event)
        if self.task is None:
            self.task = asyncio.create_task(self._tell())

    def drop(self) -> None:
        """One event is not told."""
        self._dropped += 1
        if self._dropped == 1:
            _log.warning("hook %s: %d events wait; the oldest are dropped", self._hook, MOST_WAITING)

    async def _tell(self) -> None:
        try:
            while self._events:
                await self._tell_one(self._events.popleft())
            if self._dropped:
                _log.warning("hook %s: %d events were dropped", self._hook, self._dropped)
                self._dropped = 0
        finally:
            self.task = None

    async def _tell_one(self, event: bytes) -> None:
        """Tell it, and log when a streak of failures begins or ends."""
        reason = await self._failure(event)
        if reason is not None:
            self._failed += 1
            if self._failed == 1:
                _log.warning("hook %s failed: %s; what fails next is not logged until it works", self._hook, reason)
        elif self._failed:
            _log.info("hook %s works again; it has missed %d events", self._hook, self._failed)
            self._failed = 0

    async def _failure(self, event: bytes) -> str | None:
        """Why the event could not be told.  A program is run once: who knows how far it has come."""
        pauses = () if isinstance(self._hook, CommandHook) else _PAUSES
        for pause in (*pauses, None):
            try:
                outcome = await deliver(self._hook, event)
            except Exception:
                _log.exception("a bug in dnslb: please report it with this event: %r", event)
                return "a bug in dnslb"
            if outcome.ok:
                return None
            if pause is not None:
                await asyncio.sleep(pause)
        return outcome.reason
