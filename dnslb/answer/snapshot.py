"""Everything that decides an answer at one moment, and the replies that follow from it, ready to send.

Only here do pools meet the DNS: what a pool serves at the moment stands in for the zone's own RRset.  A reply
is packed when it is first asked for, and kept ready then.  ``dns.answer`` is the specification; nothing is said here
that it did not say.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain, islice
from random import Random
from types import MappingProxyType
from typing import TypeAlias

from dnslb.answer.memo import Memo
from dnslb.answer.ready import ByClass, Nearby, Others, Ready, Reply, Scope, Table, Turning
from dnslb.answer.resolver_classes import ResolverClasses
from dnslb.answer.zone_turns import ZoneTurns
from dnslb.balance.class_turns import ClassTurns, begin_turns
from dnslb.balance.hidden_load import Terms
from dnslb.balance.near import Near
from dnslb.balance.rotation import Rotation, RRsetOrder, Stand, period, slots
from dnslb.dns import message, rrtype
from dnslb.dns.answer import Answer, answer, exists_below
from dnslb.dns.edns import PAYLOAD, extended_error
from dnslb.dns.message import Body, Cut
from dnslb.dns.name import MAX_LABEL, ROOT, Name, closest, fold, is_whole, parent, starts
from dnslb.dns.query import HEADER
from dnslb.dns.zone import Node, RRset, Zone

_INVALID = 24             # the code of what is known no more, or not yet (RFC 8914 §4.25)
_OTHER = 0                # the code of an extended error that has no code of its own (RFC 8914 §4.1)
_IN = rrtype.IN.to_bytes(2)
_DS = rrtype.DS.to_bytes(2)
_SOME_TYPE = bytes(2) + _IN  # type 0, which no name has

RRsetKey: TypeAlias = tuple[Name, int]    # owner in the zone, and type
Question: TypeAlias = tuple[Name, bytes]  # folded name, and type and class
Led: TypeAlias = dict[bytes, int]         # answers, by the address (rdata) that led them


@dataclass(frozen=True, slots=True)
class Serving:
    """What a pool serves of one RRset at the moment."""

    rrset: RRset               # the addresses handed out, maybe none, and the TTL in force
    rotation: Rotation
    fails_open: bool = False   # too few backends are up: these are handed out for want of better
    floor: int = 0             # seconds: the lowest TTL that the pool may have
    note: str = ""             # what clients should know, in an extended error
    withheld: bool = False     # nothing is known of the backends yet: a question gets no reply
    up: int = 0                # while it fails open: those that are up
    terms: tuple[Terms, ...] = ()  # what resolvers get by their class, where that differs: no TTL above the RRset's


NOT_OURS = Answer(rcode=rrtype.REFUSED, authoritative=False)
ABSENT = Answer(rcode=rrtype.SERVFAIL, authoritative=False)
_NO_RECORDS = (Cut(0, (0, 0, 0), False),)
_REFUSED = Reply(Body(rrtype.REFUSED, b"", (), b"", _NO_RECORDS), Scope()).within(0)
_FAILED = Reply(
    Body(rrtype.SERVFAIL, b"", (), b"", _NO_RECORDS),
    Scope(),
    note=extended_error(_INVALID, "the zone has expired, or has not come from its primary yet"),
).within(PAYLOAD)


class Replies:
    """Ready replies in messages of one size, at most.

    A reply that is the same for all types that a name does not have is kept by the name alone: so nobody can fill the
    tables by asking for types.
    """

    def __init__(self, most: int, owners: Collection[Name]) -> None:
        """``most``: octets of a message; ``owners``: the nodes whose replies are forgotten now and then."""
        self.most = most
        self.by_question = Table(owners)  # by folded name + type + class, or folded name
        self.covering = Table(owners)     # by _covering_key + type + class, or _covering_key
        self.memo = Memo()
        # If replies go by the classes of clients: before a query in the memo is an octet that tells the client's.
        self.marks: ResolverClasses | None = None

    def find(self, name: Name, kind: bytes, covers: Name | None) -> Ready | None:
        """The reply to folded ``name``, or to all missing names like it below ``covers``."""
        table, key = self._place(name, covers)
        ready = table.get(key)
        return table.get(key + kind) if ready is None or kind in ready.apart else ready

    def keep(self, name: Name, kind: bytes, covers: Name | None, ready: Ready) -> None:
        table, key = self._place(name, covers)
        table.keep(key if ready.apart else key + kind, ready)

    def forget(self, owners: Collection[Name]) -> None:
        """Drop every reply that one of these nodes decided."""
        self.by_question.forget(owners)
        self.covering.forget(owners)
        self.memo.clear()

    def index(self) -> None:
        """There are more owners than before."""
        self.by_question.index()
        self.covering.index()

    def _place(self, name: Name, covers: Name | None) -> tuple[Table, bytes]:
        return (self.by_question, name) if covers is None else (self.covering, _covering_key(name, covers))


class Snapshot:
    """One view of the world: zones, what the pools in them serve, and the order of all other records.

    Names and types come in wire form.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - everything that decides an answer
        self,
        zones: Mapping[Name, Zone],
        order: RRsetOrder,
        rng: Random,
        servings: Mapping[RRsetKey, Serving] | None = None,
        near: Mapping[Name, Near] = MappingProxyType({}),
        stands: Mapping[RRsetKey, Stand] | None = None,
    ) -> None:
        """``zones``: those without any node are known not to be held.

        ``near``: of the pools that answer them otherwise than others, by owner.

        ``stands``: where turns go on; those of other RRsets begin anywhere.  Without it all begin with the first.
        """
        self._near = near
        self._overlay: dict[Name, Node] = {}
        self.zones = {apex: replace(zone, overlay=self._overlay) for apex, zone in zones.items() if zone.nodes}
        self._absent = frozenset(zones.keys() - self.zones.keys())
        self._depth = max((len(starts(apex) or []) for apex in zones), default=1)  # labels of an apex, at most
        self.over_udp = Replies(PAYLOAD, self._overlay)
        self.over_tcp = Replies(0xFFFF, self._overlay)
        self._rotation = Rotation(order)
        self._rng = rng
        self.classes = ResolverClasses()
        self.packed = 0             # replies that were not found ready
        self.zone_turns = self._turns = ZoneTurns(self.zones)
        self._stands = None if stands is None else dict(stands)  # of those that have had no turn yet
        self._servings: dict[RRsetKey, Serving] = {}
        self.update(servings or {})

    def update(self, servings: Mapping[RRsetKey, Serving]) -> dict[RRsetKey, Led]:
        """From now on the pools serve this.  Only the replies concerned are packed again.

        What their addresses have led up to now is as in ``led``.
        """
        led = self.led(servings)
        owners = {owner for owner, _ in servings}
        is_larger = not owners <= self._overlay.keys()
        for key, serving in servings.items():
            owner, kind = key
            zone = self._zone(owner, b"", starts(owner) or [])
            before = self._servings.get(key)
            n, rotation = len(serving.rrset.rdatas), serving.rotation
            if before is None or not n:
                self._turns.drop(key)
            elif _cycle(before) != _cycle(serving):
                # Somewhere in the new cycle, so that its first record does not gain by every change.
                self._turns[key] = begin_turns(rotation, serving.terms, n, self._rng, _anywhere(self._rng, rotation, n))
            elif isinstance(turns := self._turns.get(key), ClassTurns):
                turns.retune(serving.terms)
            self._servings[key] = serving
            others = tuple(rrset for rrset in zone.node(owner) or () if rrset.rrtype != kind) if zone else ()
            ours = (serving.rrset,) if serving.rrset.rdatas else ()
            self._overlay[owner] = tuple(sorted((*others, *ours)))
        for replies in (self.over_udp, self.over_tcp):
            if is_larger:
                replies.index()
            replies.forget(owners)
        return led

    def renumber(self, soas: Mapping[Name, RRset]) -> None:
        """From now on questions for the SOA of these zones are answered with this; negative answers have the file's."""
        for apex, soa in soas.items():
            others = (rrset for rrset in self.zones[apex].node(apex) or () if rrset.rrtype != rrtype.SOA)
            self._overlay[apex] = tuple(sorted((soa, *others)))
        for replies in (self.over_udp, self.over_tcp) if soas else ():
            replies.index()
            replies.forget(soas)

    @property
    def turning(self) -> list[RRsetKey]:
        """The RRsets of pools that are asked for."""
        return list(self._turns.keys() & self._servings.keys())

    def led(self, keys: Iterable[RRsetKey]) -> dict[RRsetKey, Led]:
        """How often each address of these RRsets led an answer since this was last asked; those that were asked."""
        found = {}
        for key in keys:
            counts = self._turns[key].led() if key in self._turns and key in self._servings else None
            if counts is not None:
                rdatas = self._servings[key].rrset.rdatas
                found[key] = {rdata: count for rdata, count in zip(rdatas, counts, strict=True) if count}
        return found

    def stands(self, most: int) -> Iterator[tuple[RRsetKey, Stand]]:
        """Where the turns of so many RRsets stand, at most: those of pools, then those that were asked for first."""
        waiting = self._stands or {}
        pools = (key for key in self._servings if key in self._turns)
        others = (key for key in self._turns if key not in self._servings)
        keys = list(islice(chain(pools, others, waiting), most))
        for key in keys:
            turns = self._turns.get(key)
            stand = waiting.get(key) if turns is None else turns.stand()
            if stand is not None:
                yield key, stand

    def plain(self, name: Name, kind: bytes) -> Answer:
        """The reply to folded ``name`` before it is packed, looked up afresh: what ``ready`` must equal."""
        zone = self._zone(name, kind, starts(name) or [])
        if _is_below_absent(name, kind, self._absent, zone):
            return ABSENT
        return NOT_OURS if zone is None else answer(zone, name, int.from_bytes(kind[:2]), self.zones)

    def ready(self, name: Name, kind: bytes, replies: Replies, begins: Sequence[int] | None = None) -> Ready:
        """The largest reply to folded ``name``, type and class ``kind``; class IN, and no transfer.

        ``begins``: where its labels do, if that is known.
        """
        if begins is None:
            begins = starts(name) or []
        zone = self._zone(name, kind, begins)
        if self._absent and _is_below_absent(name, kind, self._absent, zone):
            return _FAILED
        if zone is None:
            return _REFUSED
        covers = None if name in zone.nodes else zone.encloser_at(name, begins)
        ready = replies.find(name, kind, covers)
        if ready is not None and covers is not None and name in ready.existing:
            ready = None
        if ready is None:
            reply = answer(zone, name, int.from_bytes(kind[:2]), self.zones)
            if reply.covers != covers and reply.covers is not None:
                ready = replies.find(name, kind, reply.covers)
        if ready is None:
            ready = self._pack(zone, name, kind, reply, replies.most - HEADER - len(name) - 4)
            if covers is None or _is_shared(zone, reply):
                replies.keep(name, kind, reply.covers, ready)
        return ready

    def questions(self, most: int) -> Iterator[Question]:
        """Those whose replies are ready now: the first that were asked for, which are those that are asked most."""
        keys = list(islice(self.over_udp.by_question, most))
        return ((key, _SOME_TYPE) if is_whole(key) else (key[:-4], key[-4:]) for key in keys)

    def prepare(self, questions: Iterable[Question]) -> None:
        """Have the replies to these questions ready before anybody asks them."""
        for name, kind in questions:
            self.ready(name, kind, self.over_udp)

    def _pack(self, zone: Zone, name: Name, kind: bytes, reply: Answer, room: int) -> Ready:
        self.packed += 1
        body = message.pack(name, reply, room)
        empty = {} if reply.turning else _empty(reply, self._servings)
        serving = self._servings.get(reply.turning) if reply.turning else empty.get(int.from_bytes(kind[:2]))
        # A type of which there is nothing just now has a reply of its own: it says so, or is withheld.
        apart = None if reply.types_apart is None else reply.types_apart.union(empty)
        is_alike = apart is not None and int.from_bytes(kind[:2]) not in apart
        scope = Scope(
            owners=reply.consulted,
            ticks=self._turns.ticks(zone.apex),
            apart=_kinds(apart) if apart is not None and is_alike else (),
            existing=_existing(zone, reply),
        )
        note = b"" if serving is None else _note(serving)
        turning = self._turning(reply, body, serving)
        make = partial(Reply, scope=scope, note=note, is_withheld=serving is not None and serving.withheld)
        others: Others | None = None
        if serving and turning and serving.terms:
            others = ByClass(self.classes, [each.within(room) for each in _by_class(make, body, turning, serving)])
        elif reply.turning and turning and (near := _nearby(self._near.get(reply.turning[0]), turning, body)):
            others = Nearby(self._near[reply.turning[0]], make(body, turning=near).within(room))
        return make(body, turning=turning, others=others).within(room)

    def _turning(self, reply: Answer, body: Body, serving: Serving | None) -> Turning | None:
        """How the records take turns, if they do."""
        n = len(body.turning)
        # The one address of a pool takes turns too: they are counted.
        if reply.turning is None or n < (1 if serving else 2):
            return None
        rotation = serving.rotation if serving else self._rotation
        turns = self._turns.get(reply.turning)
        if turns is None:
            start = self._start(reply.turning, rotation, n)
            terms = serving.terms if serving else ()
            turns = self._turns[reply.turning] = begin_turns(rotation, terms, n, self._rng, start)
        leaders = None
        if rotation.order is RRsetOrder.STICKY and n > 1:
            leaders = slots(reply.answer[-1].rrset.rdatas, rotation.weights)
        return Turning(rotation, turns, serving is not None, leaders)

    def _start(self, key: RRsetKey, rotation: Rotation, n: int) -> int:
        """The first turn of an RRset."""
        if self._stands is None:
            return 0
        stand = self._stands.pop(key, None)
        return _anywhere(self._rng, rotation, n) if stand is None or stand.period != period(rotation, n) else stand.turn

    def _zone(self, name: Name, kind: bytes, begins: Sequence[int]) -> Zone | None:
        """The zone that answers: the deepest that encloses the name, but DS is the parent's (RFC 4035 §3.1.4.1)."""
        own = _deepest(self.zones, name, begins[-self._depth :])
        if own is not None and own.apex == name and len(begins) > 1 and kind[:2] == _DS:
            return _deepest(self.zones, name, begins[1:][-self._depth :]) or own
        return own


