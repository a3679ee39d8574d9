"""Replies in wire form.  dnslib packs the names, with compression; nothing else of dnslib is used on packets.

Pure: no I/O.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from dnslib.label import DNSBuffer, DNSLabel

from dnslb.dns import rdata, rrtype
from dnslb.dns.answer import Answer, Placed
from dnslb.dns.name import Name, labels
from dnslb.dns.query import HEADER

QR, AA, TC, RD = 0x8000, 0x0400, 0x0200, 0x0100
_POINTER = b"\xc0\x0c"     # to the question's name
_FARTHEST_POINTER = 0x3FFF  # octets from the start of the message (RFC 1035 §4.1.4)


@dataclass(frozen=True, slots=True)
class Body:
    """What follows the question in a reply; the records that take turns stand apart, so that any order can be had.

    No record points into another that takes turns: every order is a valid message.
    """

    flags: int                   # AA, TC and the response code
    counts: tuple[int, int, int]  # answer, authority, additional
    before: bytes
    turning: tuple[bytes, ...]
    after: bytes

    @property
    def size(self) -> int:
        return self.window_size(len(self.turning))

    def window_size(self, window: int) -> int:
        """Octets with so many of the records that take turns, at most."""
        return self._window_sizes(window)[-1]

    def window_that_fits(self, room: int, most: int) -> int:
        """How many of the records that take turns fit, whichever they are."""
        return max(0, bisect_right(self._window_sizes(most), room) - 1)

    def _window_sizes(self, most: int) -> list[int]:
        """The octets, at most, by how many of the records that take turns there are: none, one, and so on."""
        largest = sorted(map(len, self.turning), reverse=True)[:most]
        return list(accumulate(largest, initial=len(self.before) + len(self.after)))

    def arranged(self, order: tuple[int, ...]) -> bytes:
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

    Whole RRsets only: one that is required and does not fit sets TC and ends the reply, an optional one is left out
    (RFC 2181 §9).
    """
    packer = _Packer(asked, answer.covers or asked, room)
    flags = answer.rcode | (AA if answer.authoritative else 0)
    counts = [0, 0, 0]
    for section, placed, turns in _required(answer):
        if not packer.add(placed, turns):
            flags |= TC
            break
        counts[section] += len(placed.rrset.rdatas)
    else:
        for placed in answer.additional:
            if packer.add(placed):
                counts[2] += len(placed.rrset.rdatas)
    return Body(flags, (counts[0], counts[1], counts[2]), *packer.parts())


def _required(answer: Answer) -> list[tuple[int, Placed, bool]]:
    """(section, RRset, whether it takes turns), in the order of the message."""
    last = len(answer.answer) - 1 if answer.turning is not None else -1
    return [
        *((0, placed, index == last) for index, placed in enumerate(answer.answer)),
        *((1, placed, False) for placed in answer.authority),
        *((2, placed, False) for placed in answer.glue),
    ]


class _Packer:
    """A message under construction: the guarded door to dnslib's buffer."""

    def __init__(self, asked: Name, known: Name, room: int) -> None:
        self._asked = asked
        self._start = HEADER + len(asked) + 4
        self._limit = self._start + room
        self._buffer = DNSBuffer(bytes(self._start))
        self._buffer.offset = self._start
        self._turning: list[int] = []  # where each record that takes turns begins, and where the last one ends
        # Later names may point at the part of the question that is the same for all who get this reply.
        suffix = labels(known)
        at = HEADER + len(asked) - len(known)
        for index, label in enumerate(suffix):
            self._buffer.names[tuple(suffix[index:])] = at
            at += 1 + len(label)

    def add(self, placed: Placed, turns: bool = False) -> bool:
        """Whether the whole RRset fitted; when not, the message is as before."""
        buffer = self._buffer
        size, names = len(buffer.data), dict(buffer.names)
        begins = []
        for record in placed.rrset.rdatas:
            begins.append(len(buffer.data))
            self._record(placed.owner, placed.rrset.rrtype, placed.rrset.ttl, record)
            if len(buffer.data) > self._limit:
                del buffer.data[size:]
                buffer.offset, buffer.names = size, names
                return False
            if turns:
                # No one may point into a record that moves.
                buffer.names = dict(names)
        if turns:
            self._turning = [*begins, len(buffer.data)]
        return True

    def _record(self, owner: Name, kind: int, ttl: int, record: bytes) -> None:
        buffer = self._buffer
        if owner == self._asked:
            buffer.append(_POINTER)
        else:
            self._name(owner)
        buffer.pack("!HHIH", kind, rrtype.IN, ttl, len(record))
        start = len(buffer.data)
        for piece, is_name in rdata.pieces(kind, record):
            if is_name:
                self._name(piece)
            else:
                buffer.append(piece)
        buffer.update(start - 2, "!H", len(buffer.data) - start)

    def _name(self, name: Name) -> None:
        label = DNSLabel(labels(name))
        # dnslib would write a pointer that does not fit its 14 bits.
        if len(self._buffer.data) + len(name) > _FARTHEST_POINTER:
            self._buffer.encode_name_nocompress(label)
        else:
            self._buffer.encode_name(label)

    def parts(self) -> tuple[bytes, tuple[bytes, ...], bytes]:
        """Before, the records that take turns, after."""
        octets = bytes(self._buffer.data)
        if not self._turning:
            return octets[self._start :], (), b""
        first, last = self._turning[0], self._turning[-1]
        edges = zip(self._turning, self._turning[1:], strict=False)
        return octets[self._start : first], tuple(octets[a:b] for a, b in edges), octets[last:]
