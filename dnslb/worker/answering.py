"""All sockets of a worker, and what answers on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from time import time
from typing import Any, TypeVar

from dnslb.answer.cookies import Cookies
from dnslb.answer.memo import Memo
from dnslb.answer.resolver_classes import ResolverClasses
from dnslb.answer.responder import UDP, Identity, Responder, Transport
from dnslb.answer.snapshot import Snapshot
from dnslb.balance.near import Networks, merged
from dnslb.config.clients import EVERYBODY
from dnslb.config.settings import Settings
from dnslb.ipc.forwarding import Inlet
from dnslb.ipc.sockets import Share
from dnslb.worker.assignment import Assignment
from dnslb.worker.bugs import Bugs
from dnslb.worker.connection_table import Limits
from dnslb.worker.connections import Connections
from dnslb.worker.counters import Counters
from dnslb.worker.rate_limit import RateLimit
from dnslb.worker.reply_counter import ReplyCounter
from dnslb.worker.screen import Screen
from dnslb.worker.selector import AnsweringSelector
from dnslb.worker.shedding import shed
from dnslb.worker.transaction import Watcher
from dnslb.worker.udp import Batches
from dnslb.worker.watched_batches import WatchedBatches

_ARRIVAL = 0.2        # seconds for the first query of a connection to come in
_AGAIN = 10           # seconds after which the system is told again which packets to drop
_TICK = 0.25          # seconds from one look at the time to the next
_HANDING_OVER = 2.0   # seconds for open TCP connections to go over to another worker
_LAST_REPLIES = 1.0   # seconds without progress for TCP connections to take their last replies

_Batches = TypeVar("_Batches", bound=Batches)


class Answering:
    """Answers as soon as it is made, in the running loop, until ``finish``."""

    def __init__(self, assignment: Assignment, snapshot: Snapshot, selector: AnsweringSelector) -> None:
        """``selector``: of the running loop."""
        settings, share, transfers = assignment.settings, assignment.share, assignment.transfers
        bugs, udp, tcp = Bugs(), ReplyCounter(), ReplyCounter()
        identity = Identity(settings.server_id, settings.server_version)
        cookies = Cookies(assignment.cookie_secrets, int(time()), required=settings.cookies == "required")
        known = None if settings.cookies == "no" else cookies
        over_udp = Responder(snapshot, UDP, identity, known, has_transfers=transfers is not None)
        tcp_transport = Transport(limit=0xFFFF, idle=round(settings.tcp_idle * 10))
        over_tcp = Responder(snapshot, tcp_transport, identity, known, has_transfers=transfers is not None)
        limit = None
        if settings.rate_limit.per_second:
            limit = RateLimit(over_udp, snapshot.zones, settings.rate_limit, share.of, Random())
        respond, memo, recall = over_udp.reply, over_udp.memo, over_tcp.recall
        if settings.clients != EVERYBODY or assignment.content.clients:
            zones = {apex: assignment.content.clients.get(apex) for apex in snapshot.zones}
            screen = Screen(over_udp, settings.clients, zones)
            respond, memo, recall = screen.respond, Memo(), Screen(over_tcp, settings.clients, zones).recall
            if limit is not None:
                limit.answer = respond
        self._udp = [pair.udp for pair in share.sockets]
        self._cookies, self._limit = cookies, limit
        self._flooding: list[bytes] | None = None
        self._batches: Sequence[Batches] = ()
        self._tick()
        self._handover = share.handover
        self._connections = Connections(_limits(share, settings), recall, bugs, tcp)
        self._selector = selector
        if transfers is not None:
            self._connections.transfers = transfers.connections
        self.counters = Counters(snapshot, self._connections, bugs, udp, tcp, limit)
        proxies = merged(settings.proxies) if settings.proxies else None
        self._connections.proxies = proxies
        shared = respond, bugs, udp, len(self._udp), memo
        self._make = partial(_batches, share, shared, transfers, (cookies, limit, proxies, snapshot.over_udp.marks))
        self._answers: list[Callable[[], None]] = []
        self._answer_with(self._make(Batches))
        for pair in share.sockets:
            self._connections.listen(pair.tcp)
        self._connections.take_over_from(share.handover)

    def show(self, watchers: Sequence[Watcher]) -> None:
        """Let these look at all that is answered from now on.  Without any, nothing is done for it."""
        if not self._udp:
            return
        if watchers:
            watched = self._make(WatchedBatches)
            for batches in watched:
                batches.watchers = watchers
            self._answer_with(watched)
        else:
            self._answer_with(self._make(Batches))
        self._connections.show(watchers)

    async def hand_over(self) -> None:
        """Leave the open TCP connections to the worker that answers in our place."""
        await self._connections.hand_over_all(self._handover, _HANDING_OVER)

    async def finish(self) -> None:
        """Answer all queries that have come by now, and then no more."""
        # Those who have just been accepted have sent nothing yet.
        await asyncio.sleep(_ARRIVAL / 10)
        if len(self._connections):
            await asyncio.sleep(_ARRIVAL)
        for sock, answer in zip(self._udp, self._answers, strict=True):
            self._selector.remove(sock.fileno())
            answer()
        self._udp, self._answers = [], []
        await self._connections.finish(_LAST_REPLIES)

    def _tick(self) -> None:
        """Called a few times a second."""
        now = int(time())
        self._cookies.tick(now)
        if self._limit is not None and self._udp:
            self._limit.tick(now, is_crowded=any(batches.is_crowded for batches in self._batches))
            for batches in self._batches:
                batches.is_crowded = False
            self._shed(self._limit.flooding, is_due=now % _AGAIN == 0)
        asyncio.get_running_loop().call_later(_TICK, self._tick)

    def _shed(self, networks: list[bytes], *, is_due: bool) -> None:
        """Have the system drop most that these send.  Now and then anew: another worker may have had the sockets."""
        if is_due or networks != self._flooding:
            self._flooding = networks
            for sock in self._udp:
                with suppress(OSError):  # it is only dearer without
                    shed(sock, networks)

    def _answer_with(self, every: Sequence[Batches]) -> None:
        """From now on these answer, one for each socket."""
        for sock, _ in zip(self._udp, self._answers, strict=False):
            self._selector.remove(sock.fileno())
        self._batches = every
        self._answers = [batches.answer for batches in every]
        for sock, answer in zip(self._udp, self._answers, strict=True):
            self._selector.add(sock.fileno(), answer)


def _batches(
    share: Share,
    shared: tuple[Any, ...],
    transfers: Inlet | None,
    guards: tuple[Cookies, RateLimit | None, Networks | None, ResolverClasses | None],
    kind: type[_Batches],
) -> list[_Batches]:
    """For each socket, with what they have in common."""
    cookies, limit, proxies, classes = guards
    every = [kind(pair.udp, *shared) for pair in share.sockets]
    for pair, batches in zip(share.sockets, every, strict=True):
        batches.cookies, batches.proxies, batches.classes = cookies, proxies, classes
        if limit is not None:
            batches.hold_to(limit)
        if transfers is not None:
            batches.leave = partial(transfers.packets.put, share.endpoints.index(pair.endpoint))
    return every


def _limits(share: Share, settings: Settings) -> Limits:
    return Limits(
        connections=-(-settings.tcp_connections // share.of),
        per_client=-(-settings.tcp_per_client // share.of),
        idle=settings.tcp_idle,
    )