def _anywhere(rng: Random, rotation: Rotation, n: int) -> int:
    """So no record gains by how often turns begin anew."""
    return rng.randrange(period(rotation, n))


def _deepest(zones: Mapping[Name, Zone], name: Name, begins: Sequence[int]) -> Zone | None:
    """The zone with the longest apex that begins there."""
    for at in begins:
        zone = zones.get(name[at:])
        if zone is not None:
            return zone
    return None


def _is_below_absent(name: Name, kind: bytes, absent: Container[Name], zone: Zone | None) -> bool:
    """Whether a zone would answer that is not held, and not this one."""
    own = parent(name) if kind[:2] == _DS and zone is not None and name != ROOT else name
    return len(closest(own, absent) or b"") > (0 if zone is None else len(zone.apex))


class _Substituted:
    """The names that do not share the reply to those below a DNAME: they exist, or what is made of them does."""

    __slots__ = ("_owner", "_target", "_zone")

    def __init__(self, zone: Zone, owner: Name, target: Name) -> None:
        self._zone = zone
        self._owner = owner
        self._target = target

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, bytes):
            return False
        return name in self._zone.nodes or exists_below(self._zone, self._target, name, self._owner)


def _is_shared(zone: Zone, reply: Answer) -> bool:
    """Whether somebody may get the reply to a missing name: else it would be kept for nobody."""
    if reply.covers is not None:
        return True
    # What a DNAME makes of it exists: there are no more such names than names that exist.
    return reply.substituted is not None and fold(reply.substituted) in zone.nodes


