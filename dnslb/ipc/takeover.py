"""One server takes the sockets over from another, so that no query is lost between the two.

Beside the control socket there is one more.  A server that starts connects there and is handed the listening sockets
(SCM_RIGHTS): all of them by a living parent, or, when that is gone, by each of its workers those that it answers on.
The old ones go on answering.  Only when the new one says that its own workers answer do they leave.

Messages are JSON behind four octets of length; descriptors come in the order in which messages announce them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnslb.config.settings import MOST_WORKERS, parse_endpoint
from dnslb.ipc.sockets import Sockets

VERSION = 1        # of what is said
_LENGTH = 4        # octets
_LONGEST = 4096    # octets of a message
_MOST_PASSED = 16  # descriptors with one message
_PATIENCE = 5.0    # seconds for the other end to say what it must say at once
_ORPHANS = 2.0     # seconds for one more worker without a parent to answer
_END = 15.0        # seconds for an old server to save its state once it is told that it may go
_START = 600.0     # seconds for a new server to come up
_PEER = struct.Struct("=iII")  # struct ucred: process, user, group

_log = logging.getLogger("dnslb")


class CannotTakeOver(Exception):
    """There is a server that does not hand its sockets over; the text says what to do."""


def path_beside(control: Path) -> Path:
    return control.with_name(f"{control.name}.takeover")


# In the new server.


@dataclass(slots=True)
class Inherited:
    """What a server begins with, and what it may hand over itself one day."""

    listener: socket.socket | None = None  # where those who want to take over from us connect; None: nobody can
    admin_sockets: dict[str, socket.socket] = field(default_factory=dict)  # where operators come in
    pairs: list[Sockets] = field(default_factory=list)
    is_from_parent: bool = False   # and so is all that the old server has, not only some shares
    is_handed_on: bool = False     # to yet another server
    predecessors: list[Predecessor] = field(default_factory=list)  # they answer as long as we do not

    def decline(self) -> None:
        """Those who answer on the sockets go on as if nobody had asked."""
        socks = [*self.admin_sockets.values(), *(sock for pair in self.pairs for sock in (pair.udp, pair.tcp))]
        for sock in (*socks, *(predecessor.sock for predecessor in self.predecessors)):
            sock.close()
        if self.listener is not None:
            self.listener.close()

    def adopt(self, socks: Mapping[str, socket.socket]) -> None:
        """These are our doors; what we were given besides is not wanted."""
        for name, sock in self.admin_sockets.items():
            if socks.get(name) is not sock:
                sock.close()
        self.admin_sockets = dict(socks)

    async def dismiss_predecessors(self) -> bool:
        """Our workers answer: the old ones may leave.  Whether the old server has let go of its state in time."""
        loop = asyncio.get_running_loop()
        ended = []
        for predecessor in self.predecessors:
            predecessor.sock.setblocking(False)
            with suppress(OSError):
                predecessor.sock.send(_frame({"answers": True}))
            if predecessor.is_of_parent:
                ended.append(loop.create_task(_ended(predecessor.sock)))
        try:
            async with asyncio.timeout(_END):
                for end in ended:
                    await end
        except TimeoutError:
            return False
        finally:
            for predecessor in self.predecessors:
                predecessor.sock.close()
            self.predecessors.clear()
        return True


async def _ended(sock: socket.socket) -> None:
    """Wait until the other end has closed the connection."""
    with suppress(OSError):
        while await asyncio.get_running_loop().sock_recv(sock, _LONGEST):
            pass


class Predecessor:
    """The new server's end of a connection.  It waits: nothing else is to be done then."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.is_of_parent = False
        self._octets = bytearray()
        self._passed: deque[int] = deque()

    def ask(self) -> Iterable[dict[str, Any]]:
        """What the other end hands over, message by message.  Raises OSError and ValueError."""
        self.sock.sendall(_frame({"take": VERSION}))
        while (message := self._receive()) is not None:
            yield message
            if "end" in message:
                return
        raise ConnectionError("the other end has left")

    def take(self) -> socket.socket:
        """The next socket.  Raises ValueError when none was passed."""
        if not self._passed:
            raise ValueError("a socket is missing")
        sock = socket.socket(fileno=self._passed.popleft())
        sock.setblocking(False)
        return sock

    def close(self) -> None:
        self.sock.close()
        while self._passed:
            os.close(self._passed.popleft())

    def _receive(self) -> dict[str, Any] | None:
        while True:
            end = _LENGTH + int.from_bytes(self._octets[:_LENGTH])
            if len(self._octets) >= _LENGTH and len(self._octets) >= end:
                message = _message(self._octets[_LENGTH:end])
                del self._octets[:end]
                return message
            octets, passed, _, _ = socket.recv_fds(self.sock, _LONGEST, _MOST_PASSED)
            self._passed.extend(passed)
            if not octets:
                return None
            self._octets += octets


