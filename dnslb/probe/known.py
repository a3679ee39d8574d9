"""The verdicts of the schedule, as others see them: they are kept here, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar, overload

from dnslb.balance.health import Health, ProbeKey
from dnslb.probe.lane import Entry

_Default = TypeVar("_Default")


class Known(Mapping[ProbeKey, Health]):
    """What is known of each key that has had an outcome: a view, which changes with each probe that ends."""

    def __init__(self, entries: Mapping[ProbeKey, Entry]) -> None:
        self._entries = entries

    def __getitem__(self, key: ProbeKey) -> Health:
        health = self._entries[key].health
        if health is None:
            raise KeyError(key)
        return health

    def __iter__(self) -> Iterator[ProbeKey]:
        return (key for key, entry in self._entries.items() if entry.health is not None)

    def __len__(self) -> int:
        return sum(entry.health is not None for entry in self._entries.values())

    @overload
    def get(self, key: ProbeKey, /) -> Health | None: ...
    @overload
    def get(self, key: ProbeKey, /, default: Health | _Default) -> Health | _Default: ...
    def get(self, key: ProbeKey, /, default: object = None) -> object:
        # Asked for every backend of every pool that is worked out: the inherited one would look it up by an exception.
        entry = self._entries.get(key)
        return default if entry is None or entry.health is None else entry.health
