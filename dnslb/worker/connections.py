"""All TCP connections of a worker: who is let in, who goes, and whose turn it is.

They have an epoll of their own, and that is one reader of the event loop: whatever their number, they have a few
milliseconds of each round, and UDP and the parent have theirs.  Who was ready and had no turn is the first in the next
round: the system hands out what is ready in turn (epoll_wait(2)), so nobody is left out.

A new connection always comes in.  Where there is no room, the one that has been idle longest goes (RFC 7766 §6.2.3):
a full table that turned people away would belong to those who came first and stay.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import select
import socket
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from sys import byteorder
from time import monotonic

from dnslb.ipc.handover import ConnectionState, Handover
from dnslb.worker.bugs import Bugs
from dnslb.worker.reply_counter import ReplyCounter
from dnslb.worker.tcp import Connection

_TURN = 0.002       # seconds of a round for connections
_SLICE = 0.0001     # seconds of these for one connection, before the next one has its turn
_LAST_SLICE = 0.02  # seconds for one connection when the worker leaves: nobody else waits
_ACCEPTING = 0.001  # seconds of a round for a listening socket
_EVENTS = 64        # connections asked for at once: more than have their turn in a round
_PAUSE = 1.0        # seconds without accepting when the system has no more descriptors or memory
_CROWDED = 0.002    # seconds until there may be room for a handover again
_CALM = 3.0         # seconds without such a pause after which it is over

_log = logging.getLogger("dnslb")


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the connections of one worker."""

    connections: int  # open at once, in all
    per_client: int   # from one IPv4 address or IPv6 /64
    idle: float       # seconds without a whole query after which a connection is closed


class _Line:
    """Connections in the order of their last progress: the longest ago comes first."""

    __slots__ = ("due", "resting")

    def __init__(self) -> None:
        self.resting: OrderedDict[Connection, None] = OrderedDict()
        self.due: OrderedDict[Connection, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self.resting) + len(self.due)

    def first(self) -> Connection:
        """The first to go: one to which a reply is due only if it is to all."""
        return next(iter(self.resting or self.due))

    def put(self, connection: Connection) -> None:
        """At the end: it has just progressed."""
        here, there = (self.due, self.resting) if connection.is_due else (self.resting, self.due)
        there.pop(connection, None)
        here[connection] = None
        here.move_to_end(connection)

    def put_first(self, connection: Connection) -> None:
        """Before all others: they have progressed since it has."""
        line = self.due if connection.is_due else self.resting
        line[connection] = None
        line.move_to_end(connection, last=False)

    def latest(self) -> list[Connection]:
        """Those to which replies are due, then the others; of each the last to have progressed first."""
        return [*reversed(self.due), *reversed(self.resting)]

    def remove(self, connection: Connection) -> None:
        self.resting.pop(connection, None)
        self.due.pop(connection, None)


