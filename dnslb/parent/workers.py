"""The workers, kept alive, and told what the pools serve.

They are forked, so that they share the zones' memory.  A worker that dies is replaced on the same sockets: what waits
in them is not lost.  One that hangs is killed first.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType

from dnslb.answer.snapshot import RRsetKey, Serving
from dnslb.dns.name import Name
from dnslb.dns.zone import RRset
from dnslb.ipc import sockets
from dnslb.ipc.channel import packed
from dnslb.parent.liveness import FIRST_READY, LOOK
from dnslb.parent.shared_assignment import SharedAssignment
from dnslb.parent.telling.totals import Totals
from dnslb.parent.worker_process import Message, WorkerProcess, WorkerSockets
from dnslb.system.usage import usage
from dnslb.worker.messages import (
    READY,
    AskedCounts,
    Classes,
    Counts,
    Instruction,
    LeadCounts,
    Update,
    WorkerState,
    ZoneCounts,
)
from dnslb.worker.watchers import TopCounts

_PIECE = 100       # RRsets in one update, so that no worker's loop is kept by it for long
_RECALL = 1.0      # seconds for the workers to tell what they are asked
_SHORT_LIFE = 1.0  # seconds: a worker that dies younger is replaced only after a pause
_PAUSE = 1.0       # seconds
_ASK = 1.0         # seconds from asking the workers for their counts to asking again
_PARTING = 5.0     # seconds for the workers to leave at the end, before they are killed

_NONE: Mapping[Name, RRset] = MappingProxyType({})

_log = logging.getLogger("dnslb")


class WorkersFailed(Exception):
    """No worker came up; the log has said why."""


class Workers:
    """As many workers as there are shares of sockets.  ``tell_hung`` is told of each that hangs."""

    def __init__(
        self,
        assignment: SharedAssignment,
        socks: WorkerSockets,
        totals: Totals,
        tell_hung: Callable[[str], None] = lambda fact: None,
    ) -> None:
        self._assignment = assignment
        self._socks = socks
        self._totals = totals
        self._tell_hung = tell_hung
        self._serial = totals.next_serial()
        self._workers: dict[int, WorkerProcess] = {}
        self._number = 0                  # of the last update
        self._changed = asyncio.Event()   # set when a worker has said something, or has ended
        self._is_up = False               # whether all of them have answered once
        self._leaving = False
        self._failed = False              # whether a worker ended before all of them answered

    async def come_up(self) -> None:
        """Start all workers and wait until they answer.  Raises WorkersFailed."""
        for number in range(self.size):
            self._start(number)
        self._ask()
        try:
            async with asyncio.timeout(FIRST_READY):
                await self.in_force(READY)
        except TimeoutError:
            self._failed = True
        if self._failed:
            raise WorkersFailed("the workers do not come up: see the lines above")
        self._is_up = True
        self._totals.begin_serving(self._assignment.servings, (self._serial, self._number))
        self._look()

    @property
    def size(self) -> int:
        """How many workers there should be."""
        return len(self._socks.shares)

    @property
    def pids(self) -> dict[int, int]:
        """Of the living workers, by their numbers from 1."""
        return {alive.number + 1: alive.pid for alive in self._workers.values()}

    @property
    def silent(self) -> list[int]:
        """The numbers of workers that are not known to answer; of each of them there is a line in the log."""
        known = {number for number, alive in self._workers.items() if alive.liveness.is_known}
        return [number + 1 for number in range(self.size) if number not in known]

    def publish(
        self, servings: Mapping[RRsetKey, Serving], soas: Mapping[Name, RRset] = _NONE, classes: Classes | None = None
    ) -> int:
        """From now on pools serve this, zones have these SOAs, resolvers these classes.  It is for ``in_force``."""
        self._assignment.update(servings, soas, classes)
        for some in _pieces(servings):
            self._number += 1
            if self._is_up:
                self._totals.begin_serving(some, (self._serial, self._number))
            frame = packed(Update(self._number, some, dict(soas), classes))
            for alive in self._workers.values():
                alive.channel.send_packed(frame)
        return self._number

    async def told(self, wanted: Instruction, is_late: Callable[[WorkerProcess], bool]) -> list[WorkerProcess]:
        """Ask them to tell that; they, once none is late with it, or after a second."""
        for alive in self._workers.values():
            alive.ask(wanted)
        with suppress(TimeoutError):
            async with asyncio.timeout(_RECALL):
                await self._wait_while(is_late)
        return list(self._workers.values())

    async def in_force(self, number: int) -> None:
        """Wait until every worker answers by that update or a later one."""
        await self._wait_while(lambda alive: alive.in_force < number)

    async def _wait_while(self, is_late: Callable[[WorkerProcess], bool]) -> None:
        while not self._failed and any(map(is_late, self._workers.values())):
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
                    alive.kill()
        self._assignment.let_go()

    def _start(self, number: int) -> None:
        """Fork a worker on the sockets of that number."""
        if self._leaving:
            return
        try:
            alive = self._assignment.fork(number, self._socks)
        except OSError as error:
            self._failed = not self._is_up
            then = "" if self._failed else f"; trying again in {_PAUSE:g} s"
            _log.error("worker %d cannot be started: %s%s", number + 1, error.strerror, then)
            if not self._failed:
                asyncio.get_running_loop().call_later(_PAUSE, self._start, number)
            return
        # By the last update before its birth it answers from the first.
        alive.open(partial(self._receive, self._number, alive), partial(self._replace_dead, alive))
        self._workers[number] = alive
        self._assignment.turns.pop(number, None)  # who replaces it would only begin there again

    def _ask(self) -> None:
        """Ask the workers for their counts, from now on."""
        if self._leaving:
            return
        for alive in self._workers.values():
            if alive.liveness.is_up and not alive.liveness.is_asked:
                alive.liveness.is_asked = True
                alive.channel.send(Instruction.REPORT_COUNTS)
        asyncio.get_running_loop().call_later(_ASK, self._ask)

    def _look(self) -> None:
        """Look for workers that hang, and kill them, from now on.

        What they had to say was received before: the loop reads the channels before it comes to its timers.
        """
        if self._leaving:
            return
        now = time.monotonic()
        for alive in self._workers.values():
            if not alive.liveness.is_hanging:
                wait = any(sockets.waiting(pair.tcp) for pair in self._socks.shares[alive.number].sockets)
                fact = alive.liveness.look(now, usage(alive.pid), wait)
                if fact is not None:
                    self._kill(alive, fact)
        asyncio.get_running_loop().call_later(LOOK, self._look)

    def _kill(self, alive: WorkerProcess, fact: str) -> None:
        """Its end makes room for the next."""
        name = alive.liveness.name
        self._totals.hung += 1
        _log.error("%s hangs: %s; it is killed, and a new one takes over its sockets", name, fact)
        alive.kill()
        self._tell_hung(f"{name}: {fact}")

    def _receive(self, knew: int, alive: WorkerProcess, said: Message) -> None:
        """A worker says which update it answers by, or tells what it was asked to tell."""
        alive.liveness.end_silence()
        match said:
            case Counts():
                alive.liveness.take_counts(said)
                self._totals.add_counts(alive.pid, said)
                self._totals.limit_log.add(said.held, time.monotonic())
            case LeadCounts() | ZoneCounts() | AskedCounts():
                self._totals.add(said, (self._serial, alive.in_force), time.monotonic())
            case WorkerState() | TopCounts():
                alive.take_told(said)
                self._changed.set()
            case number:
                alive.in_force = max(number, knew)
                alive.liveness.is_up = True
                self._changed.set()

    def _replace_dead(self, dead: WorkerProcess, status: int) -> None:
        """Nothing is left of a worker: start another, unless we are leaving."""
        self._totals.forget_worker(dead.pid)
        del self._workers[dead.number]
        self._changed.set()
        if self._leaving:
            return
        name = dead.liveness.name
        if not self._is_up:
            _log.error("%s %s before it answered", name, _ending(status))
            self._failed = True
            return
        self._totals.restarts += 1
        pause = _PAUSE if time.monotonic() - dead.born < _SHORT_LIFE else 0.0
        if not dead.liveness.is_hanging:  # that was told
            then = f" in {pause:g} s" if pause else ""
            _log.error("%s %s; a new one takes over its sockets%s", name, _ending(status), then)
        asyncio.get_running_loop().call_later(pause, self._start, dead.number)


def _pieces(servings: Mapping[RRsetKey, Serving]) -> Iterator[Mapping[RRsetKey, Serving]]:
    """Of a bounded size, and one at least."""
    items = list(servings.items())
    for start in range(0, max(1, len(items)), _PIECE):
        yield dict(items[start : start + _PIECE])


def _ending(status: int) -> str:
    if status == -signal.SIGSYS:
        return "was killed by SIGSYS: it began what no worker does; please report it, it may have been broken into"
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
