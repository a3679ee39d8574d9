r"""Record data: master-file words to uncompressed wire form, and back.

``parse`` is on the load path of zones with millions of records, so the types that fill such zones have functions of
their own; a table of fields describes the rest, and gives every type its messages.  Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from socket import AF_INET, AF_INET6, inet_pton

from dnslb.dns import name, rrtype
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.dns.rdata import formats, generic
from dnslb.dns.rdata.errors import Malformed, Unwritable
from dnslb.dns.rdata.formats import Format
from dnslb.dns.rdata.names import canonical, has_names, pieces, target, target_word
from dnslb.dns.rdata.table import FORMATS

__all__ = ["canonical", "has_names", "parse", "pieces", "target", "target_word", "text"]



def parse(rrtype_: int, words: Sequence[str], origin: Name) -> bytes:
    r"""The rdata that a master file means by ``words``: tokens of the type's own syntax, or ``\#``, length and hex.

    Words are as they stand in the file, decoded as Latin-1: escapes unresolved, quotes kept.  Names in the rdata are
    completed with ``origin`` and keep their spelling.  Raises Mistaken, for the operator.
    """
    if words and words[0] == generic.MARK:
        return _parse_generic(rrtype_, words)
    parse_words = _PARSERS.get(rrtype_)
    if parse_words is None:
        raise Mistaken(f"{rrtype.text(rrtype_)} has no syntax of its own", r"write \# LENGTH HEX (RFC 3597 §5)")
    return parse_words(words, origin)


def text(rrtype_: int, rdata: bytes) -> str:
    r"""The rdata as a master file writes it, names absolute.  ``parse`` gives the same octets back.

    Octets that are no rdata of the type, or of a type without a syntax, come as ``\#`` (RFC 3597 §5).
    """
    form = FORMATS.get(rrtype_)
    if form is None:
        return generic.text(rdata)
    try:
        return " ".join(_words(form, rdata))
    except (Malformed, Unwritable):
        return generic.text(rdata)


def _words(form: Format, rdata: bytes) -> list[str]:
    """The words that parse to just these octets.  Raises Malformed or Unwritable when there are none."""
    words = formats.read(form, rdata)
    try:
        again = formats.parse(form, words, name.ROOT)
    except Mistaken as error:
        raise Malformed(str(error)) from None
    if again != rdata:
        raise Malformed("octets that no words stand for")
    return words


def _parse_generic(rrtype_: int, words: Sequence[str]) -> bytes:
    r"""Rdata written with ``\#``; if the type has a syntax of its own, the octets must be valid (RFC 3597 §5)."""
    rdata = generic.parse(words)
    form = FORMATS.get(rrtype_)
    if form is None:
        return rdata
    try:
        _words(form, rdata)
    except Unwritable:
        return rdata
    except Malformed:
        fact = f"the octets are no rdata of type {rrtype.text(rrtype_)}"
        raise Mistaken(fact, "mend them, or write the record in its own syntax", min(2, len(words) - 1)) from None
    return rdata


def _parse_a(words: Sequence[str], origin: Name) -> bytes:
    try:
        (address,) = words
        return inet_pton(AF_INET, address)
    except (OSError, ValueError):
        return formats.parse(FORMATS[rrtype.A], words, origin)  # which says what is wrong


def _parse_aaaa(words: Sequence[str], origin: Name) -> bytes:
    try:
        (address,) = words
        return inet_pton(AF_INET6, address)
    except (OSError, ValueError):
        return formats.parse(FORMATS[rrtype.AAAA], words, origin)


def _parse_host(form: Format, words: Sequence[str], origin: Name) -> bytes:
    if len(words) == 1 and words[0] and '"' not in words[0]:
        try:
            return name.parse(words[0], origin)
        except Mistaken:
            pass
    return formats.parse(form, words, origin)


_ADDRESS_PARSERS = {rrtype.A: _parse_a, rrtype.AAAA: _parse_aaaa}
_PARSERS: Mapping[int, Callable[[Sequence[str], Name], bytes]] = {
    number: _ADDRESS_PARSERS.get(number) or partial(formats.parse, form) for number, form in FORMATS.items()
} | {number: partial(_parse_host, FORMATS[number]) for number in (rrtype.NS, rrtype.CNAME, rrtype.PTR)}