class Connections:
    """They have their turns from when this is made, in the running loop."""

    def __init__(
        self, limits: Limits, respond: Callable[[bytes, bytes], bytes | None], bugs: Bugs, counter: ReplyCounter
    ) -> None:
        self.accepted = 0
        self.evicted = 0    # closed to make room
        self._limits = limits
        self._most = limits.connections
        self._slice = _SLICE
        self._begin = partial(Connection, respond=respond, bugs=bugs, counter=counter)
        self._loop = asyncio.get_running_loop()
        self._listening: list[socket.socket] = []
        self._open: dict[int, Connection] = {}  # by descriptor
        self._all = _Line()
        self._clients: dict[bytes, _Line] = {}
        self._epoll = select.epoll()
        self._ready: deque[tuple[int, int]] = deque()   # those that have had no turn since
        self._sweeping: asyncio.TimerHandle | None = None
        self._calming: asyncio.TimerHandle | None = None  # while the system has failed us lately
        self._loop.add_reader(self._epoll.fileno(), self._turn)

    def __len__(self) -> int:
        return len(self._open)

    def listen(self, sock: socket.socket) -> None:
        """Let in who connects to this socket."""
        # Inherited by what is accepted: the system keeps no replies longer than we do for who does not take them.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(self._limits.idle * 1000))
        self._listening.append(sock)
        self._loop.add_reader(sock, self._accept, sock)

    def take_over_from(self, handover: Handover) -> None:
        """Go on with the connections that another worker leaves to us."""
        self._loop.add_reader(handover.exit, self._take_over, handover)

    async def hand_over_all(self, handover: Handover, seconds: float) -> None:
        """Let nobody in; hand over all connections, as they are, to who takes them on the other end.

        Those that do not get through in time stay.
        """
        self._stop_accepting()
        self._listening.clear()
        self._loop.remove_reader(handover.exit)
        deadline = monotonic() + seconds
        # Who was idle longest comes last: if anybody is to lose a connection, then who needs it least.
        for connection in self._all.latest():
            while self._open.get(connection.descriptor) is connection and not self._hand_over(connection, handover):
                if monotonic() > deadline:
                    return
                await asyncio.sleep(_CROWDED)

    async def finish(self, seconds: float) -> None:
        """Let nobody in; wait until the clients have the replies to all that has come, as long as they take some.

        When none has for so many seconds, or for four times as many in all, they are left alone.
        """
        self._stop_accepting()
        self._listening.clear()
        self._slice = _LAST_SLICE
        for connection in list(self._open.values()):
            was_due = connection.is_due
            try:
                connection.finish()
            except OSError:
                self._close(connection)
            else:
                self._settle(connection, was_due)
                if connection.is_due:
                    # Though there may be little room: what the system has taken is sent even after our end.
                    self._serve(connection, monotonic() + _LAST_SLICE)
        begun = monotonic()
        while self._open and monotonic() < begun + 4 * seconds:
            if monotonic() > seconds + max(begun, *(connection.active for connection in self._open.values())):
                break
            await asyncio.sleep(0.01)

    def _turn(self) -> None:
        """Called in every round of the loop in which a connection is ready."""
        now = monotonic()
        end = now + _TURN
        if not self._ready:
            self._ready.extend(self._epoll.poll(0, _EVENTS))
        while self._ready and now < end:
            descriptor, _ = self._ready.popleft()
            connection = self._open.get(descriptor)
            # It may have been closed since, and another have its descriptor, that is not ready: it bears that.
            if connection is not None:
                self._serve(connection, now + self._slice)
            now = monotonic()

    def _serve(self, connection: Connection, until: float) -> None:
        was_due = connection.is_due
        try:
            has_progressed = connection.turn(until)
        except OSError:  # the client has gone
            self._close(connection)
            return
        if has_progressed or connection.has_ended:
            self._settle(connection, was_due)

    def _settle(self, connection: Connection, was_due: bool) -> None:
        """Where it belongs after progress, which a change of ``is_due`` always is."""
        if connection.has_ended and not connection.is_due:
            self._close(connection)
            return
        if connection.is_due != was_due:
            self._epoll.modify(connection.descriptor, select.EPOLLOUT if connection.is_due else select.EPOLLIN)
        self._all.put(connection)
        self._clients[connection.client].put(connection)

    def _accept(self, listener: socket.socket) -> None:
        """Called in every round of the loop in which a client waits to be let in."""
        end = monotonic() + _ACCEPTING / len(self._listening)
        while True:
            try:
                self._let_in(*listener.accept())
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error)
                return
            if monotonic() >= end:
                return

    def _let_in(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        """Raises OSError when the system has no room for it."""
        try:
            sock.setblocking(False)
            self._epoll.register(sock, select.EPOLLIN)
        except OSError:
            sock.close()
            raise
        client, address = _client(sock.family, *peer[:2])
        line = self._clients.get(client)
        if line is not None and len(line) >= self._limits.per_client:
            self._evict(line)
        elif len(self._open) >= self._most:
            self._evict(self._all)
        connection = self._begin(sock, client, address)
        self.accepted += 1
        self._open[connection.descriptor] = connection
        self._all.put(connection)
        self._clients.setdefault(client, _Line()).put(connection)
        if self._sweeping is None:
            self._sweep()

    def _hand_over(self, connection: Connection, handover: Handover) -> bool:
        """Whether that was possible at the moment, or never will be."""
        try:
            handover.send(connection.descriptor, connection.state())
        except OSError as error:
            # Too many are under way (unix(7)), and nobody has taken them yet.
            return error.errno not in (errno.EAGAIN, errno.ETOOMANYREFS, errno.ENOBUFS)
        self._epoll.unregister(connection.descriptor)
        self._remove(connection)
        connection.release()
        return True

    def _take_over(self, handover: Handover) -> None:
        """Called in every round of the loop in which another worker leaves connections to us."""
        end = monotonic() + _ACCEPTING
        while monotonic() < end:
            try:
                taken = handover.take()
            except BlockingIOError:
                break
            if taken is not None:
                self._go_on(*taken)
        # They may have been idle for too long before those that are here.
        self._sweep()

    def _go_on(self, sock: socket.socket, state: ConnectionState) -> None:
        """They come in the order of their last progress, the latest first: who comes now was idle longest of all."""
        try:
            client, address = _client(sock.family, *sock.getpeername()[:2])
        except OSError:  # it has left
            sock.close()
            return
        connection = self._begin(sock, client, address)
        connection.restore(state)
        if len(self._open) >= self._most or len(self._clients.get(client, ())) >= self._limits.per_client:
            self.evicted += 1
            connection.close()
            return
        self._epoll.register(sock, select.EPOLLOUT if connection.is_due else select.EPOLLIN)
        self._open[connection.descriptor] = connection
        self._all.put_first(connection)
        self._clients.setdefault(client, _Line()).put_first(connection)

    def _evict(self, line: _Line) -> None:
        self.evicted += 1
        self._close(line.first())

    def _close(self, connection: Connection) -> None:
        self._remove(connection)
        connection.close()

    def _remove(self, connection: Connection) -> None:
        del self._open[connection.descriptor]
        self._all.remove(connection)
        line = self._clients[connection.client]
        line.remove(connection)
        if not line:
            del self._clients[connection.client]

    def _sweep(self) -> None:
        """Close what has been idle for too long; again when the next one will have been."""
        now = monotonic()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for waiting in (self._all.resting, self._all.due):
            while waiting and monotonic() < now + _TURN:
                connection = next(iter(waiting))
                if connection.active + self._limits.idle > now:
                    break
                self._close(connection)
        first = [next(iter(waiting)).active for waiting in (self._all.resting, self._all.due) if waiting]
        if first:
            self._sweeping = self._loop.call_at(min(first) + self._limits.idle, self._sweep)

    def _pause(self, error: OSError) -> None:
        """Accept nothing for a while: trying again at once would fail again, and keep the loop busy with that."""
        self._stop_accepting()
        if self._calming is None:
            _log.error(
                "TCP connections cannot be accepted: %s, with %d open; trying again every %g s%s",
                (error.strerror or str(error)).lower(), len(self._open), _PAUSE,
                " (raise LimitNOFILE or ulimit -n, or lower tcp_connections)" if error.errno == errno.EMFILE else "",
            )  # fmt: skip
        else:
            self._calming.cancel()
        if self._open:
            self._evict(self._all)
        if error.errno == errno.EMFILE:
            # The limit is this process's own: from now on one goes before the system says no.
            self._most = max(1, len(self._open))
        self._calming = self._loop.call_later(_PAUSE + _CALM, self._calm)
        self._loop.call_later(_PAUSE, self._accept_again)

    def _stop_accepting(self) -> None:
        for sock in self._listening:
            self._loop.remove_reader(sock)

    def _accept_again(self) -> None:
        for sock in self._listening:
            self._loop.add_reader(sock, self._accept, sock)

    def _calm(self) -> None:
        self._calming = None
        _log.warning("TCP connections are accepted again; at most %d", self._most)


def _client(family: int, host: str, port: int) -> tuple[bytes, bytes]:
    """What counts as one client, an IPv4 address or an IPv6 /64; and its socket address, as the system gives it for
    UDP: struct sockaddr_in or sockaddr_in6.
    """
    packed = socket.inet_pton(family, host.partition("%")[0])
    start = family.to_bytes(2, byteorder) + port.to_bytes(2)
    return (packed, start + packed) if family == socket.AF_INET else (packed[:8], start + bytes(4) + packed)
