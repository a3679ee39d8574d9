"""A few small files that are read anew whenever they change: by a child, since a disk may keep a reader waiting."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from dnslb.parent.child import Child
from dnslb.system import file

_PAUSE = 2.0    # seconds from one look to the next
_SETTLED = 1.0  # seconds without a change: the files of one certificate are written one after the other
_MOST = 4 * file.MOST_SECRET
_AGAIN = 10.0   # seconds after which a child is started anew that has ended


class FileWatch:
    """``tell`` gets the octets of all of them, after a change of any; ``complain`` why they cannot be read then."""

    def __init__(self, paths: Sequence[str], tell: Callable[..., None], complain: Callable[[str], None]) -> None:
        self._paths = paths
        self._tell = tell
        self._complain = complain
        self._seen = _look(paths)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            with suppress(OSError):
                await self._watch()
            await asyncio.sleep(_AGAIN)

    async def _watch(self) -> None:
        """Until the child ends.  Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            ours.setblocking(False)
            with theirs:
                child = Child(partial(_report, theirs, self._paths, self._seen), kept=[theirs.fileno()])
            try:
                while packet := await asyncio.get_running_loop().sock_recv(ours, _MOST):
                    self._receive(packet)
            finally:
                await child.end()

    def _receive(self, packet: bytes) -> None:
        size, rest = int.from_bytes(packet[:4]), packet[4:]
        if not size:
            self._complain(rest.decode())
            return
        pieces = []
        while size:
            pieces.append(rest[:size])
            size, rest = int.from_bytes(rest[size : size + 4]), rest[size + 4 :]
        self._tell(*pieces)


def _look(paths: Sequence[str]) -> list[tuple[int, ...]]:
    """What changes with the files.  One that is not there looks like no other."""
    seen: list[tuple[int, ...]] = []
    for path in paths:
        try:
            found = os.stat(path)
        except OSError:
            seen.append((0,))
        else:
            seen.append((found.st_ino, found.st_size, found.st_mtime_ns))
    return seen


def _report(sock: socket.socket, paths: Sequence[str], seen: list[tuple[int, ...]]) -> int:
    """In the child: look again and again; a packet for each change."""
    while True:
        time.sleep(_PAUSE)
        found = _look(paths)
        if found == seen:
            continue
        time.sleep(_SETTLED)
        if _look(paths) != found:
            continue
        seen = found
        try:
            octets = [file.read(path, file.MOST_SECRET) for path in paths]
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            sock.send(bytes(4) + f"{error.filename or paths[0]}: {reason}".encode())
        else:
            if all(octets):
                sock.send(b"".join(len(each).to_bytes(4) + each for each in octets))
            else:
                sock.send(bytes(4) + f"{paths[octets.index(b'')]}: it is empty".encode())
