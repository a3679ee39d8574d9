"""What the experiments make of their records, without the machines: formulas against simulation, judges by example."""

from __future__ import annotations

import socket
from math import isclose, sqrt
from pathlib import Path
from random import Random

import pytest
from comparison import clients, deploys, evenness, relay, resolving, sessions, stubborn, ttl_load
from comparison.backends import Backend
from comparison.dnslb import Pool, policy_file, zone_file
from comparison.load import Record
from comparison.relay import Query
from comparison.stub import Endpoint
from dnslb_server import question, started
from peers import free_port


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


# What dnslb is given


def test_names_with_other_ttls_stand_side_by_side_in_one_zone() -> None:
    pools = {f"ttl-{ttl}": Pool(("127.0.1.11",), 0, ttl) for ttl in (0, 60)}
    assert "ttl-0 0 A 127.0.1.11" in zone_file(pools)
    assert "ttl: 60s" in policy_file(pools)
