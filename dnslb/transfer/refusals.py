"""What the log is told of requests that are refused: who and why, once, and not much at a time.

Whoever sends may choose both the names and the addresses.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

_MOST_REMEMBERED = 1000  # that were told
_MOST_TOLD = 10          # in a period
_PERIOD = 60.0           # seconds

_log = logging.getLogger("dnslb")


class Refusals:
    """``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._told: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._begun = clock()
        self._lines = 0  # since then

    def tell(self, client: str, why: str, what: str = "a transfer") -> None:
        """One line for each client and reason, while there are few."""
        now = self._clock()
        if now - self._begun >= _PERIOD:
            if self._lines > _MOST_TOLD:
                _log.warning("%d more transfers and updates were refused", self._lines - _MOST_TOLD)
            self._begun, self._lines = now, 0
        if (client, why) in self._told:
            return
        self._lines += 1
        if self._lines <= _MOST_TOLD:
            self._told[client, why] = None
            if len(self._told) > _MOST_REMEMBERED:
                self._told.popitem(last=False)
            _log.warning("%s is refused to %s: %s", what, client, why)
