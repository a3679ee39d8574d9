"""A child process that does one piece of work and ends: what may wait for a disk, so that the parent's loop never does.

It is forked, as Redis does to save: it has all that the parent knows at that moment, whatever changes meanwhile.  No
thread would do, since workers are forked at any time, and a fork beside a thread inherits what that holds locked.

A child that hangs in the kernel cannot be killed at once, but nobody waits for it: it does nothing more before it dies.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import NoReturn

from dnslb.system import prctl

FAILED = 255  # the status of work that raised, which the log tells
_DYING = 1.0  # seconds
_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})

_log = logging.getLogger("dnslb")


class Child:
    """A child at work.  ``ended`` becomes its exit status, negative for a signal."""

    def __init__(self, work: Callable[[], int], kept: Collection[int] = ()) -> None:
        """Fork it.  ``work`` returns the exit status, 0 to 254; of our descriptors it has ``kept`` and the log.

        Raises OSError when there is no room for another process.
        """
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        self._pid = _fork(work, kept)
        try:
            self._pidfd = os.pidfd_open(self._pid)
        except OSError:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            raise
        self._loop.add_reader(self._pidfd, self._reap)

    def kill(self) -> None:
        """Kill it, and do not wait until it is dead."""
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


def _fork(work: Callable[[], int], kept: Collection[int]) -> int:
    """The child's process id."""
    parent = os.getpid()
    # A signal between the fork and the child's own handlers must wait, or it would end up in our wake-up pipe.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            _do(work, kept, parent)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    return pid


def _do(work: Callable[[], int], kept: Collection[int], parent: int) -> NoReturn:
    """In the child: let go of all that is the parent's, work, and end here."""
    status = FAILED
    try:
        # It would walk all that we share with the parent, and so copy it.
        gc.disable()
        os.setsid()
        signal.set_wakeup_fd(-1)
        for meant_for_parent in _SIGNALS:
            signal.signal(meant_for_parent, signal.SIG_IGN)
        close_all_but([0, 1, 2, *kept])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        prctl.die_with_parent(signal.SIGKILL)
        if os.getppid() == parent:
            status = work()
    except BaseException:
        _log.exception("a bug in dnslb: please report it")
    finally:
        os._exit(status)


def close_all_but(kept: Collection[int]) -> None:
    """Close every other file descriptor.  The objects that hold them are the parent's: nobody uses them."""
    edges = sorted(kept)
    for low, high in zip(edges, [*edges[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
        os.closerange(low + 1, high)
