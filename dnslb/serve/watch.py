"""The watch over the files of the directory.

A child process looks, twice a second.  It sees what inotify does not: files on another machine's disk, and a ConfigMap
that is mounted anew.  Thousands of files cost the parent's loop nothing, and a disk that hangs holds up nobody else.
Every reading ends one child and begins another: no old zones are kept in its memory.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from dnslb import catalog
from dnslb.catalog import Fingerprint
from dnslb.serve.errand import Errand

_PAUSE = 0.5   # seconds from one look to the next; an edit is read when two looks find the same
_REST = 20.0   # times as long as a look took: it takes a processor from the workers
_RETRY = 10.0  # seconds until there may be room for a process again

_log = logging.getLogger("dnslb")


class Watch:
    """Notices an edit: something differs from what was read, and has stopped changing."""

    def __init__(self, directory: Path, sources: frozenset[str]) -> None:
        """``sources`` are those of the catalog that has just been read: they tell of included files."""
        self._directory = str(directory)
        self._noted = asyncio.Event()
        self.note(catalog.fingerprint(self._directory, sources), sources)

    def note(self, read: Fingerprint, sources: frozenset[str]) -> None:
        """This is what was there when it was read: wait for the next edit."""
        self._read, self._sources = read, sources
        self._noted.set()

    def resume(self) -> None:
        """It could not be read: wait for an edit of what was read before."""
        self._noted.set()

    async def edit(self) -> None:
        """Wait for an edit; after it for the next only when it has been read."""
        while True:
            await self._noted.wait()
            self._noted.clear()
            try:
                errand = Errand(partial(_look, self._directory, self._sources, self._read))
            except OSError as error:
                _log.warning("edits are not noticed: no process can be started: %s", error.strerror)
                await asyncio.sleep(_RETRY)
                self._noted.set()
                continue
            noted = asyncio.ensure_future(self._noted.wait())
            try:
                await asyncio.wait((noted, errand.ended), return_when=asyncio.FIRST_COMPLETED)
                if self._noted.is_set():
                    continue
            finally:
                noted.cancel()
                await errand.end()
            if errand.ended.result() == 0:
                return
            # Somebody has killed it.
            await asyncio.sleep(_PAUSE)
            self._noted.set()


def _look(directory: str, sources: frozenset[str], read: Fingerprint) -> int:
    """In the child: until there is an edit."""
    with suppress(OSError):
        os.nice(19)
    last = read
    while True:
        began = time.monotonic()
        before, last = last, catalog.fingerprint(directory, sources)
        if last == before != read:
            return 0
        time.sleep(max(_PAUSE, _REST * (time.monotonic() - began)))
