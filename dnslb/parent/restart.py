"""Starts the program that we run anew, as it was called, to take over from us.

It may be a newer version of it.  It is no child to wait for: when it fails, we go on.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path

_TAKEOVER = "--takeover"

_log = logging.getLogger("dnslb")


def start(environment: Mapping[str, str]) -> None:
    """``environment`` is added to ours."""
    arguments = [os.fsdecode(word) for word in Path("/proc/self/cmdline").read_bytes().split(b"\0")[:-1]]
    if _TAKEOVER not in arguments:
        arguments.append(_TAKEOVER)
    try:
        pid = os.posix_spawnp(arguments[0], arguments, {**os.environ, **environment})
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        _log.error("cannot be started anew: %s", error.strerror)
        return
    _log.info("pid %d is started to take over", pid)
    asyncio.get_running_loop().add_reader(pidfd, _note_exit, pid, pidfd)


def _note_exit(pid: int, pidfd: int) -> None:
    """It has ended before we did."""
    asyncio.get_running_loop().remove_reader(pidfd)
    os.close(pidfd)
    _, status = os.waitpid(pid, 0)
    _log.error("pid %d has not taken over: it ended with status %d", pid, os.waitstatus_to_exitcode(status))
