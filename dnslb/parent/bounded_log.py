"""Lines of the log that say the same of very many pools: nobody reads so many, and to write them takes its time.

The first hundred of each kind are written, and then one that says how many more there are.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass

_LINES = 100  # of one kind

_log = logging.getLogger("dnslb")


@dataclass(frozen=True, slots=True)
class Kind:
    """What lines have in common.  ``rest`` stands for those that were not written; its ``%d`` is their number."""

    level: int
    what: str
    rest: str
    address: str = ""


class BoundedLog:
    """Counts the lines of each kind, from one ``finish`` to the next."""

    def __init__(self) -> None:
        self._lines: Counter[Kind] = Counter()

    def admits(self, kind: Kind) -> bool:
        """Whether one more line of the kind is to be written."""
        self._lines[kind] += 1
        return self._lines[kind] <= _LINES

    def finish(self) -> None:
        """All that happened at once has been told: say how many lines were not written."""
        for kind, lines in self._lines.items():
            if lines > _LINES:
                fields = {"what": kind.what} | ({"address": kind.address} if kind.address else {})
                _log.log(kind.level, kind.rest, lines - _LINES, extra=fields)
        self._lines.clear()