def _existing(zone: Zone, reply: Answer) -> Container[Name]:
    """The names that do not share a reply with those that are missing."""
    if reply.covers is None:
        return ()
    if reply.substituted is None:
        return zone.nodes
    return _Substituted(zone, reply.covers, fold(reply.answer[0].rrset.rdatas[0]))


def _empty(reply: Answer, servings: Mapping[RRsetKey, Serving]) -> dict[int, Serving]:
    """By type: what pools serve that have no address now, at the names that decided the reply, if it is NODATA."""
    if reply.rcode != rrtype.NOERROR or not any(placed.rrset.rrtype == rrtype.SOA for placed in reply.authority):
        return {}
    keys = ((owner, kind) for owner in reply.consulted for kind in rrtype.ADDRESS_TYPES.values())
    found = {key[1]: serving for key in keys if (serving := servings.get(key)) is not None}
    return {kind: serving for kind, serving in found.items() if not serving.rrset.rdatas}


@lru_cache(maxsize=1024)
def _kinds(types: frozenset[int]) -> frozenset[bytes]:
    """Type and class, as they stand in a question."""
    return frozenset(number.to_bytes(2) + _IN for number in types)


def _nearby(near: Near | None, turning: Turning, body: Body) -> Turning | None:
    """How the records take turns for clients who are near, if that differs."""
    if near is None or not turning.is_pool or not _differ(turning.rotation.answers, near.answers, len(body.turning)):
        return None
    # The same turns: so both of them count, and nobody's turn is passed over.
    return replace(turning, rotation=replace(turning.rotation, answers=near.answers))


