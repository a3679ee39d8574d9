"""The parent process: holds every socket and keeps the workers alive.  It never answers a query.

Workers are forked, so that they share the zones' memory.  A worker that dies is replaced on the same sockets: what
waits in them is not lost.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from dnslb.dns.name import Name
from dnslb.dns.zone import Zone
from dnslb.serve import privileges, sockets, worker
from dnslb.serve.sockets import Sockets
from dnslb.serve.worker import Task
from dnslb.settings import Settings

_MOST_BY_DEFAULT = 4
_SHORT_LIFE = 1.0    # seconds: a worker that dies younger is replaced only after a pause
_PAUSE = 1.0         # seconds
_FIRST_READY = 60.0  # seconds for the workers to come up at the start
_PARTING = 5.0       # seconds for the workers to leave at the end, before they are killed

_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})

_log = logging.getLogger("dnslb")


class WorkersFailed(Exception):
    """No worker came up; the log has said why."""


@dataclass(frozen=True, slots=True)
class _Worker:
    """A living worker process."""

    number: int
    pid: int
    pidfd: int
    channel: socket.socket
    born: float  # by the monotonic clock
    ready: asyncio.Event


def worker_count(settings: Settings) -> int:
    return settings.workers or min(len(os.sched_getaffinity(0)), _MOST_BY_DEFAULT)


def run(zones: Mapping[Name, Zone], settings: Settings, announce: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; ``announce`` is called once all workers answer.

    Raises CannotListen, CannotDrop or WorkersFailed, with nothing left running.
    """
    shares = sockets.open_all(settings.listen, worker_count(settings))
    if settings.user is not None:
        privileges.drop(settings.user)
    # The zones are never garbage: do not walk them again, here or in any worker.
    gc.collect()
    gc.freeze()
    asyncio.run(_Parent(zones, settings, shares).run(announce))


class _Parent:
    def __init__(self, zones: Mapping[Name, Zone], settings: Settings, shares: list[list[Sockets]]) -> None:
        self._zones = zones
        self._settings = settings
        self._shares = shares
        self._workers: dict[int, _Worker] = {}
        self._leaving = asyncio.Event()
        self._announced = False
        self._failed = False  # whether a worker ended before all of them answered

    async def run(self, announce: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        for signalled in _SIGNALS:
            loop.add_signal_handler(signalled, self._leaving.set)
        try:
            for number in range(len(self._shares)):
                self._start(number)
            if await self._come_up():
                announce()
                self._announced = True
                await self._leaving.wait()
        finally:
            await self._stop()

    async def _come_up(self) -> bool:
        """Whether all workers answer; not when we were told to leave first.  Raises WorkersFailed."""
        ready = asyncio.create_task(self._all_ready())
        leaving = asyncio.create_task(self._leaving.wait())
        await asyncio.wait((ready, leaving), timeout=_FIRST_READY, return_when=asyncio.FIRST_COMPLETED)
        up = ready.done()
        ready.cancel()
        leaving.cancel()
        if self._failed or not (up or self._leaving.is_set()):
            raise WorkersFailed("the workers do not come up: see the lines above")
        return up

    async def _all_ready(self) -> None:
        for alive in list(self._workers.values()):
            await alive.ready.wait()

    def _start(self, number: int) -> None:
        """Fork a worker on the sockets of that number."""
        if self._leaving.is_set():
            return
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        # A signal between the fork and the worker's own handlers must wait, or it would end up in our wake-up pipe.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            self._become_worker(number, ours, theirs)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        theirs.close()
        ours.setblocking(False)
        alive = _Worker(number, pid, os.pidfd_open(pid), ours, time.monotonic(), asyncio.Event())
        self._workers[number] = alive
        loop.add_reader(alive.channel, _hear, alive)
        loop.add_reader(alive.pidfd, self._bury, alive)

    def _become_worker(self, number: int, ours: socket.socket, theirs: socket.socket) -> NoReturn:
        """In the child: let go of all that is the parent's, work, and end here."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for meant_for_parent in (*_SIGNALS, signal.SIGHUP):
                # A terminal or a service manager sends them to all of us; a worker leaves when the parent says so.
                signal.signal(meant_for_parent, signal.SIG_IGN)
            # While another worker holds the parent's end of a channel, its worker would not see the parent die.
            ours.close()
            for alive in self._workers.values():
                alive.channel.close()
                os.close(alive.pidfd)
            for other, share in enumerate(self._shares):
                for pair in share if other != number else ():
                    pair.udp.close()
                    pair.tcp.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            worker.run(Task(self._zones, self._settings, len(self._shares), self._shares[number], theirs))
            status = 0
        except Exception:
            _log.exception("worker %d failed", number + 1)
        finally:
            os._exit(status)

    def _bury(self, dead: _Worker) -> None:
        """Called when a worker's process has ended: replace it, unless we are leaving."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(dead.pidfd)
        loop.remove_reader(dead.channel)
        os.close(dead.pidfd)
        dead.channel.close()
        _, status = os.waitpid(dead.pid, 0)
        del self._workers[dead.number]
        if self._leaving.is_set():
            return
        if not self._announced:
            _log.error("worker %d (pid %d) %s before it answered", dead.number + 1, dead.pid, _ending(status))
            self._failed = True
            self._leaving.set()
            return
        pause = _PAUSE if time.monotonic() - dead.born < _SHORT_LIFE else 0.0
        _log.error(
            "worker %d (pid %d) %s; a new one takes over its sockets%s",
            dead.number + 1, dead.pid, _ending(status), f" in {pause:g} s" if pause else "",
        )  # fmt: skip
        loop.call_later(pause, self._start, dead.number)

    async def _stop(self) -> None:
        self._leaving.set()
        for alive in self._workers.values():
            alive.channel.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + _PARTING
        while self._workers:
            await asyncio.sleep(0.005)
            if time.monotonic() > deadline:
                for alive in self._workers.values():
                    signal.pidfd_send_signal(alive.pidfd, signal.SIGKILL)


def _hear(alive: _Worker) -> None:
    """Called when a worker has said something, or has closed its end."""
    if alive.channel.recv(1) == worker.READY:
        alive.ready.set()
    else:
        asyncio.get_running_loop().remove_reader(alive.channel)


def _ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
