"""Replies ready to send: packed once, put in order when a turn first comes, cut to the room that a client has.

The tables of them are bounded: what was kept longest goes first, since all can be packed again.  Pure: no I/O.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import repeat
from socket import AF_INET
from sys import byteorder
from typing import TypeAlias

from dnslb.answer.resolver_classes import ResolverClasses
from dnslb.balance.near import Near
from dnslb.balance.rotation import Rotation, Turns, arrangement, period
from dnslb.dns import message, rrtype
from dnslb.dns.message import Body, Cut
from dnslb.dns.name import Name

_TABLE = 32 << 20     # octets of ready replies in a table: some 20,000 small ones
_OVERHEAD = 1500      # octets that one reply costs besides its bodies: objects and keys
_TABULATED = 1 << 17  # octets of all turns of one reply, above which each turn is put together when it comes
_RECORD = 64          # octets that a record of its own costs besides its text: the object and the place in a tuple
_SIZE = 400           # octets that one more size costs
_IPV4 = AF_INET.to_bytes(2, byteorder)  # how a struct sockaddr_in begins
_SIZES = 100          # of one reply, kept ready: there are no more, unless it has a hundred optional RRsets


@dataclass(frozen=True, slots=True)
class Turning:
    """How the records that take turns do it."""

    rotation: Rotation
    turns: Turns
    is_pool: bool = False  # then some of the addresses are shown when there is no room for all
    leaders: tuple[int, ...] | None = None  # for sticky orders: the turn, which is the leader, by slot of clients


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom a reply serves, and what makes it another one."""

    owners: frozenset[Name] = frozenset()    # the nodes that decided it
    apart: Collection[bytes] = ()            # types and classes that it does not serve, when it serves all others
    existing: Container[Name] = ()  # names that it does not serve, when it serves all that are missing
    ticks: Iterator[int] = field(default_factory=lambda: repeat(0))  # zeros: turns for what takes none itself


@dataclass(frozen=True, slots=True)
class Nearby:
    """The largest reply to the clients who get another one because they are near."""

    clients: Near
    ready: Ready

    @property
    def readies(self) -> Sequence[Ready]:
        return (self.ready,)

    def choose(self, client: bytes) -> Ready | None:
        """The one for who has this socket address; None: as all others."""
        near = self.clients.include(client[4:8] if client[:2] == _IPV4 else client[8:24])
        return self.ready if near else None


@dataclass(frozen=True, slots=True)
class ByClass:
    """The largest replies to resolvers, by the class of their hidden load."""

    classes: ResolverClasses
    readies: Sequence[Ready]

    def choose(self, client: bytes) -> Ready | None:
        """The one for who has this socket address."""
        return self.readies[self.classes.of(client)]


Others: TypeAlias = Nearby | ByClass


class ReplyTurns(map):  # type: ignore[type-arg]  # it takes none when it runs
    """The replies to one query, without their ids: one for each turn, without end."""

    __slots__ = ("octets",)

    octets: int  # of the replies of all turns, and of what they are made from


class Ready:
    """A reply of one size, but for the id, the spelling of the name and the OPT record."""

    __slots__ = (
        "apart", "at", "drawn", "existing", "heads", "next", "note", "of", "others", "own", "period", "size",
        "slots", "special", "turns",
    )  # fmt: skip

    def __init__(self, of: Reply, flags: int, counts: tuple[int, int, int], size: int, note: bytes) -> None:
        self.of = of
        self.heads = heads(flags, *counts)
        self.size = size + len(note)              # octets after the question, and of the note
        self.note = note                          # an option for the OPT record
        self.next: Callable[[], bytes] = bytes    # the octets after the question, for the next turn
        self.at: Callable[[int], bytes] = bytes   # the same, for a turn of the period
        self.turns: Iterator[int] = repeat(0)     # which are shared by all sizes and spellings
        self.period = 1                           # of how many turns each is one
        self.slots: tuple[int, ...] | None = None  # for sticky orders: the turn, which is the leader, by slot
        self.drawn: list[int] = []                # for sticky orders: how often each has led
        self.others = of.others                   # what some clients get instead
        # It has a note, or depends on the client, or must not be sent.
        self.special = bool(note) or of.is_withheld or of.others is not None
        self.own: slice | None = None             # where the name asked for stands once more, as far as it is its own
        self.apart = of.scope.apart
        self.existing = of.scope.existing


def whole(ready: Ready, before: bytes, after: bytes) -> ReplyTurns:
    """The replies with these octets before and after what ``ready`` has; they take its turns."""
    turns = ReplyTurns(_Turns(lambda turn: before + ready.at(turn) + after).__getitem__, ready.turns)
    turns.octets = ready.period * (len(before) + ready.size + len(after)) + ready.of.octets
    return turns


