"""The child process that reads the directory anew, or what has come from primaries.

It says what it finds, and before that what it asks the disk for.

Opening a file may take for ever, and to make a catalog of the files takes as long as there is to compute.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from enum import Enum
from itertools import islice
from pathlib import Path

from dnslb.config import directory as directories
from dnslb.config.catalog import Catalog
from dnslb.config.files import Disk
from dnslb.dns.name import Name
from dnslb.ipc.channel import packed
from dnslb.text.problem import Problem

_TRIES = 5    # readings in a row during which something is edited
_PIECE = 200  # names, pools or mistakes in one message


class Word(Enum):
    """What the child says first; the value follows."""

    ASKING = "asking"      # the path: the disk is asked, and who knows when it answers
    ANSWERED = "answered"  # nothing: it has
    NODES = "nodes"        # some of the zone that comes next
    CUTS = "cuts"          # the same
    ZONE = "zone"          # without these
    POOLS = "pools"        # some of them
    PROBLEMS = "problems"  # the same
    CATALOG = "catalog"    # without zones and pools: all was said
    UNREST = "unrest"      # how many times in a row something was edited meanwhile


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

    def changed(self, path: str) -> float:
        with self._asking(path):
            return super().changed(path)

    def keep(self, candidate: str, path: str) -> None:
        with self._asking(path):
            super().keep(candidate, path)

    def has_changed(self) -> bool:
        with self._asking(self._directory):
            return super().has_changed()

    @contextmanager
    def _asking(self, about: str) -> Iterator[None]:
        self._sock.sendall(packed((Word.ASKING, about)))
        try:
            yield
        finally:
            self._sock.sendall(packed((Word.ANSWERED, None)))


def work(sock: socket.socket, directory: Path, state: Path, sources: frozenset[str], settle: float) -> int:
    """Read until nobody edits meanwhile, and say what was read; the exit status."""
    for _ in range(_TRIES):
        files = _ReportingDisk(sock, str(directory), sources)
        catalog, problems = directories.load(directory, files, state)
        if not files.has_changed():
            break
        time.sleep(settle)
    else:
        sock.sendall(packed((Word.UNREST, _TRIES)))
        return 0
    _tell(sock, catalog.at(time.time()), problems)
    return 0


def receive(sock: socket.socket, was: Catalog, apexes: Sequence[Name]) -> int:
    """Read what has come of these zones, and say what was read; the exit status."""
    _tell(sock, *directories.receive(was, apexes, _ReportingDisk(sock, "", frozenset())))
    return 0


def _tell(sock: socket.socket, catalog: Catalog, problems: list[Problem]) -> None:
    # The parent may have no more use for us.
    with suppress(BrokenPipeError, ConnectionResetError):
        for message in _parts(catalog, problems):
            sock.sendall(packed(message))


def _parts(catalog: Catalog, problems: list[Problem]) -> Iterator[tuple[Word, object]]:
    """Small enough to keep the parent's loop for a moment each."""
    for zone in catalog.zones.values():
        yield from _pieces(Word.NODES, zone.nodes.items())
        yield from _pieces(Word.CUTS, zone.cuts)
        yield Word.ZONE, replace(zone, nodes={}, cuts=frozenset())
    yield from _pieces(Word.POOLS, catalog.pools.items())
    yield from _pieces(Word.PROBLEMS, problems)
    yield Word.CATALOG, replace(catalog, zones={}, pools={})


def _pieces(word: Word, members: Iterable[object]) -> Iterator[tuple[Word, object]]:
    those = iter(members)
    while piece := list(islice(those, _PIECE)):
        yield word, piece
