"""What waits for all of a worker's sockets, and answers those of UDP at once.

An event loop takes longer to come round to a query than the query takes to be answered, when it comes alone.  So what
waits under the loop, its selector, answers, and waits on; the loop hears only of what is not UDP.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable
from time import monotonic

_Ready = list[tuple[selectors.SelectorKey, int]]


class AnsweringSelector(selectors.EpollSelector):
    """For an event loop of asyncio, which gives the sockets of UDP to ``answer``."""

    def __init__(self) -> None:
        super().__init__()
        self._answers: dict[int, Callable[[], None]] = {}

    def add(self, descriptor: int, answer: Callable[[], None]) -> None:
        """Call ``answer`` whenever there is something to read."""
        self._answers[descriptor] = answer
        self.register(descriptor, selectors.EVENT_READ)

    def remove(self, descriptor: int) -> None:
        del self._answers[descriptor]
        self.unregister(descriptor)

    def select(self, timeout: float | None = None) -> _Ready:
        """What is ready besides, as soon as anything is, or the timeout is over."""
        end = None if timeout is None else monotonic() + timeout
        while True:
            ready = super().select(timeout)
            others = []
            for key, events in ready:
                answer = self._answers.get(key.fd)
                if answer is None:
                    others.append((key, events))
                else:
                    answer()
            if others or not ready:
                return others
            if end is not None:
                timeout = end - monotonic()
                if timeout <= 0:
                    return others
