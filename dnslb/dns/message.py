"""Replies in wire form.  dnslib packs the names, with compression; nothing else of dnslib is used on packets.

Pure: no I/O.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from struct import Struct
from sys import maxsize
from typing import NamedTuple

from dnslib.label import DNSBuffer, DNSLabel

from dnslb.dns import rdata, rrtype
from dnslb.dns.answer import Answer, Placed
from dnslb.dns.name import Name, fold, labels
from dnslb.dns.query import HEADER
from dnslb.dns.zone import RRset

QR, AA, TC, RD = 0x8000, 0x0400, 0x0200, 0x0100
_POINTER = b"\xc0\x0c"     # to the question's name
_POINTERS = 0xC000
_FARTHEST_POINTER = 0x3FFF  # octets from the start of the message (RFC 1035 §4.1.4)
_COMPRESSED = 40  # labels of a name, at most: there are 34 in the name of an IPv6 address
_FIXED = Struct("!HHI")
_ADDRESSES = frozenset({rrtype.A, rrtype.AAAA})


class Cut(NamedTuple):
    """Where a reply may end: behind a whole RRset, or before the first."""

    size: int                     # octets after the question, up to there
    counts: tuple[int, int, int]  # records up to there: answer, authority, additional
    is_short: bool                # whether something required comes only later: TC


_size = attrgetter("size")


@dataclass(frozen=True, slots=True)
class Body:
    """What follows the question in a reply; the records that take turns stand apart, so that any order can be had.

    No record points into another that takes turns: every order is a valid message.  Nor does one point to what comes
    after it: a reply for less room is the beginning of this one, up to a cut.
    """

    flags: int                  # AA and the response code
    before: bytes
    turning: tuple[bytes, ...]  # of addresses all, also when they are too many for the reply
    after: bytes
    cuts: tuple[Cut, ...]       # by their sizes
    own: slice | None = None    # where stands what each name that gets this reply has of its own

    @property
    def size(self) -> int:
        """Octets of all that fitted."""
        return self.cuts[-1].size

    def cut(self, room: int) -> Cut:
        """The last that is within so many octets."""
        return self.cuts[max(0, bisect_right(self.cuts, room, key=_size) - 1)]

    def window_size(self, window: int) -> int:
        """Octets with so many addresses that take turns: they are all of one length."""
        return len(self.before) + window * (len(self.turning[0]) if self.turning else 0)

    def window(self, room: int, most: int) -> int:
        """How many of the addresses that take turns fit."""
        each = len(self.turning[0]) if self.turning else 0
        return max(0, min(most, len(self.turning), (room - len(self.before)) // each)) if each else 0

    def with_ttls(self, ttls: Sequence[int], size: int) -> Body:
        """With these TTLs of the records that take turns, which are addresses of so many octets."""
        at = -size - 6  # the TTL stands before the address and its length
        records = zip(self.turning, ttls, strict=True)
        turning = tuple([record[:at] + ttl.to_bytes(4) + record[at + 4 :] for record, ttl in records])
        return replace(self, turning=turning)

    def arranged(self, order: Sequence[int]) -> bytes:
        """With these of the records that take turns, in this order."""
        return self.before + b"".join([self.turning[index] for index in order]) + self.after


def head(flags: int, opcode: int, counts: tuple[int, int, int, int]) -> bytes:
    """The header after the id: ten octets."""
    return b"".join([number.to_bytes(2) for number in (QR | opcode << 11 | flags, *counts)])


def chaos_txt(text: str) -> bytes:
    """A TXT record of class CH for the question's name, with TTL 0 (RFC 4892 §2); at most 255 octets of the text."""
    octets = text.encode()[:255]
    rdata = len(octets).to_bytes(1) + octets
    fixed = (rrtype.TXT.to_bytes(2), rrtype.CH.to_bytes(2), bytes(4), len(rdata).to_bytes(2))
    return _POINTER + b"".join(fixed) + rdata


def pack(asked: Name, answer: Answer, room: int) -> Body:
    """The reply to a question for folded ``asked`` in at most ``room`` octets after the question.

    Whole RRsets only: one that is required and does not fit ends the reply, as does an optional one (RFC 2181 §9).
    """
    packer = _Packer(asked, answer.covers or asked, answer.substituted if answer.covers else None, room)
    flags = answer.rcode | (AA if answer.authoritative else 0)
    required = _required(answer)
    cuts = [Cut(0, (0, 0, 0), bool(required))]
    rest = [*required, *((2, placed, False) for placed in answer.additional)]
    for number, (section, placed, turns) in enumerate(rest, start=1):
        if not packer.add(placed, turns):
            break
        counts = list(cuts[-1].counts)
        counts[section] += len(placed.rrset.rdatas)
        cuts.append(Cut(packer.size, (counts[0], counts[1], counts[2]), number < len(required)))
    return Body(flags, *packer.parts(), tuple(cuts), packer.own)


def _required(answer: Answer) -> list[tuple[int, Placed, bool]]:
    """(section, RRset, whether it takes turns), in the order of the message."""
    last = len(answer.answer) - 1 if answer.turning is not None else -1
    return [
        *((0, placed, index == last) for index, placed in enumerate(answer.answer)),
        *((1, placed, False) for placed in answer.authority),
        *((2, placed, False) for placed in answer.glue),
    ]


