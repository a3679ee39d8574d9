"""The workers, kept alive, and told what the pools serve.

They are forked, so that they share the zones' memory.  A worker that dies is replaced on the same sockets: what waits
in them is not lost.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import NoReturn

from dnslb.dns.name import Name
from dnslb.dns.zone import Zone
from dnslb.serve import worker
from dnslb.serve.channel import Channel, packed
from dnslb.serve.ledger import Ledger
from dnslb.serve.sockets import Sockets
from dnslb.serve.tally import Leads, Tally
from dnslb.serve.worker import Recalled, Task, Update
from dnslb.settings import Settings
from dnslb.snapshot import Key, Question, Serving

_PIECE = 100         # RRsets in one update, so that no worker's loop is kept by it for long
_RECALL = 1.0        # seconds for the workers to tell what they are asked
_SHORT_LIFE = 1.0    # seconds: a worker that dies younger is replaced only after a pause
_PAUSE = 1.0         # seconds
_FIRST_READY = 60.0  # seconds for the workers to come up at the start
_ASK = 1.0           # seconds from asking the workers for their tallies to asking again
_SILENCE = 5.0       # seconds without a tally after which a worker is not counted on
_PARTING = 5.0       # seconds for the workers to leave at the end, before they are killed
_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})

_log = logging.getLogger("dnslb")


class WorkersFailed(Exception):
    """No worker came up; the log has said why."""


@dataclass(slots=True, eq=False)
class _Worker:
    """A living worker process."""

    number: int
    pid: int
    pidfd: int
    channel: Channel
    opening: asyncio.Task[object]
    born: float         # by the monotonic clock
    knew: int           # the last update before its birth, by which it answers from the first
    in_force: int = -1  # the last update that it answers by; -1 before it answers at all
    questions: list[Question] = field(default_factory=list)  # what its clients ask
    is_recalled: bool = True  # whether it has told all of them
    heard: float = 0.0  # when it last said something, by the monotonic clock
    is_asked: bool = False  # for its tally, and has not told


class Crew:
    """As many workers as there are shares of sockets."""

    def __init__(
        self, zones: Mapping[Name, Zone], settings: Settings, shares: list[list[Sockets]], ledger: Ledger
    ) -> None:
        self.servings: dict[Key, Serving] = {}   # what workers begin with
        self.questions: Sequence[Question] = ()  # what workers are prepared for from the start
        self._zones = zones
        self._settings = settings
        self._shares = shares
        self._ledger = ledger
        self._serial = ledger.enlist()
        self._workers: dict[int, _Worker] = {}
        self._number = 0                  # of the last update
        self._changed = asyncio.Event()   # set when a worker has said something, or has ended
        self._is_up = False               # whether all of them have answered once
        self._leaving = False
        self._failed = False              # whether a worker ended before all of them answered

    async def come_up(self) -> None:
        """Start all workers and wait until they answer.  Raises WorkersFailed."""
        for number in range(len(self._shares)):
            self._start(number)
        try:
            async with asyncio.timeout(_FIRST_READY):
                await self.in_force(worker.READY)
        except TimeoutError:
            self._failed = True
        if self._failed:
            raise WorkersFailed("the workers do not come up: see the lines above")
        self._is_up = True
        self._ledger.note(self.servings, (self._serial, self._number))
        self._ask()

    @property
    def size(self) -> int:
        """How many workers there should be."""
        return len(self._shares)

    @property
    def pids(self) -> dict[int, int]:
        """Of the living workers, by their numbers from 1."""
        return {alive.number + 1: alive.pid for alive in self._workers.values()}

    @property
    def silent(self) -> list[int]:
        """The numbers of workers that are not known to answer."""
        latest = time.monotonic() - _SILENCE
        known = {number for number, alive in self._workers.items() if alive.in_force >= 0 and alive.heard >= latest}
        return [number + 1 for number in range(len(self._shares)) if number not in known]

    def publish(self, servings: Mapping[Key, Serving]) -> int:
        """From now on the pools serve this.  The number is for ``in_force``."""
        self.servings.update(servings)
        for some in _pieces(servings):
            self._number += 1
            if self._is_up:
                self._ledger.note(some, (self._serial, self._number))
            frame = packed(Update(self._number, some))
            for alive in self._workers.values():
                alive.channel.pass_on(frame)
        return self._number

    async def recall(self) -> list[Question]:
        """What the workers are asked, as far as they tell in time."""
        for alive in self._workers.values():
            alive.questions.clear()
            alive.is_recalled = False
            alive.channel.say(worker.RECALL)
        with suppress(TimeoutError):
            async with asyncio.timeout(_RECALL):
                while not all(alive.is_recalled for alive in self._workers.values()):
                    self._changed.clear()
                    await self._changed.wait()
        return list(dict.fromkeys(question for alive in self._workers.values() for question in alive.questions))

    async def in_force(self, number: int) -> None:
        """Wait until every worker answers by that update or a later one."""
        while not self._failed and any(alive.in_force < number for alive in self._workers.values()):
            self._changed.clear()
            await self._changed.wait()

    async def settled(self) -> None:
        """Wait until every worker answers by all that was published up to now."""
        await self.in_force(self._number)

    async def stop(self) -> None:
        """End all workers: they answer what they hold; who takes too long is killed."""
        self._leaving = True
        for alive in self._workers.values():
            alive.channel.finish()
        deadline = time.monotonic() + _PARTING
        while self._workers:
            await asyncio.sleep(0.005)
            if time.monotonic() > deadline:
                for alive in self._workers.values():
                    signal.pidfd_send_signal(alive.pidfd, signal.SIGKILL)
        # What is frozen is never collected, though only a cycle may hold it: let go of what is large.
        self._zones, self.servings, self.questions = {}, {}, ()

    def _start(self, number: int) -> None:
        """Fork a worker on the sockets of that number."""
        if self._leaving:
            return
        loop = asyncio.get_running_loop()
        try:
            pid, pidfd, ours = self._fork(number)
        except OSError as error:
            if not self._is_up:
                _log.error("worker %d cannot be started: %s", number + 1, error.strerror)
                self._failed = True
                return
            _log.error("worker %d cannot be started: %s; trying again in %g s", number + 1, error.strerror, _PAUSE)
            loop.call_later(_PAUSE, self._start, number)
            return
        channel = Channel(lambda said: self._hear(alive, said))
        opening = loop.create_task(loop.create_unix_connection(lambda: channel, sock=ours))
        alive = _Worker(number, pid, pidfd, channel, opening, time.monotonic(), self._number)
        self._workers[number] = alive
        loop.add_reader(pidfd, self._hear_out, alive)

    def _fork(self, number: int) -> tuple[int, int, socket.socket]:
        """In the parent: the new worker's process, a descriptor of it, and our end of its channel.  Raises OSError."""
        with ExitStack() as undo:
            ours, theirs = map(undo.enter_context, socket.socketpair())
            # A signal between the fork and the worker's own handlers must wait, or it would end up in our wake-up pipe.
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            try:
                pid = os.fork()
                if pid == 0:
                    self._become_worker(number, theirs)
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            try:
                pidfd = os.pidfd_open(pid)
            except OSError:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise
            theirs.close()
            undo.pop_all()
        return pid, pidfd, ours

    def _become_worker(self, number: int, theirs: socket.socket) -> NoReturn:
        """In the child: let go of all that is the parent's, work, and end here."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for meant_for_parent in _SIGNALS:
                # A terminal or a service manager sends them to all of us; a worker leaves when the parent says so.
                signal.signal(meant_for_parent, signal.SIG_IGN)
            share = self._shares[number]
            # Not least the parent's ends of other channels: their workers could not see the parent die.
            kept = [0, 1, 2, theirs.fileno(), *(sock.fileno() for pair in share for sock in (pair.udp, pair.tcp))]
            _close_all_but(kept)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            begin = (self.servings, self.questions)
            worker.run(Task(self._zones, self._settings, len(self._shares), share, theirs, *begin))
            status = 0
        except Exception:
            _log.exception("worker %d failed", number + 1)
        finally:
            os._exit(status)

    def _ask(self) -> None:
        """Ask the workers for their tallies, from now on."""
        if self._leaving:
            return
        for alive in self._workers.values():
            if alive.in_force >= 0 and not alive.is_asked:
                alive.is_asked = True
                alive.channel.say(worker.TELL)
        asyncio.get_running_loop().call_later(_ASK, self._ask)

    def _hear(self, alive: _Worker, said: int | Tally | Leads | Recalled) -> None:
        """Called when a worker says which update it answers by, or tells what it was asked to tell."""
        alive.heard = time.monotonic()
        match said:
            case Tally():
                alive.is_asked = False
                self._ledger.hear(alive.pid, said)
            case Leads():
                self._ledger.credit(said, (self._serial, alive.in_force))
            case Recalled(questions, is_all):
                alive.questions += questions
                alive.is_recalled = is_all
                self._changed.set()
            case number:
                alive.in_force = max(number, alive.knew)
                self._changed.set()

    def _hear_out(self, dead: _Worker) -> None:
        """Called when a worker's process has ended: what it said last is still to be heard."""
        asyncio.get_running_loop().remove_reader(dead.pidfd)
        dead.channel.when_ended(lambda: self._bury(dead))

    def _bury(self, dead: _Worker) -> None:
        """Called when nothing is left of a worker: replace it, unless we are leaving."""
        loop = asyncio.get_running_loop()
        os.close(dead.pidfd)
        dead.channel.close()
        self._ledger.bury(dead.pid)
        _, status = os.waitpid(dead.pid, 0)
        del self._workers[dead.number]
        self._changed.set()
        if self._leaving:
            return
        if not self._is_up:
            _log.error("worker %d (pid %d) %s before it answered", dead.number + 1, dead.pid, _ending(status))
            self._failed = True
            return
        self._ledger.restarts += 1
        pause = _PAUSE if time.monotonic() - dead.born < _SHORT_LIFE else 0.0
        _log.error(
            "worker %d (pid %d) %s; a new one takes over its sockets%s",
            dead.number + 1, dead.pid, _ending(status), f" in {pause:g} s" if pause else "",
        )  # fmt: skip
        loop.call_later(pause, self._start, dead.number)


def _pieces(servings: Mapping[Key, Serving]) -> Iterator[Mapping[Key, Serving]]:
    """Of a bounded size, and one at least."""
    items = list(servings.items())
    for start in range(0, max(1, len(items)), _PIECE):
        yield dict(items[start : start + _PIECE])


def _close_all_but(kept: list[int]) -> None:
    """Close every other file descriptor.  The objects that hold them are frozen with the parent's: nobody uses them."""
    edges = sorted(kept)
    for low, high in zip(edges, [*edges[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
        os.closerange(low + 1, high)


def _ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
