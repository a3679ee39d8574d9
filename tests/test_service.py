"""What a service manager hears from us, over a real socket; and the unit file for systemd."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.query
import dns.zone
import dnslb_server
import pytest
from dnslb_server import Server, eventually, started
from peers import free_port
from programs import program
from world import World

from dnslb.parent.service import Service

UNIT = Path(__file__).parent.parent / "scripts" / "dnslb.service"


class Manager:
    """The other end."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def hear(self, seconds: float = 10.0) -> list[str]:
        """The lines of the next message."""
        self._sock.settimeout(seconds)
        return self._sock.recv(4096).decode().split("\n")

    def hears_nothing(self, seconds: float) -> bool:
        try:
            self.hear(seconds)
        except TimeoutError:
            return True
        return False


@contextmanager
def managed(monkeypatch: pytest.MonkeyPatch, place: str) -> Iterator[Manager]:
    """What is started meanwhile is started by a manager that listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{place[1:]}" if place.startswith("@") else place)
        monkeypatch.setenv("NOTIFY_SOCKET", place)
        yield Manager(sock)


def environment(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_hears_of_start_reload_and_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    world = World(tmp_path)
    place = f"@dnslb-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with managed(monkeypatch, place) as manager, world.server("--no-watch") as server:
        assert manager.hear() == ["READY=1", "STATUS=1 zones, 1 pools"]
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        os.kill(server.parent, signal.SIGHUP)
        reloading, monotonic = manager.hear()
        assert reloading == "RELOADING=1"
        assert before <= int(monotonic.removeprefix("MONOTONIC_USEC=")) <= before + 10_000_000
        assert manager.hear() == ["READY=1", "STATUS=1 zones, 1 pools"]
        zone = tmp_path / "zones" / "example.test.zone"
        zone.write_text(zone.read_text() + "broken\n")
        os.kill(server.parent, signal.SIGHUP)
        assert manager.hear()[0] == "RELOADING=1"
        ready, status = manager.hear()
        assert ready == "READY=1"
        assert status.startswith("STATUS=1 zones, 1 pools; reload refused at ")
        assert status.endswith(": the files have mistakes")
        os.kill(server.parent, signal.SIGTERM)
        assert manager.hear() == ["STOPPING=1"]


def test_the_manager_hears_that_we_live_only_while_the_workers_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    with managed(monkeypatch, str(tmp_path / "notify")) as manager, world.server("--worker-timeout", "60s") as server:
        assert manager.hear()[0] == "READY=1"
        began = time.monotonic()
        for _ in range(4):
            assert manager.hear(5) == ["WATCHDOG=1"]
        assert 1.5 < time.monotonic() - began < 5
        worker = workers_of(server)[0]
        os.kill(worker, signal.SIGSTOP)
        try:
            eventually(lambda: "a worker does not answer" in server.log, "it is not noticed")
            while not manager.hears_nothing(1.5):
                pass
        finally:
            os.kill(worker, signal.SIGCONT)
        assert manager.hear(5) == ["WATCHDOG=1"]


def workers_of(server: Server) -> list[int]:
    """Not the programs that probe."""
    return [pid for pid in server.workers() if "dnslb" in Path(f"/proc/{pid}/cmdline").read_text()]


def test_no_program_that_we_start_may_speak_for_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    seen = tmp_path / "seen"
    world.configure(f"on_change: {{command: [/bin/sh, -c, 'env > {seen}']}}\n")
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    policy = tmp_path / "zones" / "example.test.yaml"
    policy.write_text(f"pools: {{www: {{probe: {{exec: [/bin/sh, -c, 'env > {seen}-by-probe'], interval: 1s}}}}}}\n")
    with managed(monkeypatch, str(tmp_path / "notify")) as manager, world.server():
        assert manager.hear()[0] == "READY=1"
        world.ask("POST", "/orders", {"mode": "drain", "addresses": ["192.0.2.1"]})
        for file in (seen, tmp_path / "seen-by-probe"):
            eventually(lambda: file.exists() and "PATH=" in file.read_text(), "it was not run")  # noqa: B023
            assert "NOTIFY_SOCKET" not in file.read_text() and "WATCHDOG" not in file.read_text()


@pytest.mark.parametrize(("given", "interval"), [
    ({}, None),
    ({"NOTIFY_SOCKET": "/x"}, None),
    ({"WATCHDOG_USEC": "1000000"}, None),
    ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000000"}, 0.5),
    ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
    ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, None),
    ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "0"}, None),
    ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"}, None),
])  # fmt: skip
def test_the_interval_is_half_of_what_the_manager_waits(given: dict[str, str], interval: float | None) -> None:
    left = dict(given)
    assert Service(left).interval == interval
    assert left == {}


def test_a_manager_that_does_not_listen_is_no_reason_to_stop(tmp_path: Path) -> None:
    for place in (tmp_path / "nobody", tmp_path):
        Service({"NOTIFY_SOCKET": str(place)}).ready("all is well")


def test_the_unit_file_is_sound_and_strict(tmp_path: Path) -> None:
    # Only the program is elsewhere here.
    unit = tmp_path / "dnslb.service"
    unit.write_text(UNIT.read_text().replace("/opt/dnslb/bin/dnslb", "/bin/true"))

    def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [program("systemd-analyze", "systemd"), *arguments, str(unit)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert [line for line in analyze("verify", "--man=no").stderr.splitlines() if "dnslb" in line] == []
    # From 0 to 10, and the less the better.
    exposure = re.search(r"exposure level for dnslb.service: (\d+\.\d)", analyze("security", "--offline=yes").stdout)
    assert exposure is not None
    assert float(exposure[1]) <= 1.4


# It holds for the program that is executed next, from its first instruction on.
WITHOUT_NEW_CODE = """
import ctypes, os, sys
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0):
    raise SystemExit(77)
