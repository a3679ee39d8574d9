"""Recorded probes judged anew, by lines of outcomes: what is taken out, when, and who would have noticed."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner
from dnslb_server import eventually
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli_control import Scene
from test_cli_control import scene as scene  # noqa: PLC0414 - a fixture

from dnslb.admin import client
from dnslb.balance import health
from dnslb.balance.health import Health, Outcome
from dnslb.balance.pool import Address, AllDown, Backend, Pool, Probe, TcpCheck, TtlPolicy
from dnslb.balance.unsteady import Unsteady
from dnslb.cli import main
from dnslb.simulation import record
from dnslb.simulation.record import Unreadable
from dnslb.simulation.replay import Seen, replay

HOSTS: list[Address] = [IPv4Address("127.0.1.11"), IPv4Address("127.0.1.12")]
PROBE = Probe(TcpCheck(80), interval=10.0, fast_interval=10.0, timeout=2.0, fall=3, rise=2)
POOL = Pool("www.example.net.", tuple(map(Backend, HOSTS)), {4: 20}, PROBE, ttl=TtlPolicy(min=20))
STEADY = [Seen(10.0 * number, 0.0, True) for number in range(100)]


def seen(line: str, every: float = 10.0, took: float = 0.0) -> list[Seen]:
    """``+`` passed, ``-`` failed."""
    return [Seen(every * number, took, each == "+") for number, each in enumerate(line)]


def told(line: str, every: float = 10.0, pool: Pool = POOL, **changes: Any) -> list[str]:
    """When the first backend is away, and how often that is wrong: ``begin-end failing``."""
    tried = replace(pool, probe=replace(PROBE, **changes))
    found = replay(tried, 4, {HOSTS[0]: seen(line, every), HOSTS[1]: STEADY}).absences
    return [f"{each.begin:g}-{each.end:g} {each.failing:g}" for each in found]


@pytest.mark.parametrize(("line", "changes", "absences"), [
    ("++++++++++", {}, []),
    ("++--++++++", {}, []),
    ("++---+++++", {}, ["40-60 10"]),
    ("++---+++++", {"rise": 4}, ["40-80 10"]),
    ("++--++++++", {"fall": 2}, ["30-50 10"]),
    ("++-----+++", {"fall": 5, "rise": 1}, ["60-70 10"]),
    ("+-+-+-+-++", {}, []),
    ("+-+-+-+-++++++", {"unsteady": Unsteady(40, 5)}, ["30-120 30"]),
    # Every other of them is seen.
    ("++----++++", {"interval": 20.0, "fast_interval": 20.0, "fall": 2}, ["40-80 20"]),
    # What was seen last is seen again.
    ("++--++++++", {"interval": 5.0, "fast_interval": 5.0}, ["30-45 10"]),
    ("++--------", {}, ["40-90 50"]),
])  # fmt: skip
def test_what_would_have_been_taken_out(line: str, changes: dict[str, Any], absences: list[str]) -> None:
    assert told(line, **changes) == absences


def test_a_lower_timeout_fails_what_was_slow() -> None:
    slow = {HOSTS[0]: seen("++++++++++", took=1.5), HOSTS[1]: STEADY}
    assert replay(POOL, 4, slow).absences == ()
    (found,) = replay(replace(POOL, probe=replace(PROBE, timeout=1.0)), 4, slow).absences
    assert (found.begin, found.reason) == (21.0, "no answer within 1 s")


def test_of_a_time_in_which_nobody_probed_nothing_is_made_up() -> None:
    gap = [*seen("++--"), Seen(2000.0, 0.0, False), Seen(2010.0, 0.0, True)]
    assert [each.begin for each in replay(POOL, 4, {HOSTS[0]: gap, HOSTS[1]: STEADY}).absences] == [2000.0]


def test_clients_go_to_it_until_it_is_out_and_then_from_caches() -> None:
    # Half of the clients for the 20 s to the third failure; then ever fewer for 20 s, of which it fails all.
    found = replay(POOL, 4, {HOSTS[0]: seen("++" + "-" * 10 + "++++"), HOSTS[1]: STEADY})
    assert found.exposed == pytest.approx(0.5 * 20 + 0.5 * 20 / 2)
    # While it is down all the same goes on when it is the only one, as the pool fails open.
    alone = replace(POOL, backends=POOL.backends[:1])
    assert replay(alone, 4, {HOSTS[0]: seen("++" + "-" * 10 + "++++")}).exposed == pytest.approx(100)
    empty = replace(alone, when_all_down=AllDown.NONE)
    assert replay(empty, 4, {HOSTS[0]: seen("++" + "-" * 10 + "++++")}).exposed == pytest.approx(20 + 20 / 2)


@given(st.lists(st.booleans(), min_size=1, max_size=200), st.integers(1, 4), st.integers(1, 4), st.data())
@settings(deadline=None, max_examples=60)
def test_the_settings_that_were_in_force_give_the_verdicts_that_there_were(
    outcomes: list[bool], fall: int, rise: int, data: st.DataObject
) -> None:
    """A record as the schedule makes it, with its jitter and slow probes, judged by its own settings."""
    unsteady = data.draw(st.sampled_from([None, Unsteady(30, 10)]))
    probe = replace(PROBE, fast_interval=1.0, fall=fall, rise=rise, unsteady=unsteady)
    rng, at, known, record, changes = Random(1), 0.0, Health(), [], []
    for ok in outcomes:
        took = rng.choice([0.001, 0.5, 1.9])
        before, known = known, health.observe(known, Outcome(ok, "", took), probe, at + took)
        record.append(Seen(at, took, ok))
        if known.up is not before.up:
            changes.append(at + took)
        at = max(at + took, at + rng.uniform(0.9, 0.99) * health.pause(known, probe))
    steady = [Seen(10.0 * number, 0.0, True) for number in range(int(at / 10) + 2)]
    found = replay(replace(POOL, probe=probe), 4, {HOSTS[0]: record, HOSTS[1]: steady}).absences
    changes = [change for change in changes if change < record[-1].end]
    edges = [edge for each in found for edge in (each.begin, each.end)]
    assert edges[: len(changes)] == pytest.approx(changes)


@given(st.lists(st.tuples(st.floats(0.1, 400), st.floats(0, 5), st.booleans()), min_size=1, max_size=60),
       st.floats(0.1, 60), st.floats(0.1, 60), st.integers(1, 5), st.integers(1, 5))  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_any_record_and_any_settings_have_an_end(
    steps: list[tuple[float, float, bool]], interval: float, fast: float, fall: int, rise: int
) -> None:
    starts = accumulate(step for step, _, _ in steps)
    probes = [Seen(start, took, ok) for start, (_, took, ok) in zip(starts, steps, strict=True)]
    probe = replace(PROBE, interval=interval, fast_interval=fast, fall=fall, rise=rise)
    found = replay(replace(POOL, probe=probe), 4, {HOSTS[0]: probes})
    length = probes[-1].start - probes[0].start
    assert 0 <= found.failing <= found.away + 1e-6 <= length + 5.1
    assert 0 <= found.exposed <= length + 20


def reply(at: list[float], passed: list[bool], owner: str = POOL.owner, host: object = HOSTS[0]) -> str:
    entry = {"owner": owner, "address": str(host), "at": at, "took": [0.5] * len(at), "passed": passed}
    return json.dumps({"probes": [entry]})


def test_replies_that_overlap_are_one_record() -> None:
    text = reply([1.5, 2.5], [True, False]) + "\n\n" + reply([2.5, 3.5], [False, True], "WWW.example.net.")
    text += reply([9.5], [True], "other.example.net.") + reply([9.5], [True], host="192.0.2.1")
    found = record.read(record.replies(text), POOL)
    assert found == {HOSTS[0]: [Seen(1.0, 0.5, True), Seen(2.0, 0.5, False), Seen(3.0, 0.5, True)]}


NO_JSON = "what begins in line {} is no JSON; write what GET /probes tells"
NO_PROBES = "reply 1 has no probes as GET /probes tells them: at, took, passed"


@pytest.mark.parametrize(("text", "complaint"), [
    ("{", NO_JSON.format(1)),
    (reply([1.5], [True]) + "\n\nx", NO_JSON.format(3)),
    ("[" * 100_000, NO_JSON.format(1)),
    ("[]", NO_PROBES),
    ('{"probes": 7}', NO_PROBES),
    ('{"probes": [{"owner": 1, "address": "::1"}]}', NO_PROBES),
    (reply([1.5, 2.5], [True]), NO_PROBES),
    (reply([float("nan")], [True]), NO_PROBES),
    (reply([1e300], [True]), NO_PROBES),
    (reply([1.5], ["yes"]), NO_PROBES),  # type: ignore[list-item]
])  # fmt: skip
def test_what_is_no_record_is_told_where(text: str, complaint: str) -> None:
    with pytest.raises(Unreadable) as error:
        record.read(record.replies(text), POOL)
    assert str(error.value) == complaint


ZONE = """\
@   300 SOA ns1 hostmaster 1 3600 900 604800 5
@   300 NS  ns1
ns1 300 A   127.0.1.1
www 20  A   127.0.1.11
www 20  A   127.0.1.12
"""
POLICY = "pools:\n  www:\n    probe: {tcp: 80, interval: 10s, timeout: 2s}\n    ttl: {min: 20s}\n"


def test_the_command_tells_what_is_and_what_would_be(tmp_path: Path) -> None:
    (tmp_path / "example.net.zone").write_text(ZONE)
    (tmp_path / "example.net.yaml").write_text(POLICY)
    passed = [each == "+" for each in "+++--++---+++"]
    ends = [1.8e9 + 10 * number for number in range(len(passed))]
    (tmp_path / "probes.json").write_text(reply(ends, passed) + reply(ends, [True] * len(ends), host=HOSTS[1]))
    arguments = ["replay", "www.example.net", str(tmp_path), "--record", str(tmp_path / "probes.json"), "--fall", "2"]
    result = CliRunner().invoke(main, arguments, prog_name="dnslb", env={"TZ": "UTC"})
    assert (result.exit_code, result.stderr) == (0, "")
    shown = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert shown[2:5] == [
        "settings taken out for of that failing clients failed at 100/s",
        "as written 1 time 20.0 s 9.5 s 2,387",
        "fall: 2 2 times 50.0 s 29.0 s 1,912",
    ]
    found = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert [len(each["absences"]) for each in found["settings"]] == [1, 2]


def test_a_running_server_remembers_probes_and_these_are_judged_anew(scene: Scene) -> None:
    zones = str(scene.directory / "zones")
    with scene.serving():
        eventually(lambda: "0 failed" in scene.dnslb("replay", "www.example.test", zones).stdout, "no probes")
        found = json.loads(scene.dnslb("replay", "www.example.test", zones, "--fall", "1", "--json").stdout)
        told = client.ask(scene.directory / "control", "GET", "/probes/www.example.test.")[1]["probes"]
        assert scene.dnslb("replay", "nope.example.test", zones).status == 1
    assert [(each["title"], each["absences"]) for each in found["settings"]] == [("as written", []), ("fall: 1", [])]
    for each in told:
        assert len(each["at"]) == len(each["took"]) == len(each["passed"])
        assert each["at"] == sorted(each["at"])