class Reply:
    """The reply to one question, in every size.

    What fits into a room is told by few numbers, and by these the sizes are kept, not by the room: a client may name
    any.  They share what was packed; only the first that is asked for, the largest, has its turns in a table.
    """

    __slots__ = ("_body", "_most_sizes", "_note", "_sizes", "_turning", "is_withheld", "octets", "others", "scope")

    def __init__(  # noqa: PLR0913 - all that tells it from another
        self,
        body: Body,
        scope: Scope,
        turning: Turning | None = None,
        note: bytes = b"",
        *,
        is_withheld: bool = False,
        others: Others | None = None,
    ) -> None:
        """``note``: an option for the OPT record.  ``others``: what some clients get instead."""
        self.scope = scope
        self.is_withheld = is_withheld
        self.others = others
        self._body = body
        self._turning = turning
        self._note = note
        self._sizes: dict[tuple[int, int, bool], Ready] = {}
        self._most_sizes = _SIZES
        # Held in memory, about: also the sizes that a client may have us keep, beyond the first two.
        windows = len(body.turning) if turning is not None and turning.is_pool and body.cuts[-1].is_short else 0
        sizes = min(_SIZES, max(0, len(body.cuts) + windows - 2))
        self.octets = body.size + _RECORD * len(body.turning) + _SIZE * sizes
        for each in others.readies if others is not None else ():
            self.octets += each.of.octets + _OVERHEAD

    def within(self, room: int) -> Ready:
        """As much of it as fits into so many octets after the question."""
        cut, window = self._fit(room)
        size = cut.size if window is None else self._body.window_size(window)
        # The note goes before any record does (RFC 8914 §3).
        noted = bool(self._note) and size + len(self._note) <= room
        key = cut.size, -1 if window is None else window, noted
        ready = self._sizes.get(key)
        if ready is None:
            ready = self._make(cut, window, self._note if noted else b"")
            if len(self._sizes) < self._most_sizes:
                self._sizes[key] = ready
        return ready

    def let_go(self) -> None:
        """It is not kept any more: no cycle must be left for the garbage collector to find."""
        self._most_sizes = 0
        self._sizes.clear()
        for each in self.others.readies if self.others is not None else ():
            each.of.let_go()

    def _fit(self, room: int) -> tuple[Cut, int | None]:
        """Up to where it fits; of a pool that is not shown whole, how many addresses."""
        body, turning = self._body, self._turning
        cut = body.cut(room)
        if turning is None or not turning.is_pool or not (cut.is_short or turning.rotation.answers):
            return cut, None
        return cut, body.window(room, turning.rotation.answers or len(body.turning)) or None

    def _make(self, cut: Cut, window: int | None, note: bytes) -> Ready:
        body, turning = self._body, self._turning
        flags, counts, size = body.flags | (message.TC if cut.is_short else 0), cut.counts, cut.size
        if window is not None:
            chain = sum(one.size <= len(body.before) for one in body.cuts) - 1
            flags, counts, size = body.flags, (body.cuts[chain].counts[0] + window, 0, 0), body.window_size(window)
        ready = Ready(self, flags, counts, size, note)
        if body.own is not None and body.own.start < size:
            ready.own, ready.special = body.own, True
        if turning is None or (window is None and cut.size <= len(body.before)):
            every = tuple(range(len(body.turning)))
            octets = body.arranged(every)[: cut.size]
            ready.at = lambda turn: octets
            ready.turns = self.scope.ticks
            ready.next = map(octets.ljust, ready.turns).__next__  # padded to no octets: as they are
            return ready
        n = len(body.turning)
        shown = Rotation(turning.rotation.order, turning.rotation.weights, n if window is None else window)
        ready.at = lambda turn: body.arranged(arrangement(shown, n, turn))[:size]
        ready.turns, ready.period = iter(turning.turns), period(shown, n)
        if not self._sizes and size * ready.period <= _TABULATED:
            ready.at = _Turns(ready.at).__getitem__
            self.octets += size * ready.period
        ready.next = map(ready.at, ready.turns).__next__
        if turning.leaders is not None:
            ready.slots, ready.drawn, ready.special = turning.leaders, turning.turns.drawn, True
        return ready


class _Turns(dict[int, bytes]):
    """The bodies by turn, each put together when it first comes."""

    def __init__(self, at: Callable[[int], bytes]) -> None:
        super().__init__()
        self._at = at

    def __missing__(self, turn: int) -> bytes:
        octets = self[turn] = self._at(turn)
        return octets


@lru_cache(maxsize=1024)
def heads(flags: int, answers: int, authority: int, additional: int) -> tuple[bytes, ...]:
    """The ten octets after the id, by 2 * OPT in the reply + RD."""
    return tuple(
        message.head(flags | rd, rrtype.QUERY, (1, answers, authority, additional + opt))
        for opt in (0, 1)
        for rd in (0, message.RD)
    )


class Table(OrderedDict[bytes, Ready]):
    """The largest ready replies, by what is asked.  Bounded, and read as fast as a dict.

    ``owners`` are the nodes whose replies may have to be dropped: those of pools.
    """

    def __init__(self, owners: Collection[Name] = (), limit: int = _TABLE) -> None:
        super().__init__()
        self._owners = owners
        self._limit = limit
        self._octets = 0
        self._decided: dict[Name, set[bytes]] = {}  # the keys of the replies that an owner decided

    def keep(self, key: bytes, ready: Ready) -> None:
        self._octets += ready.of.octets + _OVERHEAD
        self[key] = ready
        self._enter(key, ready)
        while self._octets > self._limit:
            self._drop(next(iter(self)))

    def forget(self, owners: Iterable[Name]) -> None:
        """Drop every reply that one of these nodes decided."""
        for owner in owners:
            for key in self._decided.pop(owner, ()):
                self._drop(key)

    def index(self) -> None:
        """There are more owners than before."""
        for key, ready in self.items():
            self._enter(key, ready)

    def _enter(self, key: bytes, ready: Ready) -> None:
        for owner in ready.of.scope.owners:
            if owner in self._owners:
                self._decided.setdefault(owner, set()).add(key)

    def _drop(self, key: bytes) -> None:
        ready = self.pop(key)
        ready.of.let_go()
        self._octets -= ready.of.octets + _OVERHEAD
        for owner in ready.of.scope.owners:
            keys = self._decided.get(owner)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._decided[owner]
