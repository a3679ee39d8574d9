"""The watch over the files of the directory.

A child process looks, twice a second.  It sees what inotify does not: files on another machine's disk, and a ConfigMap
that is mounted anew.  Thousands of files cost the parent's loop nothing, and a disk that hangs holds up nobody else.
Every reading ends one child and begins another: no old zones are kept in its memory.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from dnslb.config import files
from dnslb.config.files import Fingerprint
from dnslb.config.settings import Settings
from dnslb.parent.child import Child

_PAUSE = 0.5   # seconds from one look to the next, at most
_REST = 20.0   # times as long as a look took: it takes a processor from the workers
_RETRY = 10.0  # seconds until there may be room for a process again
_UNREST = 60.0  # seconds without quiet, until we say so
_SHOWN = 3      # files, in the line of it
_EDITED, _UNCHANGED = 0, 1

_log = logging.getLogger("dnslb")


class Watch:
    """Notices an edit: something differs from what was read, and has stopped changing."""

    def __init__(self, directory: str, sources: frozenset[str], read: Fingerprint) -> None:
        """``sources`` are those of the catalog that has just been read: they tell of included files."""
        self._directory = directory
        self._was_read = asyncio.Event()
        self.expect_edit(read, sources)

    def expect_edit(self, read: Fingerprint, sources: frozenset[str]) -> None:
        """This is what was there when it was read: wait for the next edit."""
        self._read, self._sources, self._is_held = read, sources, False
        self._was_read.set()

    def hold(self, read: Fingerprint, sources: frozenset[str]) -> None:
        """The same, but it was not taken: wait for the next edit, or until it stays as it is."""
        self._read, self._sources, self._is_held = read, sources, True
        self._was_read.set()

    def resume(self) -> None:
        """It could not be read: wait for an edit of what was read before."""
        self._was_read.set()

    @property
    def is_up_to_date(self) -> bool:
        """Whether something was read since the last edit was noticed: the next is noticed against that."""
        return self._was_read.is_set()

    async def edit(self, settings: Callable[[], Settings]) -> Fingerprint | None:
        """Wait for an edit; after it for the next only when it has been read.

        What was held and has not changed for so long that it is meant: its fingerprint comes back.
        """
        while True:
            await self._was_read.wait()
            self._was_read.clear()
            settle, confirm = settings().settle, settings().confirm if self._is_held else None
            try:
                child = Child(partial(_look, self._directory, self._sources, self._read, settle, confirm))
            except OSError as error:
                _log.warning("edits are not noticed: no process can be started: %s", error.strerror)
                await asyncio.sleep(_RETRY)
                self._was_read.set()
                continue
            was_read = asyncio.ensure_future(self._was_read.wait())
            try:
                await asyncio.wait((was_read, child.ended), return_when=asyncio.FIRST_COMPLETED)
                if self._was_read.is_set():
                    continue
            finally:
                was_read.cancel()
                await child.end()
            ended = child.ended.result()
            if ended in {_EDITED, _UNCHANGED}:
                return self._read if ended == _UNCHANGED else None
            # Somebody has killed it.
            await asyncio.sleep(_PAUSE)
            self._was_read.set()


def _look(directory: str, sources: frozenset[str], read: Fingerprint, settle: float, confirm: float | None) -> int:
    """In the child: until there is an edit, or none for the seconds ``confirm``."""
    with suppress(OSError):
        os.nice(19)
    last = read
    since = calm = time.monotonic()  # when it was last seen to change, and not to differ
    while True:
        began = time.monotonic()
        found = files.fingerprint(directory, sources)
        if found == read:
            calm = began
        if found != last:
            if began - calm >= _UNREST:
                _tell_unrest(found ^ last, settle)
                calm = math.inf  # once
            last, since = found, began
        elif last != read and began - since >= settle:
            return _EDITED
        elif last == read and confirm is not None and began - since >= confirm:
            return _UNCHANGED
        time.sleep(max(min(_PAUSE, settle), _REST * (time.monotonic() - began)))


def _tell_unrest(changes: Fingerprint, settle: float) -> None:
    paths = sorted({path for path, *_ in changes})
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    _log.warning(
        "edits are not read: for %g s no file was left alone for %g s; last: %s%s",
        _UNREST, settle, ", ".join(paths[:_SHOWN]), more,
    )  # fmt: skip
