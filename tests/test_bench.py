"""The arithmetic of scripts/bench --abuse, --outage and --hang: what a steady client met, and what is said of it."""

from __future__ import annotations

import math

import pytest
from benchmark import finding, traffic
from benchmark.backends import Witness
from benchmark.finding import Finding
from benchmark.traffic import LOST, WRONG, Asked


def queries(*taken: float) -> list[Asked]:
    """One a second, from second 10 on."""
    return [Asked(10.0 + number, 0.0, each) for number, each in enumerate(taken)]


def test_what_the_others_met_counts_lost_and_wrong_replies_and_orders_the_rest() -> None:
    met = traffic.summary(queries(0.2, LOST, 0.1, WRONG, 0.4))
    assert (met.asked, met.lost, met.wrong, met.loss) == (5, 1, 1, 0.4)
    assert (met.median, met.late, met.slowest) == (0.2, 0.4, 0.4)


def test_without_any_reply_all_is_lost_and_nothing_was_quick() -> None:
    met = traffic.summary(queries(LOST, LOST))
    assert (met.loss, met.median, met.slowest) == (1.0, math.inf, math.inf)


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed(share: float, value: int) -> None:
    assert traffic.quantile(range(1, 101), share) == value


@pytest.mark.parametrize(
    ("taken", "silence"),
    [((0.1, 0.1, 0.1, 0.1), 1.0), ((0.1, LOST, WRONG, 0.1), 3.0), ((LOST, LOST, 0.1, 0.1), 2.0), ((0.1, LOST), 1.0)],
)
def test_a_silence_is_the_longest_time_without_an_answered_query(taken: tuple[float, ...], silence: float) -> None:
    assert traffic.silence(queries(*taken)) == silence


@pytest.mark.parametrize(
    ("taken", "over"), [((0.1, 0.1), 0.0), ((0.1, LOST, 0.1, LOST, 0.1), 3.0), ((0.1, 0.1, LOST), None)]
)
def test_losses_are_over_after_the_last_one_unless_they_go_on(taken: tuple[float, ...], over: float | None) -> None:
    assert traffic.last_loss(queries(*taken), since=10.0) == over


def test_a_probe_is_late_by_what_its_pause_exceeds_the_interval() -> None:
    address = "127.0.1.1"
    with Witness([address]) as witness:
        witness.probed[address] += [1.0, 1.2, 1.65, 1.85]
        assert witness.lateness([address], 0.2, since=1.0, until=2.0) == pytest.approx(0.25)
        assert witness.lateness([address], 0.2, since=1.7, until=2.5) == pytest.approx(0.45)


def test_a_bar_is_kept_by_what_equals_it_and_missed_by_what_never_came() -> None:
    kept, missed = Finding("it", "dnslb", 2.0, "s", 2.0), Finding("it", "dnslb", math.inf, "s", 2.0)
    assert (kept.is_kept, missed.is_kept, Finding("it", "nsd", 9.0, "s").is_kept) == (True, False, True)
    assert finding.line(missed) == ("it", "dnslb", "never", "≤ 2.00 s", "MISSED")
