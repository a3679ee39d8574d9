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
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from sys import byteorder
from time import monotonic

from dnslb.answer.reply_opt import host
from dnslb.balance.near import Networks
from dnslb.ipc.handover import ConnectionState, Handover
from dnslb.worker.accepting import Accepting
from dnslb.worker.bugs import Bugs
from dnslb.worker.connection_table import ConnectionTable, Limits
from dnslb.worker.reply_counter import ReplyCounter
from dnslb.worker.tcp import Connection
from dnslb.worker.transaction import Watcher
from dnslb.worker.watched_connection import Recorder, WatchedConnection

_TURN = 0.002       # seconds of a round for connections
_SLICE = 0.0001     # seconds of these for one connection, before the next one has its turn
_LAST_SLICE = 0.02  # seconds for one connection when the worker leaves: nobody else waits
_TAKING_OVER = 0.001  # seconds of a round for connections that another worker leaves to us
_EVENTS = 64        # connections asked for at once: more than have their turn in a round
_CROWDED = 0.002    # seconds until there may be room for a handover again


class Connections:
    """Serves its connections as soon as it is made, in the running loop."""

    def __init__(
        self, limits: Limits, respond: Callable[[bytes, bytes], bytes | None], bugs: Bugs, counter: ReplyCounter
    ) -> None:
        self.accepted = 0
        self.evicted = 0    # closed to make room
        self.proxies: Networks | None = None    # who tells whose a connection is
        self.transfers: Handover | None = None  # where connections go that ask for these
        self._idle = limits.idle
        self._table = ConnectionTable(limits)
        self._accepting = Accepting(self._table, self._let_in, self._evict)
        self._slice = _SLICE
        self._respond, self._bugs = respond, bugs
        self._begin = partial(Connection, respond=respond, bugs=bugs, counter=counter)
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._ready: deque[tuple[int, int]] = deque()   # those that have had no turn since
        self._sweeping: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._epoll.fileno(), self._serve_ready)

    def __len__(self) -> int:
        return len(self._table)

    def listen(self, sock: socket.socket) -> None:
        """Accept connections on this socket from now on."""
        # Inherited by what is accepted: the system keeps no replies longer than we do for who does not take them.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(self._idle * 1000))
        self._accepting.listen(sock)

    def show(self, watchers: Sequence[Watcher]) -> None:
        """Let these look at all that is answered from now on."""
        kind = WatchedConnection if watchers else Connection
        respond = Recorder(self._respond, watchers, self._bugs) if watchers else self._respond
        self._begin = partial(kind, **self._begin.keywords | {"respond": respond})
        for connection in self._table:
            connection.__class__ = kind
            connection.respond_by(respond)

    def take_over_from(self, handover: Handover) -> None:
        """Go on with the connections that another worker leaves to us."""
        self._loop.add_reader(handover.exit, self._take_over, handover)

    async def hand_over_all(self, handover: Handover, seconds: float) -> None:
        """Accept nothing more, and send all open connections, as they are, to the worker that comes after us.

        Those that do not get through in time stay.
        """
        self._accepting.stop()
        self._loop.remove_reader(handover.exit)
        deadline = monotonic() + seconds
        # Who was idle longest comes last: if anybody is to lose a connection, then who needs it least.
        for connection in self._table.latest():
            while connection in self._table and not self._hand_over(connection, handover):
                if monotonic() > deadline:
                    return
                await asyncio.sleep(_CROWDED)

    async def finish(self, seconds: float) -> None:
        """Accept nothing more; wait until all queries that have come are answered and the replies are taken.

        The rest is given up when no client has taken anything for so many seconds, or after four times as many in all.
        """
        self._accepting.stop()
        self._slice = _LAST_SLICE
        for connection in list(self._table):
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
        await _taken(self._table, seconds)

    def _serve_ready(self) -> None:
        """Called in every round of the loop in which a connection is ready."""
        now = monotonic()
        end = now + _TURN
        if not self._ready:
            self._ready.extend(self._epoll.poll(0, _EVENTS))
        while self._ready and now < end:
            descriptor, _ = self._ready.popleft()
            connection = self._table.get(descriptor)
            # It may have been closed since, and another have its descriptor, that is not ready: it bears that.
            if connection is not None:
                self._serve(connection, now + self._slice)
            now = monotonic()

    def _serve(self, connection: Connection, until: float) -> None:
        was_due = connection.is_due
        try:
            has_progressed = connection.proceed(until)
        except OSError:  # the client has gone
            self._close(connection)
            return
        if connection.is_for_transfers:
            self._leave_to_transfers(connection)
        elif has_progressed or connection.has_ended:
            self._settle(connection, was_due)

    def _leave_to_transfers(self, connection: Connection) -> None:
        """It is another process's from now on; where that has no room, its client comes again."""
        if self.transfers is None or not self._hand_over(connection, self.transfers):
            self._close(connection)

    def _settle(self, connection: Connection, was_due: bool) -> None:
        """Where it belongs after progress, which a change of ``is_due`` always is."""
        if connection.has_ended and not connection.is_due:
            self._close(connection)
            return
        if connection.is_due != was_due:
            self._epoll.modify(connection.descriptor, _event(connection))
        self._table.put_last(connection)

    def _let_in(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        """Raises OSError when the system has no room for it."""
        try:
            sock.setblocking(False)
            self._epoll.register(sock, select.EPOLLIN)
        except OSError:
            sock.close()
            raise
        address = _address(sock.family, *peer[:2])
        is_proxied = self.proxies is not None and self.proxies.include(host(address))
        victim = self._table.in_the_way(client := _key(sock, address, is_proxied=is_proxied))
        if victim is not None:
            self._evict(victim)
        self.accepted += 1
        self._table.add(connection := self._begin(sock, client, address))
        connection.is_proxied = is_proxied
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
        self._table.remove(connection)
        connection.release()
        return True

    def _take_over(self, handover: Handover) -> None:
        """Called in every round of the loop in which another worker leaves connections to us."""
        end = monotonic() + _TAKING_OVER
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
            address = _address(sock.family, *sock.getpeername()[:2])
        except OSError:  # it has left
            sock.close()
            return
        client = _key(sock, address, is_proxied=state.is_proxied or any(state.address))
        connection = self._begin(sock, client, address)
        connection.restore(state)
        if self._table.in_the_way(client) is not None:
            self.evicted += 1
            connection.close()
            return
        self._epoll.register(sock, _event(connection))
        self._table.add_first(connection)

    def _evict(self, connection: Connection) -> None:
        self.evicted += 1
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        self._table.remove(connection)
        connection.close()

    def _sweep(self) -> None:
        """Close what has been idle for too long; again when the next one will have been."""
        now = monotonic()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        while (longest := self._table.idle_longest()) is not None:
            due = longest.active + self._idle
            if due > now or monotonic() >= now + _TURN:
                self._sweeping = self._loop.call_at(due, self._sweep)
                return
            self._close(longest)


def _event(connection: Connection) -> int:
    """What it waits for."""
    return select.EPOLLOUT if connection.is_due else select.EPOLLIN


async def _taken(table: ConnectionTable, seconds: float) -> None:
    """Wait until all have gone, or nobody has made progress for so long, or four times as long has passed."""
    begun = monotonic()
    while table and monotonic() < begun + 4 * seconds:
        if monotonic() > seconds + max(begun, *(connection.active for connection in table)):
            break
        await asyncio.sleep(0.01)


def _address(family: int, host: str, port: int) -> bytes:
    """A struct sockaddr_in or sockaddr_in6, as the system gives it for UDP."""
    packed = socket.inet_pton(family, host.partition("%")[0])
    start = family.to_bytes(2, byteorder) + port.to_bytes(2)
    return start + packed if family == socket.AF_INET else start + bytes(4) + packed


def _key(sock: socket.socket, address: bytes, *, is_proxied: bool) -> bytes:
    """What counts as one client: an IPv4 address or an IPv6 /64.  A proxy limits its clients itself."""
    return sock.fileno().to_bytes(5) if is_proxied else host(address)[:8]
