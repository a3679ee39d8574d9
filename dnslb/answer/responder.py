"""A packet in, a reply out: the only seam between DNS and I/O.

Nearly all queries are of few shapes: a plain header, one question, at most an OPT record that was seen before.  They
are answered by look-ups and one concatenation; every other packet is read in full and answered from the same tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from zlib import crc32

from dnslb.answer.cookies import Cookies
from dnslb.answer.memo import Memo, Remembered
from dnslb.answer.ready import ByClass, Ready, heads, whole
from dnslb.answer.reply_opt import ReplyOpt
from dnslb.answer.resolver_classes import network_of
from dnslb.answer.snapshot import Snapshot
from dnslb.balance.rotation import SLOTS
from dnslb.dns import edns, message, rrtype
from dnslb.dns.cookie import is_well_formed
from dnslb.dns.edns import PAYLOAD
from dnslb.dns.name import fold, starts
from dnslb.dns.query import HEADER, Query, parse

_RD, _Z, _AD, _CD = 0x0100, 0x0040, 0x0020, 0x0010
_OPT_FIXED = 11  # octets of an OPT record up to its options (RFC 6891 §6.1.2)
_OPT_START = 15  # octets of an OPT record up to the value of its first option
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
_PUT_OFF = heads(message.AA | message.TC, 0, 0, 0)


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
    cookie: bytes | None = None  # that the query shows; empty: it is what the only option carries


class ForTransfers(Exception):
    """A request that the process of the transfers answers: for a zone, or with a signature."""


class Responder:
    """Answers packets of one transport from one snapshot."""

    def __init__(
        self,
        snapshot: Snapshot,
        transport: Transport,
        identity: Identity,
        cookies: Cookies | None = None,
        *,
        has_transfers: bool = False,
    ) -> None:
        """``cookies``: None when they mean nothing to us.

        ``has_transfers``: somebody else answers what is about them, for which ForTransfers is raised.
        """
        self._has_transfers = has_transfers
        self._snapshot = snapshot
        self._transport = transport
        self._identity = identity
        self.opts = ReplyOpt(transport.limit, transport.idle, identity.server, cookies)
        self._zones = snapshot.zones
        self._replies = snapshot.over_udp if transport is UDP else snapshot.over_tcp
        # Bound once: each is looked up for every query.
        self._by_question = self._replies.by_question.get
        self._covering = self._replies.covering.get
        # By the header after the id, then by the octets after the question up to the first option's value.
        self._plans: dict[bytes, dict[bytes, _Plan]] = {header: {} for header in _plain_headers()}
        self.memo = self._replies.memo = Memo(self._compose)
        if cookies is not None:
            cookies.renewals.append(self.memo.clear)

    def respond(self, packet: bytes, client: bytes = b"") -> bytes | None:
        """The reply; None when there must be none.  Any octets may come in; nothing is raised for any of them.

        ``client`` is the client's socket address as the system gives it; only sticky orders look at it, and pools that
        answer clients near them otherwise.
        """
        reply = self.opts.completed(self.reply(packet[2:], client))
        return None if reply is None else packet[:2] + reply

    def recall(self, query: bytes, client: bytes) -> bytes | None:
        """The same as ``reply``, for queries that come one by one."""
        return self.opts.completed(self.find(query, client))

    def find(self, query: bytes, client: bytes) -> bytes | None:
        """The same as ``reply``, by the memo if it is there."""
        turns = self.memo.get(query)
        if turns is not None:
            known: bytes = next(turns)
            return known
        self.memo.miss(1, query, client)
        return self.reply(query, client)

    def reply(self, query: bytes, client: bytes) -> bytes | None:  # noqa: PLR0912 - functions would make it dearer
        """The same without the id, from after it to after it; it may end with a cookie that the caller completes."""
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
            plainest, marks = query[:10] + name + kind + self.opts.bare(query[end:]), self._replies.marks
            turns = self.memo.get(plainest if marks is None else marks.mark(client) + plainest)
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
        opt = plan.opt
        if plan.cookie is not None:
            shown = plan.cookie or query[end + _OPT_START :]
            if self.opts.demands_cookie and not self.opts.is_ours(shown, client):
                return self._considered(query, client)
            opt = self.opts.with_cookie(opt, shown, client)
        if ready.special:
            return _special(query, end, ready, plan, client, opt)
        return ready.heads[plan.head] + query[10:end] + ready.next() + opt

    def put_off(self, query: bytes, client: bytes) -> bytes | None:
        """A reply by which its client comes again: with a cookie of ours, if it has cookies, or over TCP."""
        end, plan = self._planned(query)
        if plan is not None and plan.cookie is None:
            return _PUT_OFF[plan.head] + query[10:end] + plan.opt
        again = (rrtype.NOERROR, message.AA | message.TC) if plan is None else (rrtype.BADCOOKIE, 0)
        return refused(self.opts, query, client, *again)

    def is_known(self, query: bytes, client: bytes) -> bool:
        """Whether the client shows a cookie of ours."""
        # Quickly told when nothing is behind the question.
        end, plan = (0, None) if query[9:10] == b"\0" else self._planned(query)
        shown = None if plan is None else plan.cookie
        return shown is not None and self.opts.is_ours(shown or query[end + _OPT_START :], client)

    def _planned(self, query: bytes) -> tuple[int, _Plan | None]:
        """Where the question ends, and what is behind it, if that is common."""
        plans = self._plans.get(query[:10])
        end = query.find(b"\0", 10) + 5
        plan = None if plans is None else plans.get(query[end : end + _OPT_START])
        is_right = plans is None or (plan is not None and plan.length == len(query) - end)
        return end, plan if is_right else self._plan(query, end)

    def _compose(self, query: bytes, client: bytes) -> Iterator[Remembered]:
        """What ``reply`` gives to these octets, turn by turn, and to the same question in its plainest form.

        Nothing when it is not common, or differs by the client.  Where clients have classes, the query is marked.
        """
        mark, query = (query[:1], query[1:]) if self._replies.marks is not None else (b"", query)
        end = query.find(b"\0", 10) + 5
        name, kind = query[10 : end - 4].lower(), query[end - 4 : end]
        begins = starts(name)
        plan = self._plan(query, end) if query[:10] in self._plans else None
        if plan is None or begins is None or kind[2:] != _IN or kind[:2] in _TRANSFERS:
            return
        shown = plan.cookie or query[end + _OPT_START :]
        opt = plan.opt if plan.cookie is None else self.opts.with_lasting_cookie(plan.opt, shown, client)
        ready = _marked(self._snapshot.ready(name, kind, self._replies, begins), mark).of.within(plan.limit - end)
        if opt is None or ready.of.is_withheld or (ready.others, ready.slots, ready.own) != (None, None, None):
            return
        head, opt = ready.heads[plan.head], _noted(opt, ready)
        for spelled, rest in {(query[10:end], query[end:]), (name + kind, self.opts.bare(query[end:]))}:
            yield mark + query[:10] + spelled + rest, whole(ready, head + spelled, opt)

    def _plan(self, query: bytes, end: int) -> _Plan | None:
        """What is behind the question, when that is nothing, or an OPT record; None when it is not so common."""
        tail = query[end:]
        asked = edns.plain(tail, self.opts.options) if query[9] else None
        if len(query) < end or (asked is None and (tail or query[9])):
            return None
        shown = self.opts.cookie(asked)
        if shown is not None and not is_well_formed(shown):
            return None
        limit, opt = self.opts.room(asked)
        plan = _Plan(len(tail), limit - 2, 2 * bool(opt) + (query[0] & 1), opt, shown)
        plans = self._plans[query[:10]]
        # Length and first 15 octets say all that matters, when there is one option at most.
        if len(tail) <= _OPT_FIXED or len(tail) == _OPT_START + int.from_bytes(tail[_OPT_FIXED + 2 : _OPT_START]):
            if len(plans) >= _PLANS:
                del plans[next(iter(plans))]
            plan = plan if shown is None else replace(plan, cookie=b"")
            plans[tail[:_OPT_START]] = plan
        return plan

    def _considered(self, query: bytes, client: bytes) -> bytes | None:
        """The reply to a packet that is not of the common shapes."""
        packet = bytes(2) + query
        asked = parse(packet)
        if asked is None:
            return None
        # A signature is read as NOTAUTH: nobody here can check it.
        if self._has_transfers and (asked.rcode == rrtype.NOTAUTH or _is_transfer(asked, self._transport)):
            raise ForTransfers
        say = partial(_refusal, self.opts, packet, asked, client)
        if asked.opcode not in (rrtype.QUERY, rrtype.NOTIFY, rrtype.UPDATE):
            return say(rrtype.NOTIMP)
        if asked.rcode != rrtype.NOERROR:
            return say(asked.rcode)
        shown = self.opts.cookie(asked.edns)
        if shown is not None and not is_well_formed(shown):
            return say(rrtype.FORMERR)
        if asked.opcode != rrtype.QUERY:
            return say(rrtype.REFUSED)
        if shown is not None and self.opts.wants_cookie(shown, client):
            return say(rrtype.BADCOOKIE)
        if asked.rrclass != rrtype.IN:
            return _chaos(self.opts, self._identity, packet, asked, client)
        kind = packet[asked.end - 4 : asked.end]
        if kind[:2] in _TRANSFERS:
            return say(rrtype.REFUSED)
        limit, opt = self.opts.room(asked.edns)
        ready = self._snapshot.ready(fold(asked.name), kind, self._replies).of.within(limit - asked.end)
        plan = _Plan(len(packet) - asked.end, limit - 2, 2 * bool(opt) + (packet[2] & 1), opt, shown)
        opt = opt if shown is None else self.opts.with_cookie(opt, shown, client)
        return _special(query, asked.end - 2, ready, plan, client, opt)


def _is_transfer(asked: Query, transport: Transport) -> bool:
    """Whether a zone is asked for, over a transport by which it can be had; or has changed, or is to be changed."""
    if asked.opcode == rrtype.UPDATE:
        return True
    if asked.opcode == rrtype.NOTIFY:
        return asked.rcode == rrtype.NOERROR
    wanted = (rrtype.IXFR,) if transport is UDP else (rrtype.AXFR, rrtype.IXFR)
    return asked.opcode == rrtype.QUERY and asked.wanted in wanted and asked.rrclass == rrtype.IN


def _refusal(  # noqa: PLR0913, PLR0917 - what stands in a reply comes from as many places
    opts: ReplyOpt, packet: bytes, asked: Query, client: bytes, rcode: int, flags: int = 0
) -> bytes:
    """A reply without records; the question comes back when it could be read."""
    opt = opts.reply(asked.edns, client, rcode, asked.end)
    flags |= int.from_bytes(packet[2:4]) & message.RD | rcode & 0xF
    counts = (int(asked.end > HEADER), 0, 0, int(bool(opt)))
    return message.head(flags, asked.opcode, counts) + packet[HEADER : asked.end] + opt


def refused(opts: ReplyOpt, query: bytes, client: bytes, rcode: int = rrtype.REFUSED, flags: int = 0) -> bytes | None:
    """The reply with that code to a query after its id, whatever it asks; None when there must be none."""
    packet = bytes(2) + query
    asked = parse(packet)
    return None if asked is None else _refusal(opts, packet, asked, client, rcode, flags)


def _chaos(opts: ReplyOpt, identity: Identity, packet: bytes, asked: Query, client: bytes) -> bytes:
    """The server's own names in class CH, if the operator wants them known (RFC 4892)."""
    text = _own_name(identity, asked)
    if text is None:
        return _refusal(opts, packet, asked, client, rrtype.REFUSED)
    record = message.chaos_txt(text)
    opt = opts.reply(asked.edns, client, rrtype.NOERROR, asked.end + len(record))
    flags = int.from_bytes(packet[2:4]) & message.RD | message.AA
    head = message.head(flags, asked.opcode, (1, 1, 0, int(bool(opt))))
    return head + packet[HEADER : asked.end] + record + opt


