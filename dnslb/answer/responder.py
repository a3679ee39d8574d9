"""A packet in, a reply out: the only seam between DNS and I/O.

Nearly all queries are of few shapes: a plain header, one question, at most an OPT record that was seen before.  They
are answered by look-ups and one concatenation; every other packet is read in full and answered from the same tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from zlib import crc32

from dnslb.answer.memo import Memo, Remembered
from dnslb.answer.ready import ByClass, Ready, whole
from dnslb.answer.resolver_classes import network_of
from dnslb.answer.snapshot import Snapshot
from dnslb.balance.rotation import SLOTS
from dnslb.dns import edns, message, rrtype
from dnslb.dns.edns import KEEPALIVE, NSID, PAYLOAD, PLAIN_PAYLOAD, Edns
from dnslb.dns.name import MAX_NAME, fold, starts
from dnslb.dns.query import HEADER, Query, parse

_RD, _Z, _AD, _CD = 0x0100, 0x0040, 0x0020, 0x0010
_OPT_FIXED = 11  # octets of an OPT record up to its options (RFC 6891 §6.1.2)
_OPT_START = 15  # octets of an OPT record up to the value of its first option
_LONGEST = HEADER + MAX_NAME + 4  # octets of a header and a question, at most
_PLANS = 1000    # OPT records remembered for each header
_IN = rrtype.IN.to_bytes(2)
_TRANSFERS = frozenset({rrtype.AXFR.to_bytes(2), rrtype.IXFR.to_bytes(2)})

_VERSION_NAMES = frozenset({b"\x07version\x04bind\0", b"\x07version\x06server\0"})
_IDENTITY_NAMES = frozenset({b"\x02id\x06server\0", b"\x08hostname\x04bind\0"})


@dataclass(frozen=True, slots=True)
class Transport:
    """What differs between UDP and TCP."""

    limit: int                 # octets of the largest reply
    idle: int | None = None    # tenths of a second a connection may be idle (RFC 7828 §3.1); None over UDP


UDP = Transport(limit=PAYLOAD)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we say we are; None is answered REFUSED (RFC 4892) or not at all (NSID)."""

    server: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a query's OPT record, or its absence, means for the reply."""

    length: int  # octets of the query after the question
    limit: int   # octets of the reply after its id and before its own OPT record
    head: int    # which of Ready.heads
    opt: bytes   # the reply's OPT record


class ForTransfers(Exception):
    """A request that the process of the transfers answers: for a zone, or with a signature."""


