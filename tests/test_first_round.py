"""The start, a restart and a reload while targets hang, and probes that cannot be made: a real server, real targets."""

from __future__ import annotations

import os
import re
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import pytest
from dnslb_server import Server, eventually, started
from peers import STARTING, free_port

from dnslb.admin import client

HOST = "127.0.1.11"
SOON = 2.5      # seconds for what must not wait for 5 s, nor for a timeout of 4
PATIENCE = 5.0  # the server's


class Stage:
    """A directory with a zone whose pools are told, and the server over it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.zones = directory / "zones"
        self.zones.mkdir()
        self.port = free_port()

    def write(self, pools: dict[str, list[str]], policy: str) -> None:
        """Addresses by owner; the policy is that of all pools."""
        lines = ["$TTL 300", "@ SOA ns1 hostmaster 1 3600 900 1209600 60", "@ NS ns1", "ns1 A 127.0.0.1"]
        lines += [f"{owner} 30 A {host}" for owner, hosts in pools.items() for host in hosts]
        texts = {"zone": "\n".join([*lines, ""]), "yaml": f"defaults: {{{policy}}}\npools:\n"}
        texts["yaml"] += "".join(f"  {owner}: {{}}\n" for owner in pools)
        for kind, text in texts.items():
            new = self.directory / kind
            new.write_text(text)
            new.replace(self.zones / f"example.test.{kind}")

    @contextmanager
    def server(self, *options: str) -> Iterator[Server]:
        listen = ("--listen", f"127.0.0.1:{self.port}", "--workers", "1", "--no-watch")
        with started(self.directory, *listen, *options, judged=False) as server:
            yield server

    def ask(self, owner: str, kind: str = "A", patience: float = 0.3) -> tuple[list[str], int] | None:
        """The addresses and their TTL; None without a reply."""
        query = dns.message.make_query(f"{owner}.example.test.", kind)
        try:
            reply = dns.query.udp(query, "127.0.0.1", timeout=patience, port=self.port)
        except dns.exception.Timeout:
            return None
        records = [record for rrset in reply.answer for record in rrset]
        return sorted(map(str, records)), reply.answer[0].ttl if reply.answer else 0

    def answered_within(self, owner: str, seconds: float) -> tuple[list[str], int]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (answer := self.ask(owner)) is not None:
                return answer
        pytest.fail(f"{owner} is not answered within {seconds} s")

    def get(self, target: str) -> Any:
        status, found = client.ask(self.directory / "control", "GET", target)
        assert status == 200
        return found

    def rrset(self, owner: str) -> Any:
        return self.get(f"/status/{owner}.example.test")["pools"][0]["rrsets"][0]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@contextmanager
def listening(*hosts: str) -> Iterator[int]:
    """A port at which connections are accepted, by the kernel, and nothing is said."""
    with ExitStack() as stack:
        first = stack.enter_context(socket.create_server((hosts[0], 0), backlog=4096))
        port = int(first.getsockname()[1])
        for host in hosts[1:]:
            stack.enter_context(socket.create_server((host, port), backlog=4096))
        yield port


def many(count: int) -> list[str]:
    return [f"127.0.{2 + number // 250}.{1 + number % 250}" for number in range(count)]


# The start


def test_targets_that_hang_hold_up_nobody_but_their_own_pool(stage: Stage) -> None:
    """600 that accept and say nothing, and timeouts of 4 s: more than were ever in flight."""
    with socket.create_server(("0.0.0.0", 0), backlog=4096) as mute:
        port = mute.getsockname()[1]
        pools = {f"p{number}": many(600)[3 * number : 3 * number + 3] for number in range(200)}
        stage.write(pools, f"probe: {{http: /, port: {port}, timeout: 4s, interval: 5s}}")
        with open(stage.zones / "other.test.zone", "w") as zone:
            zone.write("$TTL 60\n@ SOA ns1 hostmaster 1 1 1 1 1\n@ NS ns1\nns1 A 127.0.0.1\n")
        begin = time.monotonic()
        with stage.server() as server:
            assert stage.ask("ns1", patience=SOON) == (["127.0.0.1"], 300)
            assert stage.ask("p0", "AAAA") == ([], 0)
            assert time.monotonic() - begin < SOON + 1
            assert stage.ask("p0") is None
            rrset = stage.rrset("p0")
            assert rrset["withheld"]
            assert [(one["up"], one["unsure"]) for one in rrset["backends"]] == [(None, "is not judged yet")] * 3
            # The timeout judges them.
            addresses, _ = stage.answered_within("p0", 4 + SOON)
            assert addresses == sorted(pools["p0"])
            eventually(lambda: not stage.rrset("p199")["withheld"], "the last is withheld", 5)
            assert stage.rrset("p199")["fails_open"]
            assert "Traceback" not in server.log


def test_programs_that_hang_hold_up_nobody_else(stage: Stage) -> None:
    """60 of them that take 10 s; one pool's programs answer at once."""
    command = 'exec: [/bin/sh, -c, "case $DNSLB_ADDRESS in 127.0.9.*) exec sleep 60;; esac"]'
    pools = {"good": [HOST], **{f"p{number}": [f"127.0.9.{number}"] for number in range(60)}}
    stage.write(pools, f"probe: {{{command}, timeout: 10s, interval: 10s}}")
    with stage.server() as server:
        assert stage.answered_within("good", SOON) == ([HOST], 30)
        assert stage.ask("p0") is None
        addresses, ttl = stage.answered_within("p0", PATIENCE + SOON)
        assert (addresses, ttl) == (["127.0.9.0"], 5)
        told = r" WARNING 60 backends of 60 pools are not judged after 5 s, and count as up: "
        assert re.search(told + r"p0\.example\.test 127\.0\.9\.0, .* and 56 more\n", server.log)