def _by_class(make: Callable[..., Reply], body: Body, turning: Turning, serving: Serving) -> Iterator[Reply]:
    """What resolvers get by their class: records with TTLs of their own, in turns of their own."""
    size = len(serving.rrset.rdatas[0])
    every = turning.turns.by_class if isinstance(turning.turns, ClassTurns) else ()
    for terms, turns in zip(serving.terms, every, strict=True):
        like = replace(turning, rotation=terms.rotation, turns=turns)
        yield make(body.with_ttls(terms.ttls, size), turning=like)


def _differ(most: int | None, other: int | None, n: int) -> bool:
    """Whether it matters which of the two is the most of ``n`` addresses that are shown."""
    return min(most or n, n) != min(other or n, n)


def _note(serving: Serving) -> bytes:
    """What clients are told besides, as an option for the OPT record."""
    number = len(serving.rrset.rdatas)
    few = f"only {serving.up} of {number}" if serving.up else "no backend is"
    alarm = f"{few} up; all {number} are handed out" if serving.fails_open else ""
    if not serving.rrset.rdatas:
        alarm = "no backend is available; there are addresses otherwise"
    text = "; ".join(filter(None, (alarm, serving.note)))
    return extended_error(_OTHER, text) if text else b""


def _cycle(serving: Serving) -> tuple[int, Rotation, bool]:
    """What a change of turns over."""
    return len(serving.rrset.rdatas), serving.rotation, bool(serving.terms)


def _covering_key(name: Name, encloser: Name) -> bytes:
    """The key of the reply for all missing names of this length below ``encloser``: their bodies are the same.

    For a child of the encloser it is the first label's length octet and the encloser, which is quickly had from the
    packet.  A longer stretch is marked by a zero octet, with which no name of several labels begins.
    """
    stretch = len(name) - len(encloser) - 1
    mark = b"" if stretch <= MAX_LABEL else b"\0"
    return mark + bytes((stretch,)) + encloser
