"""A child process that does one piece of work and ends: what may wait for a disk, so that the parent's loop never does.

It is forked, as Redis does to save: it has all that the parent knows at that moment, whatever changes meanwhile.

A child that hangs in the kernel cannot be killed at once, but nobody waits for it: it does nothing more before it dies.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial

from dnslb.parent.fork import FAILED, fork
from dnslb.system import prctl

_DYING = 1.0  # seconds


class Child:
    """A child at work.  ``ended`` becomes its exit status, negative for a signal."""

    def __init__(self, work: Callable[[], int], kept: Collection[int] = ()) -> None:
        """Fork it.  ``work`` returns the exit status, 0 to 254; of our descriptors it has ``kept`` and the log.

        Raises OSError when there is no room for another process.
        """
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        self._pid, self._pidfd = fork(partial(_work, work, os.getpid()), kept)
        self._loop.add_reader(self._pidfd, self._reap)

    def kill(self) -> None:
        """Do not wait until it is dead."""
        if self.ended.done():
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def end(self) -> None:
        """Kill it, and wait until it is dead unless it hangs in the kernel."""
        self.kill()
        await asyncio.wait((self.ended,), timeout=_DYING)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        _, status = os.waitpid(self._pid, 0)
        if not self.ended.done():
            self.ended.set_result(os.waitstatus_to_exitcode(status))


def _work(work: Callable[[], int], parent: int) -> int:
    """In the child: it ends with the parent, and a signal to the parent's group is none for it."""
    os.setsid()
    prctl.die_with_parent(signal.SIGKILL)
    return work() if os.getppid() == parent else FAILED
