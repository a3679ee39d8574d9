"""The process that keeps zones up to date which come from primaries.

It lives as long as there are any.  It has no zone in its memory: what comes goes to a file, line by line, which the
parent reads, checks and answers from as it does with one that somebody has edited.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress

from dnslb.dns.name import Name
from dnslb.dns.zone import Zone
from dnslb.ipc.channel import Channel
from dnslb.transfer import copy_file, tsig
from dnslb.transfer.exchange import Exchange, own_addresses
from dnslb.transfer.follower import Follower, Shared
from dnslb.transfer.messages import Follow, Following, Instruction, Notified, Taken

_NICE = 5        # answering and probing come first
_A_SECOND = 100  # zones that are asked for when the process begins


def run(zones: Iterable[Zone], hosts: Sequence[str], parent: socket.socket) -> None:
    """The life of the process, from just after the fork.  ``parent`` is its end of the channel.

    ``hosts``: the addresses on which we answer.  ``zones`` are the parent's.
    """
    for zone in zones:
        # Of no use here: when the parent has let go of them, they would be kept by nobody but us.
        if isinstance(zone.nodes, dict):
            zone.nodes.clear()
    gc.freeze()
    gc.enable()
    with suppress(OSError):  # a filter for system calls may forbid it, as the one of our unit does
        os.nice(_NICE)
    asyncio.run(_Process(hosts).live(parent))


class _Process:
    """What the parent says, and one follower for each zone."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = hosts
        self._channel = Channel(self._receive)
        self._exchange = Exchange({})
        self._shared = Shared(self._exchange, self._channel.send)
        self._followers: dict[Name, Follower] = {}
        self._tasks: dict[Name, asyncio.Task[None]] = {}
        self._leaving = asyncio.Event()

    async def live(self, parent: socket.socket) -> None:
        await self._exchange.open(own_addresses(self._hosts))
        self._channel.when_ended(self._leaving.set)
        await asyncio.get_running_loop().create_unix_connection(lambda: self._channel, sock=parent)
        await self._leaving.wait()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._exchange.close()
        self._channel.close()

    def _receive(self, said: Follow | Notified | Taken | Instruction) -> None:
        match said:
            case Follow():
                self._follow(said)
            case Notified(apex, by) if apex in self._followers:
                self._followers[apex].notify(by)
            case Taken(apex, error) if apex in self._followers:
                self._followers[apex].decide(error)
            case Instruction.LEAVE:
                self._leaving.set()

    def _follow(self, said: Follow) -> None:
        """These zones, and no others."""
        self._exchange.keys = tsig.keyring(said.keys)
        if not self._followers:
            copy_file.clear(one.candidate for one in said.zones.values())
        for apex in self._followers.keys() - said.zones.keys():
            self._stop(apex)
        for apex, following in said.zones.items():
            old = self._followers.get(apex)
            if old is None or not _is_same(old, following):
                self._stop(apex)
                self._begin(apex, following, len(said.zones))

    def _begin(self, apex: Name, following: Following, of: int) -> None:
        follower = self._followers[apex] = Follower(apex, following, self._shared)
        pause = self._shared.rng.random() * of / _A_SECOND
        task = self._tasks[apex] = asyncio.get_running_loop().create_task(follower.live(pause))
        task.add_done_callback(_raise)

    def _stop(self, apex: Name) -> None:
        follower = self._followers.pop(apex, None)
        if follower is not None:
            follower.stop()
        task = self._tasks.pop(apex, None)
        if task is not None:
            task.cancel()


def _is_same(old: Follower, following: Following) -> bool:
    """Whether it goes on; not when the copy was lost."""
    was = old.following
    is_lost = old.is_holding and not following.is_held
    return (was.primaries, was.path) == (following.primaries, following.path) and not is_lost


def _raise(task: asyncio.Task[None]) -> None:
    """A bug: the process ends, is told of, and replaced."""
    if not task.cancelled() and task.exception() is not None:
        os._exit(1)
