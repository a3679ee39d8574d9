r"""Domain names: uncompressed wire form, as bytes.

``www.example.com.`` is ``b"\x03www\x07example\x03com\x00"``.  A name in this form can be a dictionary key, be cut at
a label without copying labels about, and go into a packet as it is.  Owner names are kept folded to lower case;
names inside rdata keep their spelling.  Pure: no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import TypeAlias

from dnslb.dns.mistake import Mistaken

Name: TypeAlias = bytes

ROOT: Name = b"\0"
MAX_LABEL = 63  # octets (RFC 1035 §2.3.4)
MAX_NAME = 255  # octets, with the length octets and the root's (RFC 1035 §2.3.4)

_ESCAPE = re.compile(rb"\\(?:(\d{3})|([^\d]))", re.DOTALL)
_LENGTHS = {length: bytes((length,)) for length in range(1, MAX_LABEL + 1)}  # the octets before labels
_SPECIAL = frozenset(b'".;\\()@$')


def parse(text: str, origin: Name) -> Name:
    r"""The name that a master file means by ``text``: relative to ``origin`` unless it ends in a dot.

    ``@`` is the origin; ``\.`` and ``\DDD`` are escapes (RFC 1035 §5.1).  Characters beyond ASCII stand for their
    Latin-1 octets; those beyond Latin-1 for none.  Raises Mistaken.
    """
    if text == "@":
        return origin
    if text == ".":
        return ROOT
    try:
        octets = text.encode("latin-1")
    except UnicodeEncodeError:
        raise Mistaken(f"{text} is no domain name", "write its A-labels (xn--…)") from None
    labels = octets.split(b".") if b"\\" not in octets else _unescape(octets, text)
    end = origin
    if not labels[-1]:
        labels.pop()
        end = ROOT
    try:
        wire = b"".join([_LENGTHS[len(label)] + label for label in labels]) + end
    except KeyError:
        raise _misfit(labels, text) from None
    if len(wire) > MAX_NAME:
        raise Mistaken(
            f"the name {text} is {len(wire)} octets long",
            f"names have at most {MAX_NAME} (RFC 1035 §2.3.4)",
        )
    return wire


def _unescape(octets: bytes, text: str) -> list[bytes]:
    labels = [bytearray()]
    at = 0
    while at < len(octets):
        octet = octets[at : at + 1]
        at += 1
        if octet == b".":
            labels.append(bytearray())
            continue
        if octet == b"\\":
            escape = _ESCAPE.match(octets, at - 1)
            decimal, literal = escape.groups() if escape else (None, None)
            if decimal is not None and int(decimal) < 256:
                octet = bytes((int(decimal),))
            elif literal is not None:
                octet = literal
            else:
                raise Mistaken(f"the name {text} has a broken escape", r"write \DDD with DDD up to 255, or \X")
            at = escape.end() if escape else at
        labels[-1] += octet
    return [bytes(label) for label in labels]


def _misfit(labels: list[bytes], text: str) -> Mistaken:
    """Which label has no octets, or too many."""
    label = next(label for label in labels if len(label) not in _LENGTHS)
    if not label:
        return Mistaken(f"the name {text} has an empty label", "remove the extra dot")
    return Mistaken(
        f"the name {text} has a label of {len(label)} octets",
        f"labels have at most {MAX_LABEL} (RFC 1035 §2.3.4)",
    )


def text(name: Name) -> str:
    r"""The absolute name as a master file writes it, with the final dot; odd octets as ``\DDD`` (RFC 4343 §2.1)."""
    if name == ROOT:
        return "."
    return "".join(f"{label_text(label)}." for label in labels(name))


def label_text(label: bytes) -> str:
    """One label, escaped."""
    if label.isalnum():
        return label.decode("ascii")
    return "".join(_octet_text(octet) for octet in label)


def _octet_text(octet: int) -> str:
    if octet in _SPECIAL:
        return f"\\{chr(octet)}"
    return chr(octet) if 0x21 <= octet <= 0x7E else f"\\{octet:03d}"


def fold(name: Name) -> Name:
    """Lower case, ASCII letters only (RFC 4343 §3.2).  A length octet, at most 63, is never taken for a letter."""
    return name.lower()


def labels(name: Name) -> list[bytes]:
    """The labels from the left, without the root's."""
    parts = []
    at = 0
    while length := name[at]:
        parts.append(name[at + 1 : at + 1 + length])
        at += 1 + length
    return parts


def starts(octets: bytes) -> list[int] | None:
    """Where the labels begin, the root's last, if the octets are one name in wire form; else None.

    A walk over the labels is what a name of 127 of them costs: it is made once for a question.
    """
    found = []
    last = len(octets) - 1
    if last >= MAX_NAME or octets[last:] != ROOT:
        return None
    at = 0
    while at < last:
        found.append(at)
        length = octets[at]
        if not 0 < length <= MAX_LABEL:
            return None
        at += length + 1
    found.append(at)
    return found if at == last else None


def parent(name: Name) -> Name:
    """The name without its first label.  The root has none: callers stop there."""
    return name[1 + name[0] :]


def ancestors(name: Name) -> Iterator[Name]:
    """The name itself, its parent, and so on to the root."""
    while name != ROOT:
        yield name
        name = name[1 + name[0] :]
    yield ROOT


def closest(name: Name, among: Container[Name]) -> Name | None:
    """The name itself, or its nearest ancestor, that is one of those."""
    return next((ancestor for ancestor in ancestors(name) if ancestor in among), None)


def is_whole(octets: bytes) -> bool:
    """Whether the octets are one name in wire form, no more and no less."""
    return starts(octets) is not None


def is_at_or_below(name: Name, ancestor: Name) -> bool:
    """Whether folded ``name`` is folded ``ancestor`` or lies below it."""
    if not name.endswith(ancestor):
        return False
    # The suffix must begin at a label: the octets of an ancestor can also stand inside a label.
    edge = len(name) - len(ancestor)
    at = 0
    while at < edge:
        at += 1 + name[at]
    return at == edge


def is_wildcard(name: Name) -> bool:
    """Whether the first label is the asterisk (RFC 4592 §2.1.1)."""
    return name.startswith(b"\x01*")