class Responder:
    """Answers packets of one transport from one snapshot."""

    def __init__(
        self, snapshot: Snapshot, transport: Transport, identity: Identity, *, has_transfers: bool = False
    ) -> None:
        """``has_transfers``: somebody else answers what is about them, for which ForTransfers is raised."""
        self._has_transfers = has_transfers
        self._snapshot = snapshot
        self._transport = transport
        self._identity = identity
        self._options = {NSID: identity.server.encode()} if identity.server else {}
        if transport.idle is not None:
            self._options[KEEPALIVE] = transport.idle.to_bytes(2)
        self._zones = snapshot.zones
        # Of clients: if they are of use, an octet that tells a client's is before a query in the memo of UDP.
        self._classes = snapshot.classes if snapshot.classes.are_used and transport is UDP else None
        self._replies = snapshot.over_udp if transport is UDP else snapshot.over_tcp
        # Bound once: each is looked up for every query.
        self._by_question = self._replies.by_question.get
        self._covering = self._replies.covering.get
        # By the header after the id, then by the octets after the question up to the first option's value.
        self._plans: dict[bytes, dict[bytes, _Plan]] = {header: {} for header in _plain_headers()}
        self._room = lru_cache(maxsize=_PLANS)(self._find_room)
        self.memo = self._replies.memo = Memo(self._compose)

    def respond(self, packet: bytes, client: bytes = b"") -> bytes | None:
        """The reply; None when there must be none.  Any octets may come in; nothing is raised for any of them.

        ``client`` is the client's socket address as the system gives it; only sticky orders look at it, and pools that
        answer clients near them otherwise.
        """
        reply = self.reply(packet[2:], client)
        return None if reply is None else packet[:2] + reply

    def recall(self, query: bytes, client: bytes) -> bytes | None:
        """The same as ``reply``, for queries that come one by one."""
        turns = self.memo.get(query)
        if turns is not None:
            known: bytes = next(turns)
            return known
        self.memo.miss(1, query)
        return self.reply(query, client)

    def reply(self, query: bytes, client: bytes) -> bytes | None:  # noqa: PLR0912 - functions would make it dearer
        """The same without the id: from the octets after it to those after it."""
        plans = self._plans.get(query[:10])
        if plans is None:
            return self._considered(query, client)
        # A zero octet inside a label ends this name too early: then no key fits, as all keys hold whole names.
        end = query.find(b"\0", 10) + 5
        name = query[10 : end - 4].lower()
        kind = query[end - 4 : end]
        ready = self._by_question(name + kind)
        if ready is None and kind[2:] == _IN:
            # A reply that is shared: by other types, or by other names that are missing.
            ready = self._by_question(name)
            if ready is None and name:
                key = name[:1] + name[1 + name[0] :]
                ready = self._covering(key)
                if ready is None or kind in ready.apart:
                    ready = self._covering(key + kind)
                if ready is not None and (name in ready.existing or name in self._zones):
                    ready = None
            elif ready is not None and kind in ready.apart:
                ready = None
        plan = plans.get(query[end : end + _OPT_START])
        if plan is None or plan.length != len(query) - end:
            # Maybe it is as if it had no options, of which new ones can come each time.
            plainest = query[:10] + name + kind + _bare(query[end:], self._options)
            turns = self.memo.get(plainest if self._classes is None else self._classes.mark(client) + plainest)
            if turns is not None:
                known: bytes = next(turns)
                return known[:10] + query[10:end] + known[end:]
            plan = self._plan(query, end)
            if plan is None:
                return self._considered(query, client)
        if ready is None:
            begins = starts(name)
            if kind[2:] != _IN or kind[:2] in _TRANSFERS or begins is None:
                return self._considered(query, client)
            ready = self._snapshot.ready(name, kind, self._replies, begins)
        if end + ready.size > plan.limit:
            ready = ready.of.within(plan.limit - end)
        if ready.special:
            return _special(query, end, ready, plan, client)
        return ready.heads[plan.head] + query[10:end] + ready.next() + plan.opt

    def _compose(self, query: bytes) -> Iterator[Remembered]:
        """What ``reply`` gives to these octets, turn by turn, and to the same question in its plainest form.

        Nothing when it is not common, or differs by the client.  Where clients have classes, the query is marked.
        """
        mark, query = (query[:1], query[1:]) if self._classes is not None else (b"", query)
        end = query.find(b"\0", 10) + 5
        name, kind = query[10 : end - 4].lower(), query[end - 4 : end]
        begins = starts(name)
        plan = self._plan(query, end) if query[:10] in self._plans else None
        if plan is None or begins is None or kind[2:] != _IN or kind[:2] in _TRANSFERS:
            return
        ready = self._snapshot.ready(name, kind, self._replies, begins).of.within(plan.limit - end)
        if mark and isinstance(ready.others, ByClass):
            ready = ready.others.readies[mark[0]].of.within(plan.limit - end)
        if ready.of.is_withheld or ready.others is not None or ready.slots is not None or ready.own is not None:
            return
        head, opt = ready.heads[plan.head], _noted(plan.opt, ready)
        tail = query[end:]
        bare = tail if len(tail) <= _OPT_FIXED else _bare(tail, self._options)
        for spelled, rest in {(query[10:end], tail), (name + kind, bare)}:
            yield mark + query[:10] + spelled + rest, whole(ready, head + spelled, opt)

    def _plan(self, query: bytes, end: int) -> _Plan | None:
        """What is behind the question, when that is nothing, or an OPT record; None when it is not so common."""
        tail = query[end:]
        asked = edns.plain(tail, self._options) if query[9] else None
        if len(query) < end or (asked is None and (tail or query[9])):
            return None
        limit, opt = self._room(asked)
        plan = _Plan(len(tail), limit - 2, 2 * bool(opt) + (query[0] & 1), opt)
        plans = self._plans[query[:10]]
        # Length and first 15 octets say all that matters, when there is one option at most.
        if len(tail) <= _OPT_FIXED or len(tail) == _OPT_START + int.from_bytes(tail[_OPT_FIXED + 2 : _OPT_START]):
            if len(plans) >= _PLANS:
                del plans[next(iter(plans))]
            plans[tail[:_OPT_START]] = plan
        return plan

    def _considered(self, query: bytes, client: bytes) -> bytes | None:
        """The reply to a packet that is not of the common shapes."""
        packet = bytes(2) + query
        asked = parse(packet)
        if asked is None:
            return None
        # A signature is read as NOTAUTH: nobody here can check it.
        if self._has_transfers and (asked.rcode == rrtype.NOTAUTH or self._is_transfer(asked)):
            raise ForTransfers
        if asked.opcode not in (rrtype.QUERY, rrtype.NOTIFY, rrtype.UPDATE):
            return self._refusal(packet, asked, rrtype.NOTIMP)
        if asked.rcode != rrtype.NOERROR:
            return self._refusal(packet, asked, asked.rcode)
        if asked.opcode != rrtype.QUERY:
            return self._refusal(packet, asked, rrtype.REFUSED)
        if asked.rrclass != rrtype.IN:
            return self._chaos(packet, asked)
        kind = packet[asked.end - 4 : asked.end]
        if kind[:2] in _TRANSFERS:
            return self._refusal(packet, asked, rrtype.REFUSED)
        limit, opt = self._room(asked.edns)
        ready = self._snapshot.ready(fold(asked.name), kind, self._replies).of.within(limit - asked.end)
        plan = _Plan(len(packet) - asked.end, limit - 2, 2 * bool(opt) + (packet[2] & 1), opt)
        return _special(query, asked.end - 2, ready, plan, client)

    def _is_transfer(self, asked: Query) -> bool:
        """Whether a zone is asked for, over a transport by which it can be had."""
        wanted = (rrtype.IXFR,) if self._transport is UDP else (rrtype.AXFR, rrtype.IXFR)
        return asked.opcode == rrtype.QUERY and asked.wanted in wanted and asked.rrclass == rrtype.IN

    def _find_room(self, asked: Edns | None) -> tuple[int, bytes]:
        """The octets of a reply before its OPT record, and that record."""
        opt = self._opt(asked, rrtype.NOERROR, _LONGEST)
        return self._limit(asked) - len(opt), opt

    def _opt(self, asked: Edns | None, rcode: int, rest: int) -> bytes:
        """The reply's OPT record, if the query has one; ``rest`` is the octets of the reply besides."""
        if asked is None:
            return b""
        opt = edns.pack(rcode, asked, self._options)
        # A long name for NSID must not crowd out the rest.
        return opt if rest + len(opt) <= self._limit(asked) else edns.pack(rcode, asked, {})

    def _limit(self, opt: Edns | None) -> int:
        if self._transport is not UDP:
            return self._transport.limit
        # A size below 512 counts as 512 (RFC 6891 §6.2.3).
        return PLAIN_PAYLOAD if opt is None else max(PLAIN_PAYLOAD, min(opt.payload, PAYLOAD))

    def _refusal(self, packet: bytes, asked: Query, rcode: int) -> bytes:
        """A reply without records; the question comes back when it could be read."""
        opt = self._opt(asked.edns, rcode, asked.end)
        flags = int.from_bytes(packet[2:4]) & message.RD | rcode & 0xF
        counts = (int(asked.end > HEADER), 0, 0, int(bool(opt)))
        return message.head(flags, asked.opcode, counts) + packet[HEADER : asked.end] + opt

    def _chaos(self, packet: bytes, asked: Query) -> bytes:
        """The server's own names in class CH, if the operator wants them known (RFC 4892)."""
        text = None
        if asked.rrclass == rrtype.CH and asked.wanted == rrtype.TXT:
            name = fold(asked.name)
            if name in _VERSION_NAMES:
                text = self._identity.version
            elif name in _IDENTITY_NAMES:
                text = self._identity.server
        if text is None:
            return self._refusal(packet, asked, rrtype.REFUSED)
        record = message.chaos_txt(text)
        opt = self._opt(asked.edns, rrtype.NOERROR, asked.end + len(record))
        flags = int.from_bytes(packet[2:4]) & message.RD | message.AA
        head = message.head(flags, asked.opcode, (1, 1, 0, int(bool(opt))))
        return head + packet[HEADER : asked.end] + record + opt


