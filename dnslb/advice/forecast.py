"""What a TTL costs and what it buys, by formula: authoritative load, failover, evenness.

Pure.  Rates are per second, times in seconds.  The formulas take look-ups for Poisson processes, one per resolver,
and a fault for one at a random moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log, sqrt

from dnslb.advice.resolver import ANY, Resolver
from dnslb.balance.pool import Probe


@dataclass(frozen=True)  # no slots, so that the sums over the resolvers are made once
class Situation:
    """All that decides what a TTL does."""

    probe: Probe
    backends: int = 4
    answers: int = 4                 # addresses in a reply, 1 to `backends`
    rate: float = 100.0              # look-ups by clients at their resolvers, in all
    resolvers: int = 100
    skew: float = 1.0                # Zipf's exponent; 0: all resolvers equal
    window: float = 60.0             # over which shares are compared
    resolver: Resolver = ANY         # of which kind they are
    resolver_minimum: float = 0.0    # a TTL below it is raised to it: `cache-min-ttl` in unbound
    client_cache: float = 0.0        # held by clients whatever the TTL: 60 in browsers, 30 in Java
    client_timeout: float = 0.0      # that clients wait for a backend that accepts them and is silent

    @property
    def lowest(self) -> float:
        """A TTL below it has no effect on the queries that come."""
        return max(self.resolver_minimum, self.resolver.minimum)

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """Of the look-ups, resolver by resolver."""
        return zipf(self.resolvers, self.skew)

    @cached_property
    def rates(self) -> tuple[float, ...]:
        """Look-ups, resolver by resolver."""
        return tuple(self.rate * share for share in self.shares)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one TTL does in a situation."""

    ttl: int
    load: float             # queries that reach the authoritative server
    hit_rate: float         # look-ups answered from a resolver's cache, 0 to 1
    failover_mean: float    # from the moment that a backend hangs to a client's next answer without it
    failover_worst: float
    failed: float           # requests lost in one outage, per 1,000 requests/s, when no client tries the next address:
                            # as when the backend hangs
    cv: float               # coefficient of variation of the backends' shares in one window
    max_over_mean: float    # the share of the busiest backend, over the mean
    jain: float             # Jain's index of fairness: 1 is even, 1/backends is all on one
    survival: float         # so long after the death of every nameserver are cached answers used


def forecast(situation: Situation, ttl: int) -> Forecast:
    """What that TTL does."""
    held = max(float(ttl), situation.lowest)
    hits = hit_rate(situation.rates, held)
    mean = failover_mean(situation.probe, held, hits, situation.client_cache) + situation.client_timeout
    cv = imbalance(situation, held)
    return Forecast(
        ttl=ttl,
        load=authoritative_load(situation.rates, held),
        hit_rate=hits,
        failover_mean=mean,
        failover_worst=situation.client_timeout + failover_worst(
            situation.probe, max(ttl, situation.resolver_minimum), situation.client_cache, situation.resolver),
        failed=failed_requests(1000.0, situation.backends, mean),
        cv=cv,
        max_over_mean=max_over_mean(cv, situation.backends),
        jain=jain(cv),
        survival=held,
    )


def zipf(n: int, skew: float) -> tuple[float, ...]:
    """Shares that sum to 1, the j-th proportional to j^-skew (Zipf's law)."""
    raw = [rank**-skew for rank in range(1, n + 1)]
    total = sum(raw)
    return tuple(share / total for share in raw)


def authoritative_load(rates: Sequence[float], ttl: float) -> float:
    """Q(T) = Σ λ/(1 + λT): each resolver asks once per cycle, of T and the wait 1/λ for the look-up after it.

    The renewal argument of Jung, Berger, Balakrishnan, "Modeling TTL-based Internet caches", INFOCOM 2003.
    """
    return sum(rate / (1 + rate * ttl) for rate in rates)


def hit_rate(rates: Sequence[float], ttl: float) -> float:
    """h = Σ w λT/(1 + λT) = 1 - Q(T)/Λ: the share of look-ups that a cache answers (ibid.)."""
    return sum(rate * rate * ttl / (1 + rate * ttl) for rate in rates) / sum(rates)


