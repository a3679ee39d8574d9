"""The TTL advisor: formulas against simulations and a worked table, recommendations against their wishes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import inf, sqrt
from random import Random
from statistics import mean, pvariance
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnslb.advice import forecast as formulas
from dnslb.advice.advisor import LONGEST, Wishes, advise
from dnslb.advice.detection import settings_for
from dnslb.advice.forecast import Situation, forecast
from dnslb.advice.resolver import ANY, KINDS
from dnslb.balance.pool import Probe, TcpCheck

PROBE = Probe(TcpCheck(80), interval=2.0, timeout=1.0)  # detection 7 s
FAST = Probe(TcpCheck(80), interval=10.0, fast_interval=1.0, down_interval=30.0, timeout=0.5)  # 12.5 s
SINGLE = Situation(PROBE, backends=4, answers=1, rate=200.0)
FULL = replace(SINGLE, answers=4)
PLAIN = replace(FULL, resolver=KINDS["unbound"])  # which has no minimum


# TTL, queries/s, hits %, failover mean and worst, failed per 1,000 rps, CV
@pytest.mark.parametrize(("ttl", "load", "hits", "average", "worst", "failed", "cv"), [
    (0,   200.0,  0.0,   6.0,  13,  1500, 0.016),  # some resolver's minimum is 5 s
    (1,    49.0, 75.5,   6.4,  13,  1594, 0.057),
    (5,    16.1, 92.0,   8.3,  13,  2075, 0.122),
    (10,    8.9, 95.6,  10.8,  18,  2694, 0.170),
    (30,    3.2, 98.4,  20.8,  38,  5190, 0.276),
    (60,    1.6, 99.2,  35.8,  68,  8939, 0.349),
    (300,   0.3, 99.8, 155.8, 308, 38938, 0.412),
])  # fmt: skip
def test_the_worked_table(  # noqa: PLR0917 - a row of it
    ttl: int, load: float, hits: float, average: float, worst: float, failed: float, cv: float
) -> None:
    row = forecast(SINGLE, ttl)
    assert row.load == pytest.approx(load, abs=0.05)
    assert 100 * row.hit_rate == pytest.approx(hits, abs=0.05)
    assert row.failover_mean == pytest.approx(average, abs=0.051)
    assert row.failover_worst == worst
    assert row.failed == pytest.approx(failed, abs=0.5)
    assert row.cv == pytest.approx(cv, abs=0.001)


def test_a_minimum_of_the_resolvers_makes_lower_ttls_alike() -> None:
    held = replace(SINGLE, resolver_minimum=60.0)
    assert {replace(forecast(held, ttl), ttl=0) for ttl in (0, 5, 30, 60)} == {replace(forecast(SINGLE, 60), ttl=0)}


@pytest.mark.parametrize(("kind", "worst"), [
    ("unbound", [7, 9, 13]), ("bind", [7, 8, 12]), ("powerdns", [8, 8, 12]), ("knot", [13, 13, 13]),
    ("dnsmasq", [7, 8, 12]), ("any", [13, 13, 13]),
])  # fmt: skip
def test_each_kind_of_resolver_has_a_time_of_its_own(kind: str, worst: list[float]) -> None:
    situation = replace(SINGLE, resolver=KINDS[kind])
    assert [forecast(situation, ttl).failover_worst for ttl in (0, 1, 5)] == worst


def test_any_is_the_worst_of_all_and_spares_us_no_query() -> None:
    others = [kind for name, kind in KINDS.items() if name != "any"]
    for ttl in (0, 1, 2, 5, 6, 300):
        assert ANY.held(ttl) == max(kind.held(ttl) for kind in others)
        assert forecast(SINGLE, ttl).load == max(forecast(replace(SINGLE, resolver=kind), ttl).load for kind in others)


def test_a_minimum_of_its_kind_saves_queries() -> None:
    knot = replace(SINGLE, resolver=KINDS["knot"])
    assert forecast(knot, 1).load == forecast(knot, 5).load == forecast(SINGLE, 5).load


def test_a_client_that_waits_for_a_silent_backend_loses_that_time_too() -> None:
    row, waiting = forecast(SINGLE, 5), forecast(replace(SINGLE, client_timeout=10.0), 5)
    assert waiting.failover_mean == pytest.approx(row.failover_mean + 10)
    assert waiting.failover_worst == row.failover_worst + 10


def test_a_cache_of_the_clients_adds_to_failover_only() -> None:
    row, cached = forecast(SINGLE, 5), forecast(replace(SINGLE, client_cache=60.0), 5)
    assert cached.failover_worst == row.failover_worst + 60
    assert cached.failover_mean == pytest.approx(row.failover_mean + 30)
    assert (cached.load, cached.cv) == (row.load, row.cv)


def test_a_whole_rrset_leaves_chance_only() -> None:
    for ttl in (0, 5, 300):
        assert forecast(FULL, ttl).cv == pytest.approx(sqrt(3 / (200 * 60)))


@pytest.mark.parametrize(("resolvers", "effective"), [(20, 8.1), (100, 16.5), (200, 21.1)])
def test_effective_resolvers(resolvers: int, effective: float) -> None:
    assert formulas.effective_resolvers(formulas.zipf(resolvers, 1.0)) == pytest.approx(effective, abs=0.05)


def test_equal_resolvers_are_all_effective() -> None:
    assert formulas.effective_resolvers(formulas.zipf(50, 0.0)) == pytest.approx(50)


@pytest.mark.parametrize(("n", "resolvers", "ttl", "window", "cv"), [
    (7, 20, 240.0, 8.0, 0.855),
    (7, 20, 240.0, 3600.0, 0.220),
    (4, 200, 30.0, 60.0, 0.244),
])  # fmt: skip
def test_pinning_by_published_checks(n: int, resolvers: int, ttl: float, window: float, cv: float) -> None:
    assert formulas.pinning(formulas.zipf(resolvers, 1.0), n, 1, ttl, window) == pytest.approx(cv, abs=0.001)


@pytest.mark.parametrize("probe", [PROBE, FAST])
def test_detection_as_simulated(probe: Probe) -> None:
    rng = Random(3)
    fast = probe.interval if probe.fast_interval is None else probe.fast_interval
    killed = [probe.interval - rng.uniform(0, probe.interval) + fast * (probe.fall - 1) for _ in range(20_000)]
    assert formulas.detection_mean_killed(probe) == pytest.approx(mean(killed), rel=0.01)
    assert max(killed) <= formulas.detection_worst_killed(probe) < max(killed) + 0.01
    assert formulas.detection_mean_hang(probe) == formulas.detection_mean_killed(probe) + probe.timeout
    assert formulas.detection_worst_hang(probe) == formulas.detection_worst_killed(probe) + probe.timeout


def test_recovery() -> None:
    assert formulas.recovery_worst(PROBE) == 4.0
    assert formulas.recovery_worst(FAST) == 31.0
    assert formulas.recovery_worst(replace(FAST, fast_interval=None, rise=3)) == 90.0


@pytest.mark.parametrize(("rate", "ttl"), [(0.3, 2.0), (1.0, 3.0), (5.0, 1.0)])
def test_authoritative_load_and_hit_rate_as_simulated(rate: float, ttl: float) -> None:
    rng = Random(7)
    now, expires, misses, lookups = 0.0, 0.0, 0, 50_000
    for _ in range(lookups):
        now += rng.expovariate(rate)
        if now >= expires:
            misses, expires = misses + 1, now + ttl
    assert formulas.authoritative_load([rate], ttl) == pytest.approx(misses / now, rel=0.03)
    assert formulas.hit_rate([rate], ttl) == pytest.approx(1 - misses / lookups, abs=0.01)


@pytest.mark.parametrize(("answers", "ttl"), [(1, 5.0), (1, 90.0), (2, 20.0), (3, 20.0)])
def test_pinning_as_simulated(answers: int, ttl: float) -> None:
    """Many look-ups: the share of a backend over a window of 60 s, by renewals at a random phase."""
    rng = Random(11)
    backends, window, shares = 4, 60.0, formulas.zipf(10, 1.0)
    totals = []
    for _ in range(4_000):
        total = 0.0
        for share in shares:
            begin = 0.0
            end = rng.uniform(0, ttl)
            while begin < window:
                if 0 in rng.sample(range(backends), answers):
                    total += share / answers * (min(end, window) - begin) / window
                begin, end = end, end + ttl
        totals.append(total)
    assert mean(totals) == pytest.approx(1 / backends, rel=0.05)
    simulated = sqrt(pvariance(totals)) * backends
    assert formulas.pinning(shares, backends, answers, ttl, window) == pytest.approx(simulated, rel=0.05)


def test_binomial_and_jain_as_simulated() -> None:
    rng = Random(13)
    cvs, jains = [], []
    for _ in range(400):
        counts = [0] * 4
        for backend in rng.choices(range(4), k=200):
            counts[backend] += 1
        cvs.append(pvariance(counts) / mean(counts) ** 2)
        jains.append(sum(counts) ** 2 / (4 * sum(count * count for count in counts)))
    cv = formulas.binomial(4, 200)
    assert cv == pytest.approx(sqrt(mean(cvs)), rel=0.05)
    assert formulas.jain(cv) == pytest.approx(mean(jains), rel=0.01)


@pytest.mark.parametrize(("cv", "n", "expected"), [(0.0, 4, 1.0), (0.1, 4, 1.1665), (9.0, 4, 4.0), (0.5, 1, 1.0)])
def test_the_busiest_backend(cv: float, n: int, expected: float) -> None:
    assert formulas.max_over_mean(cv, n) == pytest.approx(expected, abs=1e-4)


# The wishes: failover, load, imbalance; then the TTL.
@pytest.mark.parametrize(("situation", "wishes", "ttl"), [
    (FULL, Wishes(), 5),                            # at most the detection time, 7 s
    (FULL, Wishes(failover=60.0), 30),              # 52, rounded down to what people write
    (FULL, Wishes(failover=38.0), 30),
    (FULL, Wishes(failover=37.9), 20),
    (PLAIN, Wishes(failover=9.0), 1),
    (FULL, Wishes(failover=60.0, max_load=10.0), 30),
    (FULL, Wishes(failover=60.0, max_load=2.5), 52),  # at least 39: no round number between
    (FULL, Wishes(max_load=1.0), 120),                # above 7 s, so rounded up
    (FULL, Wishes(max_imbalance=0.1), 5),
    (SINGLE, Wishes(max_imbalance=0.1), 2),
    (SINGLE, Wishes(failover=60.0, max_imbalance=0.2), 10),
    (SINGLE, Wishes(failover=60.0, max_load=10.0, max_imbalance=0.2), 10),
    (replace(FULL, client_cache=30.0), Wishes(failover=60.0), 20),
    (replace(FULL, resolver_minimum=30.0), Wishes(failover=60.0), 30),
    (replace(FULL, resolver=KINDS["bind"]), Wishes(failover=60.0), 30),
    (replace(FULL, resolver_minimum=30.0), Wishes(max_load=5.0), 5),  # they raise it, and ask no more than that
    (replace(FULL, probe=replace(PROBE, interval=5.0)), Wishes(max_load=6.0), 20),  # 16 at least: above 16
    (FULL, Wishes(failover=1e7), LONGEST),
])  # fmt: skip
def test_the_recommended_ttl(situation: Situation, wishes: Wishes, ttl: int) -> None:
    advice = advise(situation, wishes)
    assert advice.ttl == ttl
    assert not advice.conflicts
    assert granted(situation, wishes, ttl)


def granted(situation: Situation, wishes: Wishes, ttl: int) -> bool:
    row = forecast(situation, ttl)
    wanted = [(row.failover_worst, wishes.failover), (row.load, wishes.max_load), (row.cv, wishes.max_imbalance)]
    return all(value <= (inf if most is None else most) + 1e-6 for value, most in wanted)


@pytest.mark.parametrize(("situation", "wishes", "expected"), [
    (PLAIN, Wishes(failover=8.0), [
        "failover in 8 s cannot be: detection 7 s, a resolver's clock 1 s, a TTL of 1 s | "
        "failover: 9s, interval: 1.66s, fast_interval: 1.5s, fall: 2",
    ]),
    (PLAIN, Wishes(failover=2.0), [
        "failover in 2 s cannot be: detection 7 s, a resolver's clock 1 s, a TTL of 1 s | failover: 9s",
    ]),
    (replace(PLAIN, probe=FAST), Wishes(failover=14.0), [
        "failover in 14 s cannot be: detection 12.5 s, a resolver's clock 1 s, a TTL of 1 s | "
        "failover: 15s, interval: 9.5s, fast_interval: 0.75s, fall: 2",
    ]),
    (FULL, Wishes(failover=12.0), [
        "failover in 12 s cannot be: detection 7 s, a resolver's clock 1 s, resolvers' minimum 5 s | "
        "failover: 13s, interval: 1.66s, fast_interval: 1.5s, fall: 2",
    ]),
    (replace(FULL, resolver=KINDS["bind"], client_timeout=3.0), Wishes(failover=10.5), [
        "failover in 10.5 s cannot be: detection 7 s, clients' time-outs 3 s, a TTL of 1 s | "
        "failover: 11s, interval: 1.83s, fast_interval: 1.75s, timeout: 0.5s, fall: 2",
    ]),
    (replace(PLAIN, client_cache=60.0), Wishes(failover=60.0), [
        "failover in 60 s cannot be: detection 7 s, a resolver's clock 1 s, clients' caches 60 s, a TTL of 1 s | "
        "failover: 69s",
    ]),
    (replace(FULL, resolver_minimum=60.0), Wishes(failover=67.0), [
        "failover in 67 s cannot be: detection 7 s, a resolver's clock 1 s, resolvers' minimum 60 s | "
        "failover: 68s, interval: 1.66s, fast_interval: 1.5s, fall: 2",
    ]),
    (FULL, Wishes(failover=30.0, max_load=4.0), [
        "a load of 4/s needs a TTL of 24 s or more, failover in 30 s one of 22 s or less | "
        "max-load: 4.3/s, failover: 32s, interval: 1.33s, fast_interval: 1s, fall: 2",
    ]),
    (FULL, Wishes(max_imbalance=0.01), [
        "an imbalance of 0.01 cannot be: at a TTL of 1 s it is 0.016 | max-imbalance: 0.0159, window: 150s",
    ]),
    (SINGLE, Wishes(max_load=5.0, max_imbalance=0.1), [
        "a load of 5/s needs a TTL of 19 s or more, an imbalance of 0.1 one of 3 s or less | "
        "max-load: 24/s, max-imbalance: 0.228, mode: full, window: 342s",
    ]),
    (replace(SINGLE, resolver=KINDS["unbound"]), Wishes(failover=8.0, max_imbalance=0.01), [
        "failover in 8 s cannot be: detection 7 s, a resolver's clock 1 s, a TTL of 1 s | "
        "failover: 9s, interval: 1.66s, fast_interval: 1.5s, fall: 2",
        "an imbalance of 0.01 cannot be: at a TTL of 1 s it is 0.057 | max-imbalance: 0.0572, window: 1973s",
    ]),
])  # fmt: skip
def test_wishes_in_conflict(situation: Situation, wishes: Wishes, expected: list[str]) -> None:
    advice = advise(situation, wishes)
    assert advice.ttl is None
    assert [f"{conflict.fact} | {', '.join(conflict.remedies)}" for conflict in advice.conflicts] == expected


SITUATIONS = st.builds(
    Situation,
    st.builds(
        Probe,
        st.just(TcpCheck(80)),
        interval=st.floats(0.5, 60),
        fast_interval=st.none() | st.floats(0.5, 10),
        timeout=st.floats(0.1, 10),
        fall=st.integers(1, 5),
    ),
    backends=st.integers(4, 8),
    answers=st.integers(1, 4),
    rate=st.floats(1, 10_000),
    resolvers=st.integers(1, 20),
    skew=st.floats(0, 2),
    window=st.floats(1, 600),
    resolver=st.sampled_from(list(KINDS.values())),
    resolver_minimum=st.sampled_from([0.0, 5.0, 60.0]),
    client_cache=st.sampled_from([0.0, 30.0]),
    client_timeout=st.sampled_from([0.0, 10.0]),
)
WISHES = st.builds(
    Wishes,
    failover=st.none() | st.floats(1, 1000),
    max_load=st.none() | st.floats(0.01, 1000),
    max_imbalance=st.none() | st.floats(0.001, 2),
)


@given(SITUATIONS, WISHES)
def test_advice_grants_the_wishes_and_a_conflict_is_real(situation: Situation, wishes: Wishes) -> None:
    advice = advise(situation, wishes)
    if advice.ttl is not None:
        assert 1 <= advice.ttl <= LONGEST
        assert granted(situation, wishes, advice.ttl)
        assert advice.reasons
    else:
        assert advice.conflicts
        assert all(conflict.remedies for conflict in advice.conflicts)
        assert not any(granted(situation, wishes, ttl) for ttl in (1, 2, 3, 5, 10, 30, 60, 120, 300, 600, 3600))


@given(SITUATIONS, st.floats(1, 120), st.none() | st.floats(0.01, 100))
def test_each_remedy_of_a_failover_conflict_ends_it(
    situation: Situation, failover: float, max_load: float | None
) -> None:
    wishes = Wishes(failover=failover, max_load=max_load)
    for conflict in advise(situation, wishes).conflicts:
        for remedy in conflict.remedies:
            key, _, text = remedy.partition(": ")
            value = float(text.removesuffix("/s").removesuffix("s"))
            if key in ("failover", "max-load"):
                wish: dict[str, Any] = {key.replace("-", "_"): value}
                assert not advise(situation, replace(wishes, **wish)).conflicts, remedy
            else:
                setting: dict[str, Any] = {key: int(value) if key == "fall" else value}
                changed = replace(situation, probe=replace(situation.probe, **setting))
                assert not advise(changed, wishes).conflicts, remedy


@given(SITUATIONS, st.integers(0, 1000), st.integers(0, 1000))
def test_a_higher_ttl_costs_time_and_evenness_and_saves_load(situation: Situation, one: int, other: int) -> None:
    low, high = (forecast(situation, ttl) for ttl in sorted((one, other)))
    assert low.load >= high.load - 1e-9
    assert low.hit_rate <= high.hit_rate + 1e-9
    assert low.failover_mean <= high.failover_mean + 1e-9
    assert low.failover_worst <= high.failover_worst
    assert low.cv <= high.cv + 1e-9
    assert low.jain >= high.jain - 1e-9
    for row in (low, high):
        assert row.failover_mean <= row.failover_worst
        assert 1 <= row.max_over_mean <= situation.backends


@pytest.mark.parametrize(("probe", "detection", "expected"), [
    (PROBE, 6.5, ["interval: 1.83s", "fast_interval: 1.75s", "timeout: 0.5s", "fall: 2"]),
    (PROBE, 5.0, ["interval: 1.33s", "fast_interval: 1s", "fall: 2"]),
    (PROBE, 0.1, []),
    (FAST, 12.1, ["interval: 9.6s", "fast_interval: 0.8s", "timeout: 0.1s", "fall: 2"]),
    (FAST, 3.0, []),
    (replace(PROBE, fall=1, interval=60.0), 31.0, ["interval: 30s"]),
])  # fmt: skip
def test_settings_that_detect_in_time(probe: Probe, detection: float, expected: list[str]) -> None:
    assert settings_for(probe, detection) == expected


def test_notes_say_what_a_ttl_does_not_decide() -> None:
    notes = advise(replace(SINGLE, resolver_minimum=60.0, client_cache=30.0), Wishes()).notes
    assert [note.split(";")[0].split(":")[0] for note in notes] == [
        "resolvers hold records 60 s",
        "clients hold addresses 30 s",
        "a resolver's clients share what it cached",
        "resolvers that serve stale records (serve-expired) may hand out a dead backend after all",
    ]
    slow = advise(replace(FULL, probe=replace(PROBE, interval=60.0)), Wishes(max_imbalance=0.1, failover=190.0)).notes
    assert any("faster probes gain more" in note for note in slow)
    assert any("weights need" in note for note in slow)


def test_zipf_shares_fall_and_sum_to_one() -> None:
    shares = formulas.zipf(10, 1.2)
    assert sum(shares) == pytest.approx(1)
    assert all(before > after for before, after in pairwise(shares))
