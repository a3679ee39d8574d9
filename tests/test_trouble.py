"""A pool without an address: seen wherever somebody looks.  Real servers and backends."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.edns
import dns.exception
import dns.message
import dns.query
import pytest
from dnslb_server import DNSLB, Server, eventually, started
from peers import free_port
from world import World

HOSTS = [f"192.0.2.{number}" for number in range(1, 5)]


class Scene(World):
    """Of which the answer is empty when no backend is up."""

    def __init__(self, directory: Path, interval: str = "200ms") -> None:
        super().__init__(directory)
        self.port = free_port()
        policy = directory / "zones" / "example.test.yaml"
        text = policy.read_text().replace("200ms", interval).replace("answers: 1", "when_all_down: none")
        policy.write_text(text.replace("    slowstart: 1h\n", ""))

    @contextmanager
    def serving(self, *options: str, judged: bool = True) -> Iterator[Server]:
        listen = ("--listen", f"127.0.0.1:{self.port}", "--workers", "1")
        with started(self.directory, *listen, *options, judged=judged) as server:
            yield server

    def die(self) -> None:
        for host in HOSTS:
            (self.up / host).unlink()

    def revive(self) -> None:
        for host in HOSTS:
            (self.up / host).touch()

    def reply(self, patience: float = 3.0) -> tuple[list[str], list[str]] | None:
        """Addresses and extended errors; None without a reply."""
        query = dns.message.make_query("www.example.test.", "A", use_edns=0)
        try:
            reply = dns.query.udp(query, "127.0.0.1", timeout=patience, port=self.port)
        except dns.exception.Timeout:
            return None
        hosts = sorted(str(record) for rrset in reply.answer for record in rrset)
        return hosts, [option.text or "" for option in reply.options if isinstance(option, dns.edns.EDEOption)]

    def status(self, *arguments: str, control: str = "control") -> subprocess.CompletedProcess[str]:
        command = [*DNSLB, "status", "--control", str(self.directory / control), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    def metric(self, name: str) -> float:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.directory / "control"))
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: dnslb\r\nConnection: close\r\n\r\n")
            text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        return float(re.findall(rf"^{name}{{.*}} (\S+)$", text, re.MULTILINE)[0])


def test_a_pool_without_an_address_is_seen_everywhere(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with scene.serving("--log-level", "error") as server:
        eventually(lambda: scene.reply(0.5) == (HOSTS, []), "it is not answered", 10)
        assert (scene.status().returncode, scene.metric("dnslb_pool_empty")) == (0, 0)
        scene.die()
        gone: tuple[list[str], list[str]] = [], ["no backend is available; there are addresses otherwise"]
        eventually(lambda: scene.reply() == gone, "it still has addresses", 20)
        done = scene.status("*.test")
        assert done.returncode == 1
        assert done.stdout.splitlines()[0] == "NO ADDRESS LEFT: www.example.test. A"
        assert "  NO ADDRESS LEFT: none is available, the answer is empty\n" in done.stdout
        assert scene.metric("dnslb_pool_empty") == 1
        line = r" ERROR www\.example\.test A: no backend is available: the answer is empty \(NODATA\)\n"
        eventually(lambda: len(re.findall(line, server.log)) == 1, "it is not logged")
        scene.ask("PUT", "/log-level", {"level": "info"})
        scene.revive()
        eventually(lambda: scene.reply() == (HOSTS, []), "they do not come back", 20)
        assert (scene.status().returncode, scene.metric("dnslb_pool_empty")) == (0, 0)
        assert re.search(r" INFO www\.example\.test A: back to normal: serving \d of 4\n", server.log)


def test_the_exit_status_tells_what_is_wrong(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with scene.serving():
        assert scene.status().returncode == 0
        assert scene.status("ww.example.test").returncode == 3
        assert scene.status("--jsn").returncode == 2
    done = scene.status(control="nobody")
    assert done.returncode == 4
    assert done.stderr.startswith("Error: no dnslb listens on ")


@pytest.mark.parametrize("revived", ["before the start", "never"])
def test_after_an_outage_nobody_gets_an_empty_answer_from_healthy_backends(tmp_path: Path, revived: str) -> None:
    """For as long as ``rise`` probes took, at the pace of backends that are down, the answer was empty."""
    scene = Scene(tmp_path, interval="1s")
    with scene.serving():
        scene.die()
        eventually(lambda: scene.reply() is not None and scene.metric("dnslb_pool_empty") == 1, "they live", 20)
    policy = tmp_path / "zones" / "example.test.yaml"
    policy.write_text(policy.read_text().replace("1s", "30s"))
    if revived != "never":
        scene.revive()
    with scene.serving(judged=False) as server:
        replies = [reply for reply in (scene.reply(0.2) for _ in range(200)) if reply is not None]
        if revived == "never":
            assert replies[-1][0] == []
        else:
            assert all(hosts for hosts, _ in replies)
            eventually(lambda: scene.reply() == (HOSTS, []), "they do not come back", 5)
            assert re.search(r" down.*\(exit status 0\)", server.log) is None


def test_after_maint_an_address_is_handed_out_once_it_has_passed(tmp_path: Path) -> None:
    scene = Scene(tmp_path, interval="1s")
    with scene.serving() as server:
        scene.ask("POST", "/orders", {"mode": "maint", "addresses": [HOSTS[0], HOSTS[1]]})
        (scene.up / HOSTS[0]).unlink()
        scene.ask("POST", "/orders", {"mode": "ready", "addresses": [HOSTS[0], HOSTS[1]]})
        replies = [scene.reply()]
        eventually(lambda: f"{HOSTS[0]} down (its first probe failed: exit status 1)" in server.log, "it passes", 10)
        replies += [scene.reply() for _ in range(20)]
        assert not any(reply is None or HOSTS[0] in reply[0] for reply in replies)
        eventually(lambda: scene.reply() == (HOSTS[1:], []), "who passes is not handed out", 10)
        assert f"{HOSTS[1]} up (its first probe passed)" in server.log
        scene.ask("POST", "/orders", {"mode": "maint", "addresses": [HOSTS[1]]})
        order = {"mode": "ready", "addresses": [HOSTS[1]], "now": True}
        assert [clock["note"] for clock in scene.ask("POST", "/orders", order)["clocks"]] == [""]
