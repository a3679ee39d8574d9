"""A worker's connection to its parent: it follows the parent's instructions, and reports what it is asked for.

Reports are sent message by message, and packets are answered in between.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice

from dnslb.answer.snapshot import RRsetKey, Serving, Snapshot
from dnslb.ipc.channel import Channel
from dnslb.system.pace import step_by_step
from dnslb.worker.counters import Counters
from dnslb.worker.messages import READY, Instruction, Update, WorkerState
from dnslb.worker.parent_watch import ParentWatch
from dnslb.worker.watchers import TopCounts

_MOST_REPORTED = 10_000  # questions, and RRsets that take turns
_PIECE = 500             # of them in one message
_LAST_WORDS = 1.0        # seconds for the parent to hear them


class ParentLink:
    """``leaving`` is set once the parent wants us to end; ``hands_over`` says whether another one answers then."""

    def __init__(
        self, name: str, servings: Mapping[RRsetKey, Serving], counters: Counters, top: Callable[[], TopCounts]
    ) -> None:
        """``name`` is the worker's, for the log; ``servings`` are in force already; ``top`` tells what is asked."""
        self.leaving = asyncio.Event()
        self.hands_over = False
        self._counters = counters
        self._top = top
        self._watch = ParentWatch(name, servings, self._put_in_force)
        self._channel = Channel(self._receive)

    async def watch(self) -> None:
        """Watch over the parent until cancelled."""
        await self._watch.run()

    async def open(self, sock: socket.socket, when_ended: Callable[[], None]) -> None:
        """Tell the parent that we answer.  ``when_ended`` is called when no more messages can come from it."""
        self._channel.when_ended(when_ended)
        await asyncio.get_running_loop().create_unix_connection(lambda: self._channel, sock=sock)
        self._channel.send(READY)

    async def close(self) -> None:
        """Send a last report, and wait until the parent has it, if the parent is there."""
        for _ in self._sending(self._counters.report()):
            pass
        self._channel.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._channel.sent()

    def _receive(self, said: Update | Instruction) -> None:
        self._watch.reset()
        match said:
            case Update(number, servings, soas, classes):
                self._watch.record(servings)
                if classes is not None:
                    self._counters.snapshot.classes.tell(classes)
                self._counters.snapshot.renumber(soas)
                # The counts come before the number: so the parent knows by which update each answer was given.
                self._put_in_force(servings)
                self._channel.send(number)
            case Instruction.REPORT_COUNTS:
                step_by_step(self._sending(self._counters.report()))
            case Instruction.REPORT_STATE:
                step_by_step(self._sending(_state(self._counters.snapshot)))
            case Instruction.REPORT_TOP:
                self._channel.send(self._top())
            case Instruction.LEAVE:
                self.leaving.set()
            case Instruction.HAND_OVER:
                self.hands_over = True
                self.leaving.set()

    def _put_in_force(self, servings: Mapping[RRsetKey, Serving]) -> None:
        self._channel.send(self._counters.put_in_force(servings))

    def _sending(self, messages: Iterable[object]) -> Iterator[None]:
        for message in messages:
            self._channel.send(message)
            yield


def _state(snapshot: Snapshot) -> Iterator[WorkerState]:
    questions = snapshot.questions(_MOST_REPORTED)
    while some := list(islice(questions, _PIECE)):
        yield WorkerState(some)
    stands = snapshot.stands(_MOST_REPORTED)
    while pieces := dict(islice(stands, _PIECE)):
        yield WorkerState(stands=pieces)
    yield WorkerState(is_all=True)
