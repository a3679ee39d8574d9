"""UDP in batches: one system call reads up to 64 queries, one sends their replies.

``recvmmsg`` and ``sendmmsg`` by ctypes, over buffers laid out once.  A reply goes back through the very address
structures that its query filled in, so Python never makes an address: not the client's, and not, on a wildcard socket,
the one of ours that was asked, from which the reply must come (RFC 2181 §4).  Nor does it copy an id: a reply is sent
in two pieces, the first of which is the first two octets of its query.
"""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from time import monotonic
from typing import Any, Literal

from dnslb.answer.cookies import Cookies
from dnslb.answer.memo import Memo
from dnslb.answer.reply_opt import host
from dnslb.answer.resolver_classes import ResolverClasses
from dnslb.answer.responder import ForTransfers
from dnslb.balance.near import Networks
from dnslb.dns.cookie import HASH
from dnslb.dns.edns import PAYLOAD
from dnslb.dns.reply_kind import NO_REPLY, UNSENT
from dnslb.worker.bugs import Bugs
from dnslb.worker.proxy import SIGNATURE, unwrapped
from dnslb.worker.rate_limit import RateLimit
from dnslb.worker.reply_counter import ReplyCounter

_BATCH = 64       # packets a system call
_TURN = 0.002     # seconds of full batches in a row, on all sockets, before TCP and the parent have their turn
ID = 2            # octets of the id, with which a query and its reply begin
QUERY = 128       # octets of a query that lie in its slot: nearly all do, and whole slots are copied
_REST = 65535     # octets for what is longer; the system gives memory to this only when it is used
NAME = 28         # octets for a socket address
_NAMES = {socket.AF_INET: 16, socket.AF_INET6: 28}  # struct sockaddr_in and sockaddr_in6
_WORDS = {socket.AF_INET: (1,), socket.AF_INET6: (2, 3)}  # of them, those that ResolverClasses goes by
CONTROL = 64      # octets for one packet-information message
_USED = {socket.AF_INET: 32, socket.AF_INET6: 40}  # CMSG_SPACE of in_pktinfo and in6_pktinfo
_HEAD = len(NO_REPLY)  # octets of a reply after the id that tell what sort of reply it is
_IFINDEX = {socket.AF_INET: 16, socket.AF_INET6: 32}  # where the interface stands in them


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct mmsghdr of Linux on 64 bits."""

    _fields_ = (
        ("name", ctypes.c_void_p), ("name_length", ctypes.c_uint32),
        ("iov", ctypes.c_void_p), ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int), ("padding", ctypes.c_uint32),
        ("received", ctypes.c_uint32), ("padding2", ctypes.c_uint32),
    )  # fmt: skip


_NOTHING = Memo()

# The calls never block, so they need not let other threads run: PyDLL keeps the lock.
_libc = ctypes.PyDLL(None, use_errno=True)


class Batches:
    """Answers what waits on one socket.  ``answer`` is called whenever the socket is readable."""

    def __init__(  # noqa: PLR0913, PLR0917 - what all sockets share comes with each
        self,
        sock: socket.socket,
        respond: Callable[[bytes, bytes], bytes | None],
        bugs: Bugs,
        counter: ReplyCounter,
        sockets: int = 1,
        memo: Memo | None = None,
    ) -> None:
        """``respond``: from the octets of a query after its id, and its client, to those of the reply after the id.

        ``sockets``: how many there are, each with batches of its own.  ``memo``: of the same replies.
        """
        self.leave: Callable[[bytes, bytes, bytes], object] | None = None  # packet, client, control message
        self.classes: ResolverClasses | None = None  # of clients, when the memo has their marks before the queries
        self.cookies = Cookies((), 0)  # that replies may end with
        self._told = b""  # the clients of the last batch, by the word of proxies
        self.proxies: Networks | None = None  # who tells whose a query is; None: nobody
        self.limit: RateLimit | None = None
        self.is_crowded = False  # more has come than is answered in a turn
        self._until = inf  # queries until the limit looks at one
        self._turn = _TURN / sockets
        self._respond = respond
        self._bugs = bugs
        self._counter = counter
        self._memo = Memo() if memo is None else memo
        self._descriptor = sock.fileno()
        self._queries = bytearray(_BATCH * QUERY)
        self._rests = bytearray(_BATCH * _REST)
        self._replies = bytearray(_BATCH * PAYLOAD)
        self._clients = bytearray(_BATCH * NAME)
        names = _Slots(self._clients, NAME, used=_NAMES[sock.family])
        controls = _Slots(bytearray(_BATCH * CONTROL), CONTROL, used=0)
        self._words = [memoryview(self._clients).cast("I")[at :: NAME // 4] for at in _WORDS[sock.family]]
        self._interfaces: memoryview[int] | None = None
        self._no_interface = memoryview(bytes(4 * _BATCH)).cast("I")
        if sock.getsockname()[0] in ("0.0.0.0", "::"):
            controls = replace(controls, used=_USED[sock.family])
            self._interfaces = memoryview(controls.octets).cast("I")[_IFINDEX[sock.family] // 4 :: CONTROL // 4]
        # What the message headers point at must live as long as they do: hence attributes that nothing here reads.
        self._controls = controls.octets
        queries = _Slots(self._queries, QUERY, used=QUERY)
        ids, replies = replace(queries, used=ID), _Slots(self._replies, PAYLOAD, used=0)
        self._in, self._in_vectors = _messages((queries, _Slots(self._rests, _REST, used=_REST)), names, controls)
        self._out, self._out_vectors = _messages((ids, replies), names, controls)
        self._lengths = _column(self._in, "received", "I")
        self._out_sizes = _column(self._out_vectors, "length", "Q")[1::2]
        # A slot is a whole number of heads long, so that all heads are had by one stride.
        self._heads = memoryview(self._replies).cast("Q")[:: PAYLOAD // _HEAD]
        self._sparse = (_Message * _BATCH)()  # headers of a batch in which some get no reply

    def hold_to(self, limit: RateLimit) -> None:
        """Hold clients to that from now on."""
        self.limit, self._until = limit, limit.gap()

    def answer(self) -> None:
        # The clock is read only when more than a batch waits.
        if self._batch() < _BATCH:
            return
        end = monotonic() + self._turn
        while self._batch() == _BATCH:
            if monotonic() >= end:
                self.is_crowded = True
                return

    def _batch(self) -> int:  # noqa: PLR0912, PLR0915 - functions would make it dearer
        """How many queries were read; their replies are sent."""
        count: int = _libc.recvmmsg(self._descriptor, self._in, _BATCH, socket.MSG_DONTWAIT, None)
        if count <= 0:
            return 0
        if self._interfaces is not None:
            # The interface by which a packet came in need not be the one that leads back.
            self._interfaces[:] = self._no_interface
        known, respond, replies, sizes = self._memo.get, self._respond, self._replies, self._out_sizes
        if self.limit is not None and self.limit.watched:
            known, respond = _NOTHING.get, self.limit.respond
        clients = b"" if self.proxies is None else self._unwrap(self.proxies, count)
        octets = bytes(memoryview(self._queries)[: count * QUERY])
        waiting, silent = self.cookies.waiting, list[int]()
        ends: list[int] = []  # of replies with a cookie that waits
        waiting.clear()       # of what a bug has lost
        missed, mark, start = 0, 0, ID
        if self.classes is not None:  # an octet stands before each query
            octets, mark, start = _marked(octets, self.classes, self._words, clients), 1, ID - 1
        at = to = by = 0
        for index, length in enumerate(self._lengths[:count].tolist()):
            query = octets[at + start : at + length]
            turns = known(query)
            if turns is not None:
                reply: bytes | None = next(turns)
            else:
                if length > QUERY:
                    query = query[:mark] + self._whole(index)
                clients = clients or bytes(self._clients)
                missed += 1
                try:
                    reply = respond(query[mark:], clients[by : by + NAME])
                except ForTransfers:
                    self._leave(index, query[mark:])
                    reply = None
                except Exception:  # our bug: the loop goes on
                    self._bugs.report(bytes(ID) + query[mark:])
                    reply = None
                if len(waiting) > len(ends):
                    ends.append(to + len(reply or b""))
            if reply is None:
                silent.append(index)
                replies[to : to + _HEAD] = NO_REPLY
            else:
                size = len(reply)
                replies[to : to + size] = reply
                sizes[index] = size
            at += QUERY
            to += PAYLOAD
            by += NAME
        if ends:
            self._complete(ends)
        if silent:
            self._send(self._sparse, _side_by_side(self._sparse, self._out, silent, count))
        else:
            self._send(self._out, range(count))
        if missed:
            self._remember(missed, query, clients[by - NAME : by])
        self._until -= count
        if self._until < 0:
            self._look(octets, count, clients or bytes(self._clients))
        self._counter.count(self._heads[:count].tolist())
        return count

    def _unwrap(self, proxies: Networks, count: int) -> bytes:
        """Take what proxies have put in front of queries out of the slots; the clients of the batch, by their word."""
        clients = bytearray(self._clients)
        for index in range(count):
            name = slice(index * NAME, (index + 1) * NAME)
            if self._queries.startswith(SIGNATURE, index * QUERY) and proxies.include(host(bytes(clients[name]))):
                query, clients[name] = unwrapped(self._packet(index), bytes(clients[name]))
                self._put(index, query)
        self._told = bytes(clients)
        return self._told

    def _packet(self, index: int) -> bytes:
        start, length = index * QUERY, self._lengths[index]
        if length > QUERY:
            return bytes(self._queries[start : start + ID]) + self._whole(index)
        return bytes(self._queries[start : start + length])

    def _put(self, index: int, packet: bytes) -> None:
        """Put it where another lies, which is longer."""
        rest = packet[QUERY:]
        self._queries[index * QUERY : index * QUERY + min(QUERY, len(packet))] = packet[:QUERY]
        self._rests[index * _REST : index * _REST + len(rest)] = rest
        self._lengths[index] = len(packet)

    def _look(self, octets: bytes, count: int, clients: bytes) -> None:
        """Have the limit look at some of the queries of a batch; what lies in their slots is enough."""
        while self._until < 0 and self.limit is not None:
            index = count + int(self._until)
            start, name = index * QUERY, index * NAME
            self.limit.look(octets[start + ID : start + self._lengths[index]], clients[name : name + NAME])
            self._until += self.limit.gap()

    def _complete(self, ends: list[int]) -> None:
        """Write the hashes of cookies to where the replies end that wait for them."""
        for end, found in zip(ends, self.cookies.complete(), strict=True):
            if end % PAYLOAD:  # else there is no reply
                self._replies[end - HASH : end] = found

    def _leave(self, index: int, query: bytes) -> None:
        """Have another process answer the query of that slot."""
        start, name, control = index * QUERY, index * NAME, index * CONTROL
        if self.leave is not None:
            packet, client = bytes(self._queries[start : start + ID]) + query, bytes(self._clients[name : name + NAME])
            self.leave(packet, client, bytes(self._controls[control : control + CONTROL]))

    def _remember(self, missed: int, last: bytes, client: bytes) -> None:
        try:
            self._memo.miss(missed, last, client)
        except Exception:  # our bug: the loop goes on
            self._bugs.report(bytes(ID) + last)

    def _whole(self, index: int) -> bytes:
        """A query that is too long for its slot, after the id: the rest of it lies elsewhere."""
        start, rest = index * QUERY, index * _REST
        end = rest + self._lengths[index] - QUERY
        return bytes(self._queries[start + ID : start + QUERY] + self._rests[rest:end])

    def _send(self, headers: ctypes.Array[_Message], places: Sequence[int]) -> None:
        """Send the replies in these places of the batch.  One that cannot be sent is lost, as UDP may lose it."""
        first, count = 0, len(places)
        while first < count:
            start = ctypes.byref(headers, first * ctypes.sizeof(_Message))
            sent: int = _libc.sendmmsg(self._descriptor, start, count - first, socket.MSG_DONTWAIT)
            if sent <= 0:
                sent = 1
                to = places[first] * PAYLOAD
                self._replies[to : to + _HEAD] = UNSENT
            first += sent


def _side_by_side(
    to: ctypes.Array[_Message], headers: ctypes.Array[_Message], silent: list[int], count: int
) -> list[int]:
    """Put the headers of a batch there, but for these places; the places of the others."""
    size, places = ctypes.sizeof(_Message), list[int]()
    packed, every = memoryview(to).cast("B"), memoryview(headers).cast("B")
    start = 0
    for end in (*silent, count):
        if end > start:
            at = len(places)
            packed[at * size : (at + end - start) * size] = every[start * size : end * size]
            places += range(start, end)
        start = end + 1
    return places


def _marked(octets: bytes, classes: ResolverClasses, words: list[memoryview[int]], told: bytes) -> bytes:
    """These queries, each with its client's class in the place of the last octet of its id.

    ``words``: of the clients' addresses; ``told``: the clients, if proxies have told of some.
    """
    count = len(octets) // QUERY
    marked = bytearray(octets)
    if told:
        marked[ID - 1 :: QUERY] = bytes([classes.of(told[at : at + NAME]) for at in range(0, count * NAME, NAME)])
    else:
        marked[ID - 1 :: QUERY] = classes.marks([column[:count].tolist() for column in words])
    return bytes(marked)


@dataclass(frozen=True, slots=True)
class _Slots:
    """A buffer cut into one slot for each packet of a batch."""

    octets: bytearray
    size: int  # octets from one slot to the next
    used: int  # octets of a slot that the system may use; 0: none

    def address(self, index: int) -> int | None:
        return ctypes.addressof(ctypes.c_char.from_buffer(self.octets)) + index * self.size


def _messages(
    packets: tuple[_Slots, ...], names: _Slots, controls: _Slots
) -> tuple[ctypes.Array[_Message], ctypes.Array[_Iovec]]:
    """Message headers over the slots, a packet in one slot of each buffer in turn, and the vectors they point at."""
    parts = len(packets)
    vectors = (_Iovec * (_BATCH * parts))()
    messages = (_Message * _BATCH)()
    for index in range(_BATCH):
        for part, slots in enumerate(packets):
            vectors[index * parts + part] = _Iovec(slots.address(index), slots.used)
        messages[index] = _Message(
            name=names.address(index),
            name_length=names.used,
            iov=ctypes.addressof(vectors) + index * parts * ctypes.sizeof(_Iovec),
            iov_length=parts,
            control=controls.address(index) if controls.used else None,
            control_length=controls.used,
        )
    return messages, vectors


def _column(array: ctypes.Array[Any], field: str, code: Literal["I", "Q"]) -> memoryview[int]:
    """One field of every structure in the array, as a view to index."""
    structure = array._type_
    view = memoryview(array).cast("B").cast(code)
    first: int = getattr(structure, field).offset // view.itemsize
    return view[first :: ctypes.sizeof(structure) // view.itemsize]
