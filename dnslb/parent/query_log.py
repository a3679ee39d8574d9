"""The query log: workers put lines into a pipe, and a child writes them to the file, so that no disk is waited for.

A file that was moved away, as logrotate does it, is begun anew within a second.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from dnslb.parent.child import Child

_CAPACITY = 1 << 20  # octets that the pipe holds, if the system gives so many
_READ = 1 << 16
_LOOK = 1.0          # seconds from one look whether the file is still the same to the next
_PAUSE = 1.0         # seconds until a child that has ended is replaced
_PARTING = 2.0       # seconds for the child to write what is left
_MODE = 0o640

_log = logging.getLogger("dnslb")


class QueryLogFile:
    """Written from ``start`` to ``stop``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._child: Child | None = None
        self._read = self._write = -1
        self._is_leaving = False

    def start(self) -> int | None:
        """The pipe for lines; a write to it never waits.  None: the system has none, which the log tells."""
        try:
            self._read, self._write = os.pipe()
        except OSError as error:
            _log.error("query log: no pipe for it: %s; queries are not logged until a reload", error.strerror)
            return None
        os.set_blocking(self._write, False)
        with suppress(OSError):  # there is a bound for all pipes of a user
            fcntl.fcntl(self._write, fcntl.F_SETPIPE_SZ, _CAPACITY)
        self._begin()
        return self._write

    async def stop(self) -> None:
        """To be called when no worker has the pipe any more."""
        self._is_leaving = True
        for end in (self._write, self._read):
            if end >= 0:
                os.close(end)
        if self._child is not None:
            await asyncio.wait((self._child.ended,), timeout=_PARTING)
            await self._child.end()

    def _begin(self) -> None:
        if self._is_leaving:
            return
        try:
            self._child = Child(partial(_write_all, self._read, self._path), [self._read])
        except OSError as error:
            _log.error("query log: no process for it: %s; trying again in %g s", error.strerror, _PAUSE)
            asyncio.get_running_loop().call_later(_PAUSE, self._begin)
        else:
            self._child.ended.add_done_callback(self._replace)

    def _replace(self, ended: asyncio.Future[int]) -> None:
        if not self._is_leaving and not ended.cancelled():
            _log.error("query log: the process that writes it has ended; a new one is started in %g s", _PAUSE)
            asyncio.get_running_loop().call_later(_PAUSE, self._begin)


def _write_all(pipe: int, path: Path) -> int:
    """In the child: until no worker has the pipe any more.  The exit status."""
    file = _File(path)
    while octets := os.read(pipe, _READ):
        file.append(octets)
    return 0


class _File:
    """What cannot be written is lost; the log says once that it is so, and once that it is over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._looked = 0.0
        self._lost = 0  # lines

    def append(self, octets: bytes) -> None:
        try:
            self._open()
            os.write(self._file, octets)
        except OSError as error:
            if not self._lost:
                _log.error(
                    "query log: %s: %s; make it writable for this server's user; queries are lost to it until then",
                    self._path, error.strerror,
                )  # fmt: skip
            self._lost += octets.count(b"\n")
        else:
            if self._lost:
                _log.info("query log: %s is written again; %d lines were lost", self._path, self._lost)
                self._lost = 0

    def _open(self) -> None:
        """Raises OSError."""
        now = time.monotonic()
        if self._file >= 0 and now < self._looked + _LOOK:
            return
        self._looked = now
        if self._file >= 0:
            with suppress(FileNotFoundError):
                if os.path.samestat(self._path.stat(), os.fstat(self._file)):
                    return
            os.close(self._file)
            self._file = -1
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
