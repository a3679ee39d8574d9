"""The drain clock: ``--wait`` keeps its word, the clock is told everywhere, and no restart stops it."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import scrape
from dnslb_server import DNSLB, Server, eventually
from peers import STARTING
from world import World, kill

ZONE = """\
$TTL 30
@      SOA  ns1 hostmaster 1 3600 900 1209600 60
       NS   ns1
ns1    A    192.0.2.53
www    A    192.0.2.1
       A    192.0.2.2
       A    192.0.2.3
pair   A    192.0.2.21
       A    192.0.2.22
quick  1 A  192.0.2.31
       1 A  192.0.2.32
"""
POLICY = "pools: {{www: {{}}, pair: {{}}, quick: {{ttl: {{min: 1s}}}}}}\n"
WWW, QUICK = "www.example.test. A 192.0.2.1", "quick.example.test. A 192.0.2.31"
ME = pwd.getpwuid(os.getuid()).pw_name


class Scene(World):
    """Pools without probes, and one whose copies expire within seconds."""

    process: Server

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, ZONE, POLICY)
        self.control = directory / "control"

    @contextmanager
    def serving(self) -> Iterator[Scene]:
        with self.server("--no-watch") as self.process:
            yield self

    def dnslb(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*DNSLB, *words, "--control", str(self.control)],
            capture_output=True, text=True, timeout=STARTING, check=False,
        )  # fmt: skip

    def order(self, mode: str, *addresses: str, **more: object) -> list[dict[str, Any]]:
        clocks = self.ask("POST", "/orders", {"mode": mode, "addresses": addresses, **more})["clocks"]
        return list(clocks)

    def backend(self, address: str) -> dict[str, Any]:
        pools = self.ask("GET", "/status")["pools"]
        backends = [backend for pool in pools for rrset in pool["rrsets"] for backend in rrset["backends"]]
        return next(backend for backend in backends if backend["address"] == address)

    def told_of(self, address: str) -> list[tuple[str, str, str]]:
        """The changes in its history."""
        changes = self.ask("GET", "/history")["changes"]
        return [(each["what"], each["reason"], each["by"]) for each in changes if each["address"] == address]

    @contextmanager
    def waiting(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A command that waits, from when the server has its order."""
        command = [*DNSLB, *words, "--wait", "--control", str(self.control)]
        popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert popen.stdout is not None
            assert "the last cached copy expires at" in popen.stdout.readline()
            yield popen
        finally:
            popen.kill()
            popen.communicate()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("clock")).serving() as scene:
        yield scene


@pytest.fixture
def scene(running: Scene) -> Iterator[Scene]:
    """The running server, which ends every test as it began: without orders, and without a traceback in its log."""
    yield running
    running.order("ready", "*")
    assert running.ask("GET", "/status")["orders"] == []
    assert "Traceback" not in running.process.log


def ended(waiting: subprocess.Popen[str], seconds: float = 10.0) -> tuple[int, str]:
    """The exit status, and what was said on standard error."""
    _, stderr = waiting.communicate(timeout=seconds)
    return waiting.returncode, stderr


# Waiting.


def test_wait_ends_well_when_no_cache_holds_it(scene: Scene) -> None:
    done = scene.dnslb("drain", "192.0.2.31", "--wait")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^\d\d:\d\d:\d\d: no cache holds it any more$", done.stdout, re.M)
    backend = scene.backend("192.0.2.31")
    assert backend["expires"] <= time.time()


def test_wait_ends_when_somebody_makes_it_ready(scene: Scene) -> None:
    with scene.waiting("drain", "192.0.2.1") as waiting:
        scene.order("ready", "192.0.2.1")
        status, said = ended(waiting)
    assert status == 1
    assert said.startswith(f"Error: {WWW}: the order was ended by {ME}; its copies would have expired at ")
    assert said.count("\n") == 1


def test_wait_ends_when_another_order_takes_the_place_of_its_own(scene: Scene) -> None:
    with scene.waiting("drain", "192.0.2.1") as waiting:
        scene.order("maint", "192.0.2.1")
        status, said = ended(waiting)
    assert status == 1
    assert said.startswith(f"Error: {WWW}: another order has replaced this one by {ME}: maint; ")


def test_wait_ends_when_the_order_is_over_before_the_clock(scene: Scene) -> None:
    with scene.waiting("maint", "192.0.2.1", "--for", "1s") as waiting:
        status, said = ended(waiting)
    assert status == 1
    assert re.match(rf"Error: {re.escape(WWW)}: the order was over at \d\d:\d\d:\d\d; its copies would ", said)


