"""Reads the directory anew while the server runs.

A child process opens the files, which may take for ever; a thread makes a catalog of them, which takes as long as
there is to compute.  The thread ends with its work: workers are forked when it is over, unless one dies meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import pickle
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BufferedRWPair
from pathlib import Path
from typing import Any

from dnslb import catalog as catalogs
from dnslb.catalog import Catalog, Disk, Fingerprint
from dnslb.problem import Problem
from dnslb.serve.errand import Errand

_SILENCE = 20.0  # seconds for the disk to give a file


class NotAnswered(Exception):
    """The disk, or the child that asks it; the text says what for."""


@dataclass(frozen=True, slots=True)
class Reading:
    catalog: Catalog
    problems: list[Problem]
    fingerprint: Fingerprint  # of what was read, from before it was


async def read(directory: Path, sources: frozenset[str]) -> Reading:
    """``sources`` are those of the last catalog.  Raises NotAnswered."""
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(_SILENCE)
        with theirs:
            try:
                errand = Errand(partial(_serve, theirs, str(directory), sources), [theirs.fileno()])
            except OSError as error:
                raise NotAnswered(f"no process can be started: {(error.strerror or str(error)).lower()}") from None
        try:
            return await _in_a_thread(partial(_read, directory, ours))
        finally:
            # Wakes a thread that waits; its work is in vain.
            with suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)
            await errand.end()


async def _in_a_thread(work: Callable[[], Reading]) -> Reading:
    """The end of the process does not wait for it, as it would for an executor's."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[Reading] = loop.create_future()

    def tell(reading: Reading | None, error: BaseException | None) -> None:
        if told.done():
            return
        if reading is not None:
            told.set_result(reading)
        elif error is not None:
            told.set_exception(error)

    def run() -> None:
        reading = error = None
        try:
            reading = work()
        except BaseException as raised:  # it is for the loop to deal with
            error = raised
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, reading, error)

    threading.Thread(target=run, daemon=True).start()
    return await told


def _read(directory: Path, sock: socket.socket) -> Reading:
    """In the thread.  What is frozen is never collected: leaves no garbage."""
    with sock.makefile("rwb") as stream:
        files = _Remote(stream)
        catalog, problems = catalogs.load(directory, files)
        gc.collect()
        return Reading(catalog, problems, files.fingerprint())


class _Remote:
    """The disk, by way of the child."""

    def __init__(self, stream: BufferedRWPair) -> None:
        self._stream = stream

    def names(self, directory: str) -> list[str]:
        return self._ask("names", directory)  # type: ignore[no-any-return]  # the child has the same types

    def read(self, path: str, most: int) -> bytes:
        return self._ask("read", path, most)  # type: ignore[no-any-return]

    def read_within(self, path: str, most: int, directories: tuple[str, ...]) -> bytes | None:
        return self._ask("read_within", path, most, directories)  # type: ignore[no-any-return]

    def fingerprint(self) -> Fingerprint:
        return self._ask("fingerprint")  # type: ignore[no-any-return]

    def _ask(self, method: str, *arguments: object) -> Any:
        about = arguments[0] if arguments else "the directory"
        try:
            pickle.dump((method, arguments), self._stream)
            self._stream.flush()
            reply = pickle.load(self._stream)
        except TimeoutError:
            raise NotAnswered(f"the disk does not answer: {about} was not read within {_SILENCE:g} s") from None
        except (EOFError, OSError):
            raise NotAnswered(f"the process that reads files has ended: {about} was not read") from None
        if isinstance(reply, OSError):
            raise reply
        return reply


class _Recorder(Disk):
    """In the child: the disk, and what was there before it was read."""

    def __init__(self, directory: str, sources: frozenset[str]) -> None:
        self._found = catalogs.fingerprint(directory, sources)
        self._known = {path for path, *_ in self._found}

    def read_within(self, path: str, most: int, directories: tuple[str, ...]) -> bytes | None:
        if path not in self._known:
            self._known.add(path)
            self._found |= catalogs.prints([path])
        return super().read_within(path, most, directories)

    def fingerprint(self) -> Fingerprint:
        return self._found


def _serve(sock: socket.socket, directory: str, sources: frozenset[str]) -> int:
    """In the child: look and read as it is asked, until nobody asks any more."""
    recorder = _Recorder(directory, sources)
    with sock.makefile("rwb") as stream:
        while True:
            try:
                method, arguments = pickle.load(stream)
            except EOFError:
                return 0
            try:
                reply = getattr(recorder, method)(*arguments)
            except OSError as error:
                reply = error
            pickle.dump(reply, stream)
            stream.flush()