class _Packer:
    """A message under construction."""

    def __init__(self, asked: Name, known: Name, substituted: Name | None, room: int) -> None:
        """``known``: the end of the question's name that is the same for all who get this reply.

        ``substituted``: the other name that begins as that of the question.
        """
        self._asked = asked
        self._known = known
        self._substituted = substituted
        self._place = 0  # of that name in the message
        self._start = HEADER + len(asked) + 4
        self._limit = self._start + room
        self._octets = bytearray(self._start)
        self._turning: tuple[bytes, ...] = ()  # the records that take turns
        self._turns = (maxsize, maxsize)       # where they begin and end in the message

    @cached_property
    def _names(self) -> _Names:
        return _Names(self._asked, self._known)

    @property
    def size(self) -> int:
        """Octets after the question."""
        return len(self._octets) - self._start

    @property
    def own(self) -> slice | None:
        """Where, after the question, the octets stand with which the other name begins."""
        begin = self._place - self._start
        return slice(begin, begin + len(self._asked) - len(self._known)) if self._place else None

    def add(self, placed: Placed, turns: bool = False) -> bool:
        """Whether the whole RRset fitted; when not, it is left out, and nothing more must be added.

        Of addresses that take turns all are kept even then, so that some of them can be shown.
        """
        rrset, at = placed.rrset, len(self._octets)
        room = self._limit - at
        are_kept = turns and rrset.rrtype in _ADDRESSES
        if sum(map(len, rrset.rdatas)) > room and not are_kept:
            return False
        pack = self._records_with_names if rdata.has_names(rrset.rrtype) else self._records
        records = pack(placed, turns)
        octets = b"".join(records)
        fits = len(octets) <= room and len(records) == len(rrset.rdatas)
        if fits:
            self._octets += octets
        if turns and (fits or are_kept):
            self._turning, self._turns = tuple(records), (at, len(self._octets))
        return fits

    def _records(self, placed: Placed, turns: bool) -> list[bytes]:
        """The RRset's records, one by one."""
        owner, rrset = placed
        fixed = _fixed(rrset)
        at = len(self._octets)
        first = rest = self._owner(owner, at)
        if not turns and len(rrset.rdatas) > 1:
            # All owners but the first are alike, so that ten thousand records cost little.
            rest = self._owner(owner, at + len(first))
        elif turns and first != _POINTER:
            self._names.forget(at)
        records = [rest + fixed + len(each).to_bytes(2) + each for each in rrset.rdatas]
        records[0] = first + records[0][len(rest) :]
        return records

    def _records_with_names(self, placed: Placed, turns: bool) -> list[bytes]:
        """The same for rdata with names in it; no more than one record too many for the message."""
        owner, rrset = placed
        fixed = _fixed(rrset)
        begin = at = len(self._octets)
        records = []
        for each in rrset.rdatas:
            shown = self._owner(owner, at)
            octets = b""
            for piece, is_name in rdata.pieces(rrset.rrtype, each):
                # Two octets tell the length of the rdata.
                place = at + len(shown) + len(fixed) + 2 + len(octets)
                octets += self._name(piece, place) if is_name else piece
            records.append(shown + fixed + len(octets).to_bytes(2) + octets)
            at += len(records[-1])
            if at > self._limit:
                break
            if turns:
                # No one may point into a record that moves.
                self._names.forget(begin)
        return records

    def _owner(self, owner: Name, at: int) -> bytes:
        if self._place and self._substituted is not None and owner == fold(self._substituted):
            return (_POINTERS | self._place).to_bytes(2)
        return _POINTER if owner == self._asked else self._names.encode(owner, at)

    def _name(self, name: Name, at: int) -> bytes:
        """A name in rdata.  No other may point at the beginning of the one that is not the same for all."""
        if name is not self._substituted:
            return self._names.encode(name, at)
        self._place = at
        own = len(self._asked) - len(self._known)
        return name[:own] + self._names.encode(name[own:], at + own)

    def parts(self) -> tuple[bytes, tuple[bytes, ...], bytes]:
        """Before, the records that take turns, after."""
        octets = bytes(self._octets)
        first, last = self._turns
        return octets[self._start : first], self._turning, octets[last:]


class _Names:
    """The names in one message, compressed (RFC 1035 §4.1.4): the guarded door to dnslib's buffer."""

    def __init__(self, asked: Name, known: Name) -> None:
        """Names may point at ``known``, the end of the question's name ``asked``."""
        self._buffer = DNSBuffer()
        suffix = labels(known)[-_COMPRESSED:]
        at = HEADER + len(asked) - 1 - sum(1 + len(label) for label in suffix)
        for index, label in enumerate(suffix):
            self._buffer.names[tuple(suffix[index:])] = at
            at += 1 + len(label)

    def encode(self, name: Name, at: int) -> bytes:
        """The name as it is written at this place of the message; later names may point there."""
        parts = labels(name)
        # dnslib would write a pointer that does not fit its 14 bits, and takes the time of the labels' square.
        if at + len(name) > _FARTHEST_POINTER or len(parts) > _COMPRESSED:
            return name
        self._buffer.data.clear()
        self._buffer.offset = at
        self._buffer.encode_name(DNSLabel(parts))
        return bytes(self._buffer.data)

    def forget(self, place: int) -> None:
        """Let nothing point at this place or behind it."""
        self._buffer.names = {name: at for name, at in self._buffer.names.items() if at < place}


def _fixed(rrset: RRset) -> bytes:
    """Type, class and TTL."""
    return _FIXED.pack(rrset.rrtype, rrtype.IN, rrset.ttl)