os.execv(sys.executable, [sys.executable, "-m", "dnslb", *sys.argv[1:]])
"""


def test_it_runs_where_memory_that_was_written_may_not_be_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MemoryDenyWriteExecute=yes of the unit wants it: ctypes must not need such memory."""
    monkeypatch.setattr(dnslb_server, "DNSLB", (sys.executable, "-c", WITHOUT_NEW_CODE))
    refused = subprocess.run([sys.executable, "-c", WITHOUT_NEW_CODE, "--version"], check=False, timeout=20)
    if refused.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE: it came with Linux 6.3")
    world = World(tmp_path)
    with world.server() as server:
        assert world.ask("GET", "/status")["refused"] is None
        assert "Traceback" not in server.log


# Under a filter that refuses the system calls of these numbers (EPERM), as systemd makes it.
REFUSING = """
import os, struct, sys
from dnslb.system import prctl
count = int(sys.argv[1])
numbers = map(int, sys.argv[2 : 2 + count])
step = struct.Struct("=HBBI").pack
refuse = b"".join(step(0x15, 0, 1, number) + step(0x06, 0, 0, 0x00050001) for number in numbers)
prctl.set_filter(step(0x20, 0, 0, 0) + refuse + step(0x06, 0, 0, 0x7FFF0000))
os.execv(sys.argv[2 + count], sys.argv[2 + count :])
"""
HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")


def numbers(group: str) -> list[str]:
    """Of the system calls in a group of systemd's."""
    command = [program("systemd-analyze", "systemd"), "syscall-filter", group]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split("\n")[2:]
    known = dict(re.findall(r"#define __NR_(\w+) (\d+)", HEADER.read_text()))
    names = [line.strip() for line in listed if line.strip()]
    return [
        number for name in names
        for number in (numbers(name) if name.startswith("@") else [known[name]] if name in known else [])
    ]  # fmt: skip


def transferred(port: int) -> int:
    """How many names are in the zone, as a secondary gets it; 0 when it does not."""
    try:
        transfer = dns.query.xfr("127.0.0.1", "example.test", port=port, lifetime=2.0)
        return len(dns.zone.from_xfr(transfer).nodes)
    except (dns.exception.DNSException, OSError):
        return 0


@pytest.mark.skipif(not HEADER.exists(), reason="linux-libc-dev for x86_64 is missing")
def test_it_runs_under_the_filter_of_its_unit(tmp_path: Path) -> None:
    (refused,) = re.findall(r"^SystemCallFilter=~(.*)$", UNIT.read_text(), re.MULTILINE)
    those = sorted({number for group in refused.split() for number in numbers(group)})
    assert len(those) > 40
    world, port = World(tmp_path), free_port()
    world.configure("transfer_to: [127.0.0.0/8]\n")
    under = (sys.executable, "-c", REFUSING, str(len(those)), *those)
    with started(tmp_path, "--workers", "1", "--listen", f"127.0.0.1:{port}", under=under) as server:
        eventually(lambda: transferred(port) == 3, f"the zone cannot be transferred: {server.log}")
        world.ask("POST", "/orders", {"mode": "drain", "addresses": ["192.0.2.1"]})
        world.ask("POST", "/reload")
        assert server.log.count("\n") < 10
        assert not any(word in server.log for word in ("Traceback", "bug", "not permitted"))
