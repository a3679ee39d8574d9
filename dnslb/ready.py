"""Replies ready to send: packed once, for every turn, and then indexed.

The tables of them are bounded: they may forget, since all can be packed again.  Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from dnslb.balance.order import Rotation, Turns, arrangement, arrangements, period
from dnslb.dns import message, rrtype
from dnslb.dns.message import Body
from dnslb.dns.name import Name
from dnslb.dns.zone import Node

_TABLE = 32 << 20     # octets of ready replies before a table starts afresh: some 25,000 small ones
_OVERHEAD = 1000      # octets that one reply costs besides its bodies: objects and keys
_TABULATED = 1 << 17  # octets of all turns of one reply, above which each turn is put together when it comes
_ARRANGED = 1 << 16   # positions in all arrangements of one reply, above which each is worked out when it comes
_POINTER = 8          # octets of a place in a tuple or list
_RECORD = 64          # octets that a record of its own costs besides its text: the object and the place in a tuple


class Ready:
    """A reply to one question, but for the id, the spelling of the name and the OPT record."""

    __slots__ = ("at", "drawn", "existing", "heads", "next", "note", "octets", "owners", "size", "slots", "special")

    def __init__(self, body: Body, window: int, owners: frozenset[Name]) -> None:
        """``window``: of the records that take turns, so many are in a reply."""
        answers = body.counts[0] - len(body.turning) + window
        self.heads = _heads(body.flags, answers, *body.counts[1:])
        self.size = body.window_size(window)
        self.octets = self.size    # held in memory, about
        self.owners = owners       # the nodes that decided the reply
        self.existing: Mapping[Name, Node] = {}  # names not covered, when the reply stands for all missing ones
        self.next: Callable[[], bytes] = bytes   # the octets after the question, for the next turn
        self.special = False                     # there is a note, or it depends on the client
        self.note = b""                          # an option for the OPT record
        self.at: Callable[[int], bytes] = bytes  # the octets after the question at a turn of the period
        self.slots: tuple[int, ...] | None = None  # for sticky orders: the turn, which is the leader, by slot
        self.drawn: list[int] = []               # for sticky orders: how often each has led

    def take_turns(self, body: Body, rotation: Rotation, turns: Turns) -> None:
        """Put the records in another order each turn: a body for each, if they are not too large."""
        n = len(body.turning)
        count = period(rotation, n)
        positions = count * (rotation.answers or n)
        if count * self.size <= _TABULATED:
            self.at = [body.arranged(order) for order in arrangements(rotation, n)].__getitem__
            self.octets = count * self.size
        elif positions <= _ARRANGED:
            orders = list(arrangements(rotation, n))
            self.at = lambda turn: body.arranged(orders[turn])
            self.octets = body.size + n * _RECORD + positions * _POINTER
        else:
            self.at = lambda turn: body.arranged(arrangement(rotation, n, turn))
            self.octets = body.size + n * _RECORD
        self.next = map(self.at, turns).__next__

    def stick(self, leaders: tuple[int, ...], turns: Turns) -> None:
        """Give each slot of clients its leader."""
        self.slots = leaders
        self.drawn = turns.drawn
        self.octets += _POINTER * len(leaders)


@lru_cache(maxsize=1024)
def _heads(flags: int, answers: int, authority: int, additional: int) -> tuple[bytes, ...]:
    """The ten octets after the id, by 2 * OPT in the reply + RD."""
    return tuple(
        message.head(flags | rd, rrtype.QUERY, (1, answers, authority, additional + opt))
        for opt in (0, 1)
        for rd in (0, message.RD)
    )


class Table(dict[bytes, Ready]):
    """Ready replies by question.  When it would grow too large it forgets all: bounded, and read as fast as a dict."""

    def __init__(self, limit: int = _TABLE) -> None:
        super().__init__()
        self._limit = limit
        self._octets = 0

    def keep(self, key: bytes, ready: Ready) -> None:
        octets = ready.octets + _OVERHEAD
        if self._octets + octets > self._limit:
            self.clear()
            self._octets = 0
        self._octets += octets
        self[key] = ready

    def forget(self, owners: frozenset[Name]) -> None:
        """Drop every reply that one of these nodes decided."""
        for key in [key for key, ready in self.items() if not owners.isdisjoint(ready.owners)]:
            self._octets -= self.pop(key).octets + _OVERHEAD
