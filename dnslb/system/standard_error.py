"""Standard error, to which nobody waits to write.

Who reads it may stop: a terminal by Ctrl-S, a pager, a collector of logs that hangs.  A server that waited for it would
probe no more.  What does not fit is lost, and counted.  Only a file on a disk that hangs keeps us waiting.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from stat import S_ISCHR, S_ISFIFO, S_ISSOCK

_STDERR = 2


class StandardError:
    """A stream for lines.  ``lost`` is how many could not be written since the last that was."""

    def __init__(self) -> None:
        self.lost = 0
        self._write = _writer()
        self._rest = b""  # of what was taken in part: it must be whole before anything else follows

    def write(self, text: str) -> None:
        octets = text.encode(errors="backslashreplace")
        try:
            if self._rest:
                self._rest = self._rest[self._write(self._rest) :]
            if self._rest:
                raise BlockingIOError
            self._rest = octets[self._write(octets) :]
        except OSError:  # it is full, or nobody reads it any more
            self.lost += 1
        else:
            self.lost = 0

    def flush(self) -> None:
        """Nothing is kept back."""


def _writer() -> Callable[[bytes], int]:
    """What writes at once, or raises OSError.

    Others may have the same terminal or pipe as their standard output: it must not become non-blocking for them.
    """
    mode = os.fstat(_STDERR).st_mode
    if S_ISSOCK(mode):
        sock = socket.socket(fileno=_STDERR)
        return lambda octets: sock.send(octets, socket.MSG_DONTWAIT)
    if S_ISFIFO(mode) or S_ISCHR(mode):
        try:
            ours = os.open(f"/proc/self/fd/{_STDERR}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            # It belongs to another user, who made the pipe for us alone: so do containers.
            if S_ISFIFO(mode):
                os.set_blocking(_STDERR, False)
        else:
            os.dup2(ours, _STDERR)
            os.close(ours)
    return partial(os.write, _STDERR)
