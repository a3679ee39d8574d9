"""What the experiments make of their records, without the machines: formulas against simulation, judges by example."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from itertools import combinations
from math import dist, isclose, sqrt
from pathlib import Path
from random import Random

import pytest
from comparison import (
    busy,
    clients,
    deploys,
    evenness,
    feedback,
    hidden,
    joining,
    palette,
    paper,
    relay,
    resolving,
    sessions,
    stubborn,
    ttl_load,
)
from comparison.backends import Backend
from comparison.dnslb import Pool, policy_file, zone_file
from comparison.load import Record
from comparison.relay import Query
from comparison.stub import Endpoint
from dnslb_server import question, started
from peers import free_port

SCRIPTS = Path(__file__).parent.parent / "scripts"


def record(at: float, backend: str = "b1", *, client: int = 0, note: str = "", ok: bool = True) -> Record:
    """A request that took no time."""
    return Record(at, 0.0, 200 if ok else 0, "" if ok else "refused", backend if ok else "", note, 1, client)


# 1. The load of the authority


@pytest.mark.parametrize("rate", [0.2, 1.0, 4.0, 15.0])
@pytest.mark.parametrize("ttl", [1, 5, 30])
def test_the_load_in_whole_seconds_is_that_of_a_cache_whose_clock_has_whole_seconds(ttl: int, rate: float) -> None:
    rng, now, queries = Random(1), 0.0, 20_000
    for _ in range(queries):
        expires = int(now) + ttl + 1            # the first second in which the record is too old
        now = expires + rng.expovariate(rate)   # look-ups have no memory: the next comes as long after as ever
    assert queries / now == pytest.approx(ttl_load.whole_second_load([rate], ttl), rel=0.02)


def test_without_a_ttl_every_look_up_is_a_query() -> None:
    assert ttl_load.whole_second_load([3.0, 4.0], 0) == 7.0


def test_a_resolvers_rate_is_taken_from_its_first_query_to_its_last() -> None:
    queries = [Query(at, "127.0.3.1", "a.") for at in (10.0, 12.0, 14.0)] + [Query(11.0, "127.0.3.2", "a.")]
    point = ttl_load.measure(1, queries, [4.0])
    assert (point.queries, point.counted) == (0.5, 2)


def test_the_relay_passes_replies_on_and_notes_who_asked_for_what(tmp_path: Path) -> None:
    port = free_port()
    with (
        started(tmp_path, "--listen", f"127.0.0.1:{port}"),
        relay.relaying(Endpoint("127.0.0.1", port)) as tap,
        socket.socket(type=socket.SOCK_DGRAM) as udp,
    ):
        udp.settimeout(5)
        udp.bind(("127.0.3.9", 0))
        udp.connect((tap.endpoint.address, tap.endpoint.port))
        for number in (7, 8):
            udp.send(question("WWW", number=number))
            assert int.from_bytes(udp.recv(4096)[:2]) == number
    assert [(query.resolver, query.name) for query in tap.queries] == [("127.0.3.9", "www.example.test.")] * 2


# 2. Evenness


def clones(*names: str) -> list[Backend]:
    return [Backend(name, "127.0.1.11", 80, None, None) for name in names]  # type: ignore[arg-type]  # no process


def test_shares_are_counted_in_whole_windows() -> None:
    records = [record(100.0 + at, "b1" if at < 10 else "b2") for at in range(25)]
    assert evenness.windows(records, clones("b1", "b2"), 100.0, 2, 10.0) == [[10, 0], [0, 10]]


def test_all_on_one_of_four_is_as_uneven_as_can_be() -> None:
    found = evenness.evenness([[12, 0, 0, 0]])
    assert isclose(found.cv, sqrt(3))
    assert (found.max_over_mean, found.jain) == (4.0, 0.25)


# 6. Deploys


def test_failures_count_from_the_roll_outs_beginning_to_its_end() -> None:
    rollout = deploys.Rollout("", [], None, deploys.do_nothing, deploys.do_nothing, 0.0)  # type: ignore[arg-type]
    rollout.began, rollout.steps = 100.0, [deploys.Step(0.0, 1.0, 2.0, 3.0)]
    case = deploys.judge(rollout, [record(at, ok=at not in (99.0, 101.0)) for at in (99.0, 100.0, 101.0, 102.0, 110.0)])
    assert (case.requests, case.failed, case.duration, case.failures) == (3, 1, 3.0, (1.0,))


# 8. Stubborn caches


def test_the_curve_is_the_removed_backends_share_of_what_it_was() -> None:
    group = stubborn.Group("", (), 6.0)
    before = [record(at / 4, "b1") for at in range(8)]
    after = [record(2 + at / 4, "b1" if at == 0 else "b2") for at in range(8)]
    case = stubborn.judge(group, before + after, "b1", 2.0, 1.0)
    assert (case.curve, case.requests, case.last, case.lifetime, case.worst) == ((1.0, 0.0), 1, 0.0, 1.0, 6.0)


def test_where_expired_records_are_served_nothing_is_the_worst_case() -> None:
    assert stubborn.judge(stubborn.Group("", (), 6.0, is_stale=True), [], "b1", 0.0, 1.0).worst is None


# 9. Sessions


@pytest.mark.parametrize(("store", "found"), [("local", 1), ("Redis", 3)])
def test_a_session_in_memory_is_found_only_where_the_last_request_was(store: str, found: int) -> None:
    visits = [("b1", "new"), ("b1", "found"), ("b2", "found"), ("b1", "found")]
    records = [record(at, backend, note=note) for at, (backend, note) in enumerate(visits)]
    case = sessions.judge(f"dnslb cyclic/{store}", records)
    assert (case.way, case.requests, case.found, case.clones) == ("dnslb cyclic", 3, found, 2.0)


# 11. Clients


@pytest.mark.parametrize(("reached", "ended", "cell"), [
    (0.24, 0.3, "next, 0.2 s"), (None, 5.5, "fails, 5.5 s"), (None, None, "waits > 150 s"), (1.0, None, "next, 1.0 s")])
def test_a_fate_is_the_next_address_a_failure_or_no_end(reached: float | None, ended: float | None, cell: str) -> None:
    assert clients.fate_cell({"reached": reached, "ended": ended, "limit": 150.0}) == cell


@pytest.mark.parametrize(("gaps", "cell"), [([0.5, 0.6, 0.5], "not"), ([61.0], "61"), ([], "> 130")])
def test_an_address_is_held_from_query_to_query(gaps: list[float], cell: str) -> None:
    assert clients.held_cell(gaps) == cell


# 12. Resolvers


@pytest.mark.parametrize(("copies", "order"), [
    (("abc", "abc", "abc"), "kept"), (("abc", "bca", "cab", "abc"), "rotated in turn"),
    (("abc", "cab", "abc", "abc"), "rotated from any start"), (("abc", "acb", "abc"), "shuffled")])
def test_the_order_of_copies_has_a_name(copies: tuple[str, ...], order: str) -> None:
    first = ("c", "b", "a")     # not from the cache
    assert resolving.order_of([first, *map(tuple, copies)]) == order


# 16. Queues


def test_the_busiest_clone_is_told_window_by_window() -> None:
    records = [record(at / 10, "b1" if at < 60 else "b2") for at in range(160)]
    case = busy.judge(records, 0.0, 16.0)
    assert (case.requests, case.failed, case.utilisation) == (160, 0, (4 * 60 / 80, 4.0))


# 18. Load feedback


def test_a_clone_is_left_when_it_has_half_its_share() -> None:
    records = [record(at / 10, "b1" if at % 4 == 0 and at < 300 else "b2") for at in range(600)]
    looks = [[0.25] * 4] * 40 + [[0.1, 0.3, 0.3, 0.3], [0.2, 0.3, 0.3, 0.2]] * 20
    case = feedback.judge(records, looks, 10.0, 40.0)
    assert case.fallen == pytest.approx(17.5, abs=0.5)  # the window of 5 s from there on has half
    assert (case.share, case.failed) == (0.0, 0.0)
    assert case.swing == pytest.approx(0.1 / feedback.LOOK)


def test_weights_that_stand_still_do_not_swing() -> None:
    assert feedback.swing([[0.25] * 4] * 9) == 0


# 17. On paper


def test_what_passes_an_l7_balancer_passes_it_twice() -> None:
    one = paper.line(1_000, 5, paper.PARAMETERS)
    assert one.l7_octets == 2 * 1_000 * 11_000
    assert one.queries < 100    # look-ups a second, of connections with ten requests each


@pytest.mark.parametrize(("load", "count"), [(1.0, 2), (50_000.0, 2), (50_001.0, 3)])
def test_one_node_may_be_away(load: float, count: int) -> None:
    assert paper.nodes(load, 100_000, paper.PARAMETERS) == count


# 19. Hidden load


def test_a_clone_is_as_busy_as_the_sessions_that_are_open_say() -> None:
    records = [record(at, name) for at in (0.0, 4.0, 12.0) for name in ("b1", "b2")] + [record(9.0, "b1", ok=False)]
    equal = hidden.busiest_of(records, [20] * 4, 0.0, 16.0)
    can = hidden.RATE * hidden.SESSION / hidden.LOAD / 4 * hidden.WINDOW  # seconds of sessions in a window
    assert equal == pytest.approx([(5 + 4) / can, (1 + 4) / can])
    unlike = hidden.busiest_of(records, [20, 20, 20, 7], 0.0, 16.0)
    assert unlike == pytest.approx([value * 67 / 80 for value in equal])


def test_clones_are_unlike_by_equal_steps() -> None:
    assert hidden.capacities(0) == [20] * 4
    assert hidden.capacities(65) == [20, 16, 11, 7]
    assert sum(hidden.loads()) == pytest.approx(hidden.RATE)


# Plots


# What is seen with one of the three kinds of cones missing, of linear red, green and blue (Machado, Oliveira and
# Fernandes, "A physiologically-based model for simulation of color vision deficiency", 2009, severity 1).
BLIND = {
    "nothing missing": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
JUST_NOTICEABLE, FAR_APART = 2.3, 15.0  # of CIE 1976


def lab_colour(colour: str, blindness: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """CIE L*a*b* of what an eye sees of #rrggbb."""
    octets = [int(colour[at:at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in octets]
    seen = [min(1.0, max(0.0, sum(a * b for a, b in zip(row, linear, strict=True)))) for row in blindness]
    xyz = [sum(a * b for a, b in zip(row, seen, strict=True)) / white for row, white in (
        ((0.4124, 0.3576, 0.1805), 0.9505), ((0.2126, 0.7152, 0.0722), 1.0), ((0.0193, 0.1192, 0.9505), 1.089))]
    x, y, z = (value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("blindness", BLIND)
def test_the_colour_blind_tell_all_colours_apart(blindness: str) -> None:
    seen = {colour: lab_colour(colour, BLIND[blindness]) for colour in palette.ALL}
    for one, other in combinations(palette.ALL, 2):
        assert dist(seen[one], seen[other]) > FAR_APART, (one, other)


def test_brown_and_green_are_not_told_apart_by_all() -> None:
    """The measure can fail."""
    brown, green = "#8b4513", "#207000"
    seen = {name: dist(lab_colour(brown, matrix), lab_colour(green, matrix)) for name, matrix in BLIND.items()}
    assert seen["deuteranopia"] < JUST_NOTICEABLE < FAR_APART < seen["nothing missing"]


def test_plots_have_no_other_colours() -> None:
    strange = [f"{file.name}: {line.strip()}" for file in (SCRIPTS / "comparison").glob("*.py")
               if file.name not in ("palette.py", "report.py")
               for line in file.read_text().splitlines() if re.search(r'"#[0-9a-f]{6}"', line)]
    assert not strange


# What dnslb is given


def test_names_with_other_ttls_stand_side_by_side_in_one_zone() -> None:
    pools = {f"ttl-{ttl}": Pool(("127.0.1.11",), 0, ttl) for ttl in (0, 60)}
    assert "ttl-0 0 A 127.0.1.11" in zone_file(pools)
    assert "ttl: 60s" in policy_file(pools)


# 20. A fleet doubles


def test_shares_and_errors_are_told_window_by_window() -> None:
    """Four requests a second, from 100 s on; b11 joins at 104 s, and has all from 108 s on."""
    hosts = {at: "b1" if at < 108 else "b11" for at in range(100, 112)}
    records = [record(at + part / 4, host, ok=at != 106) for at, host in hosts.items() for part in range(4)]
    case = joining.judge(records, 100.0, 12.0, 104.0, {"b11"})
    assert case == joining.Case(48, 4, (0, 0, 0, 0, 1, 1), (0, 0, 0, 0.5, 0, 0), 4.0)
    assert joining.judge(records, 100.0, 8.0, 104.0, {"b11"}).even_at is None


def test_a_cold_clone_warms_up() -> None:
    assert [joining.warmth(at) for at in (0, joining.WARMING / 2, joining.WARMING, 1e9)] == [
        joining.COLD, pytest.approx((joining.COLD + joining.WARM) / 2), joining.WARM, joining.WARM,
    ]  # fmt: skip
