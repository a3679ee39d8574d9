"""How many records of queries were written, and how many dropped since nobody took them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

Written: TypeAlias = tuple[int, int]  # written, dropped


@dataclass(slots=True)
class RecordCount:
    written: int = 0
    dropped: int = 0


@dataclass(slots=True)
class RecordCounts:
    """By where they go."""

    dnstap: RecordCount = field(default_factory=RecordCount)
    query_log: RecordCount = field(default_factory=RecordCount)

    def take(self) -> dict[str, Written]:
        """What was counted; it begins at zero again."""
        found = {"dnstap": self.dnstap, "query_log": self.query_log}
        taken = {name: (count.written, count.dropped) for name, count in found.items()}
        for count in found.values():
            count.written = count.dropped = 0
        return taken
