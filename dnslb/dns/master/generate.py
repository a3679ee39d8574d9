r"""``$GENERATE range owner [TTL] [class] type rdata``: BIND's way to write many records in one line.

In owner and rdata ``$`` is the number, ``${offset,width,base}`` a number made from it, and ``$$`` a dollar sign.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from dnslb.dns.master import lexer
from dnslb.dns.master.head import Mistake

FORM = "$GENERATE start-stop[/step] owner type rdata"

_MAX_NUMBER = 2**31 - 1
_MAX_WIDTH = 255
_RANGE = re.compile(r"([0-9]{1,10})-([0-9]{1,10})(?:/([0-9]{1,10}))?")
_PART = re.compile(r"\$\$|\$\{([^}]*)\}|\$\{?|(?:\\.|[^$\\])+|\\", re.DOTALL)
_MODIFIER = re.compile(r"([+-]?[0-9]{1,10})(?:,([0-9]{1,10})(?:,([doxXnN]))?)?")

_Piece = str | Callable[[int], str]


def parse_range(word: str, at: int) -> range:
    """``1-10`` or ``1-10/2``, both ends included.  Raises Mistake."""
    found = _RANGE.fullmatch(word)
    if found is None:
        raise Mistake(at, f"{word} is no range", f"write {FORM}")
    start, stop, step = int(found[1]), int(found[2]), int(found[3] or 1)
    if start > stop or stop > _MAX_NUMBER or not 0 < step <= _MAX_NUMBER:
        raise Mistake(at, f"the range {word} holds no numbers", f"count up, by 1 or more, to at most {_MAX_NUMBER}")
    return range(start, stop + 1, step)


def parse_template(text: str, at: int) -> Callable[[int], str]:
    """The function from a number to the text for it.  Raises Mistake."""
    pieces = [_parse_piece(found, at) for found in _PART.finditer(text)]

    def fill(number: int) -> str:
        return "".join([piece if isinstance(piece, str) else piece(number) for piece in pieces])

    return fill


def parse_rdata(words: Sequence[str], start: int) -> Callable[[int], Sequence[str]]:
    """The function from a number to the words of the rdata.  Raises Mistake.

    A single string holds, as in BIND, all the words: what stands between the quotes is cut again.
    """
    text = " ".join(words[start:])
    if len(words) == start + 1 and text.startswith('"'):
        text = text[1:-1].replace('\\"', '"')
    fill = parse_template(text, start)
    octets = text.encode("latin-1")
    if lexer.split(octets) is None:
        raise Mistake(start, "the data of $GENERATE is cut off or in parentheses", "write it as one quoted string")
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
        raise Mistake(at, f"{text} is no ${{offset,width,base}}", "write ${0,3,d}, with a base of d, o, x, X, n or N")
    offset, width, base = int(modifier[1]), int(modifier[2] or 0), modifier[3] or "d"
    if width > _MAX_WIDTH or abs(offset) > _MAX_NUMBER:
        raise Mistake(at, f"{text} is too large", f"use widths up to {_MAX_WIDTH}, offsets up to {_MAX_NUMBER}")
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
