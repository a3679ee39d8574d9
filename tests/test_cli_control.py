"""The commands for a running server, against a real one with backends on the loopback."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.message
import pytest
from dnslb_server import DNSLB, eventually, question, started
from peers import STARTING, free_port
from world import kill

HOSTS = ("127.0.1.21", "127.0.1.22", "127.0.1.23")

ZONE = "\n".join([
    "$TTL 300",
    "@ SOA ns1 hostmaster 1 3600 900 1209600 1",
    "@ NS ns1",
    "ns1 A 127.0.0.1",
    *(f"www 2 A {host}" for host in HOSTS),
    *(f"db 2 A {host}" for host in HOSTS[:2]),
    "",
])  # fmt: skip

POLICY = """\
defaults:
  probe: {{tcp: {port}, interval: 200ms, timeout: 200ms, fall: 2, rise: 1}}
  ttl: {{min: 1s}}
pools:
  www: {{}}
  db: {{}}
"""


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    stdout: str
    stderr: str


@dataclass(slots=True)
class Scene:
    """A directory, and the server over it while there is one."""

    directory: Path
    port: int
    options: tuple[str, ...]

    @property
    def zone(self) -> Path:
        return self.directory / "zones" / "example.test.zone"

    def serving(self) -> Any:
        return started(self.directory, *self.options)

    def dnslb(self, command: str, *arguments: str) -> Done:
        """One command for the server."""
        words = [*DNSLB, command, *arguments, "--control", str(self.directory / "control")]
        done = subprocess.run(words, capture_output=True, text=True, timeout=STARTING, check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    def ask(self, name: str = "www") -> set[str]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.sendto(question(name), ("127.0.0.1", self.port))
            return {str(rdata) for rrset in dns.message.from_wire(sock.recv(4096)).answer for rdata in rrset}

    def named(self, queries: int = 60) -> set[str]:
        """All addresses in many answers: each from a socket of its own, so that every worker is asked."""
        return set().union(*(self.ask() for _ in range(queries)))

    def history(self) -> list[tuple[str, str]]:
        """Of addresses: not of the server itself."""
        changes = json.loads(self.dnslb("history", "--json").stdout)["changes"]
        return [(change["address"], change["what"]) for change in changes if change["address"]]

    def verdict(self, host: str) -> dict[str, Any]:
        found = json.loads(self.dnslb("status", "www.example.test", "--json").stdout)
        backends: list[dict[str, Any]] = found["pools"][0]["rrsets"][0]["backends"]
        return next(backend for backend in backends if backend["address"] == host)


@contextmanager
def living(port: int, hosts: tuple[str, ...] = HOSTS) -> Iterator[list[socket.socket]]:
    """Backends that accept connections."""
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_server((host, port), backlog=4096)) for host in hosts]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Three backends that live, and no server yet."""
    probed, port = free_port(), free_port()
    zones = tmp_path / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text(ZONE)
    (zones / "example.test.yaml").write_text(POLICY.format(port=probed))
    with living(probed):
        yield Scene(tmp_path, port, ("--listen", f"127.0.0.1:{port}", "--workers", "2", "--no-watch"))


def test_a_drained_address_is_in_no_answer_once_the_command_has_returned(scene: Scene) -> None:
    with scene.serving():
        assert scene.named() == {*HOSTS}
        done = scene.dnslb("drain", HOSTS[1], "--reason", "new kernel")
        assert scene.named() == {HOSTS[0], HOSTS[2]}
        assert (done.status, done.stderr) == (0, "")
        assert [re.sub(r"\d\d:\d\d:\d\d, in \d s", "…", line) for line in done.stdout.splitlines()] == [
            *(f"{name}.example.test. A {HOSTS[1]}: drain; the last cached copy expires at …" for name in ("www", "db")),
            "left: db.example.test. A 1 of 2 backends up and ready, 50% of the weight",
            "left: www.example.test. A 2 of 3 backends up and ready, 67% of the weight",
        ]
        assert "drain (new kernel)" in scene.dnslb("status").stdout

        assert scene.dnslb("ready", HOSTS[1]).stdout.splitlines()[0] == f"www.example.test. A {HOSTS[1]}: ready"
        assert scene.named() == {*HOSTS}
        assert scene.history() == [(HOSTS[1], "drain"), (HOSTS[1], "ready")]


def test_wait_returns_when_it_said(scene: Scene) -> None:
    with scene.serving():
        begin = time.time()
        scene.dnslb("drain", "www.example.test", HOSTS[0], "--wait")
        assert 3 <= time.time() - begin < 6  # TTL 2, the second that resolvers add, and two processes' start
        assert scene.named() == {*HOSTS[1:]}
        assert scene.ask("db") == {*HOSTS[:2]}