def test_wait_ends_when_the_address_is_handed_out_again(scene: Scene) -> None:
    with scene.waiting("drain", "192.0.2.21") as waiting:
        scene.order("drain", "192.0.2.22")  # the last one: now both are handed out
        assert ended(waiting) == (1, "Error: pair.example.test. A 192.0.2.21 is handed out again\n")


def test_wait_does_not_begin_for_what_is_still_handed_out(scene: Scene) -> None:
    scene.order("drain", "192.0.2.22")
    done = scene.dnslb("drain", "192.0.2.21", "--wait")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: pair.example.test. A 192.0.2.21 is still handed out: no other address of the pool is ready\n"
    )


def test_wait_for_a_planned_order_waits_for_its_begin_too(scene: Scene) -> None:
    at = time.time() + 5
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(at))
    done = scene.dnslb("drain", "192.0.2.31", "--at", text, "--wait")
    assert (done.returncode, done.stderr) == (0, "")
    assert time.time() > int(at) + 1
    assert scene.backend("192.0.2.31")["mode"] == "drain"


def test_ctrl_c_says_that_the_order_stands(scene: Scene) -> None:
    with scene.waiting("drain", "192.0.2.1") as waiting:
        waiting.send_signal(signal.SIGINT)
        status, said = ended(waiting)
    assert status == 130
    assert said.strip().startswith("the order stands: ")
    assert scene.backend("192.0.2.1")["mode"] == "drain"


def test_wait_ends_when_the_server_has_gone(tmp_path: Path) -> None:
    with Scene(tmp_path).serving() as scene, scene.waiting("drain", "192.0.2.1") as waiting:
        kill(scene.process)
        status, said = ended(waiting)
    assert status == 1
    assert said.startswith(f"Error: no dnslb listens on {scene.control}")
    assert said.count("\n") == 1


# Everywhere, and over a restart.


def test_the_clock_is_in_the_status_and_in_the_metrics(scene: Scene) -> None:
    assert scene.backend("192.0.2.1")["expires"] is None
    (clock,) = scene.order("drain", "192.0.2.1")
    assert scene.backend("192.0.2.1")["expires"] == clock["expires"]
    assert re.search(r"192\.0\.2\.1 .* last copy expires in \d+ s$", scene.dnslb("status", "www.*").stdout, re.M)
    _, _, text = scrape.fetch(scene.control, "/metrics")
    labels = 'pool="www.example.test.",address="192.0.2.%d"'
    name = "dnslb_backend_copies_expire_timestamp_seconds"
    assert f"{name}{{{labels % 1}}} {clock['expires']}\n" in text
    assert f"{name}{{{labels % 2}}}" not in text
    scene.order("drain", "192.0.2.31")
    eventually(lambda: scene.backend("192.0.2.31")["expires"] <= time.time(), "its copies expire never")
    assert re.search(r" clear since [\d:]{8}$", scene.dnslb("status", "quick.*").stdout, re.M)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_clock_goes_on_over_a_restart(tmp_path: Path, how: signal.Signals) -> None:
    scene = Scene(tmp_path)
    with scene.serving():
        (clock,) = scene.order("drain", "192.0.2.1", reason="disk")
        (quick,) = scene.order("maint", "192.0.2.31", names=["quick.example.test"])
        state = tmp_path / "state" / "state.json"
        eventually(lambda: json.loads(state.read_text()).get("clocks", []) != [], "no clock is saved")
        if how == signal.SIGKILL:
            kill(scene.process)
        else:
            scene.process.popen.terminate()
            scene.process.ends_within(10)
    time.sleep(max(0.0, quick["expires"] - time.time()))
    with scene.serving():
        assert scene.backend("192.0.2.1")["expires"] == pytest.approx(clock["expires"], abs=0.5)
        assert scene.backend("192.0.2.31")["expires"] == pytest.approx(quick["expires"], abs=0.5)
        assert scene.backend("192.0.2.1")["order"]["by"] == ME
        (again,) = scene.order("drain", "192.0.2.1")
        assert again["expires"] == pytest.approx(clock["expires"], abs=0.5)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_clock_of_a_dead_backend_goes_on_over_a_restart(tmp_path: Path, how: signal.Signals) -> None:
    world = World(tmp_path)
    with world.server() as server:
        eventually(lambda: world.backends()["192.0.2.4"]["expires"] is None, "it is not handed out", 10)
        (world.up / "192.0.2.4").unlink()
        eventually(lambda: world.backends()["192.0.2.4"]["expires"] is not None, "it is still handed out", 10)
        expires = world.backends()["192.0.2.4"]["expires"]
        assert expires > time.time()
        eventually(lambda: '"clocks": []' not in world.saved(), "no clock is saved")
        # Whatever else happens then.
        (world.up / "192.0.2.3").unlink()
        eventually(lambda: world.saved().count('"expires"') == 2, "no clock is saved")
        if how == signal.SIGKILL:
            kill(server)
        else:
            server.popen.terminate()
            server.ends_within(10)
    with world.server():
        assert world.backends()["192.0.2.4"]["expires"] == pytest.approx(expires, abs=0.5)
        eventually(lambda: json.loads(world.saved())["last"] is False, "it goes on")


