"""A worker process: one event loop that answers on its own sockets, from one snapshot.

It never opens a file: the kernel sees to that.  It ends when the parent says so, after answering what it holds.
Without a parent it goes on for a while: another one may take over.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from dataclasses import replace
from functools import partial
from random import Random

from dnslb.answer.snapshot import Snapshot
from dnslb.system import confinement
from dnslb.worker.answering import Answering
from dnslb.worker.arrivals import Arrivals
from dnslb.worker.assignment import Assignment
from dnslb.worker.orphan import Orphan
from dnslb.worker.parent_link import ParentLink
from dnslb.worker.selector import AnsweringSelector
from dnslb.worker.watching import Watching

_log = logging.getLogger("dnslb")


def run(assignment: Assignment) -> None:
    """The life of a worker, from just after the fork."""
    # What was loaded stays: collecting garbage must not touch, and so copy, the memory shared with the parent.
    gc.freeze()
    gc.enable()  # the parent may be at a reading, and have paused it
    # Nor walk all ready replies, for tens of milliseconds, to find nothing: what is young is looked at, and no more.
    gc.set_threshold(2000, 10, 1 << 30)
    try:
        confinement.confine(connects=assignment.settings.dnstap is not None)
    except OSError as error:
        _log.warning("worker %d may do all that its user may: %s", assignment.share.number + 1, error.strerror)
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
        snapshot.over_udp.marks = snapshot.classes
    answering = Answering(assignment, snapshot, selector)
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