def test_a_drain_ends_after_its_time(scene: Scene) -> None:
    with scene.serving():
        scene.dnslb("drain", HOSTS[0], "--for", "1500ms")
        assert HOSTS[0] not in scene.ask()
        eventually(lambda: HOSTS[0] in scene.ask(), "the drain has not ended", 4)
        assert not json.loads(scene.dnslb("status", "--json").stdout)["orders"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_what_is_drained_stays_drained_over_a_restart(scene: Scene, how: signal.Signals) -> None:
    with scene.serving() as server:
        scene.dnslb("drain", HOSTS[0], "--reason", "disk")
        scene.dnslb("maint", "www.example.test", HOSTS[1], "--for", "1h")
        if how == signal.SIGKILL:
            kill(server)
        else:
            os.kill(server.parent, how)
            server.ends_within(5)
        assert (scene.directory / "control").exists() == (how == signal.SIGKILL)
    with scene.serving() as server:
        assert scene.named() == {HOSTS[2]}
        assert scene.verdict(HOSTS[0])["order"]["reason"] == "disk"
        assert scene.verdict(HOSTS[1])["mode"] == "maint"
        scene.dnslb("ready", "*")
        assert scene.named() == {*HOSTS}
        assert "another dnslb" not in server.log


def test_what_is_in_maint_everywhere_is_not_probed(scene: Scene) -> None:
    with living(quiet := free_port(), HOSTS[:1]) as (silent,):
        text = (scene.directory / "zones" / "example.test.yaml").read_text()
        text = re.sub(r"tcp: \d+", f"tcp: {quiet}", text)
        (scene.directory / "zones" / "example.test.yaml").write_text(text)
        silent.settimeout(0.7)

        def probes() -> int:
            """In a while of more than three intervals."""
            count, end = 0, time.monotonic() + 0.7
            while time.monotonic() < end:
                try:
                    silent.accept()[0].close()
                except TimeoutError:
                    break
                count += time.monotonic() < end
            return count

        with scene.serving():
            assert probes() >= 2
            scene.dnslb("maint", "www.example.test", HOSTS[0])
            probes()
            assert probes() >= 2, "the other pool wants it probed"
            scene.dnslb("maint", HOSTS[0])
            probes()
            assert probes() == 0
            scene.dnslb("reload")
            assert probes() == 0
            scene.dnslb("drain", "db.example.test", HOSTS[0])
            assert probes() >= 2, "in drain it is probed"


def test_a_planned_drain_is_announced_and_happens(scene: Scene) -> None:
    with scene.serving():
        at = time.time() + 3
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(at + 1))
        done = scene.dnslb("drain", HOSTS[0], "--at", text)
        assert "drain at " in done.stdout
        assert HOSTS[0] in scene.ask()
        eventually(lambda: HOSTS[0] not in scene.ask(), "the drain has not begun", 6)
        assert time.time() >= at


def test_reload_serves_an_edit_before_it_returns(scene: Scene) -> None:
    with scene.serving():
        scene.dnslb("drain", HOSTS[0])
        scene.zone.write_text(ZONE.replace("hostmaster 1 ", "hostmaster 2 ") + "new A 192.0.2.77\n")
        done = scene.dnslb("reload")
        assert {*scene.ask("new")} == {"192.0.2.77"}
        said = "example.test.  serial 1 → 2; 1 record added, 0 gone\n2 pools, unchanged\n"
        assert (done.status, done.stdout) == (0, said)
        assert HOSTS[0] not in scene.named(), "an order outlives a reload"
        assert scene.dnslb("reload").stdout == "example.test.  serial 2, unchanged\n2 pools, unchanged\n"


def test_a_refused_reload_tells_every_mistake_and_the_status_says_so(scene: Scene) -> None:
    with scene.serving() as server:
        good = scene.zone.read_text()
        scene.zone.write_text(f"{good}a A 192.0.2.300\nb CNAME c\nb TXT x\n")
        done = scene.dnslb("reload")
        assert (done.status, done.stdout) == (1, "")
        assert "192.0.2.300 is no IPv4 address" in done.stderr
        assert "b.example.test. has CNAME and TXT" in done.stderr
        assert done.stderr.endswith("Error: not reloaded: the files have mistakes; mend them and reload\n")
        first, second, *_ = scene.dnslb("status").stdout.splitlines()
        assert first.startswith("not reloaded at ")
        assert "192.0.2.300" in second
        assert scene.named() == {*HOSTS}
        scene.zone.write_text(good)
        assert scene.dnslb("reload").status == 0
        assert not scene.dnslb("status").stdout.startswith("not reloaded")
        assert "Traceback" not in server.log


def test_status_exits_with_1_while_a_pool_fails_open(scene: Scene) -> None:
    text = (scene.directory / "zones" / "example.test.yaml").read_text()
    with scene.serving():
        done = scene.dnslb("status")
        assert done.status == 0
        row = rf"^  {HOSTS[0]}  up +\d+ s +ready +1 +33% +- +connected"
        assert re.search(row, done.stdout, re.MULTILINE) is not None
    (scene.directory / "zones" / "example.test.yaml").write_text(re.sub(r"tcp: \d+", f"tcp: {free_port()}", text))
    with scene.serving():
        done = scene.dnslb("status", "db.*")
        assert done.status == 1
        assert "FAILING OPEN" in done.stdout
        assert "connection refused" in done.stdout
        assert "www.example.test." not in done.stdout


