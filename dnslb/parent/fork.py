"""Forks a process for one piece of work.  It lets go of all that is the parent's, does the work, and ends.

No thread would do in its place: workers are forked at any time, and a fork beside a thread inherits what that holds
locked.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Callable, Collection
from typing import NoReturn

FAILED = 255  # the exit status of work that raised, which the log tells

_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2})

_log = logging.getLogger("dnslb")


def fork(work: Callable[[], int], kept: Collection[int]) -> tuple[int, int]:
    """The process id, and a descriptor of the process (pidfd_open(2)).

    ``work`` returns the exit status, 0 to 254; of our descriptors it has ``kept``, and those of standard input,
    output and error.  Raises OSError when there is no room for another process.
    """
    # A signal between the fork and the child's own handlers must wait, or it would end up in our wake-up pipe.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            _live(work, kept)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    try:
        return pid, os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _live(work: Callable[[], int], kept: Collection[int]) -> NoReturn:
    """The life of the child."""
    status = FAILED
    try:
        # It would walk all that we share with the parent, and so copy it.
        gc.disable()
        signal.set_wakeup_fd(-1)
        for meant_for_parent in _SIGNALS:
            # A terminal or a service manager sends them to all of us.
            signal.signal(meant_for_parent, signal.SIG_IGN)
        _close_all_but([0, 1, 2, *kept])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        status = work()
    except BaseException:
        _log.exception("a bug in dnslb: please report it")
    finally:
        os._exit(status)


def _close_all_but(kept: Collection[int]) -> None:
    """Close every other file descriptor.  The objects that hold them are the parent's: nobody uses them."""
    edges = sorted(kept)
    for low, high in zip(edges, [*edges[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
        os.closerange(low + 1, high)