def ask(path: Path, most: int = MOST_WORKERS) -> Inherited:
    """What there is to take over from who listens there: a server, at most so many of its workers, or nobody.

    Workers hand over what is theirs only when they have no parent.  Raises CannotTakeOver.
    """
    inherited = Inherited()
    shares: set[int] = set()
    patience, expected = _PATIENCE, 0
    while True:
        predecessor, peer = _connect(path, patience)
        if predecessor is None:
            break
        try:
            share, of = _take_all(predecessor, inherited)
        except TimeoutError:
            predecessor.close()
            if inherited.pairs or not _lives(peer):
                break
            inherited.decline()
            raise CannotTakeOver(
                f"the server that listens on {path} (pid {peer}) does not answer; end it (kill -9 {peer}) and start "
                "again: its workers go on answering meanwhile"
            ) from None
        except (OSError, ValueError) as error:
            predecessor.close()
            if isinstance(error, OSError):  # it has left, or died: perhaps there is another
                if inherited.pairs:
                    break
                time.sleep(0.05)
                continue
            inherited.decline()
            raise CannotTakeOver(f"the server that listens on {path} cannot be taken over from: {error}") from None
        inherited.predecessors.append(predecessor)
        shares.add(share)
        expected = 1 if inherited.is_from_parent else min(of, most)
        if len(shares) >= expected:
            break
        patience = _ORPHANS
    if len(shares) < expected:
        _log.warning(
            "%d of %d workers of the server that is gone do not answer; if they hang, so do the clients that are "
            "theirs: end them (ss -lnptu names them)", expected - len(shares), expected,
        )  # fmt: skip
    return inherited


