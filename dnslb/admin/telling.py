"""JSON, a little at a time: the very text of ``json.dumps``, in pieces each of which is made quickly.

Pure.  Nouns become objects, sequences and iterators become arrays.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

_PLAIN = (str, int, float, bool, type(None))
_SHORT = 100  # plain values in a sequence that is told at once


def fields(value: Any) -> dict[str, Any]:
    """Of a frozen noun.  ``asdict`` would copy all below it first, which takes as long as all the rest."""
    return {field: getattr(value, field) for field in value.__slots__}


_encode = json.JSONEncoder(default=fields, allow_nan=False).encode


def pieces(value: Any) -> Iterator[str]:
    """The JSON of the value.  A None in an iterator is left out: it says that the next element may take a while."""
    if _is_short(value):
        yield _encode(value)
    elif isinstance(value, Iterable) and not isinstance(value, dict):
        yield from _array(value)
    else:
        members = value if isinstance(value, dict) else fields(value)
        if all(map(_is_short, members.values())):
            yield _encode(members)
        else:
            yield from _object(members)


def _array(elements: Iterable[Any]) -> Iterator[str]:
    between = "["
    may_pause = isinstance(elements, Iterator)
    for element in elements:
        if element is None and may_pause:
            yield ""
            continue
        yield between
        yield from pieces(element)
        between = ", "
    yield "[]" if between == "[" else "]"


def _object(members: dict[str, Any]) -> Iterator[str]:
    between = "{"
    for name, value in members.items():
        yield f"{between}{_encode(name)}: "
        yield from pieces(value)
        between = ", "
    yield "}"


def _is_short(value: Any) -> bool:
    """Whether it takes no time to tell.  A noun is not: who knows what it holds."""
    if isinstance(value, tuple | list):
        return len(value) <= _SHORT and all(isinstance(one, _PLAIN) for one in value)
    return isinstance(value, _PLAIN)
