"""A worker process: one event loop that answers on its own sockets, from one snapshot.

It never opens a file.  It ends when the parent says so, after answering what it holds.  Without a parent it goes on for
a while: another one may take over.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from random import Random

from dnslb.answer.responder import UDP, Identity, Responder, Transport
from dnslb.answer.snapshot import Key, Question, Serving, Snapshot
from dnslb.balance.near import Near
from dnslb.balance.rotation import Stand
from dnslb.config.settings import Settings
from dnslb.dns.name import Name
from dnslb.dns.zone import Zone
from dnslb.ipc.channel import Channel
from dnslb.ipc.passage import Passage
from dnslb.ipc.sockets import Sockets
from dnslb.system.tasks import step_by_step
from dnslb.worker.bugs import Bugs
from dnslb.worker.connections import Connections, Limits
from dnslb.worker.orphan import Orphan
from dnslb.worker.reply_counter import ReplyCounter
from dnslb.worker.selector import AnsweringSelector
from dnslb.worker.tally import Counts, Leads
from dnslb.worker.udp import Batches
from dnslb.worker.vigil import Vigil

READY = 0             # what a worker says to its parent once it answers; later, the number of an update in force
TELL = "tell"         # what the parent says to hear a worker's tally
RECALL = "recall"     # what the parent says to hear what a worker is asked
LEAVE = "leave"       # what the parent says to end a worker; one that only falls silent does not
MAKE_WAY = "make way"  # the same, when another one answers in its place
_MOST_RECALLED = 10_000  # questions, and RRsets that take turns
_PIECE = 500          # of what there is to tell, in one turn of the loop
_ARRIVAL = 0.2        # seconds for the first query of a connection to come in
_HANDING_OVER = 2.0   # seconds for open TCP connections to go over to another worker
_PARTING = 1.0        # seconds without progress for TCP connections to take their last replies; and for the parent

_log = logging.getLogger("dnslb")


@dataclass(frozen=True, slots=True)
class Update:
    """What the parent says to a worker: from now on the pools serve this."""

    number: int  # from 1
    servings: Mapping[Key, Serving]


@dataclass(frozen=True, slots=True)
class Recalled:
    """Some of what a worker is asked, and of where its turns stand."""

    questions: Sequence[Question] = ()
    stands: Mapping[Key, Stand] = field(default_factory=dict)
    is_all: bool = False  # whether nothing comes after it


@dataclass(frozen=True, slots=True)
class Task:
    """All that a worker needs."""

    zones: Mapping[Name, Zone]
    settings: Settings
    share: int  # of how many workers it is one
    sockets: list[Sockets]
    parent: socket.socket
    near: Mapping[Name, Near]        # the clients that pools answer otherwise than others
    servings: Mapping[Key, Serving]  # what the pools serve as it begins
    questions: Sequence[Question]    # to be prepared for
    stands: Mapping[Key, Stand]      # where turns go on
    passage: Passage                 # from the worker before us, and to the one after us
    number: int                      # of the worker, from 0
    listener: socket.socket | None   # where another server can take over from us; None: we do not outlive the parent


def run(task: Task) -> None:
    """The life of a worker, from just after the fork."""
    # What was loaded stays: collecting garbage must not touch, and so copy, the memory shared with the parent.
    gc.freeze()
    gc.enable()  # the parent may be at a reading, and have paused it
    # Nor walk all ready replies, for tens of milliseconds, to find nothing: what is young is looked at, and no more.
    gc.set_threshold(2000, 10, 1 << 30)
    selector = AnsweringSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(_serve(task, selector))


async def _serve(task: Task, selector: AnsweringSelector) -> None:  # noqa: PLR0915 - all that a worker has, and the order in which it lets go of it
    loop = asyncio.get_running_loop()
    leaving, making_way = asyncio.Event(), asyncio.Event()
    settings, bugs = task.settings, Bugs()
    snapshot = Snapshot(task.zones, settings.order, Random(), task.servings, task.near, task.stands)
    snapshot.prepare(task.questions)
    identity = Identity(settings.server_id, settings.server_version)
    over_udp = Responder(snapshot, UDP, identity)
    over_tcp = Responder(snapshot, Transport(limit=0xFFFF, idle=round(settings.tcp_idle * 10)), identity)
    limits = Limits(
        connections=-(-settings.tcp_connections // task.share),
        per_client=-(-settings.tcp_per_client // task.share),
        idle=settings.tcp_idle,
    )
    counter = ReplyCounter()
    connections = Connections(limits, over_tcp.reply, bugs, counter)
    counts = Counts(snapshot, connections, bugs, tcp=counter)
    batches = [
        Batches(pair.udp, over_udp.reply, bugs, counts.udp, len(task.sockets), over_udp.memo) for pair in task.sockets
    ]
    for pair, batch in zip(task.sockets, batches, strict=True):
        selector.add(pair.udp.fileno(), batch.answer)
        connections.listen(pair.tcp)
    connections.succeed(task.passage)

    def hear(said: Update | str) -> None:
        vigil.hear()
        if said == MAKE_WAY:
            making_way.set()
            leaving.set()
        elif said == LEAVE:
            leaving.set()
        elif isinstance(said, Update):
            vigil.note(said.servings)
            # Before the number: the parent knows then by which update each answer was given.
            channel.say(Leads(snapshot.update(said.servings)))
            channel.say(said.number)
        elif said == RECALL:
            step_by_step(recall())
        else:
            step_by_step(tell())

    def tell() -> Iterator[None]:
        channel.say(counts.take())
        turning = snapshot.turning
        for start in range(0, len(turning), _PIECE):
            channel.say(Leads(snapshot.led(turning[start : start + _PIECE])))
            yield

    def recall() -> Iterator[None]:
        questions = snapshot.questions(_MOST_RECALLED)
        while some := list(islice(questions, _PIECE)):
            channel.say(Recalled(some))
            yield
        stands = snapshot.stands(_MOST_RECALLED)
        while places := dict(islice(stands, _PIECE)):
            channel.say(Recalled(stands=places))
            yield
        channel.say(Recalled(is_all=True))

    name = f"worker {task.number + 1} (pid {os.getpid()})"
    vigil = Vigil(name, task.servings, lambda servings: channel.say(Leads(snapshot.update(servings))))
    orphan = Orphan(name, task.listener, settings.orphan_grace, leaving)
    channel = Channel(hear)
    channel.when_ended(partial(orphan.begin, task.sockets, (task.number, task.share)))
    await loop.create_unix_connection(lambda: channel, sock=task.parent)
    channel.say(READY)
    watching = loop.create_task(vigil.keep())
    await leaving.wait()
    watching.cancel()
    if making_way.is_set():
        await connections.leave_to_another(task.passage, _HANDING_OVER)
    await _arrived(connections)
    for pair, batch in zip(task.sockets, batches, strict=True):
        selector.remove(pair.udp.fileno())
        batch.answer()
    await connections.finish(_PARTING)
    for _ in tell():
        pass
    await _told(channel)


async def _arrived(connections: Connections) -> None:
    """Wait for the first queries of those who have just been accepted."""
    await asyncio.sleep(_ARRIVAL / 10)
    if len(connections):
        await asyncio.sleep(_ARRIVAL)


async def _told(channel: Channel) -> None:
    """Say nothing more, and wait until the parent has heard all, if it is there."""
    channel.close()
    with suppress(TimeoutError):
        async with asyncio.timeout(_PARTING):
            await channel.sent()