def _special(query: bytes, end: int, ready: Ready, plan: _Plan, client: bytes) -> bytes | None:
    """A reply that may depend on the client, or have a note in its OPT record, or must not be sent."""
    if ready.of.is_withheld:
        return None
    chosen = None if ready.others is None else ready.others.choose(client)
    if chosen is not None:
        ready = chosen
        if end + ready.size > plan.limit:
            ready = ready.of.within(plan.limit - end)
    if ready.slots is None:
        body = ready.next()
    else:
        # The checksum is the same in every process, unlike a hash of Python's.
        leader = ready.slots[crc32(network_of(client)) % SLOTS]
        ready.drawn[leader] += 1
        body = ready.at(leader)
    if ready.own is not None:
        begin, stop = ready.own.start, ready.own.stop
        body = body[:begin] + fold(query[10 : 10 + stop - begin]) + body[stop:]
    return ready.heads[plan.head] + query[10:end] + body + _noted(plan.opt, ready)


def _bare(tail: bytes, known: Mapping[int, bytes]) -> bytes:
    """An OPT record without the options that mean nothing to us; as it is if there are others, or it is broken."""
    asked = edns.known_codes(tail, known)
    return tail if asked is None or asked else tail[: _OPT_FIXED - 2] + b"\0\0"


def _noted(opt: bytes, ready: Ready) -> bytes:
    """The reply's OPT record with what clients should know."""
    return edns.extend(opt, ready.note) if ready.note and opt else opt


def _plain_headers() -> Iterator[bytes]:
    """The headers after the id that ordinary queries have: only RD of the flags comes back, the others are ignored."""
    for flags in product((0, _RD), (0, _Z), (0, _AD), (0, _CD)):
        for additionals in (0, 1):
            yield b"".join(number.to_bytes(2) for number in (sum(flags), 1, 0, 0, additionals))
