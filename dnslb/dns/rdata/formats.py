"""The format of a record type's rdata: its named fields in order, and what must hold between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dnslb.dns import rrtype
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.dns.rdata.errors import Malformed
from dnslb.dns.rdata.field import Rest, Word

MAX_RDATA = 65535  # octets (RFC 1035 §3.2.1)


@dataclass(frozen=True, slots=True)
class Format:
    """``check`` raises Mistaken for octets whose fields contradict one another."""

    rrtype: int
    fields: tuple[tuple[str, Word | Rest], ...]
    check: Callable[[bytes], None] | None = None


def parse(form: Format, words: Sequence[str], origin: Name) -> bytes:
    """Words to octets.  Raises Mistaken."""
    at = 0
    octets = []
    for title, field in form.fields:
        if at == len(words) and not (isinstance(field, Rest) and field.may_be_empty):
            raise Mistaken(f"the {rrtype.text(form.rrtype)} record lacks its {title}", _usage(form), at)
        try:
            if isinstance(field, Word):
                octets.append(field.parse(words[at], origin))
                at += 1
            else:
                octets.append(field.parse(words[at:], origin))
                at = len(words)
        except Mistaken as error:
            error.point_at(at + error.mistake.word)
            raise
    if at < len(words):
        raise Mistaken(f"the {rrtype.text(form.rrtype)} record goes on with {words[at]}", _usage(form), at)
    return _checked(form, b"".join(octets), len(words) - 1)


def _checked(form: Format, rdata: bytes, last: int) -> bytes:
    if len(rdata) > MAX_RDATA:
        raise Mistaken(f"the rdata has {len(rdata)} octets", f"rdata has at most {MAX_RDATA} (RFC 1035 §3.2.1)", last)
    if form.check is None:
        return rdata
    try:
        form.check(rdata)
    except Mistaken as error:
        error.point_at(last + error.mistake.word)
        raise
    return rdata


def _usage(form: Format) -> str:
    return f"its fields are: {', '.join(title for title, _ in form.fields)}"


def read(form: Format, rdata: bytes) -> list[str]:
    """Octets to words.  Raises Malformed."""
    words: list[str] = []
    at = 0
    for _, field in form.fields:
        if isinstance(field, Word):
            word, at = field.read(rdata, at)
            words.append(word)
        else:
            words += field.read(rdata, at)
            at = len(rdata)
    if at < len(rdata):
        raise Malformed("octets follow the last field")
    return words
