"""How often resolvers ask for the addresses of some pools, and how long they may keep them: it tells hidden load.

All queries are counted as long as few come at once; of a batch of many, some, each for those between.  So a query
costs the less, the more there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from random import Random
from typing import TypeAlias

from dnslb.answer.hidden_loads import Asked
from dnslb.answer.snapshot import RRsetKey
from dnslb.dns import rrtype
from dnslb.worker.transaction import TransactionBatch

_LOOKS = 4       # queries of a batch that are looked at, about
_MOST = 8192     # pairs of RRset and network between two reports; what is more is not counted
_PIECE = 500     # of them in one message
_QUESTION = 12   # where it begins
_TTL = 6         # octets from the end of the question to the TTL of a record that has its name
_NAME = b"\xc0\x0c"  # of such a record

_Pair: TypeAlias = tuple[RRsetKey, bytes]


class Arrivals:
    """A watcher of queries by name and type for these RRsets.  Who is led there by an alias is not counted."""

    def __init__(self, counted: Iterable[RRsetKey], rng: Random) -> None:
        self._counted = {owner + kind.to_bytes(2) + rrtype.IN.to_bytes(2): (owner, kind) for owner, kind in counted}
        self._rng = rng
        self._times = Counter[_Pair]()
        self._covered = Counter[_Pair]()

    @property
    def is_wanted(self) -> bool:
        return bool(self._counted)

    def __call__(self, seen: TransactionBatch) -> None:
        count = len(seen)
        step = max(1, count // _LOOKS)
        for index in range(int(step * self._rng.random()), count, step):
            query = seen.query(index)
            end = query.find(b"\0", _QUESTION) + 5
            key = self._counted.get(query[_QUESTION:end].lower())
            if key is not None:
                self._count(key, seen.client(index), (seen.reply(index) or b"")[end : end + _TTL + 4], step)

    def _count(self, key: RRsetKey, client: bytes, record: bytes, step: int) -> None:
        """``record``: how the first record of the reply begins."""
        if record[:2] != _NAME or len(record) < _TTL + 4:
            return
        pair = key, client[: 3 if len(client) == 4 else 7]
        if len(self._times) < _MOST or pair in self._times:
            self._times[pair] += step
            self._covered[pair] += step * int.from_bytes(record[_TTL:])

    def take(self) -> Iterator[Mapping[_Pair, Asked]]:
        """What was counted since this was last asked, piece by piece."""
        times, covered = self._times, self._covered
        self._times, self._covered = Counter(), Counter()
        pairs = list(times)
        for start in range(0, len(pairs), _PIECE):
            yield {pair: Asked(times[pair], covered[pair]) for pair in pairs[start : start + _PIECE]}
