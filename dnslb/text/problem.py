"""What is wrong with a file that an operator edits, said so that the operator can mend it.

Every reader of files collects problems and goes on; none stops at the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dnslb.text.one_line import one_line

MOST_LISTED = 1000  # problems of one file and level; more help nobody


class Level(Enum):
    ERROR = "error"      # nothing is served from this file until it is mended
    WARNING = "warning"  # served, but probably not what was meant


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: ``file:line:column: fact; remedy``.  Line and column count from 1; 0 means the whole file."""

    level: Level
    file: str
    line: int
    column: int
    fact: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        warning = "warning: " if self.level is Level.WARNING else ""
        return one_line(f"{place}: {warning}{self.fact}; {self.remedy}")


def has_errors(problems: list[Problem]) -> bool:
    return any(problem.level is Level.ERROR for problem in problems)


def listed(problems: list[Problem], file: str) -> list[Problem]:
    """Those of one file, as far as anybody will read them, and how many there are more."""
    if len(problems) <= MOST_LISTED:
        return problems
    # The errors first: without them it would be served.
    kept = sorted(problems, key=lambda problem: problem.level is not Level.ERROR)[:MOST_LISTED]
    more = f"{len(problems) - MOST_LISTED} more mistakes are not listed"
    return [*kept, Problem(Level.WARNING, file, 0, 0, more, "mend those above first")]
