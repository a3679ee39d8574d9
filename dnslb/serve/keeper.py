"""Keeps the state file: verdicts and orders, from one life of the server to the next."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dnslb import state
from dnslb.balance.admin import Admin, Scope
from dnslb.balance.health import Health
from dnslb.probe.schedule import Key
from dnslb.state import State

_DELAY = 1.0  # seconds from a change to its being saved: verdicts come in bursts

_log = logging.getLogger("dnslb")


class StateTaken(Exception):
    """Another server keeps its state there; the text says what to do."""


class Keeper:
    """One state directory, ours alone once it is taken.  Until then nothing is kept."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / state.NAME
        self._is_taken = False
        self._lock: int | None = None
        self._current: Callable[[], State] = State
        self._timer: asyncio.TimerHandle | None = None

    def take(self) -> None:
        """From now on no other server may use the directory.  Raises StateTaken."""
        if not self._is_taken:
            self._lock = _lock(self._path.parent)
            self._is_taken = True

    def load(self, keys: set[Key]) -> tuple[dict[Key, Health], dict[Scope, Admin]]:
        """The verdicts on these keys, and the orders.

        Only verdicts of being down come back: that a backend was up when nobody looked since is worth nothing.
        """
        if not self._is_taken:
            return {}, {}
        known, warning = state.load(self._path, time.time())
        if warning is not None:
            _log.warning("%s", warning)
        healths = {key: health for key in keys if (health := known.healths.get(state.key(*key))) and not health.up}
        return healths, dict(known.orders)

    def start(self, current: Callable[[], State]) -> None:
        """From now on ``current`` gives what ``save`` writes."""
        self._current = current

    def note(self) -> None:
        """Something has changed: save it soon."""
        if self._is_taken and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY, self.save)

    def save(self) -> None:
        self._timer = None
        if not self._is_taken:
            return
        try:
            state.save(self._path, self._current())
        except OSError as error:
            _log.error("%s cannot be written: %s; verdicts and orders would be lost now", self._path, error.strerror)

    def stop(self) -> None:
        """Save what is unsaved, and let go of the directory."""
        if self._timer is not None:
            self._timer.cancel()
            self.save()
        if self._lock is not None:
            os.close(self._lock)


def _lock(directory: Path) -> int | None:
    """A descriptor that holds the lock; None when the directory cannot be written, which saving will tell."""
    with suppress(OSError):
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    try:
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StateTaken(f"{directory} is in use by another dnslb; stop it, or give --state PATH") from None
    return descriptor
