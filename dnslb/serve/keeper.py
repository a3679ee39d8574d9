"""Keeps the state file: orders, verdicts and history, from one life of the server to the next."""

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
from dnslb.state import State

_DELAY = 1.0   # seconds from a change to its being saved: verdicts come in bursts
_REST = 20.0   # times as long as a save took, only orders are saved: probes must go on, however slow the disk
_RETRY = 10.0  # seconds from a save that failed to the next

_log = logging.getLogger("dnslb")


class StateTaken(Exception):
    """Another server keeps its state there; the text says what to do."""


class Keeper:
    """One state directory, ours alone once it is taken.  Until then nothing is kept."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / state.NAME
        self._is_taken = False
        self._is_loaded = False
        self._is_borrowed = False
        self._lock: int | None = None
        self._current: Callable[[], State] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._took = 0.0  # seconds, for the last save
        self._is_failing = False

    def take(self) -> None:
        """From now on no other server may use the directory.  Raises StateTaken."""
        if not self._is_taken:
            self._lock = _lock(self._path.parent)
            self._is_taken = True
            self._is_loaded &= not self._is_borrowed

    def borrow(self) -> None:
        """Another server has the directory still, and we are about to take over from it: load what it has saved.

        Once the directory is ours, all can be loaded again.
        """
        self._is_borrowed = True

    def load(self) -> State | None:
        """What an earlier life of the server has left; None when nothing is kept, or all of it was loaded before."""
        if not (self._is_taken or self._is_borrowed) or self._is_loaded:
            return None
        self._is_loaded = True
        known, warning = state.load(self._path, time.time())
        if warning is not None:
            _log.warning("%s", warning)
        return known

    def start(self, current: Callable[[], State]) -> None:
        """From now on ``current`` gives what is to be saved.  Until then the old state must not be overwritten."""
        self._current = current

    def note(self) -> None:
        """Something has changed: save it soon."""
        if self._is_taken and self._current is not None and self._timer is None:
            delay = max(_DELAY, _REST * self._took)
            self._timer = asyncio.get_running_loop().call_later(delay, self.save)

    def save(self) -> str | None:
        """Save now.  What fails is tried again until it does not; the warning is for who gave an order.

        Waits for the disk: with 10,000 backends a save takes 0.1 s.
        """
        self._cancel()
        if not self._is_taken or self._current is None:
            return None
        warning = self._write(self._current())
        if warning is not None:
            self._timer = asyncio.get_running_loop().call_later(_RETRY, self.save)
        return warning

    def stop(self) -> None:
        """Save what is unsaved, and let go of the directory."""
        if self._timer is not None and self._current is not None:
            self._cancel()
            self._write(self._current())
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self._is_taken = False

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write(self, current: State) -> str | None:
        """What is wrong, which is logged when it begins and when it ends."""
        began = time.monotonic()
        warning = None
        try:
            state.save(self._path, current)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            warning = f"{self._path} cannot be written: {reason}; orders, verdicts and history would be lost now"
        self._took = time.monotonic() - began
        if warning is not None and not self._is_failing:
            _log.error("%s", warning)
        if warning is None and self._is_failing:
            _log.info("%s is written again", self._path)
        self._is_failing = warning is not None
        return warning


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
