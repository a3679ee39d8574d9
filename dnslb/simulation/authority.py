"""A pool as a server would answer for it: selection, turns, TTLs, verdicts and hidden load are the server's own code.

Pure: time and randomness are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from random import Random
from typing import TypeAlias

from dnslb.answer.hidden_loads import Asked, HiddenLoads
from dnslb.answer.served import Before, Facts, Served, work_out
from dnslb.balance import health, selection, ttl
from dnslb.balance.class_turns import ClassTurns, begin_turns
from dnslb.balance.health import Health, Outcome
from dnslb.balance.hidden_load import REST, Terms
from dnslb.balance.pool import Address, Pool
from dnslb.balance.rotation import RRsetOrder, Turns, arrangement, period, slots

Chosen: TypeAlias = frozenset[Address]  # the addresses of one answer, whose order resolvers change
Answer: TypeAlias = tuple[Chosen, int]  # with their TTL in seconds

_KEY = b"\0", 1    # of the only RRset that is asked for
_TUNED = 60.0      # seconds after which what is known of hidden load is worked out anew
_STEP = 0x9E3779B1  # of resolvers over slots, as a hash would spread them (Knuth, TAOCP 6.4)


class Authority:
    """Answers for the pool's A (``version`` 4) or AAAA (6) RRset; everything is up at first."""

    def __init__(self, pool: Pool, version: int, rng: Random) -> None:
        self.pool = pool
        self.backends = [backend for backend in pool.backends if backend.address.version == version]
        self.loads = HiddenLoads()
        self._version = version
        self._rng = rng
        self._healths: dict[Address, Health] = {}
        self._tuned_at = inf  # never, until somebody asks
        self._cycle: object = None
        self._turns: Turns | None = None
        self._answers: list[Iterator[Answer]] = []  # by class of hidden load, or one for all
        self._sticky: list[Answer] = []             # by slot of the client, for sticky pools only
        self.ttl = 0
        self.next_at = inf  # from then on something else is served, if nothing else changes
        self._served = self._work_out(0.0, Before())

    def answer(self, resolver: int, now: float) -> Answer:
        """For this resolver.  No address: NODATA."""
        network = resolver.to_bytes(3)
        number = self.loads.classes.get(network, REST) if len(self._answers) > 1 else REST
        given = next(self._answers[number])
        if self._sticky:
            given = self._sticky[resolver * _STEP % len(self._sticky)]
        if self.pool.counts_load:
            self.loads.add({(_KEY, network): Asked(1, given[1])}, now)
            if self._tuned_at == inf:
                self._tuned_at = now + _TUNED
                self.next_at = min(self.next_at, self._tuned_at)
        return given

    @property
    def shares(self) -> dict[Address, float]:
        """What is handed out, and the part of the answers that each address should lead."""
        return self._served.shares()

    @property
    def ceiling(self) -> int:
        """The longest TTL."""
        return ttl.bounds(self.pool, self._version).ceiling

    def health(self, target: Address) -> Health:
        """The verdict on a probed address."""
        return self._healths.get(target, Health())

    def observe(self, target: Address, outcome: Outcome, now: float) -> None:
        """One probe more has ended.  Only for pools with a probe."""
        if self.pool.probe is not None:
            before = self.health(target)
            after = self._healths[target] = health.observe(before, outcome, self.pool.probe, now)
            if (before.up, before.streak) != (after.up, after.streak):
                self.advance(now)

    def advance(self, now: float) -> None:
        """Work out what is served from ``now`` on."""
        if now >= self._tuned_at:
            for _ in self.loads.work_out(now):
                pass
            self._tuned_at = now + _TUNED
        self._served = self._work_out(now, Before(self._served.addresses, self._served.changed_at))

    def _work_out(self, now: float, before: Before) -> Served:
        facts = Facts(now, self._healths, crowds=self.loads.crowds(_KEY))
        served = work_out(self.pool, self._version, facts, before)
        edges = (served.ttl.until, selection.next_change(self.pool, self._healths, {}, now), self._tuned_at)
        self.next_at = min(at for at in edges if at is not None)
        self.ttl = served.ttl.seconds
        self._serve(served)
        return served

    def _serve(self, served: Served) -> None:
        """The same turns go on, unless what takes them has changed."""
        rotation, terms, addresses = served.serving.rotation, served.serving.terms, served.addresses
        n = len(addresses)
        if not n:
            self._answers, self._sticky, self._cycle = [iter(lambda: (frozenset(), self.ttl), None)], [], None
            return
        cycle = addresses, rotation
        if cycle != self._cycle or self._turns is None:
            start = self._rng.randrange(period(rotation, n))
            self._cycle, self._turns = cycle, begin_turns(rotation, terms, n, self._rng, start)
        elif isinstance(self._turns, ClassTurns):
            self._turns.retune(terms)
        by_class = self._turns.by_class if isinstance(self._turns, ClassTurns) else [self._turns]
        known: dict[Chosen, Chosen] = {}  # equal sets are one: they are soon compared
        tables = [_table(addresses, each, known) for each in terms or [Terms((self.ttl,) * n, rotation, 0.0)]]
        self._answers = [map(table, turns) for table, turns in zip(tables, by_class, strict=True)]
        self._sticky = []
        if rotation.order is RRsetOrder.STICKY:
            self._sticky = [tables[0](leader) for leader in slots(served.serving.rrset.rdatas, rotation.weights)]


def _table(addresses: list[Address], terms: Terms, known: dict[Chosen, Chosen]) -> Callable[[int], Answer]:
    """What is answered at each turn."""
    table: dict[int, Answer] = {}
    rotation, n = terms.rotation, len(addresses)

    def at(turn: int) -> Answer:
        if turn not in table:
            places = arrangement(rotation, n, turn)
            chosen = frozenset(addresses[place] for place in places)
            table[turn] = known.setdefault(chosen, chosen), terms.ttls[places[0]]
        return table[turn]

    return at