def test_the_service_manager_is_told_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.write({"www": [HOST]}, "probe: {exec: [/bin/sleep, 60], timeout: 30s, interval: 30s}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(os.fspath(stage.directory / "notify"))
        manager.settimeout(STARTING)
        monkeypatch.setenv("NOTIFY_SOCKET", os.fspath(stage.directory / "notify"))
        begin = time.monotonic()
        with stage.server():
            assert manager.recv(1000).startswith(b"READY=1")
            assert time.monotonic() - begin < SOON + 1
            assert stage.rrset("www")["withheld"]


# A restart


def test_after_a_restart_what_was_known_answers_at_once_though_everything_hangs(stage: Stage) -> None:
    hosts = [HOST, "127.0.1.12", "127.0.1.13"]
    up = stage.directory / "up"
    command = f'exec: [/bin/sh, -c, "[ $DNSLB_ADDRESS != {HOST} ] || exit 1; [ -e {up} ] || exec sleep 60"]'
    stage.write({"www": hosts}, f"probe: {{{command}, timeout: 4s, interval: 4s}}")
    up.touch()
    with stage.server():
        assert stage.answered_within("www", SOON) == (hosts[1:], 30)
    up.unlink()
    with stage.server() as server:
        assert stage.answered_within("www", SOON) == (hosts[1:], 5)
        unsure = [backend["unsure"] for backend in stage.rrset("www")["backends"]]
        assert unsure[1:] == ["has not been probed since the start"] * 2
        # Then the first round tells.
        eventually(lambda: stage.rrset("www")["fails_open"], "they are still up", 4 + SOON)
        assert "127.0.1.12 down (its first probe failed: no exit within 4 s)" in server.log


def test_what_was_up_long_ago_is_probed_first(stage: Stage) -> None:
    up = stage.directory / "up"
    stage.write({"www": [HOST]}, f'probe: {{exec: [/bin/sh, -c, "[ -e {up} ] || exec sleep 60"], timeout: 10s}}')
    up.touch()
    with stage.server():
        assert stage.answered_within("www", SOON) == ([HOST], 30)
    up.unlink()
    long_ago = time.time() - 60
    os.utime(stage.directory / "state" / "state.json", (long_ago, long_ago))
    with stage.server():
        assert stage.ask("www") is None
        assert stage.answered_within("www", PATIENCE + SOON) == ([HOST], 5)


# A reload


def test_a_reload_with_hanging_backends_returns_and_hands_them_out_to_nobody(stage: Stage) -> None:
    with listening(HOST) as port, socket.create_server(("127.0.1.12", port), backlog=0) as full:
        others = [socket.socket() for _ in range(4)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        policy = f"probe: {{tcp: {port}, timeout: 4s, interval: 4s}}"
        stage.write({"www": [HOST]}, policy)
        with stage.server():
            assert stage.answered_within("www", SOON) == ([HOST], 30)
            stage.write({"www": [HOST, "127.0.1.12"], "new": ["127.0.1.12"]}, policy)
            begin = time.monotonic()
            assert client.ask(stage.directory / "control", "POST", "/reload")[0] == 200
            assert time.monotonic() - begin < SOON
            assert stage.ask("www", patience=SOON) == ([HOST], 30)
            assert stage.ask("new") is None
            for _ in range(20):
                assert stage.ask("www") == ([HOST], 30)
                time.sleep(0.05)
        for other in others:
            other.close()


# Our own faults


def test_a_source_that_is_gone_takes_nobody_out(stage: Stage) -> None:
    with listening(HOST) as port:
        stage.write({"www": [HOST, "127.0.1.12"]}, f"probe: {{tcp: {port}, interval: 300ms, source: 192.0.2.1}}")
        with stage.server() as server:
            assert stage.ask("www") is None
            addresses, ttl = stage.answered_within("www", PATIENCE + SOON)
            assert (addresses, ttl) == ([HOST, "127.0.1.12"], 5)
            rrset = stage.rrset("www")
            assert not rrset["fails_open"]
            reason = "cannot be probed: the source address is not on this machine, or it has no free port"
            assert [(one["up"], one["unsure"]) for one in rrset["backends"]] == [(None, reason)] * 2
            assert len(re.findall(r" ERROR cannot probe .* of this kind \(source\) is only counted\n", server.log)) == 1


def test_too_many_open_files_change_no_verdict(stage: Stage) -> None:
    hosts = [HOST, "127.0.1.12", "127.0.1.13"]
    with listening(*hosts[:2]) as port:
        stage.write({"www": hosts}, f"probe: {{tcp: {port}, interval: 200ms, fall: 2, rise: 2}}")
        with stage.server() as server:
            assert stage.answered_within("www", SOON)[0] == hosts[:2]
            open_files = max(int(name) for name in os.listdir(f"/proc/{server.parent}/fd"))
            # The connection over which we ask takes a file as well: look at the log and the answers only.
            limits = resource.prlimit(server.parent, resource.RLIMIT_NOFILE)
            resource.prlimit(server.parent, resource.RLIMIT_NOFILE, (open_files // 2, limits[1]))
            eventually(lambda: "(descriptors) is only counted" in server.log, "nothing is told")
            time.sleep(2)  # ten probes each
            assert stage.ask("www", patience=SOON) == (hosts[:2], 5)
            resource.prlimit(server.parent, resource.RLIMIT_NOFILE, limits)
            eventually(lambda: "probes are made again (descriptors)" in server.log, "it does not end")
            assert server.log.count("is only counted") == 1
            assert " 127.0.1.11 down" not in server.log
            status = stage.rrset("www")
            assert [one["up"] for one in status["backends"]] == [True, True, False]
            assert not any(one["unsure"] for one in status["backends"])
            assert counted(stage.directory / "control", "descriptors") >= 20


def counted(control: Path, reason: str) -> int:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(os.fspath(control))
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: dnslb\r\nConnection: close\r\n\r\n")
        text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    return int(float(re.findall(rf'dnslb_probes_not_made_total{{reason="{reason}"}} (\S+)', text)[0]))
