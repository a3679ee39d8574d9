r"""``$GENERATE range owner [TTL] [class] type rdata``: BIND's way to write many records in one line.

In owner and rdata ``$`` is the number, ``${offset,width,base}`` a number made from it, and ``$$`` a dollar sign.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dnslb.dns.master import lexer
from dnslb.dns.master.head import Head, parse_head
from dnslb.dns.mistake import Mistaken

FORM = "$GENERATE start-stop[/step] owner type rdata"

_MAX_NUMBER = 2**31 - 1
_MAX_WIDTH = 255
_RANGE = re.compile(r"([0-9]{1,10})-([0-9]{1,10})(?:/([0-9]{1,10}))?")
_PART = re.compile(r"\$\$|\$\{([^}]*)\}|\$\{?|(?:\\.|[^$\\])+|\\", re.DOTALL)
_MODIFIER = re.compile(r"([+-]?[0-9]{1,10})(?:,([0-9]{1,10})(?:,([doxXnN]))?)?")

_Piece = str | Callable[[int], str]


class Template(NamedTuple):
    """What ``$GENERATE`` makes records from."""

    numbers: range
    head: Head
    owner: Callable[[int], str]
    rdata: Callable[[int], Sequence[str]]  # words
    size: int  # the number of records; long ones count more, since it is octets that fill the memory


def parse(words: list[str]) -> Template:
    """What the directive's words, its own among them, stand for.  Raises Mistaken."""
    numbers = _parse_range(words[1], 1)
    head = parse_head(words, 3)
    size = len(numbers) * (1 + sum(map(len, words)) // 1000)
    return Template(numbers, head, _parse_template(words[2], 2), _parse_rdata(words, head.at + 1), size)


def _parse_range(word: str, at: int) -> range:
    """``1-10`` or ``1-10/2``, both ends included."""
    found = _RANGE.fullmatch(word)
    if found is None:
        raise Mistaken(f"{word} is no range", f"write {FORM}", at)
    start, stop, step = int(found[1]), int(found[2]), int(found[3] or 1)
    if start > stop or stop > _MAX_NUMBER or not 0 < step <= _MAX_NUMBER:
        raise Mistaken(f"the range {word} holds no numbers", f"count up, by 1 or more, to at most {_MAX_NUMBER}", at)
    return range(start, stop + 1, step)


def _parse_template(text: str, at: int) -> Callable[[int], str]:
    """The function from a number to the text for it."""
    pieces = [_parse_piece(found, at) for found in _PART.finditer(text)]

    def fill(number: int) -> str:
        return "".join([piece if isinstance(piece, str) else piece(number) for piece in pieces])

    return fill


def _parse_rdata(words: Sequence[str], start: int) -> Callable[[int], Sequence[str]]:
    """The function from a number to the words of the rdata.

    A single string holds, as in BIND, all the words: what stands between the quotes is cut again.
    """
    text = " ".join(words[start:])
    if len(words) == start + 1 and text.startswith('"'):
        text = text[1:-1].replace('\\"', '"')
    fill = _parse_template(text, start)
    octets = text.encode("latin-1")
    if lexer.split(octets) is None:
        raise Mistaken("the data of $GENERATE is cut off or in parentheses", "write it as one quoted string", start)
    if lexer.SPECIAL.search(octets) is None:
        return lambda number: fill(number).split()
    return lambda number: lexer.split(fill(number).encode("latin-1")) or []


def _parse_piece(found: re.Match[str], at: int) -> _Piece:
    text = found[0]
    if text == "$$":
        return "$"
    if text == "$":
        return str
    if not text.startswith("$"):
        return text
    modifier = _MODIFIER.fullmatch(found[1] or "")
    if modifier is None:
        raise Mistaken(f"{text} is no ${{offset,width,base}}", "write ${0,3,d}, with a base of d, o, x, X, n or N", at)
    offset, width, base = int(modifier[1]), int(modifier[2] or 0), modifier[3] or "d"
    if width > _MAX_WIDTH or abs(offset) > _MAX_NUMBER:
        raise Mistaken(f"{text} is too large", f"use widths up to {_MAX_WIDTH}, offsets up to {_MAX_NUMBER}", at)
    return _formatter(offset, width, base)


def _formatter(offset: int, width: int, base: str) -> Callable[[int], str]:
    if base in "nN":
        return lambda number: _nibbles(number + offset, width, "x" if base == "n" else "X")
    if base == "d":
        return lambda number: format(number + offset, f"0{width}d")
    # Below zero these show the 32 bits of the number.
    return lambda number: format((number + offset) & 0xFFFFFFFF, f"0{width}{base}")


def _nibbles(value: int, width: int, base: str) -> str:
    """Hexadecimal digits from the lowest up with dots between, as ip6.arpa has them.

    The width counts the dots, too, so that an even one that is not outgrown ends in a dot, as BIND's does.
    """
    digits = format(value & 0xFFFFFFFF, f"0{(width + 1) // 2}{base}")
    end = "." if len(digits) * 2 == width else ""
    return ".".join(reversed(digits)) + end
