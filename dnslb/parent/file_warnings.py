"""The warnings of the files, of which operators are told once."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from dnslb.text.problem import Level, Problem

_log = logging.getLogger("dnslb")


class FileWarnings:
    """Those that were told of already."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str, str]] = set()

    def keep_only(self, problems: Iterable[Problem]) -> None:
        """These were told of, and what is in the files no longer is news when it comes back."""
        self._known = set(map(_gist, problems))

    def report(self, problems: Iterable[Problem]) -> tuple[str, ...]:
        """Log the warnings of which nobody was told yet, and give them, with a line on the others."""
        warnings = [problem for problem in problems if problem.level is Level.WARNING]
        new = [problem for problem in warnings if _gist(problem) not in self._known]
        for problem in new:
            _log.warning("%s", problem)
        self._known |= set(map(_gist, new))
        old = len(warnings) - len(new)
        more = (f"{old} warning{'' if old == 1 else 's'} as before: see `dnslb check`",) if old else ()
        return (*map(str, new), *more)


def _gist(problem: Problem) -> tuple[str, str, str]:
    """The same, though lines were added before it."""
    return problem.file, problem.fact, problem.remedy
