"""Everything that decides an answer at one moment, and the replies that follow from it, ready to send.

Only here do pools meet the DNS: what a pool serves at the moment stands in for the zone's own RRset.  A reply
is packed when it is first asked for, and kept ready then.  ``dns.answer`` is the specification; nothing is said here
that it did not say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from random import Random
from typing import TypeAlias

from dnslb.balance.order import Order, Rotation, Turns, slots
from dnslb.dns import message, rrtype
from dnslb.dns.answer import Answer, answer
from dnslb.dns.edns import extended_error
from dnslb.dns.message import Body
from dnslb.dns.name import MAX_LABEL, Name, closest, is_whole, parent
from dnslb.dns.query import HEADER
from dnslb.dns.zone import Node, RRset, Zone
from dnslb.ready import Ready, Table

_WHOLE = 1 << 24  # octets of room for a pool of which only a window will be shown
_OTHER = 0        # the code of an extended error that has no code of its own (RFC 8914 §4.1)

Key: TypeAlias = tuple[Name, int]         # owner in the zone, and type
Question: TypeAlias = tuple[Name, bytes]  # folded name, and type and class

KINDS = {4: rrtype.A, 6: rrtype.AAAA}  # types of addresses, by IP version


@dataclass(frozen=True, slots=True)
class Serving:
    """What a pool serves of one RRset at the moment."""

    rrset: RRset               # the addresses handed out, maybe none, and the TTL in force
    rotation: Rotation
    fails_open: bool = False   # no backend is up: these are handed out for want of better


NOT_OURS = Answer(rcode=rrtype.REFUSED, authoritative=False)
_REFUSED = Ready(Body(rrtype.REFUSED, (0, 0, 0), b"", (), b""), 0, frozenset())


class Snapshot:
    """One view of the world: zones, what the pools in them serve, and the order of all other records.

    Names and types come in wire form.
    """

    def __init__(
        self, zones: Mapping[Name, Zone], order: Order, rng: Random, servings: Mapping[Key, Serving] | None = None
    ) -> None:
        self._overlay: dict[Name, Node] = {}
        self.zones = {apex: replace(zone, overlay=self._overlay) for apex, zone in zones.items()}
        self.by_question = Table()  # folded name + type + class
        self.covering = Table()     # see _covering_key; + type + class
        self._rotation = Rotation(order)
        self._rng = rng
        self.packed = 0             # replies that were not found ready
        self._turns: dict[Key, Turns] = {}
        self._servings: dict[Key, Serving] = {}
        self._led: dict[Key, dict[bytes, int]] = {}  # not yet told, of what was handed out before
        self.update(servings or {})

    def update(self, servings: Mapping[Key, Serving]) -> None:
        """From now on the pools serve this.  Only the replies concerned are packed again."""
        for key, serving in servings.items():
            owner, kind = key
            zone = self._zone(owner, b"")
            self._bank(key)
            before = self._servings.get(key)
            n = len(serving.rrset.rdatas)
            if before is None or not n:
                self._turns.pop(key, None)
            elif _cycle(before) != _cycle(serving):
                # Somewhere in the new cycle, so that its first record does not gain by every change.
                self._turns[key] = Turns(serving.rotation, n, self._rng, anywhere=True)
            self._servings[key] = serving
            others = tuple(rrset for rrset in zone.node(owner) or () if rrset.rrtype != kind) if zone else ()
            ours = (serving.rrset,) if serving.rrset.rdatas else ()
            self._overlay[owner] = tuple(sorted((*others, *ours)))
        owners = frozenset(owner for owner, _ in servings)
        self.by_question.forget(owners)
        self.covering.forget(owners)

    def led(self) -> dict[Key, dict[bytes, int]]:
        """How often each address of a pool led an answer, by RRset and rdata, since this was last asked."""
        for key in self._turns.keys() & self._servings.keys():
            self._bank(key)
        led, self._led = self._led, {}
        return led

    def _bank(self, key: Key) -> None:
        """Credit the leading answers to the addresses that are handed out now."""
        if key not in self._turns or key not in self._servings:
            return
        counts = self._turns[key].led()
        if counts is not None:
            led = self._led.setdefault(key, {})
            for rdata, count in zip(self._servings[key].rrset.rdatas, counts, strict=True):
                led[rdata] = led.get(rdata, 0) + count

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
                full = table.get(key)
        if full is None:
            full = self._pack(zone, name, reply, 0xFFFF - HEADER - len(name) - 4)
            table.keep(key, full)
        if full.size <= room:
            return full
        key += room.to_bytes(2)
        fitting = table.get(key)
        if fitting is None:
            fitting = self._pack(zone, name, self.plain(name, kind), room)
            table.keep(key, fitting)
        return fitting

    def questions(self, most: int) -> list[Question]:
        """Those whose replies are ready: the first that were asked for, which are those that are asked most."""
        asked = ((key[:-4], key[-4:]) for key in self.by_question)
        return list(islice(((name, kind) for name, kind in asked if is_whole(name)), most))

    def prepare(self, questions: Iterable[Question]) -> None:
        """Have the replies to these questions ready before anybody asks them."""
        for name, kind in questions:
            self.ready(name, kind, 0xFFFF)

    def _place(self, zone: Zone, name: Name, kind: bytes) -> tuple[Table, bytes]:
        """Where the ready reply is kept if there is one."""
        if name not in zone.nodes:
            encloser = zone.encloser(name)
            key = _covering_key(name, encloser) + kind
            if key in self.covering:
                return self.covering, key
        return self.by_question, name + kind

    def _pack(self, zone: Zone, name: Name, reply: Answer, room: int) -> Ready:
        """The ready reply.

        A pool that is larger than fits shows a window of it, in turn, rather than sending the client to TCP.
        """
        self.packed += 1
        serving = self._servings.get(reply.turning) if reply.turning else None
        rotation = serving.rotation if serving else self._rotation
        body = message.pack(name, reply, room)
        window = n = len(body.turning)
        if rotation.answers is not None or (serving and body.flags & message.TC):
            body = message.pack(name, reply, _WHOLE)
            n = len(body.turning)
            window = body.window_that_fits(room, n if rotation.answers is None else min(n, rotation.answers))
            if not window:
                body = message.pack(name, reply, room)
                n = len(body.turning)
        ready = Ready(body, window, reply.consulted)
        ready.existing = zone.nodes
        if reply.turning is None or n < (1 if serving else 2):
            only = body.arranged(tuple(range(n)))
            ready.next = lambda: only
        else:
            # The one address of a pool takes turns too: they are counted.
            shown = replace(rotation, answers=window)
            if reply.turning not in self._turns:
                self._turns[reply.turning] = Turns(shown, n, self._rng)
            ready.take_turns(body, shown, self._turns[reply.turning])
            if rotation.order is Order.STICKY and n > 1:
                ready.stick(slots(reply.answer[-1].rrset.rdatas, rotation.weights), self._turns[reply.turning])
        if serving and serving.fails_open:
            note = extended_error(_OTHER, f"no backend is up; all {len(serving.rrset.rdatas)} are handed out")
            # The note goes before any record does (RFC 8914 §3).
            if ready.size + len(note) <= room:
                ready.note = note
                ready.size += len(note)
        ready.special = bool(ready.note) or ready.slots is not None
        return ready

    def _zone(self, name: Name, kind: bytes) -> Zone | None:
        """The zone that answers: the deepest that encloses the name, but DS is the parent's (RFC 4035 §3.1.4.1)."""
        if kind[:2] == rrtype.DS.to_bytes(2) and name in self.zones and len(name) > 1:
            above = self._zone(parent(name), b"")
            if above is not None:
                return above
        apex = closest(name, self.zones)
        return None if apex is None else self.zones[apex]


def _cycle(serving: Serving) -> tuple[int, Rotation]:
    """What a change of turns over."""
    return len(serving.rrset.rdatas), serving.rotation


def _covering_key(name: Name, encloser: Name) -> bytes:
    """The key of the reply for all missing names of this length below ``encloser``: their bodies are the same.

    For a child of the encloser it is the first label's length octet and the encloser, which is quickly had from the
    packet.  A longer stretch is marked by a zero octet, with which no name of several labels begins.
    """
    stretch = len(name) - len(encloser) - 1
    mark = b"" if stretch <= MAX_LABEL else b"\0"
    return mark + bytes((stretch,)) + encloser
