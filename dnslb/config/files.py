"""The files of the directory that users edit, and of what came from primaries: which there are, and when they change.

The only place in this room that opens files, or asks the disk for anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeAlias

from dnslb.system import file

SETTINGS = "dnslb.yaml"
ZONE = ".zone"
POLICY = ".yaml"
_LOCK = ".#"  # how the lock files of Emacs begin, which are there while a file is edited

Fingerprint: TypeAlias = frozenset[tuple[str, int, int, int]]


class Files(Protocol):
    """What ``load`` wants to know of the disk.  All raise OSError."""

    def names(self, directory: str) -> list[str]:
        """Of the entries of a directory."""

    def read(self, path: str, most: int) -> bytes:
        """A file of at most so many octets."""

    def read_within(self, path: str, most: int, directories: tuple[str, ...]) -> bytes | None:
        """The same; None when the path leads out of all these directories."""

    def read_secret(self, path: str) -> bytes:
        """A file that nobody else can read."""

    def changed(self, path: str) -> float:
        """The Unix time at which a file was last written, or said to be."""

    def keep(self, candidate: str, path: str) -> None:
        """What was read from the one is what is to be read from the other."""

    def fingerprint(self) -> Fingerprint:
        """Of what was there before it was read; raises nothing."""

    def unfinished(self) -> frozenset[str]:
        """Of the files that were read, those that end in the middle of a line; raises nothing."""


class Disk:
    """The files as they are, and what was there before they were read."""

    def __init__(self, directory: str, sources: frozenset[str] = frozenset()) -> None:
        """``sources`` are those of the last catalog."""
        self._directory = directory
        self._found = fingerprint(directory, sources)
        self._known = {path for path, *_ in self._found} | sources
        self._unfinished: set[str] = set()

    def names(self, directory: str) -> list[str]:
        return os.listdir(directory)

    def read(self, path: str, most: int) -> bytes:
        return self._read(path, most)

    def read_within(self, path: str, most: int, directories: tuple[str, ...]) -> bytes | None:
        if path not in self._known:
            self._known.add(path)
            self._found |= _fingerprints([path])
        return self._read(path, most) if file.is_within(path, directories) else None

    def read_secret(self, path: str) -> bytes:
        if path not in self._known:
            self._known.add(path)
            self._found |= _fingerprints([path])
        return file.read_secret(path)

    def changed(self, path: str) -> float:
        return os.stat(path).st_mtime

    def keep(self, candidate: str, path: str) -> None:
        os.replace(candidate, path)

    def fingerprint(self) -> Fingerprint:
        return self._found

    def unfinished(self) -> frozenset[str]:
        return frozenset(self._unfinished)

    def has_changed(self) -> bool:
        """Whether anything has been edited since: what was read may be half of it."""
        return fingerprint(self._directory, frozenset(self._known)) != self._found

    def _read(self, path: str, most: int) -> bytes:
        octets = file.read(path, most)
        if octets and not octets.endswith(b"\n"):
            self._unfinished.add(path)
        return octets


def fingerprint(directory: str, sources: frozenset[str]) -> Fingerprint:
    """Of every file that ``load`` would read: name, inode, size and time of change.  Another one means an edit.

    The time of change (ctime) also tells of permissions, and of copies that keep the time of the original (rsync).
    ``sources`` are those of the last catalog: they tell of included files.
    """
    with suppress(OSError):
        names = (entry for entry in os.listdir(directory) if entry.endswith((ZONE, POLICY)))
        sources |= {os.path.join(directory, entry) for entry in names if _is_meant(entry)}
    return _fingerprints(sources)


def _fingerprints(sources: Iterable[str]) -> Fingerprint:
    """Of those files that are there."""
    found = set()
    for source in sources:
        with suppress(OSError):
            there = os.stat(source)
            found.add((source, there.st_ino, there.st_size, there.st_ctime_ns))
    return frozenset(found)


class Entries:
    """The directory as it was when we looked."""

    def __init__(self, directory: Path, files: Files) -> None:
        """Raises OSError."""
        self.files = files
        self._paths = sorted(directory / entry for entry in files.names(str(directory)) if _is_meant(entry))

    def named(self, suffix: str) -> list[Path]:
        return [path for path in self._paths if path.suffix == suffix]

    def has(self, entry: str) -> bool:
        return any(path.name == entry for path in self._paths)


def _is_meant(entry: str) -> bool:
    return not entry.startswith(_LOCK)
