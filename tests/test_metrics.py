"""The counts: exact, never falling, and in a form that Prometheus reads without complaint."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dns.message
import pytest
import yaml
from dnslb_server import Server, eventually, question, started
from exchange import ask_tcp
from hypothesis import given
from hypothesis import strategies as st
from peers import Address, free_port
from scrape import families, fetch, value

from dnslb.answer.snapshot import Serving
from dnslb.balance.health import Health, Outcome
from dnslb.balance.pool import Probe, TcpCheck
from dnslb.balance.rotation import Rotation
from dnslb.dns.zone import RRset
from dnslb.parent.telling.probe_record import BOUNDS, OTHER, ProbeRecords
from dnslb.parent.telling.totals import Totals
from dnslb.text import exposition
from dnslb.text.exposition import counter, gauge, histogram, labels
from dnslb.worker.messages import LeadCounts

ROOT = Path(__file__).parent.parent
HOSTS = ("192.0.2.1", "192.0.2.2", "192.0.2.3")

ZONE = "\n".join([
    "$TTL 300",
    "@ SOA ns1 hostmaster 1 3600 900 1209600 1",
    "@ NS ns1",
    "ns1 A 192.0.2.53",
    *(f"www 30 A {host}" for host in HOSTS),
    "one 30 A 192.0.2.9",
    "sub NS ns.sub",
    "ns.sub A 192.0.2.54",
    *(f"long 30 TXT {'x' * 200}{number}" for number in range(9)),
    "",
])  # fmt: skip

POLICY = """\
defaults: {{probe: {{tcp: {port}, interval: 200ms, timeout: 100ms}}}}
pools:
  www: {{order: {order}, ttl: {{min: 1s}}, backends: {{192.0.2.1: {{weight: 2, probe_address: 127.0.1.31}},
    192.0.2.2: {{probe_address: 127.0.1.32}}, 192.0.2.3: {{probe_address: 127.0.1.33}}}}}}
  one: {{backends: {{192.0.2.9: {{probe_address: 127.0.1.31}}}}}}
