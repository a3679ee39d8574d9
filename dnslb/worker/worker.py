"""A worker process: one event loop that answers on its own sockets, from one snapshot.

It never opens a file.  It ends when the parent says so, after answering what it holds.  Without a parent it goes on for
a while: another one may take over.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

from dnslb.answer.snapshot import Question, RRsetKey, Serving, Snapshot
from dnslb.balance.near import Near
from dnslb.balance.rotation import Stand
from dnslb.config.settings import Settings
from dnslb.dns.name import Name
from dnslb.dns.zone import RRset, Zone
from dnslb.ipc.forwarding import Inlet
from dnslb.ipc.sockets import Share
from dnslb.worker.answering import Answering
from dnslb.worker.arrivals import Arrivals
from dnslb.worker.orphan import Orphan
from dnslb.worker.parent_link import ParentLink
from dnslb.worker.selector import AnsweringSelector
from dnslb.worker.watching import Watching


@dataclass(frozen=True, slots=True)
class Content:
    """What a worker answers from as it begins."""

    zones: Mapping[Name, Zone]
    near: Mapping[Name, Near]        # the clients that pools answer otherwise than others
    servings: Mapping[RRsetKey, Serving]  # what the pools serve
    questions: Sequence[Question]    # to be prepared for
    stands: Mapping[RRsetKey, Stand]      # where turns go on
    soas: Mapping[Name, RRset] = field(default_factory=dict)  # of zones whose serial is not the file's, by apex
    counted: Collection[RRsetKey] = ()    # for which is counted how often resolvers ask
    classes: Mapping[bytes, int] | None = None  # of resolvers, by network; None: no answer goes by that


@dataclass(frozen=True, slots=True)
class Assignment:
    """All that a worker is given when it is forked."""

    settings: Settings
    content: Content
    share: Share
    parent: socket.socket
    listener: socket.socket | None   # where another server can take over from us; None: we do not outlive the parent
    transfers: Inlet | None = None   # where what is about transfers goes; None: there are none
    query_log: int | None = None     # the pipe of who writes it
    cookie_secrets: tuple[bytes, ...] = ()  # the first makes cookies


def run(assignment: Assignment) -> None:
    """The life of a worker, from just after the fork."""
    # What was loaded stays: collecting garbage must not touch, and so copy, the memory shared with the parent.
    gc.freeze()
    gc.enable()  # the parent may be at a reading, and have paused it
    # Nor walk all ready replies, for tens of milliseconds, to find nothing: what is young is looked at, and no more.
    gc.set_threshold(2000, 10, 1 << 30)
    selector = AnsweringSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(_serve(assignment, selector))


async def _serve(assignment: Assignment, selector: AnsweringSelector) -> None:
    settings, content, share = assignment.settings, assignment.content, assignment.share
    name = f"worker {share.number + 1} (pid {os.getpid()})"
    snapshot = Snapshot(content.zones, settings.order, Random(), content.servings, content.near, content.stands)
    snapshot.renumber(content.soas)
    snapshot.prepare(content.questions)
    if content.classes is not None:
        snapshot.classes.tell(content.classes)
    transfers, secrets = assignment.transfers, assignment.cookie_secrets
    answering = Answering(share, settings, snapshot, selector, transfers, secrets)
    counters = replace(answering.counters, arrivals=Arrivals(content.counted, Random()))
    watching = Watching(settings, assignment.query_log, answering.show, counters)
    link = ParentLink(name, content.servings, counters, watching.top)
    orphan = Orphan(name, assignment.listener, settings.orphan_grace, link.leaving)
    await link.open(assignment.parent, partial(orphan.begin, share))
    watch = asyncio.get_running_loop().create_task(link.watch())
    await link.leaving.wait()
    watch.cancel()
    if link.hands_over:
        await answering.hand_over()
    await answering.finish()
    await watching.close()
    await link.close()
