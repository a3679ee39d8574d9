"""What updates have changed, on disk: a line for each update, which is there to stay before anybody is told.

A process of its own writes and syncs, so that nothing else waits for the disk; updates that come meanwhile are synced
together.  It begins a file anew whenever it starts, with what stands then.

A line is a JSON object: the zone, how often its serial was raised, and the RRsets that differ from those of the zone
file from then on, as texts of a master file.  Those without difference are as in the file again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from dnslb.dns import name, rdata, rrtype
from dnslb.dns.master.lines import read_lines
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.dns.overlay import Difference, Overlay
from dnslb.ipc.channel import packed
from dnslb.parent.forked_process import ForkedProcess
from dnslb.system import file

NAME = "updates.journal"  # in the state directory
_MODE = 0o640
_READ = 1 << 16
_MOST_LINES = 1000        # of updates, until the file is begun anew

_log = logging.getLogger("dnslb")


class NotWritten(Exception):
    """What was to be kept may be lost; the text says why."""


class Journal:
    """``failed`` is called when what is being written will not be, before anybody hears of it."""

    def __init__(self, path: Path, whole: Callable[[], str], failed: Callable[[], None]) -> None:
        """``whole`` gives the text with which the file begins, all that was acknowledged; in the process."""
        self._path = path
        self._whole = whole
        self._failed = failed
        self._process: ForkedProcess | None = None
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()  # with the octets that must be on disk
        self._octets = self._lines = 0  # given to the process

    def append(self, line: str) -> asyncio.Future[None]:
        """It is done when the line is there to stay, and raises NotWritten when it will not be."""
        told = asyncio.get_running_loop().create_future()
        octets = line.encode()
        if self._lines >= _MOST_LINES and not self._waiting:
            self._dismiss()
        try:
            process = self._process or self._begin()
        except OSError as error:
            self._failed()
            told.set_exception(NotWritten(f"no process can be started: {error.strerror}"))
            return told
        self._octets += len(octets)
        self._lines += 1
        self._waiting.append((self._octets, told))
        process.channel.send_packed(octets)
        return told

    async def stop(self) -> None:
        """Wait for what is being written."""
        if self._waiting:
            await asyncio.wait([told for _, told in self._waiting])
        self._dismiss()

    def _begin(self) -> ForkedProcess:
        """Raises OSError."""
        process = self._process = ForkedProcess(partial(_write_all, self._path, self._whole), [])
        self._octets = self._lines = 0
        process.open(partial(self._hear, process), partial(self._bury, process))
        return process

    def _dismiss(self) -> None:
        if self._process is not None:
            self._process.channel.finish()
            self._process = None

    def _hear(self, process: ForkedProcess, said: int | str) -> None:
        if process is not self._process:
            return
        if isinstance(said, str):
            self._fail(said)
        while self._waiting and isinstance(said, int) and self._waiting[0][0] <= said:
            _, told = self._waiting.popleft()
            if not told.done():
                told.set_result(None)

    def _bury(self, process: ForkedProcess, status: int) -> None:
        if process is self._process:
            self._fail(f"its process ended with status {status}")

    def _fail(self, reason: str) -> None:
        self._process = None
        waiting, self._waiting = self._waiting, deque()
        self._failed()
        _log.error("%s cannot be written: %s; updates are refused until it can", self._path, reason)
        for _, told in waiting:
            if not told.done():
                told.set_exception(NotWritten(reason))


def load(path: Path) -> dict[Name, Overlay]:
    """What was acknowledged.  Lines that cannot be read are left out, which the log tells; nothing is raised."""
    try:
        lines = file.read(path, file.MOST_STATE).decode(errors="replace").split("\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        _log.error("%s cannot be read: %s; zones are served without it", path, error.strerror)
        return {}
    found: dict[Name, Overlay] = {}
    # Behind the last newline there is nothing, or what was being written in a crash: nobody was told of that.
    for number, line in enumerate(lines[:-1], 1):
        try:
            apex, raised, differences = _parse(line)
        except (ValueError, KeyError, TypeError, RecursionError, Mistaken, StopIteration) as error:
            _log.error("%s:%d cannot be read: %r; that update is left out", path, number, error)
        else:
            found[apex] = Overlay(found.get(apex, Overlay()).amended(differences).owners, raised)
    return found


def text(overlays: Mapping[Name, Overlay]) -> str:
    """All of it."""
    return "".join(
        line(apex, one, {(owner, kind): each for owner, kinds in one.owners.items() for kind, each in kinds.items()})
        for apex, one in overlays.items()
    )


def line(apex: Name, overlay: Overlay, differences: Mapping[tuple[Name, int], Difference], by: str = "") -> str:
    """One update, which has led to this overlay."""
    records = [{"name": name.text(owner), **record(kind, one)} for (owner, kind), one in differences.items()]
    return json.dumps({"zone": name.text(apex), "raised": overlay.raised, "by": by, "records": records}) + "\n"


def record(kind: int, one: Difference) -> dict[str, Any]:
    """A difference, as people read it."""
    added, removed = ([rdata.text(kind, octets) for octets in some] for some in (one.added, one.removed))
    return {"type": rrtype.text(kind), "ttl": one.ttl, "added": added, "removed": removed}


def _parse(line: str) -> tuple[Name, int, dict[tuple[Name, int], Difference]]:
    root = json.loads(line)
    return _name(root["zone"]), int(root["raised"]), dict(map(_difference, root["records"]))


def _difference(item: Any) -> tuple[tuple[Name, int], Difference]:
    kind = rrtype.parse(item["type"])
    if kind is None:
        raise ValueError(item["type"])
    added, removed = (tuple(_octets(kind, each) for each in item[key]) for key in ("added", "removed"))
    ttl = None if item["ttl"] is None else int(item["ttl"]) & 0x7FFFFFFF
    return (_name(item["name"]), kind), Difference(ttl, added, removed)


def _octets(kind: int, words: str) -> bytes:
    _, split, _, _ = next(read_lines(f"x {words}".encode("latin-1")))
    return rdata.parse(kind, split[1:], name.ROOT)


def _name(word: str) -> Name:
    return name.fold(name.parse(word, name.ROOT))


def _write_all(path: Path, whole: Callable[[], str], parent: socket.socket) -> int:
    """In the process: tells how many octets are there to stay.  The exit status."""
    try:
        for octets in _written(path, whole().encode(), parent):
            parent.sendall(packed(octets))
    except OSError as error:
        with suppress(OSError):
            parent.sendall(packed((error.strerror or str(error)).lower()))
        return 1
    return 0


def _written(path: Path, whole: bytes, parent: socket.socket) -> Iterator[int]:
    """The octets behind the first ones that are synced, again and again.  Raises OSError."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    _write(descriptor, whole)
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fsync(directory)
    total = 0
    while octets := parent.recv(_READ):
        _write(descriptor, octets)
        total += len(octets)
        yield total


def _write(descriptor: int, octets: bytes) -> None:
    """All of them, to stay.  Raises OSError."""
    left = memoryview(octets)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)
