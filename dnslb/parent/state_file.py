"""Keeps the state file: orders, verdicts and history, from one life of the server to the next.

A child process writes it, with all that we knew when it was forked; so nothing here waits for a disk but those who ask
to.  One child at a time: what changes meanwhile is for the next.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from dnslb.parent import state
from dnslb.parent.child import Child
from dnslb.parent.fork import FAILED
from dnslb.parent.state import State

_DELAY = 1.0     # seconds from a change to its being saved: verdicts come in bursts
_REST = 20.0     # times as long as a save took, only orders are saved: it takes a processor from the workers
_LATEST = 20.0   # seconds from a change to its being saved, at most, if the disk permits
_RETRY = 10.0    # seconds from a save that failed to the next
_PATIENCE = 3.0  # seconds for which an order waits for the disk
_PARTING = 5.0   # seconds for which the end waits for it

_log = logging.getLogger("dnslb")


class StateTaken(Exception):
    """Another server keeps its state there; the text says what to do."""


class StateFile:
    """One state directory, ours alone once it is taken.  Until then nothing is kept."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / state.NAME
        self._is_taken = False
        self._known: State | None = None  # what an earlier life has left, until it is asked for
        self._lock: int | None = None
        self.left: float | None = None  # Unix time at which what an earlier life has left was saved
        self._is_started = False
        self._current: Callable[[], State] = State
        self._timer: asyncio.TimerHandle | None = None         # to the next save
        self._child: Child | None = None                     # that saves
        self._saved: asyncio.Future[str | None] | None = None  # what it will tell: a warning, or None
        self._next: asyncio.Future[str | None] | None = None   # what one will tell that begins when it is over
        self._took = 0.0                                       # seconds, for the last save
        self._is_failing = False

    @property
    def directory(self) -> Path:
        """Where the server keeps its state, this file and others."""
        return self._path.parent

    @property
    def is_taken(self) -> bool:
        """Whether the directory is ours."""
        return self._is_taken

    def take(self) -> None:
        """From now on no other server may use the directory.  Raises StateTaken."""
        if not self._is_taken:
            self._lock = _lock(self._path.parent)
            self._is_taken = True
            # Now: at the start nothing waits for us yet, and a disk that hangs keeps no signal from ending us.
            self._read()

    def take_if_ordered(self) -> None:
        """Take the directory if orders stand there, and nobody else has it: a server without pools needs no other."""
        # Where the user may not look, there is nothing of ours.
        if not (os.path.exists(self._path) and state.load(self._path, time.time())[0].orders):
            return
        with suppress(StateTaken):
            self.take()

    def take_for_orders(self) -> str | None:
        """The first order is given to a server without pools: keep it.  The warning says why that cannot be."""
        if self._is_taken or not self._is_started:
            return None
        try:
            self._lock = _lock(self._path.parent)
        except StateTaken as taken:
            return f"the order is in force, and does not survive a restart: {taken}"
        self._is_taken = True
        return None

    def borrow(self) -> None:
        """Another server has the directory still, and we are about to take over from it: load what it has saved.

        Once the directory is ours, all can be loaded again.
        """
        self._read()

    def load(self) -> State | None:
        """What an earlier life of the server has left; None when nothing is kept, or it was asked for before."""
        known, self._known = self._known, None
        return known

    def start(self, current: Callable[[], State]) -> None:
        """From now on ``current`` gives what is to be saved.  Until then the old state must not be overwritten."""
        self._current = current
        self._is_started = True

    def save_soon(self) -> None:
        """Something has changed: save it soon."""
        if self._is_taken and self._is_started and self._timer is None:
            self._save_in(max(_DELAY, min(_REST * self._took, _LATEST)))

    async def save(self) -> str | None:
        """Save now, and return when that is done; what fails is tried again until it does not.

        The warning is for who gave an order.  It does not wait longer than ``_PATIENCE`` for a slow disk.
        """
        if not self._is_taken or not self._is_started:
            return None
        try:
            async with asyncio.timeout(_PATIENCE):
                return await asyncio.shield(self._save())
        except TimeoutError:
            fact = f"{self._path} is not written within {_PATIENCE:g} s: the disk is slow"
            return f"{fact}; the order is in force, and is saved later; a crash before would lose it"

    async def stop(self) -> None:
        """Save, so that the file tells when we left, as far as the disk permits in time."""
        if not self._is_taken or not self._is_started:
            return
        current = self._current
        self._current = lambda: replace(current(), is_last=True)
        told = self._save()
        try:
            async with asyncio.timeout(_PARTING):
                await asyncio.shield(told)
        except TimeoutError:
            _log.error("%s is not written: the disk is slow; what changed last is lost", self._path)
            # Lest it overwrite what a later life of the server has saved.
            if self._child is not None:
                self._child.kill()
        self._is_started = False
        self._cancel()

    def close(self) -> None:
        """Let go of the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self._is_taken = False

    def _read(self) -> None:
        with suppress(OSError):
            self.left = self._path.stat().st_mtime
        self._known, warning = state.load(self._path, time.time())
        if warning is not None:
            _log.warning("%s", warning)

    def _save_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._save)

    def _save(self) -> asyncio.Future[str | None]:
        """What a save will tell that begins now, or when the present one is over."""
        self._cancel()
        if self._saved is None:
            return self._begin(asyncio.get_running_loop().create_future())
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return self._next

    def _begin(self, told: asyncio.Future[str | None]) -> asyncio.Future[str | None]:
        began = time.monotonic()
        self._saved = told
        try:
            self._child = Child(partial(_write, self._path, self._current))
        except OSError as error:
            self._end(began, f"no process can be started: {_reason(error)}")
            return told
        late = asyncio.get_running_loop().call_later(_PATIENCE, self._fail, "the disk is slow")
        self._child.ended.add_done_callback(lambda _: late.cancel())
        self._child.ended.add_done_callback(lambda ended: self._end(began, _ending(ended.result())))
        return told

    def _end(self, began: float, reason: str | None) -> None:
        """A save is over, and has failed if there is a reason."""
        told, self._saved, self._child = self._saved, None, None
        self._took = time.monotonic() - began
        warning = None
        if reason is not None:
            warning = self._fail(reason)
            if self._timer is None and self._is_started:
                self._save_in(_RETRY)
        elif self._is_failing:
            self._is_failing = False
            _log.info("%s is written again", self._path)
        if told is not None:
            told.set_result(warning)
        if self._next is not None:
            self._cancel()
            waiting, self._next = self._next, None
            self._begin(waiting)

    def _fail(self, reason: str) -> str:
        """What is wrong, which is logged when it begins and when it ends."""
        warning = f"{self._path} cannot be written: {reason}; orders, verdicts and history would be lost now"
        if not self._is_failing:
            _log.error("%s", warning)
        self._is_failing = True
        return warning

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _write(path: Path, current: Callable[[], State]) -> int:
    """In the child: its exit status is the error's number."""
    try:
        state.save(path, current())
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _ending(status: int) -> str | None:
    """Why a save has failed; None if it has not."""
    if status == 0:
        return None
    if status < 0:
        return f"its process was killed by {signal.Signals(-status).name}"
    return os.strerror(status).lower() if status != FAILED else "see the lines above"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


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
