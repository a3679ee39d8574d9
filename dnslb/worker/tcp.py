"""One connection of DNS over TCP: messages behind two octets of length, pipelined, in order (RFC 7766).

It never waits, and does no more than it is asked to: it reads a little, answers what it has read for a bounded time,
and reads on when the client has taken what it got.  When it has its turn is decided in ``connections``.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from sys import byteorder
from time import monotonic

from dnslb.answer.responder import ForTransfers
from dnslb.dns.query import LONGEST
from dnslb.dns.reply_kind import NO_REPLY
from dnslb.ipc.handover import ConnectionState
from dnslb.worker import proxy
from dnslb.worker.bugs import Bugs
from dnslb.worker.reply_counter import ReplyCounter

_READ = 4096     # octets read in a turn: a hundred queries, which take the better part of a millisecond
_UNSENT = 1 << 14  # octets of replies after which they are sent, before more are added
_NOT_ANY = int.from_bytes(NO_REPLY, byteorder)
_HEAD = len(NO_REPLY)  # octets of a reply after the id that tell what sort of reply it is
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER for none


class Connection:
    """``is_due`` says whether a reply is due: then it waits to write, and reads nothing; else it waits to read."""

    __slots__ = (
        "_address", "_bugs", "_counter", "_received", "_respond", "_sock", "_told", "_unsent",
        "active", "client", "descriptor", "has_ended", "is_due", "is_for_transfers", "is_proxied",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913, PLR0917 - what all share comes with each: there are no chains to follow in a turn
        self,
        sock: socket.socket,
        client: bytes,
        address: bytes,
        respond: Callable[[bytes, bytes], bytes | None],
        bugs: Bugs,
        counter: ReplyCounter,
    ) -> None:
        self.client = client             # who it counts for
        self.descriptor = sock.fileno()
        self.active = monotonic()        # when it was opened, answered a query, or had its last reply taken
        self.is_due = False
        self.has_ended = False           # no more queries are read from it
        self.is_for_transfers = False    # its next query is
        self.is_proxied = False          # a proxy has yet to tell whose it is
        self._told = b""                 # what it has told
        self._sock = sock
        self._address = address
        self._respond = respond
        self._bugs = bugs
        self._counter = counter
        self._received = b""             # queries that are not answered, or not whole
        self._unsent = b""               # replies that the client has not taken

    def proceed(self, until: float) -> bool:
        """Read, answer and send until this time of the monotonic clock, or one query longer.

        Whether it has progressed: a query was answered, or all replies are sent; single octets count for nothing.
        Raises OSError when the client has gone.
        """
        if not self.is_due:
            self._read()
        elif self._unsent and not self._send(self._unsent):
            return False
        was_due = self.is_due
        has_answered = self._answer(until) > 0
        self.is_due = bool(self._unsent) or self._has_query()
        has_progressed = has_answered or was_due > self.is_due
        if has_progressed:
            self.active = monotonic()
        return has_progressed

    def finish(self) -> None:
        """Read no more queries than have come by now.  Raises OSError."""
        if not self.is_due and not self.has_ended:
            self._read()
            self.is_due = self._has_query()
        self.has_ended = True

    def respond_by(self, respond: Callable[[bytes, bytes], bytes | None]) -> None:
        """Answer by that from now on."""
        self._respond = respond

    def state(self) -> ConnectionState:
        """Everything that another worker needs to go on with this connection."""
        told = self._told.ljust(28, b"\0")
        return ConnectionState(self.active, self.has_ended, self._received, self._unsent, self.is_proxied, told)

    def restore(self, state: ConnectionState) -> None:
        """Go on where another worker has left off."""
        self.active, self.has_ended = state.active, state.has_ended
        self._received, self._unsent = state.received, state.unsent
        self.is_proxied = state.is_proxied
        if any(state.address):
            self._address = self._told = state.address
        self.is_due = bool(self._unsent) or self._has_query()

    def release(self) -> None:
        """Close our copy of the socket: another worker has the connection now."""
        self._sock.close()

    def close(self) -> None:
        if self.is_due:
            # A reply cut short must not look like the end, and the system shall not keep it for who does not take it.
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._sock.close()

    def _read(self) -> None:
        try:
            octets = self._sock.recv(_READ)
        except BlockingIOError:
            return
        if octets:
            self._received += octets
        else:
            # The client may have closed its side only: it still gets its replies.
            self.has_ended = True

    def _answer(self, until: float) -> int:
        """Answer queries for as long as that and the client takes the replies; how many."""
        if self.is_proxied and not self._unwrap():
            return 0
        received, address, respond = self._received, self._address, self._respond
        heads: list[int] = []
        replies: list[bytes] = []
        at = octets = 0
        while len(received) >= at + 2:
            length = received[at] << 8 | received[at + 1]
            end = at + 2 + length
            if length > LONGEST:
                heads.append(_NOT_ANY)
                self.has_ended = True
                at = len(received)
                break
            if len(received) < end:
                break
            id_, query = received[at + 2 : at + 4], received[at + 4 : end]
            begin, at = at, end
            try:
                reply = respond(query, address)
            except ForTransfers:
                self.is_for_transfers, at = True, begin
                break
            except Exception:  # our bug: the loop goes on
                self._bugs.report(bytes(2) + query)
                reply = None
            if reply is None:
                heads.append(_NOT_ANY)
            else:
                heads.append(int.from_bytes(reply[:_HEAD], byteorder))
                replies += ((len(reply) + 2).to_bytes(2), id_, reply)
                octets += len(reply)
                if octets >= _UNSENT:
                    if not self._send(b"".join(replies)):
                        replies.clear()
                        break
                    replies.clear()
                    octets = 0
            if monotonic() >= until:
                break
        self._received = received[at:]
        self._counter.count(heads)
        if replies:
            self._send(b"".join(replies))
        return len(heads)

    def _unwrap(self) -> bool:
        """Whether the proxy has told whose the connection is."""
        try:
            told = proxy.read(self._received)
        except proxy.NotProxied:
            self.has_ended, self._received = True, b""
            return False
        if told is None:
            return False
        self._received, self.is_proxied = self._received[told.end :], False
        if told.client:
            self._address = self._told = told.client
        return True

    def _send(self, octets: bytes) -> bool:
        """Whether the system took all of it; what it did not is kept."""
        try:
            sent = self._sock.send(octets)
        except BlockingIOError:
            sent = 0
        self._unsent = octets[sent:]
        return not self._unsent

    def _has_query(self) -> bool:
        """Whether a whole query waits, or one that is too long to wait for."""
        received = self._received
        if len(received) < 2:
            return False
        length = received[0] << 8 | received[1]
        return length > LONGEST or len(received) >= length + 2
