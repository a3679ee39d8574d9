"""What is told of resolvers by how often they ask, and what they get for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import floor
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnslb.balance.class_turns import ClassTurns
from dnslb.balance.hidden_load import (
    CLASSES,
    HOTTEST,
    REST,
    Crowd,
    Limits,
    Terms,
    adapted_terms,
    class_of,
    even_terms,
    load_behind,
    queries,
)  # fmt: skip
from dnslb.balance.rotation import Rotation, RRsetOrder, arrangement

_CYCLIC = Rotation(RRsetOrder.CYCLIC, None, 1)


def asked_times(load: float, ttl: int, seconds: float, rng: Random) -> list[float]:
    """When a cache asks that has so much behind it, and keeps a copy to the end of its last second, as unbound does."""
    times = [1000 * rng.random()]
    while times[-1] < times[0] + seconds:
        times.append(floor(times[-1]) + ttl + 1 + rng.expovariate(load))
    return times


def told(number: int, load: float, ttl: int, seconds: float) -> Crowd:
    """What is told of so many caches, by the gaps between their queries."""
    rng = Random(1)
    times = [asked_times(load, ttl, seconds, rng) for _ in range(number)]
    asked = sum(len(each) - 1 for each in times)
    return load_behind(asked, sum(each[-1] - each[0] for each in times) / number, asked * ttl)


@pytest.mark.parametrize("load", [0.01, 0.1, 1.0, 4.0])
@pytest.mark.parametrize("ttl", [1, 5, 30])
def test_the_load_behind_a_cache_is_told_by_its_gaps(load: float, ttl: int) -> None:
    found = told(1, load, ttl, 400 * (ttl + 1 / load))
    assert found.caches == 1
    assert found.load == pytest.approx(load, rel=0.3)


@pytest.mark.parametrize(("number", "load"), [(1, 200.0), (3, 1.0), (5, 200.0)])
def test_several_caches_behind_one_network_are_told_apart_from_one_that_is_hot(number: int, load: float) -> None:
    found = told(number, load, 30, 20_000)
    assert found.caches == number
    assert found.load == pytest.approx(min(load, HOTTEST), rel=0.3)


@given(st.floats(0, 1e9), st.floats(-1, 1e9), st.floats(0, 1e12))
def test_whatever_is_counted_is_a_load_within_its_limits(asked: float, seconds: float, covered: float) -> None:
    found = load_behind(asked, seconds, covered)
    assert found.caches >= 0
    assert 0 <= found.load <= HOTTEST
    assert 1 <= class_of(found.load) <= CLASSES


@given(st.floats(0.001, HOTTEST), st.integers(1, 300))
def test_how_often_caches_ask_and_what_is_told_by_it_are_one_formula(load: float, ttl: int) -> None:
    asked = queries(Crowd(1, load), ttl)
    assert load_behind(asked, 1, asked * ttl).load == pytest.approx(load, rel=1e-6)


# What they get.

_LIMITS = st.tuples(st.integers(1, 60), st.integers(0, 300), st.integers(0, 3000)).map(
    lambda steps: Limits(steps[0], steps[0] + steps[1], sum(steps))
)
_CROWDS = st.dictionaries(
    st.integers(1, CLASSES), st.builds(Crowd, st.integers(1, 1000), st.floats(0.0005, HOTTEST)), max_size=CLASSES
)
_WEIGHTS = st.one_of(st.none(), st.lists(st.integers(1, 64), min_size=1, max_size=4).map(tuple))
_ORDERS = st.sampled_from([RRsetOrder.CYCLIC, RRsetOrder.RANDOM, RRsetOrder.LEAST_ASSIGNED])


@given(_LIMITS, _CROWDS, _WEIGHTS, _ORDERS)
def test_no_ttl_is_out_of_its_limits_and_every_record_has_one(
    limits: Limits, known: dict[int, Crowd], weights: tuple[int, ...] | None, order: RRsetOrder
) -> None:
    n = len(weights) if weights else 3
    terms = adapted_terms(Rotation(order, weights, 1), n, limits, known)
    assert len(terms) == CLASSES + 1
    for each in terms:
        assert len(each.ttls) == n
        assert all(limits.floor <= ttl <= limits.ceiling for ttl in each.ttls)
        assert each.rotation.weights is None or sum(each.rotation.weights) <= 256
    assert set(terms[REST].ttls) == {limits.mean}


def zipf(resolvers: int, requests: float, exponent: float = 1.0) -> list[float]:
    """The loads behind them."""
    parts = [1 / place**exponent for place in range(1, resolvers + 1)]
    return [requests * part / sum(parts) for part in parts]


def grouped(loads: Sequence[float]) -> dict[int, Crowd]:
    found: dict[int, list[float]] = {}
    for load in loads:
        found.setdefault(class_of(load), []).append(load)
    return {each: Crowd(len(some), sum(some) / len(some)) for each, some in found.items()}


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 40), st.floats(0.5, 30), st.floats(0.5, 1.2), st.integers(20, 60),
    st.sampled_from([None, (4, 2, 1, 1), (20, 16, 13, 7)]), st.integers(0, 1 << 30),
)  # fmt: skip
def test_adapted_ttls_bring_as_many_queries_as_the_constant_one_within_a_tenth(  # noqa: PLR0917 - a world
    resolvers: int, requests: float, exponent: float, mean: int, weights: tuple[int, ...] | None, seed: int
) -> None:
    rng, seconds = Random(seed), 40_000
    loads = zipf(resolvers, requests, exponent)
    constant = sum(len(asked_times(load, mean, seconds, rng)) for load in loads)
    terms = adapted_terms(Rotation(RRsetOrder.CYCLIC, weights, 1), 4, Limits(5, mean, 8 * mean), grouped(loads))
    turns = ClassTurns(terms, 4, rng)
    adapted = 0
    for load in loads:
        number = class_of(load)
        rounds, now = leaders(terms, turns, number), rng.random()
        while now < seconds:
            adapted += 1
            now = floor(now) + terms[number].ttls[next(rounds)] + 1 + rng.expovariate(load)
    assert adapted == pytest.approx(constant, rel=0.1)


def leaders(terms: Sequence[Terms], turns: ClassTurns, number: int) -> Iterator[int]:
    """The record that each answer to this class has."""
    rotation, n = terms[number].rotation, len(terms[number].ttls)
    return (arrangement(rotation, n, turn)[0] for turn in turns.by_class[number])


def carried(terms: Sequence[Terms], turns: ClassTurns, loads: Mapping[int, float], seconds: float) -> list[float]:
    """The requests that each record got, of one resolver of each class with so much behind it."""
    counts = [0.0] * len(terms[0].ttls)
    for number, load in loads.items():
        rounds, now = leaders(terms, turns, number), 0.0
        while now < seconds:
            leader = next(rounds)
            ttl = terms[number].ttls[leader]
            counts[leader] += 1 + load * ttl
            now += ttl + 1 / load
    return counts


@pytest.mark.parametrize("weights", [(4, 2, 1, 1), (10, 8, 6, 5), (60, 1)])
@pytest.mark.parametrize("limits", [Limits(5, 30, 240), Limits(30, 30, 30), Limits(20, 30, 40)])
@pytest.mark.parametrize("load", [0.02, 0.3, 5.0])
def test_records_get_requests_by_their_capacity_whatever_the_limits_do_to_ttls(
    weights: tuple[int, ...], limits: Limits, load: float
) -> None:
    n, number = len(weights), class_of(load)
    terms = adapted_terms(Rotation(RRsetOrder.CYCLIC, weights, 1), n, limits, {number: Crowd(1, load)})
    counts = carried(terms, ClassTurns(terms, n, Random(1)), {number: load}, 300_000)
    for count, weight in zip(counts, weights, strict=True):
        assert count / sum(counts) == pytest.approx(weight / sum(weights), rel=0.06)


@pytest.mark.parametrize("weights", [None, (4, 2, 1)])
def test_the_next_answer_goes_to_who_was_assigned_least_for_its_weight(weights: tuple[int, ...] | None) -> None:
    loads = {class_of(load): load for load in (10.0, 2.5, 0.16)}
    terms = even_terms(Rotation(RRsetOrder.LEAST_ASSIGNED, weights, 1), 3, 30)
    counts = carried(terms, ClassTurns(terms, 3, Random(1)), loads, 100_000)
    shares = weights or (1, 1, 1)
    for count, share in zip(counts, shares, strict=True):
        assert count / sum(counts) == pytest.approx(share / sum(shares), rel=0.02)


def test_one_class_makes_up_for_what_another_was_given() -> None:
    terms = even_terms(Rotation(RRsetOrder.LEAST_ASSIGNED, None, 1), 2, 30)
    turns = ClassTurns(terms, 2, Random(1))
    heavy, light = (leaders(terms, turns, number) for number in (1, 2))
    assert next(heavy) == 0                            # 301 requests
    assert [next(light) for _ in range(4)] == [1, 1, 0, 1]  # 151 each


def test_every_class_goes_round_by_itself() -> None:
    terms = even_terms(_CYCLIC, 3, 30)
    turns = ClassTurns(terms, 3, Random(1))
    for number in (REST, 1, CLASSES):
        rounds = leaders(terms, turns, number)
        assert sorted(next(rounds) for _ in range(3)) == [0, 1, 2]


def test_a_class_whose_records_lead_otherwise_goes_on_from_who_is_next() -> None:
    even, heavier = even_terms(_CYCLIC, 3, 30), even_terms(Rotation(RRsetOrder.CYCLIC, (5, 4, 5), 1), 3, 30)
    turns = ClassTurns(even, 3, Random(1))
    rounds = {number: leaders(even, turns, number) for number in (1, 2)}
    seen = [next(rounds[number]) for number in (1, 2, 2)]
    turns.retune([*even[:2], heavier[2], *even[3:]])
    follower = next(leaders([*even[:2], heavier[2], *even[3:]], turns, 2))
    assert follower == (seen[2] + 1) % 3
    assert next(rounds[1]) == (seen[0] + 1) % 3     # which nobody has disturbed
    every = [*seen, follower, (seen[0] + 1) % 3]
    assert turns.led() == [every.count(record) for record in range(3)]
    assert turns.taken == len(every)
    assert turns.led() is None


@pytest.mark.parametrize("order", [RRsetOrder.CYCLIC, RRsetOrder.RANDOM, RRsetOrder.LEAST_ASSIGNED])
def test_what_led_is_counted_over_all_classes(order: RRsetOrder) -> None:
    terms = even_terms(Rotation(order, (3, 1), 1), 2, 30)
    turns = ClassTurns(terms, 2, Random(1))
    assert turns.led() is None
    seen = [next(leaders(terms, turns, number)) for number in (REST, 1, 1, 5, 9) for _ in range(7)]
    assert turns.led() == [seen.count(0), seen.count(1)]
    assert turns.taken == len(seen)
    assert turns.led() is None


def test_before_anybody_is_known_all_get_the_mean_ttl() -> None:
    terms = adapted_terms(Rotation(RRsetOrder.CYCLIC, (3, 1), 1), 2, Limits(5, 30, 120), {})
    assert {each.ttls for each in terms} == {(30, 30)}
    assert {each.rotation.weights for each in terms} == {(3, 1)}
