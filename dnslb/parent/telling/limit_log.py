"""What the rate limit holds up, in the log: one line when it begins, then one a minute as long as it goes on."""

from __future__ import annotations

import logging
from collections import Counter
from ipaddress import IPv4Network, IPv6Network

from dnslb.worker.rate_limit import Held

_EVERY = 60.0    # seconds from one line to the next
_NAMED = 3       # networks in a line
_MOST = 1000     # of them, between two lines

_log = logging.getLogger("dnslb")


class LimitLog:
    """Is told what workers have held up, by any of them."""

    def __init__(self) -> None:
        self._told = -_EVERY
        self._queries = 0
        self._networks: Counter[bytes] = Counter()

    def add(self, held: Held, now: float) -> None:
        """``now``: of the monotonic clock."""
        self._queries += held.queries
        for network, count in held.networks.items():
            if network in self._networks or len(self._networks) < _MOST:
                self._networks[network] += count
        if self._queries and now - self._told >= _EVERY:
            most = ", ".join(f"{_text(network)} ({count:,})" for network, count in self._networks.most_common(_NAMED))
            _log.warning(
                "rate limit: %s queries held up since the last such line, at most one a minute; most of %s",
                f"{self._queries:,}", most,
            )  # fmt: skip
            self._told, self._queries = now, 0
            self._networks.clear()


def _text(network: bytes) -> str:
    """A /24 or /56, by the octets that it begins with."""
    if len(network) == 3:
        return str(IPv4Network((network + bytes(1), 24)))
    return str(IPv6Network((network + bytes(9), 56)))
