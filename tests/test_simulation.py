"""The simulation against what formulas and papers say of the same worlds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address
from random import Random
from statistics import fmean, pstdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnslb.advice import forecast
from dnslb.advice.resolver import Resolver
from dnslb.balance.pool import AllDown, Backend, Pool, Probe, TcpCheck, TtlPolicy
from dnslb.balance.rotation import RRsetOrder
from dnslb.simulation import chance, variant
from dnslb.simulation.authority import Authority
from dnslb.simulation.caches import Caches, Starts
from dnslb.simulation.demand import Demand
from dnslb.simulation.trial import Extent, Trial, attempt, attempt_by_request

PROBE = Probe(TcpCheck(80), interval=2.0, timeout=1.0)
EXACT = Demand(clock=0.0)  # as formulas take resolvers for
PAPER = replace(EXACT, rate=500 / 300, resolvers=20)  # 500 clients
SHORT = Extent(span=1800.0, deaths=0, seeds=1)


def pool(count: int, seconds: int, heterogeneity: float = 0.0, **changes: Any) -> Pool:
    return replace(variant.made_up(PROBE, count, seconds, heterogeneity), **changes)


def tried(tested: Pool, demand: Demand, extent: Extent = SHORT) -> Trial:
    return attempt(tested, 4, variant.capacities(tested, 4), demand, extent)


@pytest.mark.parametrize(("demand", "ttl"), [
    (EXACT, 1),
    (EXACT, 30),
    (replace(EXACT, rate=5.0, resolvers=1), 10),
    (replace(EXACT, rate=20.0, resolvers=1000, skew=0.0), 60),
])
def test_the_authority_gets_as_many_queries_as_the_formula_says(demand: Demand, ttl: int) -> None:
    found = tried(pool(4, ttl), demand).queries
    assert found == pytest.approx(forecast.authoritative_load(demand.rates, ttl), rel=0.05)


def test_a_resolver_whose_clock_has_whole_seconds_asks_less_often() -> None:
    # Of 1,000 look-ups a second the next one comes at once: see ``hidden_load.queries``.
    demand = Demand(rate=1000.0, resolvers=1, clock=1.0)
    assert tried(pool(1, 2), demand).queries == pytest.approx(1 / 3, rel=0.01)
    assert tried(pool(1, 2), replace(demand, clock=0.0)).queries == pytest.approx(1 / 2, rel=0.01)


@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.9])
def test_one_backend_is_as_busy_as_its_load(utilisation: float) -> None:
    # As of any queue with one server: what comes must be done.
    demand = Demand(rate=50.0, session=10.0, utilisation=utilisation)
    assert fmean(tried(pool(1, 30), demand).peaks) == pytest.approx(utilisation, rel=0.02)


@pytest.mark.parametrize(("answers", "session"), [(1, 0.0), (1, 300.0), (None, 0.0)])
def test_an_overloaded_pool_is_always_busy(answers: int | None, session: float) -> None:
    found = tried(pool(3, 10, answers=answers), Demand(session=session, utilisation=1.5))
    assert found.below(0.98) < 0.05


@pytest.mark.parametrize("ttl", [5, 30, 240])
def test_single_answers_pin_as_the_formula_says(ttl: int) -> None:
    # It is for addresses that are drawn, not dealt in turns, and for the mean of the window.
    demand = replace(EXACT, rate=1000.0, resolvers=50, window=60.0)
    authority = Authority(pool(4, ttl, answers=1, order=RRsetOrder.RANDOM), 4, Random(1))
    windows = 2000
    starts = Starts(demand.window, windows)
    for held in Caches(authority, demand, Random(1)).run(windows * demand.window):
        starts.add(held, demand.rates[held.resolver])
    shares = [mean / sum(means.values()) for means in starts.means() for mean in means.values()]
    expected = forecast.pinning(tuple(rate / demand.rate for rate in demand.rates), 4, 1, ttl, demand.window)
    assert pstdev(shares) / fmean(shares) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("answers", [None, 1])
def test_failover_takes_as_long_as_the_formula_says(answers: int | None) -> None:
    demand, ttl = replace(EXACT, rate=500.0, resolvers=50), 30
    # The TTL would fall in doubt, of which the formula knows nothing.
    tested = pool(4, ttl, answers=answers, ttl=TtlPolicy(min=ttl))
    found = tried(tested, demand, Extent(span=100.0, deaths=60, seeds=1)).failovers
    hits = forecast.hit_rate(demand.rates, ttl)
    mean = forecast.failover_mean(PROBE, ttl, hits, 0.0)
    exact = Resolver("without a clock of its own")
    assert fmean(each.noticed for each in found) == pytest.approx(forecast.detection_mean_hang(PROBE), rel=0.1)
    assert fmean(each.failed for each in found) == pytest.approx(forecast.failed_requests(1000.0, 4, mean), rel=0.15)
    assert max(each.last for each in found) <= forecast.failover_worst(PROBE, ttl, 0.0, exact)


def test_the_order_of_the_papers_comes_out() -> None:
    # Colajanni and others simulate 7 servers, 20 domains, 500 clients, a TTL of 240 s, P(max utilisation < 0.98).
    extent = Extent(span=7200.0, deaths=0, seeds=3)
    alike, unlike = pool(7, 240), pool(7, 240, 0.65)
    full, pinned = tried(alike, PAPER, extent), tried(replace(alike, answers=1), PAPER, extent)
    through = attempt_by_request(variant.capacities(unlike, 4), PAPER, extent)
    assert pinned.below(0.98) < 0.4
    assert 0.8 < full.below(0.98) < 0.99 < through.below(0.98)
    # Whole sets cannot express weights, so that the weakest is drowned.
    assert tried(unlike, PAPER, extent).below(0.98) < 0.05


def test_weights_lead_in_single_answers() -> None:
    tested = pool(2, 1, 0.5, answers=1)
    authority = Authority(tested, 4, Random(1))
    led = Counter(next(iter(authority.answer(0, 0.0)[0])) for _ in range(300))
    assert [led[backend.address] for backend in tested.backends] == [200, 100]


def test_a_sticky_pool_gives_a_resolver_the_same_address() -> None:
    authority = Authority(pool(4, 1, answers=1, order=RRsetOrder.STICKY), 4, Random(1))
    given_to = [{authority.answer(resolver, 0.0)[0] for _ in range(9)} for resolver in range(400)]
    assert all(len(each) == 1 for each in given_to)
    assert len(Counter(next(iter(each)) for each in given_to)) == 4


def test_adapted_ttls_and_tallies_even_out_what_constant_ones_do_not() -> None:
    # At equal load of the authority: RR-TTL/S_K and DAL of the literature, by what the server finds out of resolvers.
    extent, kept = Extent(span=7200.0, deaths=0, seeds=3), TtlPolicy(is_adaptive=True, mean=240)
    constant = tried(pool(7, 240, answers=1), PAPER, extent)
    tallied = tried(pool(7, 240, answers=1, order=RRsetOrder.LEAST_ASSIGNED), PAPER, extent)
    adapted = tried(pool(7, 960, answers=1, ttl=kept), PAPER, extent)
    assert constant.below(0.98) + 0.05 < tallied.below(0.98) < adapted.below(0.98) - 0.1
    assert adapted.queries == pytest.approx(constant.queries, rel=0.1)
    # What is learned of one class must not begin the turns of others anew: with unlike backends something always is.
    unlike = tried(pool(7, 960, 0.35, answers=1, ttl=kept), PAPER, extent)
    assert unlike.below(0.98) > adapted.below(0.98) - 0.2


def test_the_same_seed_gives_the_same_and_another_one_does_not() -> None:
    extent = Extent(span=600.0, deaths=2, seeds=2)
    tested = pool(3, 30, answers=1, order=RRsetOrder.RANDOM)
    once = tried(tested, Demand(), extent)
    assert once == tried(tested, Demand(), extent)
    assert once.by_seed[0] != once.by_seed[1]


def test_a_pool_that_nobody_probes_never_fails_over() -> None:
    found = tried(pool(3, 30, probe=None), Demand(), Extent(60.0, 1, 1)).failovers
    assert (found[0].noticed, found[0].last) == (float("inf"), float("inf"))


def test_the_only_backend_dies_and_is_handed_out_all_the_same() -> None:
    # The pool fails open: there is no end to it, and the simulation has one.
    found = tried(pool(1, 30), Demand(), Extent(60.0, 3, 1)).failovers
    assert len(found) == 3
    none = tried(pool(1, 30, when_all_down=AllDown.NONE), Demand(), Extent(60.0, 3, 1)).failovers
    assert all(each.last <= PROBE.detection + 31 for each in none)


WORLDS = st.builds(
    Demand,
    rate=st.floats(0.01, 200), resolvers=st.integers(1, 50), skew=st.floats(0, 3), session=st.floats(0, 600),
    requests=st.floats(0.01, 100), utilisation=st.floats(0.01, 2), window=st.floats(0.5, 60),
    resolver_minimum=st.floats(0, 30), clock=st.sampled_from([0.0, 1.0]),
)  # fmt: skip
POOLS = st.builds(
    lambda weights, seconds, minimum, order, answers, is_adaptive, **changes: pool(
        len(weights), seconds, order=order,
        ttl=TtlPolicy(min=min(seconds, minimum), is_adaptive=is_adaptive),
        answers=1 if is_adaptive or order is RRsetOrder.LEAST_ASSIGNED else answers,
        backends=tuple(
            Backend(IPv4Address("198.18.0.1") + at, weight, backup) for at, (weight, backup) in enumerate(weights)
        ), **changes,
    ),
    weights=st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=6),
    seconds=st.integers(0, 300), minimum=st.integers(0, 60), order=st.sampled_from(RRsetOrder),
    answers=st.none() | st.integers(1, 6), is_adaptive=st.booleans(),
    slowstart=st.sampled_from([0.0, 30.0]),
    when_all_down=st.sampled_from(AllDown),
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(tested=POOLS, demand=WORLDS, seed=st.integers(1, 2))
def test_no_world_breaks_what_always_holds(tested: Pool, demand: Demand, seed: int) -> None:
    able = variant.capacities(tested, 4)
    found = attempt(tested, 4, able, demand, Extent(span=60.0, deaths=1, seeds=seed))
    assert list(found.peaks) == sorted(found.peaks)
    assert all(0 <= peak <= 1 for peak in found.peaks)
    assert 0 <= found.below(0.5) <= found.below(0.9) <= 1
    held = max(tested.zone_ttls[4], demand.resolver_minimum) + demand.clock
    is_spared = len([backend for backend in tested.backends if backend.address in able]) == 1
    for each in found.failovers:
        assert 0 <= each.noticed <= PROBE.detection
        assert each.last >= 0
        assert each.failed >= 0
        # A pool that fails open hands the dead one out while the others, if any, are down.
        assert is_spared or each.last <= PROBE.detection + held


@pytest.mark.parametrize("mean", [0.0, 0.5, 12.0, 200.0])
def test_poisson_numbers_have_their_mean_and_variance(mean: float) -> None:
    rng = Random(1)
    drawn = [chance.poisson(rng, mean) for _ in range(20_000)]
    assert fmean(drawn) == pytest.approx(mean, rel=0.03, abs=0.01)
    assert pstdev(drawn) ** 2 == pytest.approx(mean, rel=0.06, abs=0.01)


@pytest.mark.parametrize(("n", "p"), [
    (0, 0.5), (10, 0.3), (100, 0.9), (1000, 0.01), (1000, 0.99), (5000, 0.4), (9, 1.0),
])  # fmt: skip
def test_binomial_numbers_have_their_mean_and_stay_within_bounds(n: int, p: float) -> None:
    rng = Random(1)
    drawn = [chance.binomial(rng, n, p) for _ in range(5_000)]
    assert fmean(drawn) == pytest.approx(n * p, rel=0.03, abs=0.01)
    assert 0 <= min(drawn) <= max(drawn) <= n
