"""JSON in pieces: together they are the text that ``json.dumps`` makes, but each is made quickly.

Pure.  Nouns become objects, sequences and iterators become arrays.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import fields as members
from dataclasses import is_dataclass
from functools import lru_cache
from typing import Any

_PLAIN = (str, int, float, bool, type(None))
_SHORT = 100  # plain values in a sequence that is told at once


def fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass with slots, by name.  ``asdict`` would copy everything below first, and take long."""
    return {field: getattr(value, field) for field in value.__slots__}


_encode = json.JSONEncoder(default=fields, allow_nan=False).encode


def pieces(value: Any) -> Iterator[str]:
    """The JSON of the value.  An iterator may yield None before an element that takes long: it is left out."""
    if _is_short(value) or _is_small(value.__class__):
        yield _encode(value)
    elif isinstance(value, Iterable) and not isinstance(value, dict):
        yield from _array(value)
    else:
        yield from _object(value if isinstance(value, dict) else fields(value))


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
    yield "{"
    between = ""
    for name, value in members.items():
        yield f"{between}{_encode(name)}: "
        yield from pieces(value)
        between = ", "
    yield "}"


def _is_short(value: Any) -> bool:
    """Whether it takes no time to tell."""
    if isinstance(value, tuple | list):
        return len(value) <= _SHORT and all(isinstance(one, _PLAIN) for one in value)
    return isinstance(value, _PLAIN)


@lru_cache
def _is_small(sort: Hashable) -> bool:
    """Whether the nouns of that class hold no sequence, so that each is told at once."""
    if not is_dataclass(sort):
        return False
    return not any("Iterable" in str(member.type) or "tuple" in str(member.type) for member in members(sort))