"""


@dataclass(slots=True)
class Scene:
    """A running server, and what it was asked."""

    server: Server
    directory: Path
    port: int
    asked: int
    led: Counter[str]  # answers by leader, as they came

    def metrics(self) -> str:
        status, headers, body = fetch(self.directory / "control", "/metrics")
        assert (status, headers["content-type"]) == (200, exposition.CONTENT_TYPE)
        return body

    def status(self) -> Any:
        return json.loads(fetch(self.directory / "control", "/status")[2])

    def ask(self, count: int, name: str = "www") -> None:
        """Each query from a socket of its own, so that every worker is asked."""
        for _ in range(count):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(5)
                sock.sendto(question(name), ("127.0.0.1", self.port))
                reply = dns.message.from_wire(sock.recv(4096))
            self.asked += 1
            self.led[str(reply.answer[0][0])] += 1

    def order(self, mode: str, address: str) -> None:
        body = json.dumps({"mode": mode, "addresses": [address]})
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(str(self.directory / "control"))
            head = f"POST /orders HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            sock.sendall((head + body).encode())
            assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")

    def is_told(self) -> bool:
        """Whether the parent knows of every query."""
        return bool(self.status()["server"]["queries"] == self.asked)

    def settle(self) -> None:
        eventually(self.is_told, f"{self.status()['server']} after {self.asked} queries")

    def counted(self) -> Counter[str]:
        """Answers by leader, as the server has counted them."""
        counts = Counter({
            backend["address"]: backend["led"]
            for pool in self.status()["pools"] for rrset in pool["rrsets"] for backend in rrset["backends"]
        })  # fmt: skip
        return +counts

    def backend(self, address: str) -> Any:
        (found,) = (
            backend
            for pool in self.status()["pools"]
            for rrset in pool["rrsets"]
            for backend in rrset["backends"]
            if backend["address"] == address
        )
        return found


@contextmanager
def served(directory: Path, *options: str, order: str = "cyclic") -> Iterator[Scene]:
    zones, port = directory / "zones", free_port()
    zones.mkdir()
    (zones / "example.test.zone").write_text(ZONE)
    (zones / "example.test.yaml").write_text(POLICY.format(port=free_port(), order=order))
    listen = ("--listen", f"127.0.0.1:{port}", "--no-watch")
    with started(directory, *listen, *options) as server:
        yield Scene(server, directory, port, 0, Counter())
        assert "Traceback" not in server.log


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with served(tmp_path, "--workers", "2") as scene:
        yield scene


def test_every_query_is_counted_once_by_what_became_of_it(scene: Scene) -> None:
    asked = {
        "NOERROR answer": question("www"),
        "NOERROR nodata": question("www", "MX"),
        "NXDOMAIN nxdomain": question("nope"),
        "NOERROR referral": question("x.sub"),
        "REFUSED refused": dns.message.make_query("example.org.", "A").to_wire(),
        "FORMERR error": question("www")[:-2],
        "NOTIMP error": b"\0\0\x10" + question("www")[3:],
        "BADVERS error": dns.message.make_query("www.example.test.", "A", use_edns=1).to_wire(),
    }
    times = {sort: number for number, sort in enumerate(asked, start=2)}
    for sort, packet in asked.items():
        for _ in range(times[sort]):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(5)
                sock.sendto(packet, ("127.0.0.1", scene.port))
                sock.recv(4096)
        ask_tcp(Address("127.0.0.1", scene.port), [packet] * times[sort])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(3):
            sock.sendto(b"\0\0\x80\0" + question("www")[4:], ("127.0.0.1", scene.port))
        sock.settimeout(5)
        sock.sendto(question("long", "TXT"), ("127.0.0.1", scene.port))
        sock.recv(4096)
    scene.asked = 2 * sum(times.values()) + 3 + 1
    scene.settle()
    text = scene.metrics()
    for protocol in ("udp", "tcp"):
        for sort, count in times.items():
            rcode, kind = sort.split()
            more = sort == "NOERROR answer" and protocol == "udp"  # the truncated one
            sample = value(text, "dnslb_replies_total", protocol=protocol, rcode=rcode, kind=kind)
            assert sample == count + more, (protocol, sort)
    assert value(text, "dnslb_queries_total", protocol="udp") == sum(times.values()) + 4
    assert value(text, "dnslb_queries_total", protocol="tcp") == sum(times.values())
    assert value(text, "dnslb_queries_dropped_total", protocol="udp") == 3
    assert value(text, "dnslb_queries_dropped_total", protocol="tcp") == 0
    assert value(text, "dnslb_replies_truncated_total", protocol="udp") == 1
    assert value(text, "dnslb_tcp_connections_total") == len(asked)
    assert value(text, "dnslb_tcp_connections_open") == 0
    assert 0 < value(text, "dnslb_replies_packed_total") <= scene.asked
    assert value(text, "dnslb_bugs_total") == 0


@pytest.mark.parametrize("order", ["cyclic", "spread", "random", "none", "sticky"])
def test_each_address_is_credited_with_the_answers_that_it_led(tmp_path: Path, order: str) -> None:
    with served(tmp_path, "--workers", "2", order=order) as scene:
        scene.ask(41)
        scene.ask(7, "one")
        scene.settle()
        assert scene.counted() == scene.led
        text = scene.metrics()
        for host, led in scene.led.items():
            assert value(text, "dnslb_backend_leading_answers_total", address=host) == led


def test_no_count_falls_or_is_lost_over_drains_reloads_and_the_end_of_workers(scene: Scene) -> None:
    scene.ask(20)
    scene.order("drain", HOSTS[0])  # at once: what was counted before is credited to whom it led
    scene.ask(20)
    scene.order("ready", HOSTS[0])
    scene.ask(10)
    os.kill(scene.server.parent, signal.SIGHUP)  # at once: the workers tell the rest before they leave
    eventually(lambda: scene.status()["server"]["generation"] == 2, "not reloaded", 10)
    scene.ask(20)
    scene.settle()
    assert scene.counted() == scene.led
    before = scene.server.workers()
    os.kill(before[0], signal.SIGKILL)  # it has told everything
    eventually(lambda: set(scene.server.workers()) - set(before) != set(), "no new worker", 10)
    eventually(lambda: scene.status()["server"]["restarts"] == 1, "no restart is counted")
    scene.ask(20)
    scene.settle()
    assert scene.counted() == scene.led
    text = scene.metrics()
    assert value(text, "dnslb_worker_restarts_total") == 1
    assert value(text, "dnslb_generation") == 2
    assert value(text, "dnslb_reloads_total", result="success") == 1


def test_the_achieved_share_is_counted_from_the_last_change_on(scene: Scene) -> None:
    assert scene.backend(HOSTS[0])["achieved"] is None
    scene.ask(40)
    scene.settle()
    assert scene.backend(HOSTS[0])["achieved"] == scene.led[HOSTS[0]] / 40
    assert abs(scene.backend(HOSTS[0])["achieved"] - 0.5) < 0.1
    scene.order("drain", HOSTS[1])
    assert scene.backend(HOSTS[0])["achieved"] is None
    before = Counter(scene.led)
    scene.ask(30)
    scene.settle()
    since = scene.led - before
    assert scene.backend(HOSTS[0])["achieved"] == since[HOSTS[0]] / 30
    assert scene.backend(HOSTS[1])["achieved"] == 0
    assert scene.backend(HOSTS[1])["led"] == before[HOSTS[1]]


def test_a_refused_reload_shows_and_does_not_make_the_server_unready(scene: Scene) -> None:
    zone = scene.directory / "zones" / "example.test.zone"
    zone.write_text(ZONE + "bad A 192.0.2.300\n")
    os.kill(scene.server.parent, signal.SIGHUP)
    eventually(lambda: value(scene.metrics(), "dnslb_last_reload_successful") == 0, "nothing refused", 10)
    assert value(scene.metrics(), "dnslb_reloads_total", result="refused") == 1
    assert fetch(scene.directory / "control", "/readyz")[0] == 200
    zone.write_text(ZONE.replace("hostmaster 1 ", "hostmaster 2 "))
    read = value(scene.metrics(), "dnslb_zone_loaded_timestamp_seconds")
    os.kill(scene.server.parent, signal.SIGHUP)
    eventually(lambda: value(scene.metrics(), "dnslb_last_reload_successful") == 1, "still refused", 10)
    assert value(scene.metrics(), "dnslb_zone_serial", zone="example.test.") == 2
    assert value(scene.metrics(), "dnslb_zone_loaded_timestamp_seconds") > read


def test_a_setting_that_waits_for_a_start_shows(scene: Scene) -> None:
    settings = scene.directory / "zones" / "dnslb.yaml"
    before = settings.read_text() if settings.exists() else ""
    assert value(scene.metrics(), "dnslb_restart_needed") == 0
    settings.write_text(f"{before}log_format: json\n")
    os.kill(scene.server.parent, signal.SIGHUP)
    eventually(lambda: value(scene.metrics(), "dnslb_restart_needed") == 1, "it does not show", 10)
    settings.write_text(before)
    os.kill(scene.server.parent, signal.SIGHUP)
    eventually(lambda: value(scene.metrics(), "dnslb_restart_needed") == 0, "it still shows", 10)


def test_the_server_is_not_ready_while_a_worker_is_silent(scene: Scene) -> None:
    control, (stuck, _) = scene.directory / "control", scene.server.workers()
    assert fetch(control, "/readyz")[0] == 200
    os.kill(stuck, signal.SIGSTOP)
    try:
        # It is replaced in as much time again.
        eventually(lambda: fetch(control, "/readyz")[0] == 503, "ready without a worker", 15)
        assert fetch(control, "/healthz")[0] == 200
        assert value(scene.metrics(), "dnslb_workers_silent") == 1
    finally:
        with suppress(ProcessLookupError):
            os.kill(stuck, signal.SIGCONT)
    eventually(lambda: fetch(control, "/readyz")[0] == 200, "not ready again")


def test_prometheus_reads_every_line_and_a_linter_finds_nothing(scene: Scene) -> None:
    scene.order("drain", HOSTS[0])  # else no drain clock runs
    scene.ask(5)
    scene.settle()
    text = scene.metrics()
    found = families(text)
    assert [family.name for family in found] == list(dict.fromkeys(family.name for family in found))
    for family in found:
        assert family.documentation and family.type in {"counter", "gauge", "histogram"}
        # prometheus-client takes ``_total`` from the name of a counter.
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert f"# HELP {name} " in text and f"# TYPE {name} {family.type}\n" in text
        assert re.fullmatch(r"dnslb_[a-z0-9_]+", name) and not re.search(r"_(gauge|counter|histogram)", name)
        assert (family.type == "counter") == name.endswith("_total")
        assert not re.search(r"_(milliseconds|minutes|hours|days|kilobytes|megabytes|percent)\b", name)
        assert family.samples, f"{name} has no sample"
        keys = [(sample.name, *sorted(sample.labels.items())) for sample in family.samples]
        assert len(keys) == len(set(keys))
        assert all("" not in sample.labels.values() for sample in family.samples)
    # A family stands in one piece, behind its head.
    heads = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert len(heads) == len(set(heads)) == len(found)


def test_the_probes_are_told_one_by_one_and_as_counts(scene: Scene) -> None:
    def probed() -> float:
        return value(scene.metrics(), "dnslb_backend_probes_total", address=HOSTS[1], reason="connection refused")

    eventually(lambda: probed() >= 3, "no probes")
    (_, found, *_) = json.loads(fetch(scene.directory / "control", "/probes")[2])["probes"]
    assert (found["owner"], found["address"]) == ("www.example.test.", HOSTS[1])
    assert len(found["took"]) == len(found["passed"]) >= 3
    assert not any(found["passed"])
    text = scene.metrics()
    pool = {"pool": "www.example.test.", "address": HOSTS[1]}
    assert value(text, "dnslb_backend_probe_duration_seconds_count", **pool) >= 3
    assert value(text, "dnslb_backend_up", **pool) == 0
    assert value(text, "dnslb_pool_failing_open", pool="www.example.test.", type="A") == 1
    assert value(text, "dnslb_backend_mode", **pool, mode="ready") == 1
    assert value(text, "dnslb_backend_weight", pool="www.example.test.", address=HOSTS[0]) == 2


# The list in the manual, the dashboard and the alerts


def names(text: str) -> set[str]:
    return {sample.name for family in families(text) for sample in family.samples} | {
        family.name for family in families(text) if family.type == "histogram"
    }


OF_SECONDARIES = {"dnslb_secondary_serial", "dnslb_secondary_lag_seconds"}
NAME = re.compile(r"\bdnslb_[a-z_]+\b")


def test_the_manual_lists_every_metric(scene: Scene) -> None:
    scene.order("drain", HOSTS[0])  # else no drain clock runs
    manual = (ROOT / "dnslb" / "manual" / "monitoring.md").read_text()
    rows = re.findall(r"^\| (.*?) \|", manual, re.MULTILINE)
    listed = {name for row in rows for name in NAME.findall(row)}
    parts = re.compile(r"_(bucket|sum|count)$")
    # Those of secondaries, of which there are none here, are in test_transfers.py.
    assert listed - OF_SECONDARIES == {name for name in names(scene.metrics()) if not parts.search(name)}


@pytest.mark.parametrize("file", ["grafana.json", "alerts.yaml"])
def test_the_dashboard_and_the_alerts_ask_for_metrics_that_exist(scene: Scene, file: str) -> None:
    text = (ROOT / "scripts" / "monitoring" / file).read_text()
    asked = set(NAME.findall(text))
    assert {"dnslb_pool_empty", "dnslb_pool_failing_open", "dnslb_last_reload_successful"} <= asked
    assert asked <= names(scene.metrics())


def test_the_dashboard_shows_all_that_status_begins_with() -> None:
    dashboard = json.loads((ROOT / "scripts" / "monitoring" / "grafana.json").read_text())
    first = {name for panel in dashboard["panels"] if panel["gridPos"]["y"] == 0
             for target in panel["targets"] for name in NAME.findall(target["expr"])}  # fmt: skip
    trouble = {"pool_failing_open", "pool_empty", "last_reload_successful", "restart_needed", "workers_silent"}
    assert {f"dnslb_{name}" for name in trouble} <= first


def test_the_alerts_are_rules() -> None:
    (group,) = yaml.safe_load((ROOT / "scripts" / "monitoring" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]:
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["annotations"].keys() == {"summary", "description"}


def test_the_dashboard_has_panels_with_queries_in_their_places() -> None:
    dashboard = json.loads((ROOT / "scripts" / "monitoring" / "grafana.json").read_text())
    places: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        assert panel["title"] and panel["targets"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not cells & places
        places |= cells


# The parts


TEXTS = st.text(max_size=20)
NUMBERS = st.integers(0, 2**53) | st.floats(0, 1e12)


@given(values=st.dictionaries(TEXTS, NUMBERS, max_size=5))
def test_what_is_written_is_what_prometheus_reads(values: dict[str, float]) -> None:
    for family in (gauge("a_ratio", "How much."), counter("a_total", "How many.")):
        text = family.head + family.lines((labels(key=key), number) for key, number in values.items())
        (found,) = families(text)
        assert {sample.labels["key"]: sample.value for sample in found.samples} == values


@given(observed=st.lists(st.integers(0, 1000), min_size=3, max_size=3))
def test_a_histogram_adds_up(observed: list[int]) -> None:
    family = histogram("took_seconds", "How long.")
    (found,) = families(family.head + family.histograms((0.5, 2), [(labels(a="b"), observed, 1.5)]))
    samples = {(sample.name, sample.labels.get("le")): sample.value for sample in found.samples}
    first, second, third = observed
    assert samples == {
        ("took_seconds_bucket", "0.5"): first,
        ("took_seconds_bucket", "2"): first + second,
        ("took_seconds_bucket", "+Inf"): first + second + third,
        ("took_seconds_sum", None): 1.5,
        ("took_seconds_count", None): first + second + third,
    }


KEY = (Probe(TcpCheck(80)), ip_address("192.0.2.1"))
UP, DOWN = Health(up=True), Health(up=False)


def test_a_record_is_bounded_whatever_the_probes_say() -> None:
    records = ProbeRecords()
    for number in range(100):
        records.record_outcome(KEY, Outcome(False, f"load {number}", number / 100), UP, UP, float(number))
    record = records[KEY]
    assert len(record.outcomes) == 9
    assert record.outcomes[False, OTHER] == 92
    assert list(record.took) == [number / 100 for number in range(70, 100)]
    assert list(record.at) == list(range(70, 100))
    assert len(record.passed) == 30
    assert sum(record.buckets) == 100
    assert len(record.buckets) == len(BOUNDS) + 1


def test_a_record_counts_changes_of_the_verdict_and_is_forgotten_with_its_target() -> None:
    records = ProbeRecords()
    for before, after in ((None, UP), (UP, UP), (UP, DOWN), (DOWN, DOWN), (DOWN, UP), (UP, DOWN)):
        records.record_outcome(KEY, Outcome(after.up, "", 0.1), before, after, 0.0)
    assert records[KEY].changes == 3
    records.keep_only([KEY])
    assert KEY in records
    records.keep_only([])
    assert KEY not in records


def leads(led: dict[bytes, int]) -> LeadCounts:
    return LeadCounts({(b"www", 1): led})


def test_what_is_told_of_the_time_before_a_change_does_not_count_after_it() -> None:
    totals, key = Totals(), (b"www", 1)
    assert totals.achieved(key, b"a") is None
    totals.add_leads(leads({b"a": 2, b"b": 2}), (1, 0))
    assert totals.achieved(key, b"a") == 0.5
    totals.begin_serving({key: Serving(RRset(1, 30, (b"a", b"b")), Rotation())}, (1, 1))
    totals.add_leads(leads({b"b": 5}), (1, 0))  # a worker that has not heard of the change
    assert totals.achieved(key, b"b") is None
    totals.add_leads(leads({b"a": 3}), (1, 1))
    totals.add_leads(leads({b"b": 1}), (2, 0))  # of the next generation
    assert totals.achieved(key, b"a") == 0.75
    assert totals.led(key) == {b"a": 5, b"b": 8}
    totals.keep_only({key: {b"a"}})
    assert totals.led(key) == {b"a": 5}
    totals.keep_only({})
    assert totals.led(key) == {}


