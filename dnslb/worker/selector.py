"""What waits for all of a worker's sockets, and answers those of UDP at once.

An event loop takes longer to come round to a query that comes alone than the query takes to be answered.  So what waits
under the loop, its selector, answers, and waits on; the loop hears of nothing but the other sockets.
"""

from __future__ import annotations

import select
import selectors
from collections.abc import Callable
from time import monotonic

_Ready = list[tuple[selectors.SelectorKey, int]]


class AnsweringSelector(selectors.EpollSelector):
    """For an event loop of asyncio.  The sockets that it answers are waited for apart from those of the loop."""

    def __init__(self) -> None:
        super().__init__()
        self._answers: dict[int, Callable[[], None]] = {}
        self._all = select.epoll()
        self._all.register(self.fileno(), select.EPOLLIN)

    def add(self, descriptor: int, answer: Callable[[], None]) -> None:
        """Call ``answer`` whenever there is something to read."""
        self._answers[descriptor] = answer
        self._all.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        del self._answers[descriptor]
        self._all.unregister(descriptor)

    def select(self, timeout: float | None = None) -> _Ready:
        """What is ready of the loop's sockets, as soon as any is, or the timeout is over."""
        end = None if timeout is None else monotonic() + timeout
        while True:
            is_for_the_loop = False
            for descriptor, _ in self._all.poll(timeout):
                answer = self._answers.get(descriptor)
                if answer is None:
                    is_for_the_loop = True
                else:
                    answer()
            if is_for_the_loop:
                return super().select(0)
            if end is not None:
                timeout = end - monotonic()
                if timeout <= 0:
                    return []

    def close(self) -> None:
        self._all.close()
        super().close()