def _own_name(identity: Identity, asked: Query) -> str | None:
    if asked.rrclass != rrtype.CH or asked.wanted != rrtype.TXT:
        return None
    name = fold(asked.name)
    if name in _VERSION_NAMES:
        return identity.version
    return identity.server if name in _IDENTITY_NAMES else None


def _special(  # noqa: PLR0913, PLR0917 - all that may make it another
    query: bytes, end: int, ready: Ready, plan: _Plan, client: bytes, opt: bytes
) -> bytes | None:
    """A reply that may depend on the client, or have a note in its OPT record, or must not be sent."""
    if not ready.special:
        return ready.heads[plan.head] + query[10:end] + ready.next() + opt
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
    return ready.heads[plan.head] + query[10:end] + body + _noted(opt, ready)


def _marked(ready: Ready, mark: bytes) -> Ready:
    """The reply to clients of the class that the mark tells."""
    return ready.others.readies[mark[0]] if mark and isinstance(ready.others, ByClass) else ready


def _noted(opt: bytes, ready: Ready) -> bytes:
    """The reply's OPT record with what clients should know."""
    return edns.extend(opt, ready.note) if ready.note and opt else opt


def _plain_headers() -> Iterator[bytes]:
    """The headers after the id that ordinary queries have: only RD of the flags comes back, the others are ignored."""
    for flags in product((0, _RD), (0, _Z), (0, _AD), (0, _CD)):
        for additionals in (0, 1):
            yield b"".join(number.to_bytes(2) for number in (sum(flags), 1, 0, 0, additionals))