def test_a_verdict_is_in_the_history(tmp_path: Path) -> None:
    probed, port = free_port(), free_port()
    zones = tmp_path / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text(ZONE)
    (zones / "example.test.yaml").write_text(POLICY.format(port=probed))
    scene = Scene(tmp_path, port, ("--listen", f"127.0.0.1:{port}", "--workers", "1"))
    with living(probed) as backends, scene.serving():
        backends[2].close()
        eventually(lambda: (HOSTS[2], "down") in scene.history(), "no verdict")
        assert scene.history() == [(HOSTS[2], "down")]
        assert f"www.example.test.  {HOSTS[2]}  down     connection refused" in scene.dnslb("history").stdout


def test_top_shows_the_status_again_and_again(scene: Scene) -> None:
    with scene.serving():
        done = scene.dnslb("top", "www.*", "--interval", "100ms", "--count", "3")
        assert done.status == 0
        assert done.stdout.count("www.example.test. A  ttl ") == 3
        assert len(re.findall(r"^\d\d:\d\d:\d\d  [\d,]+ queries/s, 2 workers, up \d+ s$", done.stdout, re.M)) == 2
        assert scene.dnslb("top", "nope").stderr.startswith("Error: no pool is called nope; did you mean ")


def test_top_draws_on_a_terminal_and_outlives_a_restart(scene: Scene) -> None:
    leader, follower = os.openpty()
    words = [*DNSLB, "top", "--interval", "100ms", "--control", str(scene.directory / "control")]
    shown = ""

    def shows(text: str) -> bool:
        nonlocal shown
        if select.select([leader], [], [], 0.05)[0]:
            shown += os.read(leader, 65536).decode()
        return text in shown

    with scene.serving():
        top = subprocess.Popen(words, stdin=follower, stdout=follower, stderr=follower)
        eventually(lambda: shows("www.example.test. A"), "nothing is drawn")
    try:
        eventually(lambda: shows("no dnslb listens"), "the end is not told")
        shown = ""
        with scene.serving():
            eventually(lambda: shows("www.example.test. A"), "the new server is not shown")
        top.send_signal(signal.SIGINT)
        eventually(lambda: shows("\x1b[?1049l"), "the screen is not restored")
        assert top.wait(5) == 1
    finally:
        top.kill()
        top.wait()
        os.close(leader)
        os.close(follower)


def test_a_second_server_on_the_socket_does_not_start(scene: Scene) -> None:
    with scene.serving():
        words = (*scene.options, "--state", str(scene.directory / "other"), "--listen", f"127.0.0.1:{free_port()}")
        done = scene.dnslb("serve", str(scene.directory / "zones"), *words)
        control = scene.directory / "control"
        assert done.status == 1
        remedy = "stop it, or give --control PATH or --takeover"
        assert done.stderr == f"Error: another dnslb listens on {control}; {remedy}\n"
        assert scene.dnslb("status").status == 0
        assert stat.S_ISSOCK(control.stat().st_mode)
    assert not control.exists()


@pytest.mark.parametrize("command", [("status",), ("reload",), ("history",), ("drain", "192.0.2.1"), ("ready", "*")])
def test_without_a_server_a_command_says_so_in_one_line(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = Scene(tmp_path, 0, ()).dnslb(*command)
    path = tmp_path / "control"
    status = 4 if command == ("status",) else 1  # where 1 is trouble
    assert done == Done(status, "", f"Error: no dnslb listens on {path}; start it, or give its --control PATH\n")


@pytest.mark.parametrize(("words", "error"), [
    (["drain", "www.example.test"], "www.example.test is no address; write 192.0.2.11, or '*' for all of a name"),
    (["drain", "192.0.2.1", "--for", "30"],
     "Invalid value for '--for': 30 is no duration; write a number and a unit: 90s, 30m, 2h"),
    (["maint", "192.0.2.1", "--at", "noon"],
     "Invalid value for '--at': noon is no time; write 14:00 or 2026-11-20T14:00"),
])  # fmt: skip
def test_a_wrong_word_is_refused(tmp_path: Path, words: list[str], error: str) -> None:
    done = Scene(tmp_path, 0, ()).dnslb(*words)
    assert done.status == 2
    assert done.stderr.endswith(f"Error: {error}\n")


def test_without_a_default_directory_the_server_serves_and_warns(scene: Scene) -> None:
    """As an ordinary user has it, who may not write in /run; here the directory is a file."""
    blocked = scene.directory / "file"
    blocked.touch()
    port = free_port()
    words = [*DNSLB, "serve", str(scene.directory / "zones"), "--listen", f"127.0.0.1:{port}"]
    log = scene.directory / "log"
    environment = os.environ | {"XDG_RUNTIME_DIR": str(blocked)}
    with log.open("w") as file:
        server = subprocess.Popen(
            [*words, "--state", str(scene.directory / "s")], stdout=file, stderr=file, env=environment
        )
    try:
        eventually(lambda: "try: dig" in log.read_text(), "no announcement", STARTING)
        assert log.read_text().count("no control socket") == 1
    finally:
        server.terminate()
        server.wait(5)
