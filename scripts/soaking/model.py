"""What answers may say at a moment, from what was done to the world and how soon dnslb must know.

Pure: the times are arguments, in seconds of the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Generic, TypeVar

KEPT = 120.0  # seconds that a change is remembered after it is certain

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Change(Generic[_Value]):
    """A value that may be in force from ``begin``, and alone from ``certain``."""

    value: _Value
    begin: float
    certain: float


class Timeline(Generic[_Value]):
    """A value that changes."""

    def __init__(self, value: _Value) -> None:
        self._changes = [Change(value, -inf, -inf)]

    @property
    def last(self) -> _Value:
        return self._changes[-1].value

    def change(self, value: _Value, begin: float, certain: float) -> None:
        self._changes.append(Change(value, begin, certain))
        while len(self._changes) > 1 and self._changes[1].certain < begin - KEPT:
            del self._changes[0]

    def confirm(self, certain: float) -> None:
        """The last change is in force, at the latest, since then; and so nothing else is."""
        self._changes = [replace(each, certain=min(each.certain, certain)) for each in self._changes]

    def delay(self, since: float, until: float) -> None:
        """What was not certain yet at ``since`` is so at ``until`` only."""
        self._changes = [
            replace(each, certain=max(each.certain, until)) if each.certain > since else each for each in self._changes
        ]

    def possible(self, start: float, end: float) -> set[_Value]:
        """What may have been in force at some moment between these."""
        ends = [later.certain for later in self._changes[1:]] + [inf]
        spans = zip(self._changes, ends, strict=True)
        return {each.value for each, over in spans if each.begin <= end and over >= start}


@dataclass(slots=True)
class Backend:
    """One address of a pool."""

    lives: Timeline[bool] = field(default_factory=lambda: Timeline(True))
    serves: Timeline[bool] = field(default_factory=lambda: Timeline(True))  # by orders

    def handed_out(self, start: float, end: float) -> set[bool]:
        lives, serves = self.lives.possible(start, end), self.serves.possible(start, end)
        if lives == serves == {True}:
            return {True}
        return {False} if {False} in (lives, serves) else {True, False}


def fault(
    answer: list[str], pool: Mapping[str, Backend], most: int | None, start: float, end: float
) -> str | None:
    """What is wrong with the addresses in an answer to a query sent at ``start`` and answered at ``end``."""
    told = {address: backend.handed_out(start, end) for address, backend in pool.items()}
    if len(answer) != len(set(answer)) or not answer:
        return f"{len(answer)} addresses, of which {len(set(answer))} are different"
    if strange := _listed(set(answer) - set(pool)):
        return f"{strange} is of another pool"
    must = {address for address, handed_out in told.items() if handed_out == {True}}
    if not must:
        return None  # perhaps nobody is up: then all are handed out
    if dead := _listed({address for address in answer if told[address] == {False}}):
        return f"{dead} is out, and handed out"
    if most is None and (missing := _listed(must - set(answer))):
        return f"{missing} is up, and not handed out"
    if most is not None and len(answer) != most:
        return f"{len(answer)} addresses in place of {most}"
    return None


def _listed(addresses: Iterable[str]) -> str:
    return ", ".join(sorted(addresses))
