"""A forked process and the channel to it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Collection
from contextlib import ExitStack
from functools import partial
from typing import Any

from dnslb.ipc.channel import Channel
from dnslb.parent.fork import fork


class ForkedProcess:
    """It lives from when this is made; what it says is received once it is opened."""

    def __init__(self, work: Callable[[socket.socket], int], kept: Collection[int]) -> None:
        """``work`` gets the other end of the channel; ``kept`` are the descriptors that it needs besides.

        Raises OSError when there is no room for another process.
        """
        with ExitStack() as undo:
            self._sock, theirs = map(undo.enter_context, socket.socketpair())
            # Not the parent's ends of other channels: their processes could not see the parent die.
            self.pid, self._pidfd = fork(partial(work, theirs), [*kept, theirs.fileno()])
            theirs.close()
            undo.pop_all()

    def open(self, receive: Callable[[Any], None], ended: Callable[[int], None]) -> None:
        """From now on ``receive`` gets all that it says.

        ``ended`` gets its exit status, negative for a signal, when it has ended and its last word was received.
        """
        loop = asyncio.get_running_loop()
        self.channel = Channel(receive)
        self._opening = loop.create_task(loop.create_unix_connection(lambda: self.channel, sock=self._sock))
        loop.add_reader(self._pidfd, self._exit, ended)

    def kill(self) -> None:
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _exit(self, ended: Callable[[int], None]) -> None:
        """The process has ended: what it said last is still to be received."""
        asyncio.get_running_loop().remove_reader(self._pidfd)
        self.channel.when_ended(lambda: ended(self._reap()))

    def _reap(self) -> int:
        os.close(self._pidfd)
        self.channel.close()
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)
