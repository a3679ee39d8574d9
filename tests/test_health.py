"""Probe outcomes become verdicts: ``fall`` failures to go down, ``rise`` successes to come back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnslb.balance.health import Health, Outcome, first, flips_in, observe, pause
from dnslb.balance.pool import Probe, TcpCheck
from dnslb.balance.unsteady import Unsteady, failures

PROBE = Probe(TcpCheck(80), interval=5.0, fall=3, rise=2)
PASS, FAIL = Outcome(True, "connected", 0.01), Outcome(False, "connection refused", 0.01)


def verdicts(outcomes: str, probe: Probe = PROBE) -> str:
    """``+`` is up, ``-`` is down; one after each outcome, the first of which comes from a first probe."""
    results = [PASS if sign == "+" else FAIL for sign in outcomes]
    health = first(results[0], 0.0)
    healths = [health]
    for now, outcome in enumerate(results[1:], start=1):
        health = observe(health, outcome, probe, float(now))
        healths.append(health)
    return "".join("+" if health.up else "-" for health in healths)


@pytest.mark.parametrize(("fall", "rise", "outcomes", "expected"), [
    (3, 2, "+", "+"),
    (3, 2, "-", "-"),                  # the first outcome of all counts at once
    (3, 2, "+---", "+++-"),
    (3, 2, "+--+--+---", "+++++++++-"),  # a success starts the count anew
    (3, 2, "-+", "--"),
    (3, 2, "-++", "--+"),
    (3, 2, "-+-++", "----+"),          # a failure too
    (3, 2, "+---++---", "+++--+++-"),
    (1, 1, "+-+-", "+-+-"),
    (1, 3, "+-+++", "+---+"),
    (3, 1, "-+---", "-+++-"),
])  # fmt: skip
def test_the_verdict_after_each_outcome(fall: int, rise: int, outcomes: str, expected: str) -> None:
    assert verdicts(outcomes, replace(PROBE, fall=fall, rise=rise)) == expected


def test_a_verdict_knows_its_time_and_the_reason_of_the_last_outcome() -> None:
    health = first(PASS, 100.0)
    assert health == Health(up=True, since=100.0, reason="connected")
    health = observe(health, FAIL, PROBE, 105.0)
    assert health == Health(up=True, streak=1, since=100.0, reason="connection refused")
    health = observe(observe(health, FAIL, PROBE, 110.0), Outcome(False, "timed out", 2.0), PROBE, 115.0)
    assert health == Health(up=False, since=115.0, reason="timed out")
    health = observe(health, FAIL, PROBE, 120.0)
    assert health == Health(up=False, since=115.0, reason="connection refused")


def test_only_who_comes_up_from_down_has_recovered() -> None:
    assert not first(PASS, 0.0).recovered
    assert not observe(first(PASS, 0.0), PASS, PROBE, 5.0).recovered
    back = observe(observe(first(FAIL, 0.0), PASS, PROBE, 5.0), PASS, PROBE, 10.0)
    assert back == Health(up=True, since=10.0, reason="connected", recovered=True)
    assert observe(back, FAIL, PROBE, 15.0).recovered  # in doubt, and still recovered
    assert not observe(back, FAIL, replace(PROBE, fall=1), 15.0).recovered


def test_a_streak_that_a_reload_made_long_enough_counts_with_the_next_outcome() -> None:
    doubted = Health(up=True, streak=4)  # of fall: 5
    assert observe(doubted, FAIL, PROBE, 0.0) == Health(up=False, reason="connection refused")
    assert observe(doubted, PASS, PROBE, 0.0).streak == 0
    assert flips_in(doubted, PROBE) == 5.0


@pytest.mark.parametrize(("health", "fast", "down", "expected"), [
    (Health(), None, None, 5.0),
    (Health(), 1.0, 30.0, 5.0),
    (Health(streak=1), None, None, 5.0),
    (Health(streak=1), 1.0, 30.0, 1.0),
    (Health(up=False), None, None, 5.0),
    (Health(up=False), 1.0, None, 5.0),
    (Health(up=False), 1.0, 30.0, 30.0),
    (Health(up=False, streak=1), 1.0, 30.0, 1.0),   # about to return: in doubt, not down
    (Health(up=False, streak=1), None, 30.0, 30.0),
])  # fmt: skip
def test_the_pause_until_the_next_probe(
    health: Health, fast: float | None, down: float | None, expected: float
) -> None:
    assert pause(health, replace(PROBE, fast_interval=fast, down_interval=down)) == expected


@pytest.mark.parametrize(("health", "fast", "down", "expected"), [
    (Health(), None, None, 15.0),
    (Health(streak=2), None, None, 5.0),
    (Health(up=False), None, None, 10.0),
    (Health(up=False), None, 30.0, 60.0),
    (Health(streak=1), 1.0, None, 2.0),
    (Health(), 1.0, None, 7.0),             # the first after 5 s, and then, being in doubt, every second
    (Health(up=False), 1.0, 30.0, 31.0),
    (Health(up=False, streak=1), 1.0, 30.0, 1.0),
])  # fmt: skip
def test_when_the_verdict_may_flip_at_the_earliest(
    health: Health, fast: float | None, down: float | None, expected: float
) -> None:
    assert flips_in(health, replace(PROBE, fast_interval=fast, down_interval=down)) == expected


SECONDS = st.integers(1, 60).map(float)
PROBES = st.builds(
    Probe,
    st.just(TcpCheck(80)),
    interval=SECONDS,
    fast_interval=st.none() | SECONDS,
    down_interval=st.none() | SECONDS,
    fall=st.integers(1, 5),
    rise=st.integers(1, 5),
    unsteady=st.none() | st.builds(Unsteady, st.integers(1, 100), st.integers(1, 40)),
)


@pytest.mark.parametrize(("up", "outcome", "expected"), [
    (True, PASS, Health(up=True, since=100.0, reason="connected", recovered=True)),
    (True, FAIL, Health(up=False, since=500.0, reason="connection refused")),
    (False, PASS, Health(up=True, since=500.0, reason="connected")),
    (False, FAIL, Health(up=False, since=500.0, reason="connection refused")),
])  # fmt: skip
def test_only_what_was_up_and_is_up_has_been_up_since(*, up: bool, outcome: Outcome, expected: Health) -> None:
    before = Health(up=up, since=100.0, reason="long ago", recovered=True)
    assert first(outcome, 500.0, before) == expected


@given(probe=PROBES, outcomes=st.lists(st.sampled_from([PASS, FAIL]), min_size=1, max_size=80))
def test_outcomes_all_against_the_verdict_flip_it_exactly_when_promised(probe: Probe, outcomes: list[Outcome]) -> None:
    health = first(outcomes[0], 0.0)
    for outcome in outcomes[1:]:
        health = observe(health, outcome, probe, 0.0)
    promised, against, now = flips_in(health, probe), FAIL if health.up else PASS, 0.0
    verdict = health.up
    while health.up is verdict:
        now += pause(health, probe)
        health = observe(health, against, probe, now)
    assert (now, health.since) == (promised, promised)


IN_A_ROW = PROBES.map(lambda probe: replace(probe, unsteady=None))


@given(probe=IN_A_ROW, outcomes=st.lists(st.booleans(), min_size=1, max_size=60))
def test_a_verdict_changes_only_after_so_many_outcomes_in_a_row(probe: Probe, outcomes: list[bool]) -> None:
    signs = "".join("+" if ok else "-" for ok in outcomes)
    given_verdicts = verdicts(signs, probe)
    for position in range(1, len(signs)):
        before, after = given_verdicts[position - 1], given_verdicts[position]
        needed = probe.fall if before == "+" else probe.rise
        against = "-" if before == "+" else "+"
        # Those of this verdict only: what the last one was decided by does not count again.
        held = len(given_verdicts[:position]) - len(given_verdicts[:position].rstrip(before))
        run = signs[position + 1 - needed : position + 1] if needed <= min(held, position) else ""
        assert (after != before) == (run == against * needed)


UNSTEADY = replace(PROBE, unsteady=Unsteady(30, 20))


@pytest.mark.parametrize(("outcomes", "expected"), [
    ("+" + "-+" * 8, "+" * 11 + "-" * 6),                 # six of the last twenty
    ("+" + "--+" * 3, "+" * 8 + "--"),                    # never three in a row
    ("+---" + "-" * 40 + "++", "+++-" + "-" * 40 + "-+"),  # an outage, however long, is none
    ("+---++---++", "+++--+++---"),                       # two soon after one another are
    ("+" + "-++++" * 9, "+" * 46),                        # every fifth is 20 %
])  # fmt: skip
def test_failures_that_are_not_in_a_row_take_it_out_too(outcomes: str, expected: str) -> None:
    assert verdicts(outcomes, UNSTEADY) == expected


def test_who_fails_every_second_probe_is_up_for_ever_without_that_and_down_for_ever_with_it() -> None:
    outcomes = "+-" * 100
    assert verdicts(outcomes) == "+" * 200
    assert verdicts(outcomes, UNSTEADY) == "+" * 11 + "-" * 189


def test_the_unsteady_return_when_less_than_half_as_many_fail() -> None:
    """Six of twenty, then good: four of the six must be forgotten, which is the work of the following passes."""
    found = verdicts("+" * 20 + "-+" * 6 + "+" * 40, UNSTEADY)
    down = found.index("-")
    assert found[:down] == "+" * 30
    assert found[down:].rstrip("+") == "-" * 16  # the first four of the six have left the last twenty


@given(probe=PROBES, outcomes=st.lists(st.sampled_from([PASS, FAIL]), min_size=1, max_size=200))
def test_nobody_is_up_with_more_failures_than_allowed_and_none_returns_unsettled(
    probe: Probe, outcomes: list[Outcome]
) -> None:
    health = first(outcomes[0], 0.0)
    for outcome in outcomes[1:]:
        before, health = health, observe(health, outcome, probe, 0.0)
        assert probe.unsteady is not None or not (health.recent or health.unsteady)
        if probe.unsteady is None:
            continue
        if health.up and not outcome.ok:
            assert failures(health.recent) < probe.unsteady.most
        if health.up and before.unsteady:
            assert probe.unsteady.has_settled(health.recent)
        assert health.recent < 1 << probe.unsteady.of
        assert not (health.up and health.unsteady)
