"""Everything that decides an answer at one moment, and the replies that follow from it, ready to send.

A reply is packed when it is first asked for, once for every turn, and then indexed.  ``dns.answer`` is the
specification; nothing is said here that it did not say.  The tables are bounded: they may forget, since all
can be packed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random

from dnslb.balance.order import Order, arrange, period, turns
from dnslb.dns import message, rrtype
from dnslb.dns.answer import Answer, answer
from dnslb.dns.message import Body
from dnslb.dns.name import MAX_LABEL, Name, ancestors, parent
from dnslb.dns.query import HEADER
from dnslb.dns.zone import Node, Zone

_TABLE = 8 << 20      # octets of ready replies before a table starts afresh
_OVERHEAD = 1000      # octets that one reply costs besides its own: objects and keys
_TABULATED = 1 << 14  # octets of all turns of one reply, above which each turn is put together when it comes


class Ready:
    """A reply to one question, but for the id, the spelling of the name and the OPT record."""

    __slots__ = ("existing", "heads", "next", "octets", "size")

    def __init__(self, body: Body, following: Callable[[], bytes], octets: int, existing: Mapping[Name, Node]) -> None:
        self.heads = tuple(  # ten octets after the id, by 2 * OPT in the reply + RD
            message.head(body.flags | rd, rrtype.QUERY, (1, body.counts[0], body.counts[1], body.counts[2] + opt))
            for opt in (0, 1)
            for rd in (0, message.RD)
        )
        self.next = following     # the octets after the question, for the next turn
        self.size = body.size
        self.octets = octets      # held in memory, about
        self.existing = existing  # names that are not covered, when the reply stands for all missing ones


NOT_OURS = Answer(rcode=rrtype.REFUSED, authoritative=False)
_REFUSED = Ready(Body(rrtype.REFUSED, (0, 0, 0), b"", (), b""), lambda: b"", 0, {})


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


class Snapshot:
    """One view of the world: zones and the order of their records.  Names and types come in wire form."""

    def __init__(self, zones: Mapping[Name, Zone], order: Order, rng: Random) -> None:
        self.zones = zones
        self.by_question = Table()  # folded name + type + class
        self.covering = Table()     # see _covering_key; + type + class
        self._order = order
        self._rng = rng
        self._turns: dict[tuple[Name, int], Iterator[int]] = {}

    def plain(self, name: Name, kind: bytes) -> Answer:
        """The reply to folded ``name`` before it is packed, looked up afresh: what ``ready`` must equal."""
        zone = self._zone(name, kind)
        return NOT_OURS if zone is None else answer(zone, name, int.from_bytes(kind[:2]), self.zones)

    def ready(self, name: Name, kind: bytes, room: int) -> Ready:
        """The reply to folded ``name``, type and class ``kind``, in ``room`` octets after the question."""
        zone = self._zone(name, kind)
        if zone is None:
            return _REFUSED
        table, key = self._place(zone, name, kind)
        full = table.get(key)
        if full is None:
            reply = answer(zone, name, int.from_bytes(kind[:2]), self.zones)
            if reply.covers is not None:
                table, key = self.covering, _covering_key(name, reply.covers) + kind
            full = self._pack(zone, name, reply, 0xFFFF - HEADER - len(name) - 4)
            table.keep(key, full)
        if full.size <= room:
            return full
        key += room.to_bytes(2)
        fitting = table.get(key)
        if fitting is None:
            fitting = self._pack(zone, name, answer(zone, name, int.from_bytes(kind[:2]), self.zones), room)
            table.keep(key, fitting)
        return fitting

    def _place(self, zone: Zone, name: Name, kind: bytes) -> tuple[Table, bytes]:
        """Where the ready reply is kept if there is one."""
        if name not in zone.nodes:
            encloser = next(ancestor for ancestor in ancestors(name) if ancestor in zone.nodes)
            key = _covering_key(name, encloser) + kind
            if key in self.covering:
                return self.covering, key
        return self.by_question, name + kind

    def _pack(self, zone: Zone, name: Name, reply: Answer, room: int) -> Ready:
        body = message.pack(name, reply, room)
        following, octets = self._following(body, reply.turning)
        return Ready(body, following, octets, zone.nodes)

    def _following(self, body: Body, rrset: tuple[Name, int] | None) -> tuple[Callable[[], bytes], int]:
        """What gives the body for the next turn, and the octets it holds."""
        n = len(body.turning)
        if rrset is None or n < 2:
            only = body.arranged(tuple(range(n)))
            return (lambda: only), len(only)
        order = self._order
        if rrset not in self._turns:
            self._turns[rrset] = turns(order, n, self._rng)
        taken = self._turns[rrset]
        count = period(order, n)
        if count * body.size > _TABULATED:
            return (body.arranged(arrange(order, n, turn)) for turn in taken).__next__, body.size
        bodies = [body.arranged(arrange(order, n, turn)) for turn in range(count)]
        return map(bodies.__getitem__, taken).__next__, count * body.size

    def _zone(self, name: Name, kind: bytes) -> Zone | None:
        """The zone that answers: the deepest that encloses the name, but DS is the parent's (RFC 4035 §3.1.4.1)."""
        if kind[:2] == rrtype.DS.to_bytes(2) and name in self.zones and len(name) > 1:
            above = self._zone(parent(name), b"")
            if above is not None:
                return above
        return next((self.zones[ancestor] for ancestor in ancestors(name) if ancestor in self.zones), None)


def _covering_key(name: Name, encloser: Name) -> bytes:
    """The key of the reply for all missing names of this length below ``encloser``: their bodies are the same.

    For a child of the encloser it is the first label's length octet and the encloser, which is quickly had from the
    packet.  A longer stretch is marked by a zero octet, with which no name of several labels begins.
    """
    stretch = len(name) - len(encloser) - 1
    mark = b"" if stretch <= MAX_LABEL else b"\0"
    return mark + bytes((stretch,)) + encloser