def _connect(path: Path, patience: float) -> tuple[Predecessor | None, int]:
    """A connection, and the process that listens; None when nobody does."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(patience)
    try:
        sock.connect(os.fspath(path))
        pid, _, _ = _peer(sock)
    except (ConnectionRefusedError, FileNotFoundError):
        sock.close()
        return None, 0
    except TimeoutError:
        sock.close()
        raise CannotTakeOver(f"who listens on {path} does not answer; end it, and start again") from None
    except OSError as error:
        sock.close()
        reason = (error.strerror or str(error)).lower()
        raise CannotTakeOver(f"{path} cannot be asked: {reason}; run as the user of the server, or as root") from None
    return Predecessor(sock), pid


def _take_all(predecessor: Predecessor, inherited: Inherited) -> tuple[int, int]:
    """Everything that the other end hands over; which share of how many that was.  Raises OSError, ValueError."""
    doors: dict[str, socket.socket] = {}
    pairs: list[Sockets] = []
    for message in predecessor.ask():
        match message:
            case {"refused": str(fact)}:
                raise ValueError(fact)
            case {"endpoint": str(text)} if (endpoint := parse_endpoint(text)) is not None:
                pairs.append(Sockets(endpoint, predecessor.take(), predecessor.take()))
            case {"door": str(name)}:
                doors[name] = predecessor.take()
            case {"listener": True}:
                listener = predecessor.take()
                if inherited.listener is None:
                    inherited.listener = listener
                else:
                    listener.close()
            case {"end": True, "share": int(share), "of": int(of), "is_parent": bool(is_parent)}:
                inherited.pairs += pairs
                inherited.admin_sockets |= doors
                inherited.is_from_parent = predecessor.is_of_parent = is_parent
                return share, of
            case _:
                raise ValueError("it speaks another language: stop it, and start this one")
    raise ConnectionError("the other end has left")


# In the old server, and in its workers when it is gone.


class Offer:
    """Hands over what is ours, to one taker at a time; ``taken`` is called once that one answers.

    Whoever may take over is root, or the user that we are: both can end us anyway.
    """

    def __init__(
        self,
        listener: socket.socket,
        place: tuple[int, int],
        is_parent: bool,
        taken: Callable[[int], None],
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``place`` is the share that is handed over, from 0, and of how many; ``prepare`` is called before."""
        self.pairs: list[Sockets] = []
        self.admin_sockets: Mapping[str, socket.socket] = {}
        self._listener = listener
        self._place = place
        self._is_parent = is_parent
        self._taken = taken
        self._prepare = prepare
        self._task: asyncio.Task[None] | None = None
        self._sock: socket.socket | None = None
        self._taker = 0
        self._is_open = False

    @property
    def is_busy(self) -> bool:
        """Whether somebody is about to take over."""
        return self._task is not None

    def open(self) -> None:
        self._is_open = True
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Hand over nothing more; who has taken over is told by this that we are done."""
        self._shut()
        if self._task is not None:
            self._task.cancel()
        if self._sock is not None:
            self._sock.close()

    def _shut(self) -> None:
        if self._is_open:
            self._is_open = False
            asyncio.get_running_loop().remove_reader(self._listener.fileno())

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:  # another process was quicker
            return
        sock.setblocking(False)
        pid, uid, _ = _peer(sock)
        if uid not in (0, os.geteuid()):
            sock.close()
            return
        if self._task is not None:
            with suppress(OSError):
                sock.send(_frame({"refused": f"pid {self._taker} takes over already; wait for it"}))
            sock.close()
            return
        self._sock, self._taker = sock, pid
        self._task = asyncio.get_running_loop().create_task(self._hand_over(sock, pid))
        self._task.add_done_callback(self._end)
        if not self._is_parent:
            # So that who comes next meets another worker.
            asyncio.get_running_loop().remove_reader(self._listener.fileno())

    def _end(self, task: asyncio.Task[None]) -> None:
        """It has taken over, or has given up."""
        self._task = None
        if not task.cancelled() and task.exception() is not None:
            _log.error("a bug in dnslb: please report it", exc_info=task.exception())
        if self._is_open and not self._is_parent:
            asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    async def _hand_over(self, sock: socket.socket, pid: int) -> None:
        has_asked = False
        try:
            async with asyncio.timeout(_PATIENCE):
                request = await _receive(sock)
            if request.get("take") != VERSION:
                return
            has_asked = True
            if self._prepare is not None:
                await self._prepare()
            async with asyncio.timeout(_PATIENCE):
                for message, socks in self._messages():
                    await _send(sock, message, socks)
            async with asyncio.timeout(_START):
                said = await _receive(sock)
            if said.get("answers") is True:
                # Who asks from now on is for the new server, which listens too.
                self._shut()
                self._taken(pid)
                sock = socket.socket()  # it is closed when we are done
        except (OSError, ValueError):  # TimeoutError is an OSError
            if has_asked:
                _log.warning("pid %d has not taken over: it has left, or taken too long", pid)
        finally:
            sock.close()

    def _messages(self) -> Iterable[tuple[dict[str, Any], list[socket.socket]]]:
        for pair in self.pairs:
            yield {"endpoint": str(pair.endpoint)}, [pair.udp, pair.tcp]
        for name, sock in self.admin_sockets.items():
            yield {"door": name}, [sock]
        yield {"listener": True}, [self._listener]
        share, of = self._place
        yield {"end": True, "share": share, "of": of, "is_parent": self._is_parent}, []


async def _receive(sock: socket.socket) -> dict[str, Any]:
    """The next message.  Raises OSError and ValueError."""
    octets = b""
    end = _LENGTH
    while len(octets) < end:
        more = await asyncio.get_running_loop().sock_recv(sock, end - len(octets))
        if not more:
            raise ConnectionError("the other end has left")
        octets += more
        if len(octets) == _LENGTH:
            end += int.from_bytes(octets)
            if end > _LONGEST:
                raise ValueError("the message is too long")
    return _message(octets[_LENGTH:])


async def _send(sock: socket.socket, message: dict[str, Any], socks: list[socket.socket]) -> None:
    octets = _frame(message)
    while True:
        try:
            sent = socket.send_fds(sock, [octets], [passed.fileno() for passed in socks])
        except BlockingIOError:
            await asyncio.sleep(0.01)
            continue
        await asyncio.get_running_loop().sock_sendall(sock, octets[sent:])
        return


def _message(octets: bytes | bytearray) -> dict[str, Any]:
    """Raises ValueError."""
    match json.loads(octets):
        case dict(message):
            return message
    raise ValueError("it speaks another language: stop it, and start this one")


def _frame(message: dict[str, Any]) -> bytes:
    octets = json.dumps(message).encode()
    return len(octets).to_bytes(_LENGTH) + octets


def _peer(sock: socket.socket) -> tuple[int, int, int]:
    pid, uid, gid = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return pid, uid, gid


def _lives(pid: int) -> bool:
    return pid > 0 and os.path.exists(f"/proc/{pid}")
