"""Wrong tokens: for how long the replies to them are delayed, and how often the log mentions them.

A right token is never kept waiting, whoever else sends wrong ones from the same address.

Pure: no clock, no logging.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

_FIRST, _LONGEST = 0.1, 5.0  # seconds that an answer waits; twice as long each time
_PAUSE = 60.0                # seconds from one line about a client to the next
_FORGOTTEN = 600.0           # seconds after the last wrong token
_MOST = 100                  # clients told apart; the others count as one


@dataclass(slots=True)
class _Client:
    told: float = float("-inf")  # when the log was last told
    last: float = float("-inf")
    untold: int = 0
    delay: float = _FIRST


class Throttle:
    """What is known of the clients that have sent wrong tokens lately."""

    def __init__(self) -> None:
        self._clients: dict[Hashable, _Client] = {}
        self._others = _Client()

    def record_failure(self, client: Hashable, now: float) -> tuple[float, int]:
        """One more wrong token: for how many seconds to delay the reply, and how many to log now, if any."""
        known = self._known(client, now)
        known.last = now
        known.untold += 1
        delay, known.delay = known.delay, min(2 * known.delay, _LONGEST)
        if now - known.told < _PAUSE:
            return delay, 0
        told, known.untold, known.told = known.untold, 0, now
        return delay, told

    def _known(self, client: Hashable, now: float) -> _Client:
        if client not in self._clients and len(self._clients) >= _MOST:
            self._clients = {one: known for one, known in self._clients.items() if now - known.last < _FORGOTTEN}
        if client not in self._clients and len(self._clients) >= _MOST:
            return self._others
        known = self._clients.setdefault(client, _Client())
        if now - known.last >= _FORGOTTEN:
            known.delay = _FIRST
        return known