def detection_mean_killed(probe: Probe) -> float:
    """I/2 + (fall - 1)·F: a dead port refuses at once, and the first probe after the death is I/2 away."""
    return detection_worst_killed(probe) - probe.interval / 2


def detection_worst_killed(probe: Probe) -> float:
    """I + (fall - 1)·F, with the fast interval F, if there is one, from the first failure on."""
    return probe.interval + (probe.fall - 1) * probe.hurried


def detection_mean_hang(probe: Probe) -> float:
    """I/2 less than at worst."""
    return detection_worst_hang(probe) - probe.interval / 2


def detection_worst_hang(probe: Probe) -> float:
    """I + (fall - 1)·F + τ: of a hung backend, the last failure is known when its timeout τ has passed."""
    return probe.detection


def recovery_worst(probe: Probe) -> float:
    """I_down + (rise - 1)·F: from a backend's return, just after a probe has failed, to its verdict."""
    down = probe.interval if probe.down_interval is None else probe.down_interval
    fast = down if probe.fast_interval is None else probe.fast_interval
    return down + (probe.rise - 1) * fast


def failover_mean(probe: Probe, ttl: float, hits: float, client_cache: float) -> float:
    """Detection (mean, hang) + h·T/2 + C/2: a copy found in a cache has half its TTL to live, on average."""
    return detection_mean_hang(probe) + hits * ttl / 2 + client_cache / 2


def failover_worst(probe: Probe, ttl: float, client_cache: float, resolver: Resolver = ANY) -> float:
    """Detection (worst, hang) + the longest that the resolver holds a record of the TTL + C.

    Resolvers that serve stale answers, and connections that clients hold open, are beyond any bound.
    """
    return probe.detection + resolver.held(ttl) + client_cache


def failed_requests(requests: float, backends: int, outage: float) -> float:
    """(requests/N)·outage, whether few clients fail always or all fail 1/N of the time; clients do not retry."""
    return requests / backends * outage


def effective_resolvers(shares: Sequence[float]) -> float:
    """R_eff = 1/Σw²: so many equal resolvers would pin as unevenly (Simpson's reciprocal index)."""
    return 1 / sum(share * share for share in shares)


def imbalance(situation: Situation, ttl: float) -> float:
    """The coefficient of variation of a backend's share: pinning and chance, CV² = CV²_pinned + CV²_binomial."""
    pinned = pinning(situation.shares, situation.backends, situation.answers, ttl, situation.window)
    chance = binomial(situation.backends, situation.rate * situation.window)
    return sqrt(pinned * pinned + chance * chance)


def pinning(shares: Sequence[float], backends: int, answers: int, ttl: float, window: float) -> float:
    """CV² = (N - k)/k · v(W/T)/R_eff, with v(r) = 1/r - 1/(3r²) for r ≥ 1, and 1 - r/3 below: a TTL long, all of a
    resolver's clients have k of the N addresses, chosen anew for each TTL.

    v is the variance, over a window W, of a process that is constant for T and then drawn anew.  The whole RRset
    (k = N) pins nobody, as resolvers shuffle it.
    """
    if not ttl:
        return 0.0
    ratio = window / ttl
    variance = 1 / ratio - 1 / (3 * ratio * ratio) if ratio >= 1 else 1 - ratio / 3
    return sqrt((backends - answers) / answers * variance / effective_resolvers(shares))


def binomial(backends: int, connections: float) -> float:
    """CV = sqrt((N - 1)/n): each of n connections takes any of N backends."""
    return sqrt((backends - 1) / connections)


def max_over_mean(cv: float, backends: int) -> float:
    """1 + CV·sqrt(2 ln N), at most N: the expected maximum of N normal shares, from above."""
    return min(float(backends), 1 + cv * sqrt(2 * log(backends)))


def jain(cv: float) -> float:
    """1/(1 + CV²), which is (Σx)²/(NΣx²) (Jain, Chiu, Hawe, DEC-TR-301, 1984)."""
    return 1 / (1 + cv * cv)
