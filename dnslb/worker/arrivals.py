"""How often resolvers ask for the addresses of some pools, and how long they may keep them: it tells hidden load.

All queries are counted as long as few come at once; of a batch of many one, any, for all.  So a query costs the less,
the more there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from random import Random
from typing import TypeAlias

from dnslb.answer.hidden_loads import Asked
from dnslb.answer.snapshot import RRsetKey
from dnslb.dns import rrtype
from dnslb.worker.transaction import TransactionBatch

_FEW = 8         # queries of a batch: if there are no more, all are looked at
_MOST = 8192     # pairs of RRset and network between two reports; what is more is not counted
_PIECE = 500     # of them in one message
_QUESTION = 12   # where it begins
_TTL = 6         # octets from the end of the question to the TTL of a record that has its name
_RECORD = 10     # octets of a record up to its length
_NAME = b"\xc0\x0c"  # of such a record

Pair: TypeAlias = tuple[RRsetKey, bytes]  # what was asked for, and the network


class Arrivals:
    """A watcher of queries by name and type for these RRsets.  Who is led there by an alias is not counted."""

    def __init__(self, counted: Iterable[RRsetKey], rng: Random) -> None:
        self._counted = {owner + kind.to_bytes(2) + rrtype.IN.to_bytes(2): (owner, kind) for owner, kind in counted}
        self._rng = rng
        self._begin()

    @property
    def is_wanted(self) -> bool:
        return bool(self._counted)

    def __call__(self, seen: TransactionBatch) -> None:
        count, step, at = len(seen), 1, 0
        if count > _FEW:
            step, at = count, int(count * self._rng.random())
        for index in range(at, count, step):
            query = seen.query(index)
            end = query.find(b"\0", _QUESTION) + 5
            asked = self._asked.get(query[_QUESTION:end].lower())
            if asked is None:
                continue
            record = seen.of_reply(index, end, end + _RECORD)
            if record[:2] == _NAME:
                self._count(asked, seen.client(index), step, int.from_bytes(record[_TTL:]))

    def take(self) -> Iterator[Mapping[Pair, Asked]]:
        """What was counted since this was last asked, piece by piece."""
        counted = self._asked
        self._begin()
        pairs = (
            ((self._counted[question], network), Asked(times, covered))
            for question, asked in counted.items()
            for network, (times, covered) in asked.items()
        )
        while some := dict(islice(pairs, _PIECE)):
            yield some

    def _begin(self) -> None:
        self._asked: dict[bytes, dict[bytes, list[int]]] = {question: {} for question in self._counted}
        self._left = _MOST

    def _count(self, asked: dict[bytes, list[int]], client: bytes, times: int, ttl: int) -> None:
        network = client[: 3 if len(client) == 4 else 7]
        counts = asked.get(network)
        if counts is not None:
            counts[0] += times
            counts[1] += times * ttl
        elif self._left:
            self._left -= 1
            asked[network] = [times, times * ttl]
