"""The watch over the files of the directory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from dnslb import catalog
from dnslb.catalog import Fingerprint

_PAUSE = 0.5  # seconds from one look to the next; an edit is read when two looks find the same


class Watch:
    """Notices an edit: something differs from what was read, and has stopped changing.

    ``sources`` are those of the last catalog: they tell of included files.
    """

    def __init__(self, directory: Path, sources: frozenset[str]) -> None:
        self._directory = directory
        self._read: Fingerprint = frozenset()
        self.note(sources)
        self._last = self._read

    def note(self, sources: frozenset[str]) -> None:
        """What is there now, is about to be read."""
        self._read = catalog.fingerprint(str(self._directory), sources)

    async def edit(self, sources: Callable[[], frozenset[str]]) -> None:
        """Wait for the next edit."""
        while True:
            await asyncio.sleep(_PAUSE)
            before, self._last = self._last, catalog.fingerprint(str(self._directory), sources())
            if self._last == before != self._read:
                self._read = self._last
                return
