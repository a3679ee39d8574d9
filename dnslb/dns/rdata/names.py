"""Where in the rdata of a type its domain names are, and what is done with them.

The positions follow from the formats of the types.  Pure: no I/O.
"""

from __future__ import annotations

from itertools import takewhile
from typing import NamedTuple

from dnslb.dns import name, rrtype
from dnslb.dns.name import Name
from dnslb.dns.rdata.field import NAME, Rest, name_end
from dnslb.dns.rdata.formats import Format
from dnslb.dns.rdata.table import FORMATS


class _Span(NamedTuple):
    """The first names of a type's rdata, one behind the other."""

    word: int      # index of the first name's word
    start: int     # octets before the first name
    length: int    # how many names
    is_last: bool  # nothing follows the names


def _span(form: Format) -> _Span | None:
    """Where the names are; None unless only fields of a known size come before them."""
    start = 0
    for word, (_, field) in enumerate(form.fields):
        if field is NAME:
            length = sum(1 for _ in takewhile(lambda each: each[1] is NAME, form.fields[word:]))
            return _Span(word, start, length, word + length == len(form.fields))
        if isinstance(field, Rest) or field.size is None:
            return None
        start += field.size
    return None


def _spans(mnemonics: str) -> dict[int, _Span]:
    numbers = [rrtype.NUMBERS[mnemonic] for mnemonic in mnemonics.split()]
    return {number: span for number in numbers if (span := _span(FORMATS[number])) is not None}


# Their names may be compressed (RFC 3597 §4).
_COMPRESSIBLE = _spans("NS MD MF CNAME SOA MB MG MR PTR MINFO MX")
# Their names compare without case (RFC 4034 §6.2), so records may be equal that differ in octets.
_CASELESS = _COMPRESSIBLE | _spans("RP AFSDB RT PX KX SRV DNAME")
# Their name is of a host whose addresses help the one who asked.
_HOSTS = _spans("NS MX SRV SVCB HTTPS KX AFSDB RT")


def has_names(rrtype_: int) -> bool:
    """Whether rdata of the type holds names that may be compressed: see ``pieces``."""
    return rrtype_ in _COMPRESSIBLE


def pieces(rrtype_: int, rdata: bytes) -> tuple[tuple[bytes, bool], ...]:
    """The rdata in order, cut into names that may be compressed (true) and other octets (false).

    For rdata as ``parse`` returns it.  Only the types of RFC 1035 have such names (RFC 3597 §4).
    """
    span = _COMPRESSIBLE.get(rrtype_)
    if span is None:
        return ((rdata, False),)
    at = span.start
    cut = [(rdata[:at], False)] if at else []
    for _ in range(span.length):
        end = name_end(rdata, at)
        cut.append((rdata[at:end], True))
        at = end
    if at < len(rdata):
        cut.append((rdata[at:], False))
    return tuple(cut)


def canonical(rrtype_: int, rdata: bytes) -> bytes:
    """The rdata with names folded that compare without case: equal records have equal octets (RFC 4034 §6.2)."""
    span = _CASELESS.get(rrtype_)
    if span is None:
        return rdata
    end = len(rdata) if span.is_last else _end(rdata, span)
    return rdata[: span.start] + rdata[span.start : end].lower() + rdata[end:]


def _end(rdata: bytes, span: _Span) -> int:
    at = span.start
    for _ in range(span.length):
        at = name_end(rdata, at)
    return at


def target(rrtype_: int, rdata: bytes) -> Name | None:
    """The host, folded, whose addresses go into the additional section: of NS, MX, SRV, SVCB, HTTPS, KX, AFSDB, RT.

    None for other types, and for the root: it says that there is no host (RFC 2782, RFC 7505 §3), except in SVCB and
    HTTPS with a priority above 0, where it means the owner name (RFC 9460 §2.5); callers see to that.
    """
    span = _HOSTS.get(rrtype_)
    if span is None:
        return None
    host = rdata[span.start :] if span.is_last else rdata[span.start : name_end(rdata, span.start)]
    return None if host == name.ROOT else name.fold(host)


def target_word(rrtype_: int) -> int:
    """The index of the host's word, for a type that has a target."""
    return _HOSTS[rrtype_].word
