"""The workers, kept alive, and told what the pools serve.

They are forked, so that they share the zones' memory.  A worker that dies is replaced on the same sockets: what waits
in them is not lost.  One that hangs is killed first.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import NoReturn

from dnslb.answer.snapshot import Key, Question, Serving
from dnslb.balance.near import Near
from dnslb.balance.rotation import Stand
from dnslb.config.settings import Settings
from dnslb.dns.name import Name
from dnslb.dns.zone import Zone
from dnslb.ipc import sockets
from dnslb.ipc.channel import Channel, packed
from dnslb.ipc.handover import Handover
from dnslb.ipc.heartbeat import Heartbeat
from dnslb.ipc.sockets import Share, Sockets
from dnslb.parent.telling.totals import Totals
from dnslb.system.usage import usage
from dnslb.worker import worker
from dnslb.worker.messages import READY, Counts, Instruction, LeadCounts, Update, WorkerState
from dnslb.worker.worker import Assignment, Content

_PIECE = 100         # RRsets in one update, so that no worker's loop is kept by it for long
_RECALL = 1.0        # seconds for the workers to tell what they are asked
_SHORT_LIFE = 1.0    # seconds: a worker that dies younger is replaced only after a pause
_PAUSE = 1.0         # seconds
_FIRST_READY = 60.0  # seconds for the workers to come up at the start
_ASK = 1.0           # seconds from asking the workers for their tallies to asking again
_LOOK = 0.25         # seconds from one look for workers that hang to the next
_DOUBT = 0.5         # of the time after which a silent worker is replaced: from then on it is not counted on
_PARTING = 5.0       # seconds for the workers to leave at the end, before they are killed
_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2})

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
    stands: dict[Key, Stand] = field(default_factory=dict)   # where its turns stand
    is_recalled: bool = True  # whether it has told all of these
    is_asked: bool = False  # for its counts, and has not told
    is_doubted: bool = False  # silent for so long that it is not counted on
    is_killed: bool = False   # because it hung
    stalled: float = 0.0    # seconds that TCP connections have waited for it, and it has accepted none
    has_open: bool = False  # TCP connections, when it last told
    heartbeat: Heartbeat = field(init=False)

    def __post_init__(self) -> None:
        self.heartbeat = Heartbeat(self.born)

    @property
    def name(self) -> str:
        return f"worker {self.number + 1} (pid {self.pid})"


class Workers:
    """As many workers as there are shares of sockets."""

    def __init__(  # noqa: PLR0913, PLR0917 - what workers need, and who is told of those that hang
        self,
        zones: Mapping[Name, Zone],
        settings: Settings,
        shares: list[list[Sockets]],
        totals: Totals,
        tell_hung: Callable[[str], None] = lambda fact: None,
        listener: socket.socket | None = None,  # where another server can take over, also from them
        handovers: Sequence[Handover] = (),  # for connections, from the workers before to those after
    ) -> None:
        self.near: Mapping[Name, Near] = {}      # the clients that pools answer otherwise than others
        self.servings: dict[Key, Serving] = {}   # what workers begin with
        self.questions: Sequence[Question] = ()  # what workers are prepared for from the start
        self.stands: dict[int, dict[Key, Stand]] = {}  # where turns go on, by worker: the first of each number
        self._zones = zones
        self._settings = settings
        self._shares = shares
        self._totals = totals
        self._tell_hung = tell_hung
        self._listener = listener
        self._handovers = handovers or [Handover() for _ in shares]
        self._serial = totals.next_serial()
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
        self._ask()
        try:
            async with asyncio.timeout(_FIRST_READY):
                await self.in_force(READY)
        except TimeoutError:
            self._failed = True
        if self._failed:
            raise WorkersFailed("the workers do not come up: see the lines above")
        self._is_up = True
        self._totals.begin_serving(self.servings, (self._serial, self._number))
        self._look()

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
        """The numbers of workers that are not known to answer; of each of them there is a line in the log."""
        known = {number for number, alive in self._workers.items() if alive.in_force >= 0 and not alive.is_doubted}
        return [number + 1 for number in range(len(self._shares)) if number not in known]

    def publish(self, servings: Mapping[Key, Serving]) -> int:
        """From now on the pools serve this.  The number is for ``in_force``."""
        self.servings.update(servings)
        for some in _pieces(servings):
            self._number += 1
            if self._is_up:
                self._totals.begin_serving(some, (self._serial, self._number))
            frame = packed(Update(self._number, some))
            for alive in self._workers.values():
                alive.channel.send_packed(frame)
        return self._number

    async def recall(self) -> tuple[list[Question], dict[int, dict[Key, Stand]]]:
        """What the workers are asked, and where the turns of each stand, as far as they tell in time."""
        for alive in self._workers.values():
            alive.questions.clear()
            alive.stands = {}
            alive.is_recalled = False
            alive.channel.send(Instruction.REPORT_STATE)
        with suppress(TimeoutError):
            async with asyncio.timeout(_RECALL):
                while not all(alive.is_recalled for alive in self._workers.values()):
                    self._changed.clear()
                    await self._changed.wait()
        questions = dict.fromkeys(question for alive in self._workers.values() for question in alive.questions)
        return list(questions), {number: alive.stands for number, alive in self._workers.items()}

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
        await self._end(Instruction.LEAVE)

    async def make_way(self) -> None:
        """The same, when others answer: open TCP connections go over to them."""
        await self._end(Instruction.HAND_OVER)

    async def _end(self, instruction: Instruction) -> None:
        self._leaving = True
        for alive in self._workers.values():
            alive.channel.send(instruction)
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
        channel = Channel(lambda said: self._receive(alive, said))
        opening = loop.create_task(loop.create_unix_connection(lambda: channel, sock=ours))
        alive = _Worker(number, pid, pidfd, channel, opening, time.monotonic(), self._number)
        self._workers[number] = alive
        self.stands.pop(number, None)  # who replaces it would only begin there again
        loop.add_reader(pidfd, self._drain_channel, alive)

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
            share = Share(number, len(self._shares), self._shares[number], self._handovers[number])
            # Not least the parent's ends of other channels: their workers could not see the parent die.
            answering = [sock.fileno() for pair in share.sockets for sock in (pair.udp, pair.tcp)]
            kept = [0, 1, 2, theirs.fileno(), *answering, *share.handover.descriptors]
            if self._listener is not None:
                kept.append(self._listener.fileno())
            _close_all_but(kept)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            stands = self.stands.get(number, {})
            content = Content(self._zones, self.near, self.servings, self.questions, stands)
            worker.run(Assignment(self._settings, content, share, theirs, self._listener))
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
                alive.channel.send(Instruction.REPORT_COUNTS)
        asyncio.get_running_loop().call_later(_ASK, self._ask)

    def _look(self) -> None:
        """Look for workers that hang, from now on."""
        if self._leaving:
            return
        now = time.monotonic()
        for alive in self._workers.values():
            if not alive.is_killed:
                self._look_at(alive, now)
        asyncio.get_running_loop().call_later(_LOOK, self._look)

    def _look_at(self, alive: _Worker, now: float) -> None:
        """What it had to say was heard before: the loop reads the channels before it comes to its timers."""
        timeout, is_up = self._settings.worker_timeout, alive.in_force >= 0
        if is_up and not alive.is_asked:
            alive.heartbeat.rest(now)
        else:
            alive.heartbeat.look(now, usage(alive.pid))
        silence = alive.heartbeat.silence.seconds
        if is_up and not alive.is_doubted and silence >= _DOUBT * timeout:
            alive.is_doubted = True
            _log.warning("%s has said nothing for %.1f s", alive.name, silence)
        # What it is born with may take it a while.
        has_stopped = alive.heartbeat.has_stopped(timeout) if is_up else alive.heartbeat.idle >= timeout
        if has_stopped or silence >= _FIRST_READY:
            self._replace(alive, f"it has said nothing for {silence:.0f} s")
            return
        share = self._shares[alive.number]
        alive.stalled = alive.stalled + _LOOK if any(sockets.waiting(pair.tcp) for pair in share) else 0.0
        # One that is out of descriptors gets some back when its connections have been idle for too long.
        if is_up and alive.stalled >= timeout + (self._settings.tcp_idle if alive.has_open else 0.0):
            self._replace(alive, f"TCP connections wait, and it has accepted none for {alive.stalled:.0f} s")

    def _replace(self, alive: _Worker, fact: str) -> None:
        """Kill a worker that hangs; its end makes room for the next."""
        alive.is_killed = alive.is_doubted = True
        self._totals.hung += 1
        _log.error("%s hangs: %s; it is killed, and a new one takes over its sockets", alive.name, fact)
        signal.pidfd_send_signal(alive.pidfd, signal.SIGKILL)
        self._tell_hung(f"{alive.name}: {fact}")

    def _receive(self, alive: _Worker, said: int | Counts | LeadCounts | WorkerState) -> None:
        """Called when a worker says which update it answers by, or tells what it was asked to tell."""
        alive.heartbeat.reset()
        if alive.is_doubted and not alive.is_killed:
            alive.is_doubted = False
            _log.info("%s answers again", alive.name)
        match said:
            case Counts():
                alive.is_asked = False
                alive.has_open = said.open > 0
                if said.accepted or said.evicted or said.tcp:
                    alive.stalled = 0.0
                self._totals.add_counts(alive.pid, said)
            case LeadCounts():
                self._totals.add_leads(said, (self._serial, alive.in_force))
            case WorkerState(questions, stands, is_all):
                alive.questions += questions
                alive.stands |= stands
                alive.is_recalled = is_all
                self._changed.set()
            case number:
                alive.in_force = max(number, alive.knew)
                self._changed.set()

    def _drain_channel(self, dead: _Worker) -> None:
        """Called when a worker's process has ended: what it said last is still to be heard."""
        asyncio.get_running_loop().remove_reader(dead.pidfd)
        dead.channel.when_ended(lambda: self._reap(dead))

    def _reap(self, dead: _Worker) -> None:
        """Called when nothing is left of a worker: replace it, unless we are leaving."""
        loop = asyncio.get_running_loop()
        os.close(dead.pidfd)
        dead.channel.close()
        self._totals.forget_worker(dead.pid)
        _, status = os.waitpid(dead.pid, 0)
        del self._workers[dead.number]
        self._changed.set()
        if self._leaving:
            return
        if not self._is_up:
            _log.error("%s %s before it answered", dead.name, _ending(status))
            self._failed = True
            return
        self._totals.restarts += 1
        pause = _PAUSE if time.monotonic() - dead.born < _SHORT_LIFE else 0.0
        if not dead.is_killed:  # that was told
            then = f" in {pause:g} s" if pause else ""
            _log.error("%s %s; a new one takes over its sockets%s", dead.name, _ending(status), then)
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
