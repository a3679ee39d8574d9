"""Reads the directory anew while the server runs.

A child process does it.  The catalog comes back in pieces, so that the parent's loop goes on.
"""

from __future__ import annotations

import asyncio
import gc
import pickle
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dnslb.balance.pool import Pool
from dnslb.config.catalog import Catalog
from dnslb.dns.name import Name
from dnslb.dns.zone import Node, Zone
from dnslb.parent import reading_child
from dnslb.parent.child import Child
from dnslb.parent.reading_child import Word
from dnslb.system import collector
from dnslb.system.pace import gently
from dnslb.text.problem import Problem

_SILENCE = 20.0  # seconds for the disk to give a file
_CHUNK = 1 << 16  # octets of messages that are heard in a row
_LENGTH = 4      # octets, before a message


class NotAnswered(Exception):
    """The disk, the child that asks it, or somebody who writes there all the time; the text says what for."""


@dataclass(frozen=True, slots=True)
class Reading:
    catalog: Catalog
    problems: list[Problem]


async def read(directory: Path, state: Path, sources: frozenset[str], settle: float) -> Reading:
    """What is there, once nothing was edited while it was read; ``settle`` are the seconds from one try to the next.

    ``sources`` are those of the last catalog; ``state`` is the state directory.  Raises NotAnswered.
    """
    return await _read(str(directory), lambda sock: reading_child.work(sock, directory, state, sources, settle))


async def receive(was: Catalog, apexes: Sequence[Name]) -> Reading:
    """What has come of these zones: a catalog of those without errors.  Raises NotAnswered."""
    return await _read("what has come", lambda sock: reading_child.receive(sock, was, apexes))


async def _read(about: str, work: Callable[[socket.socket], int]) -> Reading:
    """What a child says that does this work.  Raises NotAnswered."""
    # What is frozen is never collected: no garbage may be among it.
    gc.collect()
    try:
        with ExitStack() as undo:
            ours, theirs = map(undo.enter_context, socket.socketpair())
            child = Child(partial(work, theirs), [theirs.fileno()])
            theirs.close()
            undo.pop_all()
    except OSError as error:
        raise NotAnswered(f"no process can be started: {(error.strerror or str(error)).lower()}") from None
    ours.setblocking(False)
    try:
        with collector.paused():
            found = await _received(ours, _Assembly(about))
            gc.freeze()
            return found
    except MemoryError:
        raise NotAnswered(f"there is no memory for it: {about} was not read") from None
    finally:
        await child.end()
        ours.close()


async def _received(sock: socket.socket, assembly: _Assembly) -> Reading:
    received, loop = bytearray(), asyncio.get_running_loop()
    while assembly.reading is None:
        try:
            async with asyncio.timeout(_SILENCE if assembly.is_asking else None):
                octets = await loop.sock_recv(sock, _CHUNK)
        except TimeoutError:
            about = f"{assembly.about} was not read within {_SILENCE:g} s"
            raise NotAnswered(f"the disk does not answer: {about}") from None
        if not octets:
            raise NotAnswered(f"the process that reads files has ended: {assembly.about} was not read")
        received += octets
        async for _ in gently(map(assembly.receive, _messages(received))):
            pass
    return assembly.reading


def _messages(received: bytearray) -> Iterator[bytes]:
    """Those that are whole, taken from what was received."""
    while len(received) >= (end := _LENGTH + int.from_bytes(received[:_LENGTH])) > _LENGTH:
        message = bytes(received[_LENGTH:end])
        del received[:end]
        yield message


class _Assembly:
    """In the parent: what has come up to now."""

    def __init__(self, directory: str) -> None:
        self.reading: Reading | None = None  # once it is whole
        self.about = directory
        self.is_asking = True
        self._zones: dict[Name, Zone] = {}
        self._pools: dict[Name, Pool] = {}
        self._problems: list[Problem] = []
        self._nodes: dict[Name, Node] = {}
        self._cuts: set[Name] = set()

    def receive(self, message: bytes) -> None:
        """Raises NotAnswered."""
        word, value = pickle.loads(message)
        match word:
            case Word.ASKING:
                self.about, self.is_asking = value, True
            case Word.ANSWERED:
                self.is_asking = False
            case Word.NODES:
                self._nodes.update(value)
            case Word.CUTS:
                self._cuts.update(value)
            case Word.ZONE:
                self._zones[value.apex] = replace(value, nodes=self._nodes, cuts=frozenset(self._cuts))
                self._nodes, self._cuts = {}, set()
            case Word.POOLS:
                self._pools.update(value)
            case Word.PROBLEMS:
                self._problems += value
            case Word.CATALOG:
                self.reading = Reading(replace(value, zones=self._zones, pools=self._pools), self._problems)
            case Word.UNREST:
                raise NotAnswered(f"the files go on changing while they are read: {value} times in a row")
