"""A backend dies: how long it takes until no client is sent to it, by the server's own verdicts and TTLs.

Pure.  It accepts connections and is silent, which takes a probe longest to find out; after that it comes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from random import Random

from dnslb.balance import health
from dnslb.balance.health import Outcome
from dnslb.balance.pool import Backend, Probe
from dnslb.simulation.authority import Authority
from dnslb.simulation.caches import Caches, Held
from dnslb.simulation.demand import Demand

_PROMPT = 0.01  # seconds: what a probe of a backend that is well takes
_SLOWEST, _FASTEST = 0.99, 0.90  # of the pause between probes: see ``probe.schedule``


@dataclass(frozen=True, slots=True)
class Failover:
    """One death, in seconds."""

    noticed: float  # from it to the verdict; infinite: nobody probes
    last: float     # from it until the last cache has let go of the backend
    failed: float   # sessions that were sent to it, for each 1,000 a second in all


class Mortal:
    """A pool whose backends die one after another, with everybody who asks for it.  The clock goes on by itself."""

    def __init__(self, authority: Authority, caches: Caches, demand: Demand, now: float, rng: Random) -> None:
        self._authority = authority
        self._caches = caches
        self._demand = demand
        self._rng = rng
        self._now = now

    def die(self, backend: Backend) -> Failover:
        """The backend dies now, and is back when it has been forgotten."""
        probe = self._authority.pool.probe
        if probe is None:
            return Failover(inf, inf, inf)
        begin = self._now
        outage = _Outage(backend, self._demand, begin)
        for held in self._caches.held.values():
            outage.count(held, begin)
        ended = self._probe(backend, probe, outage, ok=False)
        # What is in caches yet runs out; where the pool fails open it is handed out for ever.
        noticed = ended - begin
        self._pass(max(ended, outage.last), outage)
        found = Failover(noticed, outage.last - begin, 1000 * outage.sessions / self._demand.rate)
        self._probe(backend, probe, None, ok=True)
        # Its share and the TTL climb again.
        self._pass(self._now + self._authority.pool.slowstart + self._authority.ceiling, None)
        return found

    def _probe(self, backend: Backend, probe: Probe, outage: _Outage | None, *, ok: bool) -> float:
        """Probe until the verdict is that; when it was found."""
        known, took = self._authority.health(backend.target), _PROMPT if ok else probe.timeout
        start = self._now + self._rng.random() * health.pause(known, probe)
        while True:
            self._pass(start + took, outage)
            outcome = Outcome(ok, "in the simulation", took)
            self._authority.observe(backend.target, outcome, self._now)
            known = self._authority.health(backend.target)
            if known.up is ok and not known.streak:
                return self._now
            start = max(self._now, start + self._rng.uniform(_FASTEST, _SLOWEST) * health.pause(known, probe))

    def _pass(self, until: float, outage: _Outage | None) -> None:
        """Let time go by."""
        for held in self._caches.run(until):
            if outage is not None:
                outage.count(held, held.begin)
                outage.sessions += outage.share(held)  # of the client who has asked
        self._now = max(self._now, until)


class _Outage:
    """What a dead backend has cost up to now."""

    def __init__(self, backend: Backend, demand: Demand, begin: float) -> None:
        self._address = backend.address
        self._rates = demand.rates
        self.last = begin  # when a client was sent there last
        self.sessions = 0.0

    def share(self, held: Held) -> float:
        """Of the clients who are answered so, those who go to the dead one, if they try no other."""
        return 1 / len(held.chosen) if self._address in held.chosen else 0.0

    def count(self, held: Held, now: float) -> None:
        """Those who come from ``now`` on, as long as a resolver holds this."""
        share = self.share(held)
        if share and held.end >= now:
            self.last = max(self.last, held.end)
            self.sessions += share * self._rates[held.resolver] * (held.end - now)