def test_after_a_crash_the_clock_of_a_dead_backend_knows_that_it_may_have_returned(tmp_path: Path) -> None:
    """Within the second until it was saved; then it was handed out until we are back, with the lowest TTL."""
    world = World(tmp_path)
    state = tmp_path / "state" / "state.json"
    with world.server() as server:
        (world.up / "192.0.2.4").unlink()
        eventually(lambda: world.saved().count('"expires"') == 1, "no clock is saved", 10)
        kill(server)
    root = json.loads(state.read_text())
    root["clocks"][0]["expires"] -= 3600
    state.write_text(json.dumps(root))
    began = time.time()
    with world.server() as server:
        assert began + 5 < world.backends()["192.0.2.4"]["expires"] < time.time() + 7
        server.popen.terminate()
        server.ends_within(10)
    root = json.loads(state.read_text())
    root["clocks"][0]["expires"] -= 3600
    state.write_text(json.dumps(root))
    with world.server():
        assert world.backends()["192.0.2.4"]["expires"] < began - 3000, "it is known that it has not"


# What changes nothing, and what was planned; and by whom.


def test_an_order_that_stands_already_changes_nothing_and_is_not_logged(scene: Scene) -> None:
    done = scene.dnslb("ready", "*")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "nothing has changed")
    scene.order("drain", "192.0.2.1", reason="new kernel")
    before, log = scene.backend("192.0.2.1"), scene.process.log
    done = scene.dnslb("drain", "192.0.2.1")
    first, last = done.stdout.splitlines()
    assert first.startswith(f"{WWW}: drain; the last cached copy expires at ")
    assert (first.endswith("(as before)"), last) == (True, "nothing has changed")
    assert scene.backend("192.0.2.1")["order"] == before["order"]
    assert scene.process.log == log
    told = len(scene.told_of("192.0.2.1"))
    clocks = scene.order("drain", "192.0.2.[12]")  # one is new
    assert [one["changed"] for one in clocks] == [False, True]
    assert len(scene.told_of("192.0.2.1")) == told
    assert scene.told_of("192.0.2.2")[-1] == ("drain", "", ME)
    scene.order("drain", "192.0.2.1", reason="new disk")  # that is news
    assert scene.backend("192.0.2.1")["order"]["reason"] == "new disk"


def test_a_planned_order_is_called_planned_and_its_begin_is_told(scene: Scene) -> None:
    at = time.time() + 1.0
    order = {"at": at, "until": at + 0.5, "reason": "short"}
    scene.order("maint", "192.0.2.3", **order)
    scene.order("maint", "192.0.2.3", **order)
    eventually(lambda: len(scene.told_of("192.0.2.3")) == 3, f"{scene.told_of('192.0.2.3')}")
    planned, begun, over = scene.told_of("192.0.2.3")
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    assert planned == ("maint planned", f"for {when}; short", ME)
    assert begun == ("maint", "begins as planned; short", ME)
    assert over == ("ready", "maint is over", "")


def test_who_gave_an_order_is_shown_and_logged(scene: Scene) -> None:
    scene.dnslb("drain", "192.0.2.2", "--reason", "who")
    assert f"all names: 192.0.2.2 drain (who) by {ME}" in scene.process.log
    assert f"drain (who) by {ME}" in scene.dnslb("status").stdout
    assert scene.dnslb("history").stdout.splitlines()[-1].endswith(f"192.0.2.2   drain          who, by {ME}")


@pytest.mark.parametrize(("words", "error"), [
    (["192.0.2.1", "--at", "2026-01-01T00:00"], "2026-01-01T00:00 is in the past; leave it out for now"),
    (["192.0.2.1", "--for", "0s"], "0s is no time at all; give more, or leave it out: then there is no end"),
    (["", "192.0.2.1"], "a name or an address is empty; leave it out, or write '*' for all"),
])  # fmt: skip
def test_what_was_not_meant_is_refused(tmp_path: Path, words: list[str], error: str) -> None:
    command = [*DNSLB, "drain", *words, "--control", str(tmp_path / "nobody")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=STARTING, check=False)
    assert done.returncode == 2
    assert done.stderr.endswith(f"{error}\n")
