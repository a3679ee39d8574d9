"""What the server remembers beyond its own life: it keeps the history, and has the state file to save all the rest."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable

from dnslb.control.change import Change, Event
from dnslb.parent.state import State
from dnslb.parent.state_file import StateFile, StateTaken
from dnslb.parent.telling.history import History

_TRY, _TRIES = 0.1, 50  # seconds from one try to have the state directory to the next, and how many

_log = logging.getLogger("dnslb")


class Memory:
    """``tell`` gets every change that is remembered."""

    def __init__(self, file: StateFile, tell: Callable[[Change], None]) -> None:
        self.file = file
        self.began = time.time()  # this life of the server
        self._life = int(1000 * self.began)
        self._history = History(life=self._life)
        self._tell = tell

    @property
    def changes(self) -> tuple[Change, ...]:
        """The last ones, oldest first; also those of earlier lives of the server."""
        return self._history.changes

    @property
    def own_changes(self) -> list[Change]:
        """Those of this life."""
        return [change for change in self.changes if change.at >= self.began]

    def remember(self, change: Change) -> None:
        """And tell of it."""
        self.record(change)
        self._tell(change)

    def record(self, change: Change) -> None:
        """It is in the history, and who follows that hears of it; no hook does."""
        self._history.add(change)
        self.file.save_soon()

    def follow(self, last: str | None) -> AsyncIterator[Event | None]:
        """As ``History.follow``."""
        return self._history.follow(last)

    def recall(self) -> State | None:
        """What an earlier life of the server has left, once; None when it has left nothing."""
        known = self.file.load()
        if known is not None:
            self._history = History(known.history, self._life)
        return known

    async def recall_from_predecessor(self) -> State | None:
        """What the server before us has left, which has just ended: from now on the state directory is ours."""
        for tried in range(_TRIES):
            try:
                self.file.take()
                break
            except StateTaken as error:
                if tried == _TRIES - 1:
                    _log.error("orders and verdicts are not saved: %s", error)
                await asyncio.sleep(_TRY)
        known = self.file.load()
        if known is not None:
            changes = sorted({*known.history, *self.own_changes}, key=lambda change: change.at)
            self._history = History(changes, self._life)
        return known
