"""What was used lately, in bounded memory: two tables, of which the older one is given up when the younger is full.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Recent(Generic[_Key, _Value]):
    """Keeps the last ``size`` things that were put in, and at most as many before them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[_Key, _Value] = {}
        self._old: dict[_Key, _Value] = {}
        self.get = self._young.get  # of what need not be put in again; bound once, as it is asked for every query

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def take(self, key: _Key) -> _Value | None:
        """What may soon be forgotten: whoever goes on to use it puts it in again."""
        return self._old.pop(key, None) if self._old else None

    def put(self, key: _Key, value: _Value) -> None:
        if len(self._young) >= self._size:
            self.turn_over()
        self._young[key] = value

    def update(self, more: Mapping[_Key, _Value]) -> None:
        """Put in several; they may be beyond the size once."""
        if len(self._young) >= self._size:
            self.turn_over()
        self._young.update(more)

    def turn_over(self) -> None:
        """From now on all that is there is old, and what was is forgotten."""
        self._young, self._old = {}, self._young
        self.get = self._young.get
