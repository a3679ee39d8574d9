"""Whole replies by whole queries, for the queries that come again and again.

Who looks something up here need not look into the query at all.  One query in so many that are not found is
remembered: so what is asked often soon is, and who never asks the same twice pays next to nothing.  Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from dnslb.answer.ready import ReplyTurns

_SAMPLED = 256        # queries that were not found, of which one is remembered
_OCTETS = 8 << 20     # of all that is remembered; then it begins anew
_OVERHEAD = 1000      # octets that one query costs besides its replies: objects and keys

Remembered: TypeAlias = tuple[bytes, ReplyTurns]  # a query after its id, and its replies
Compose: TypeAlias = Callable[[bytes, bytes], Iterable[Remembered]]


class Memo(dict[bytes, ReplyTurns]):
    """Replies without their ids, by the octets of a query after its id; bounded, and read as fast as a dict."""

    def __init__(self, compose: Compose = lambda query, client: ()) -> None:
        """``compose``: the replies to a query of this client, and to others that tell the same; none when they are not
        remembered.
        """
        super().__init__()
        self._compose = compose
        self._missed = 0
        self._octets = 0

    def miss(self, count: int, last: bytes, client: bytes = b"") -> None:
        """So many queries were not found; of those that came with them ``last`` was the last.

        ``client``: the socket address that it is from.
        """
        self._missed += count
        if self._missed < _SAMPLED or last in self:
            return
        self._missed = 0
        for query, turns in self._compose(last, client):
            if query in self:
                continue
            self._octets += turns.octets + len(query) + _OVERHEAD
            if self._octets > _OCTETS:
                self.clear()
                return
            self[query] = turns

    def clear(self) -> None:
        super().clear()
        self._octets = 0
