"""What is assigned to all workers of a generation: zones, what the pools serve, and what the workers before knew."""

from __future__ import annotations

import logging
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from secrets import token_bytes

from dnslb.answer.snapshot import Question, RRsetKey, Serving
from dnslb.balance.near import Near
from dnslb.balance.rotation import Stand
from dnslb.config.clients import Clients
from dnslb.config.settings import Settings
from dnslb.dns.cookie import SECRET
from dnslb.dns.name import Name
from dnslb.dns.zone import RRset, Zone
from dnslb.ipc.forwarding import Inlet
from dnslb.parent.worker_process import WorkerProcess, WorkerSockets
from dnslb.worker import worker
from dnslb.worker.assignment import Assignment, Content
from dnslb.worker.messages import Classes

_OWN_SECRETS = (token_bytes(SECRET),)  # of this life of the server

_log = logging.getLogger("dnslb")


@dataclass(slots=True, eq=False)
class SharedAssignment:
    """It is forked with each worker, so that they share its memory."""

    zones: Mapping[Name, Zone]
    settings: Settings
    near: Mapping[Name, Near] = field(default_factory=dict)        # the clients that pools answer otherwise than others
    servings: dict[RRsetKey, Serving] = field(default_factory=dict)     # what the pools serve at present
    questions: Sequence[Question] = ()                             # that are asked, to be prepared for
    query_log: int | None = None   # the pipe of who writes it
    soas: dict[Name, RRset] = field(default_factory=dict)          # of zones with the serial of their transfers
    transfers: Inlet | None = None                                 # where requests for these go
    counted: Collection[RRsetKey] = ()                             # for which is counted how often resolvers ask
    classes: Classes | None = None                     # of resolvers; None: no answer goes by that
    clients: Mapping[Name, Clients] = field(default_factory=dict)  # whom zones answer that do not answer all
    cookie_secrets: tuple[bytes, ...] = _OWN_SECRETS
    turns: dict[int, dict[RRsetKey, Stand]] = field(default_factory=dict)  # where they go on, by number of the worker

    def update(
        self, servings: Mapping[RRsetKey, Serving], soas: Mapping[Name, RRset], classes: Classes | None = None
    ) -> None:
        """From now on it is these; None: the classes are as before."""
        self.servings.update(servings)
        self.soas.update(soas)
        self.classes = self.classes if classes is None else classes

    def fork(self, number: int, socks: WorkerSockets) -> WorkerProcess:
        """The worker of that number.  Raises OSError when there is no room for another process."""
        kept = [*socks.descriptors(number), *(self.transfers.descriptors if self.transfers is not None else ())]
        if self.query_log is not None:
            kept.append(self.query_log)
        return WorkerProcess(number, self.settings, partial(self._work, number, socks), kept)

    def _work(self, number: int, socks: WorkerSockets, channel: socket.socket) -> int:
        """In the worker: its whole life.  The exit status."""
        turns = self.turns.get(number, {})
        content = Content(
            self.zones, self.near, self.servings, self.questions, turns, self.soas, self.clients, self.counted,
            self.classes,
        )  # fmt: skip
        share = socks.shares[number]
        assignment = Assignment(
            self.settings, content, share, channel, socks.listener, self.transfers, self.query_log, self.cookie_secrets
        )
        try:
            worker.run(assignment)
        except Exception:
            _log.exception("worker %d failed", number + 1)
            return 1
        return 0

    def let_go(self) -> None:
        """Of what is large: what is frozen is never collected, though only a cycle may hold it."""
        self.zones, self.servings, self.questions = {}, {}, ()
