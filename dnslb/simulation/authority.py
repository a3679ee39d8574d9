"""A pool as a server would answer for it: selection, turns, TTL and verdicts are the server's own code.

Pure: time and randomness are arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from random import Random
from typing import TypeAlias

from dnslb.answer.served import Before, Facts, Served, work_out
from dnslb.balance import health, selection, ttl
from dnslb.balance.health import Health, Outcome
from dnslb.balance.pool import Address, Pool
from dnslb.balance.rotation import RRsetOrder, Turns, arrangement, slots

Chosen: TypeAlias = frozenset[Address]  # the addresses of one answer, whose order resolvers change


class Authority:
    """Answers for the pool's A (``version`` 4) or AAAA (6) RRset; everything is up at first."""

    def __init__(self, pool: Pool, version: int, rng: Random) -> None:
        self.pool = pool
        self.backends = [backend for backend in pool.backends if backend.address.version == version]
        self._version = version
        self._rng = rng
        self._healths: dict[Address, Health] = {}
        self._served: Served | None = None
        self._answers: Iterator[Chosen] = iter(())
        self._led: tuple[Chosen, ...] = ()  # by slot of the client, for sticky pools only
        self.ttl = 0
        self.next_at = inf  # from then on something else is served, if nothing else changes
        self.advance(0.0)

    def answer(self, resolver: int) -> tuple[Chosen, int]:
        """The addresses for this resolver, and their TTL in seconds.  No address: NODATA."""
        chosen = next(self._answers)
        return (self._led[resolver * _STEP % len(self._led)] if self._led else chosen), self.ttl

    @property
    def shares(self) -> dict[Address, float]:
        """What is handed out, and the part of the answers that each address should lead."""
        return {} if self._served is None else self._served.shares()

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
            self._healths[target] = health.observe(self.health(target), outcome, self.pool.probe, now)
            self.advance(now)

    def advance(self, now: float) -> None:
        """Work out what is served from ``now`` on."""
        old = self._served
        before = Before() if old is None else Before(old.addresses, old.changed_at)
        served = self._served = work_out(self.pool, self._version, Facts(now, self._healths), before)
        edges = (served.ttl.until, selection.next_change(self.pool, self._healths, {}, now))
        self.next_at = min((at for at in edges if at is not None), default=inf)
        self.ttl = served.ttl.seconds
        if old is None or (old.serving.rotation, old.addresses) != (served.serving.rotation, served.addresses):
            self._begin_turns(served)

    def _begin_turns(self, served: Served) -> None:
        rotation, addresses = served.serving.rotation, served.addresses
        n = len(addresses)
        self._led = ()
        if not n:
            self._answers = iter(frozenset, None)
            return
        table: dict[int, Chosen] = {}
        known: dict[Chosen, Chosen] = {}  # equal sets are one: they are soon compared

        def at(turn: int) -> Chosen:
            if turn not in table:
                chosen = frozenset(addresses[place] for place in arrangement(rotation, n, turn))
                table[turn] = known.setdefault(chosen, chosen)
            return table[turn]

        self._answers = map(at, Turns(rotation, n, self._rng))
        if rotation.order is RRsetOrder.STICKY:
            leaders = slots(served.serving.rrset.rdatas, rotation.weights)
            self._led = tuple(at(leader) for leader in leaders)


_STEP = 0x9E3779B1  # of resolvers over slots, as a hash would spread them (Knuth, TAOCP 6.4)
