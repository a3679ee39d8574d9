"""One worker as the parent sees it: its process, the channel to it, and what it has told."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

from dnslb.answer.snapshot import Question, RRsetKey
from dnslb.balance.rotation import Stand
from dnslb.config.settings import Settings
from dnslb.ipc.handover import Handover
from dnslb.ipc.sockets import Share, Sockets
from dnslb.parent.forked_process import ForkedProcess
from dnslb.parent.liveness import Liveness
from dnslb.worker.messages import AskedCounts, Counts, Instruction, LeadCounts, WorkerState, ZoneCounts
from dnslb.worker.watchers import TopCounts

# What a worker says; a number: of the update in force.
Message: TypeAlias = int | Counts | LeadCounts | ZoneCounts | AskedCounts | WorkerState | TopCounts


class WorkerSockets:
    """The sockets that workers inherit.  Every generation of workers has the same."""

    def __init__(self, opened: Sequence[list[Sockets]], listener: socket.socket | None = None) -> None:
        """``listener`` is where another server can take over, also from workers without a parent."""
        self.shares = [Share(number, len(opened), socks, Handover()) for number, socks in enumerate(opened)]
        self.listener = listener

    def descriptors(self, number: int) -> list[int]:
        """Of all that the worker of that number has."""
        share = self.shares[number]
        socks = [sock for pair in share.sockets for sock in (pair.udp, pair.tcp)]
        if self.listener is not None:
            socks.append(self.listener)
        return [*(sock.fileno() for sock in socks), *share.handover.descriptors]


class WorkerProcess(ForkedProcess):
    """A living worker."""

    def __init__(
        self, number: int, settings: Settings, work: Callable[[socket.socket], int], kept: Collection[int]
    ) -> None:
        """Fork it.  ``number`` counts from 0.  Raises OSError when there is no room for another process."""
        self.number = number
        self.born = time.monotonic()
        self.in_force = -1                   # the last update that it answers by; -1 before it answers at all
        self.questions: list[Question] = []  # what its clients ask
        self.stands: dict[RRsetKey, Stand] = {}   # where its turns stand
        self.top: TopCounts | None = None    # what is asked most, once it has told
        self.has_told_state = True           # all of these
        super().__init__(work, kept)
        self.liveness = Liveness(f"worker {number + 1} (pid {self.pid})", settings, self.born)

    def ask(self, wanted: Instruction) -> None:
        """Let it tell anew what it is asked, and where its turns stand; or what it is asked most."""
        if wanted is Instruction.REPORT_TOP:
            self.top = None
        else:
            self.questions, self.stands, self.has_told_state = [], {}, False
        self.channel.send(wanted)

    def take_told(self, said: WorkerState | TopCounts) -> None:
        """It has told that, or some of it."""
        if isinstance(said, TopCounts):
            self.top = said
            return
        self.questions += said.questions
        self.stands |= said.stands
        self.has_told_state = said.is_all
