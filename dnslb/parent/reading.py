"""Reads the directory anew while the server runs.

A child process opens the files, which may take for ever, and makes a catalog of them, which takes as long as there is
to compute.  The catalog comes back in pieces, so that the parent's loop goes on.  No thread would do: workers are
forked at any time, and a fork beside a thread inherits what that holds locked.
"""

from __future__ import annotations

import asyncio
import gc
import pickle
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from dnslb.balance.pool import Pool
from dnslb.config import catalog as catalogs
from dnslb.config.catalog import Catalog, Disk
from dnslb.dns.name import Name
from dnslb.dns.zone import Node, Zone
from dnslb.ipc.channel import packed
from dnslb.parent.child import Child
from dnslb.system import collector
from dnslb.system.pace import gently
from dnslb.text.problem import Problem

_SILENCE = 20.0  # seconds for the disk to give a file
_TRIES = 5       # readings in a row during which something is edited
_PIECE = 200     # names, pools or mistakes in one message
_CHUNK = 1 << 16  # octets of messages that are heard in a row
_LENGTH = 4      # octets, before a message

_T = TypeVar("_T")


class NotAnswered(Exception):
    """The disk, the child that asks it, or somebody who writes there all the time; the text says what for."""


@dataclass(frozen=True, slots=True)
class Reading:
    catalog: Catalog
    problems: list[Problem]


async def read(directory: Path, sources: frozenset[str], settle: float) -> Reading:
    """What is there, once nothing was edited while it was read; ``settle`` are the seconds from one try to the next.

    ``sources`` are those of the last catalog.  Raises NotAnswered.
    """
    # What is frozen is never collected: no garbage may be among it.
    gc.collect()
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            child = Child(partial(_serve, theirs, directory, sources, settle), [theirs.fileno()])
        except OSError as error:
            ours.close()
            raise NotAnswered(f"no process can be started: {(error.strerror or str(error)).lower()}") from None
    stream, writer = await asyncio.open_unix_connection(sock=ours)
    try:
        with collector.paused():
            found = await _received(stream, _Assembly(str(directory)))
            gc.freeze()
            return found
    finally:
        await child.end()
        writer.close()


async def _received(stream: asyncio.StreamReader, assembly: _Assembly) -> Reading:
    received = bytearray()
    while assembly.reading is None:
        try:
            async with asyncio.timeout(_SILENCE if assembly.is_asking else None):
                octets = await stream.read(_CHUNK)
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


# What the child says.


@dataclass(frozen=True, slots=True)
class _Asking:
    """The disk, and who knows when it answers."""

    about: str


@dataclass(frozen=True, slots=True)
class _Answered:
    """It has."""


@dataclass(frozen=True, slots=True)
class _Nodes:
    """Some of the zone that comes next."""

    nodes: list[tuple[Name, Node]]


@dataclass(frozen=True, slots=True)
class _Cuts:
    """Some of the same."""

    cuts: list[Name]


@dataclass(frozen=True, slots=True)
class _Pools:
    pools: list[tuple[Name, Pool]]


@dataclass(frozen=True, slots=True)
class _Problems:
    problems: list[Problem]


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
        match pickle.loads(message):
            case _Asking(about):
                self.about, self.is_asking = about, True
            case _Answered():
                self.is_asking = False
            case _Nodes(nodes):
                self._nodes.update(nodes)
            case _Cuts(cuts):
                self._cuts.update(cuts)
            case Zone() as zone:
                self._zones[zone.apex] = replace(zone, nodes=self._nodes, cuts=frozenset(self._cuts))
                self._nodes, self._cuts = {}, set()
            case _Pools(pools):
                self._pools.update(pools)
            case _Problems(problems):
                self._problems += problems
            case Catalog() as rest:
                self.reading = Reading(replace(rest, zones=self._zones, pools=self._pools), self._problems)
            case None:
                raise NotAnswered(f"the files go on changing while they are read: {_TRIES} times in a row")


# In the child.


class _ReportingDisk(Disk):
    """The disk; says before it is asked for anything, since that may take for ever."""

    def __init__(self, sock: socket.socket, directory: str, sources: frozenset[str]) -> None:
        self._sock = sock
        with self._asking(directory):
            super().__init__(directory, sources)

    def names(self, directory: str) -> list[str]:
        with self._asking(directory):
            return super().names(directory)

    def read(self, path: str, most: int) -> bytes:
        with self._asking(path):
            return super().read(path, most)

    def read_within(self, path: str, most: int, directories: tuple[str, ...]) -> bytes | None:
        with self._asking(path):
            return super().read_within(path, most, directories)

    def read_secret(self, path: str) -> bytes:
        with self._asking(path):
            return super().read_secret(path)

    def has_changed(self) -> bool:
        with self._asking(self._directory):
            return super().has_changed()

    @contextmanager
    def _asking(self, about: str) -> Iterator[None]:
        self._sock.sendall(packed(_Asking(about)))
        try:
            yield
        finally:
            self._sock.sendall(packed(_Answered()))


def _serve(sock: socket.socket, directory: Path, sources: frozenset[str], settle: float) -> int:
    """Read until nobody edits meanwhile, and tell what was read."""
    for _ in range(_TRIES):
        files = _ReportingDisk(sock, str(directory), sources)
        catalog, problems = catalogs.load(directory, files)
        if not files.has_changed():
            break
        time.sleep(settle)
    else:
        sock.sendall(packed(None))
        return 0
    # The parent has no more use for us.
    with suppress(BrokenPipeError, ConnectionResetError):
        for message in _parts(catalog, problems):
            sock.sendall(packed(message))
    return 0


def _parts(catalog: Catalog, problems: list[Problem]) -> Iterator[object]:
    """In pieces that keep the parent's loop for a moment each."""
    for zone in catalog.zones.values():
        yield from map(_Nodes, _pieces(zone.nodes.items()))
        yield from map(_Cuts, _pieces(zone.cuts))
        yield replace(zone, nodes={}, cuts=frozenset())
    yield from map(_Pools, _pieces(catalog.pools.items()))
    yield from map(_Problems, _pieces(problems))
    yield replace(catalog, zones={}, pools={})


def _pieces(members: Iterable[_T]) -> Iterator[list[_T]]:
    those = iter(members)
    while piece := list(islice(those, _PIECE)):
        yield piece
