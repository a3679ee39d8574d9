"""Disks that are slow, hang, or hold what is no file: probes and answers go on, and the end comes in time."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import dns.message
import pytest
from dnslb_server import Server, eventually, question, started, status_field
from peers import free_port
from world import World, kill

from dnslb.admin import client

# What Python runs first in every process: a disk that waits as long as a file is there.
HANGING = """\
import os, time
from pathlib import Path

fsync, stat = os.fsync, os.stat

def hang(flag):
    while True:
        try:
            stat(flag)
        except FileNotFoundError:
            return
        time.sleep(0.05)

def slow_fsync(descriptor):
    hang({written!r})
    fsync(descriptor)

def slow_stat(path, *arguments, **more):
    if isinstance(path, str) and path.endswith("example.test.zone"):
        hang({read!r})
    return stat(path, *arguments, **more)

os.fsync, os.stat = slow_fsync, slow_stat
try:
    import dnslb.parent.reading
    dnslb.parent.reading._SILENCE = 1.5
except ImportError:
    pass
"""
PACED = """\
pools:
  www:
    probe: {{exec: [/bin/sh, -c, "date +%s.%N >> {beats}"], interval: 200ms}}
"""


class Disk:
    """Files that make the disk hang as long as they are there."""

    def __init__(self, directory: Path) -> None:
        self.written = directory / "writes-hang"
        self.read = directory / "reads-hang"


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    made = Disk(tmp_path)
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HANGING.format(written=str(made.written), read=str(made.read)))
    monkeypatch.setenv("PYTHONPATH", f"{hook}:{os.environ.get('PYTHONPATH', '')}")
    yield made
    made.written.unlink(missing_ok=True)
    made.read.unlink(missing_ok=True)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def children(server: Server) -> list[int]:
    """The processes that write, read and watch: children of the parent, each in a session of its own."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if living(pid) == (server.parent, pid)]


def living(pid: int) -> tuple[int, int]:
    """Parent and session of the process; of one that is dead, zeroes."""
    try:
        state, parent, _, session, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    return (0, 0) if state == "Z" else (int(parent), int(session))


def are_dead(those: list[int]) -> bool:
    return all(living(pid) == (0, 0) for pid in those)


def slowest(beats: list[float]) -> float:
    return max(later - earlier for earlier, later in pairwise(beats))


@contextmanager
def asked_all_the_time(world: World) -> Iterator[list[float]]:
    """How long each answer to /healthz took."""
    took: list[float] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.1):
            began = time.monotonic()
            world.ask("GET", "/healthz")
            took.append(time.monotonic() - began)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield took
    finally:
        over.set()
        asking.join()


def test_a_slow_disk_delays_no_probe_and_an_order_says_so(world: World, disk: Disk, tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    (tmp_path / "zones" / "example.test.yaml").write_text(PACED.format(beats=beats))
    with world.server() as server:
        eventually(lambda: bool(world.saved()), "the verdicts are not saved")
        disk.written.touch()
        # The old way hangs for ever.
        threading.Timer(8.0, disk.written.unlink, [True]).start()
        with asked_all_the_time(world) as took:
            began = time.monotonic()
            found = world.ask("POST", "/orders", {"mode": "drain", "addresses": ["192.0.2.1"]})
            waited = time.monotonic() - began
        lines = [float(line) for line in beats.read_text().split()]
        assert found["warnings"] == [
            f"{tmp_path}/state/state.json is not written within 3 s: the disk is slow; the order is in force, and is "
            "saved later; a crash before would lose it"
        ]
        assert 3.0 <= waited < 5.0
        assert '"mode": "drain"' not in world.saved()
        assert took and max(took) < 1.0
        assert slowest(lines) < 1.5
        eventually(lambda: "state.json cannot be written: the disk is slow" in server.log, "nothing is logged")
        disk.written.unlink()
        eventually(lambda: '"mode": "drain"' in world.saved(), "it is not saved later")
        eventually(lambda: "state.json is written again" in server.log, "nothing is said of it")


def test_what_changes_while_a_save_runs_is_saved_by_the_next(world: World, disk: Disk) -> None:
    with world.server() as server:
        eventually(lambda: bool(world.saved()), "the verdicts are not saved")
        disk.written.touch()
        threading.Timer(2.0, disk.written.unlink, [True]).start()
        found: list[Any] = []
        orders = [
            threading.Thread(target=lambda n=n: found.append(
                world.ask("POST", "/orders", {"mode": "drain", "addresses": [f"192.0.2.{n}"]})
            ))
            for n in (1, 2, 3)
        ]  # fmt: skip
        for order in orders:
            order.start()
            time.sleep(0.1)
        assert len(children(server)) <= 2  # one writes, one watches
        for order in orders:
            order.join()
        assert [one["warnings"] for one in found] == [[], [], []]
        # They had returned, and nothing else was to be saved.
        assert world.saved().count('"mode": "drain"') == 3
        kill(server)
    assert world.saved().count('"mode": "drain"') == 3


@pytest.mark.long
def test_the_end_does_not_wait_for_a_disk_that_hangs(world: World, disk: Disk) -> None:
    with world.server() as server:
        eventually(lambda: bool(world.saved()), "the verdicts are not saved")
        saved = world.saved()
        disk.written.touch()
        world.ask("POST", "/orders", {"mode": "drain", "addresses": ["192.0.2.1"]})
        left = children(server)
        server.popen.terminate()
        assert server.ends_within(12) == 0
        assert "state.json is not written: the disk is slow; what changed last is lost" in server.log
    eventually(lambda: are_dead(left), f"some of {left} live on")
    disk.written.unlink()
    time.sleep(0.2)
    assert world.saved() == saved  # nobody overwrites what a later server may have written


def test_nothing_outlives_a_parent_that_is_killed(world: World, disk: Disk) -> None:
    with world.server() as server:
        eventually(lambda: bool(world.saved()), "the verdicts are not saved")
        saved = world.saved()
        disk.written.touch()

        def order() -> None:
            with pytest.raises(client.Unreachable):
                world.ask("POST", "/orders", {"mode": "drain", "addresses": ["*"]})

        ordering = threading.Thread(target=order)
        ordering.start()
        eventually(lambda: len(children(server)) == 2, "nobody saves")
        left = children(server)
        kill(server)
        ordering.join()
    eventually(lambda: are_dead(left), f"some of {left} live on")
    disk.written.unlink()
    assert world.saved() == saved


# Reading


def serials(port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.sendto(question("ns1"), ("127.0.0.1", port))
        return str(dns.message.from_wire(sock.recv(4096)).answer[0])


def test_a_reload_from_a_disk_that_hangs_is_refused_and_stops_nothing(world: World, disk: Disk) -> None:
    port = free_port()
    with started(world.directory, "--listen", f"127.0.0.1:{port}", "--workers", "1") as server:
        disk.read.touch()
        refused: list[Any] = []
        with asked_all_the_time(world) as took:
            reloading = threading.Thread(
                target=lambda: refused.append(client.ask(world.directory / "control", "POST", "/reload"))
            )
            reloading.start()
            (worker,) = server.workers()
            os.kill(worker, signal.SIGKILL)
            eventually(lambda: server.workers() not in ([], [worker]), "the dead worker is not replaced", 1.4)
            assert serials(port).startswith("ns1.example.test. 300 IN A")
            reloading.join()
        assert max(took) < 1.0
        ((status, answer),) = refused
        assert status == 409
        fact = f"the disk does not answer: {world.directory}/zones was not read within 1.5 s"
        assert answer["error"] == f"not reloaded: {fact}"
        assert world.ask("GET", "/status")["refused"]["fact"] == fact
        disk.read.unlink()
        world.ask("POST", "/reload")
        assert world.ask("GET", "/status")["refused"] is None


def test_the_end_does_not_wait_for_a_reload_that_hangs(world: World, disk: Disk) -> None:
    with world.server() as server:
        disk.read.touch()
        before = set(children(server))
        os.kill(server.parent, signal.SIGHUP)
        eventually(lambda: bool(set(children(server)) - before), "nothing is read")
        left = children(server)
        server.popen.terminate()
        assert server.ends_within(8) == 0
    eventually(lambda: are_dead(left), f"some of {left} live on")


@pytest.mark.parametrize("name", ["example.test.zone", "example.test.yaml", "dnslb.yaml"])
@pytest.mark.parametrize("kind", ["a FIFO", "/dev/zero", "2 GB of nothing"])
def test_what_is_no_file_is_a_refused_reload(world: World, name: str, kind: str) -> None:
    path = world.directory / "zones" / name
    with world.server("--no-watch") as server:
        path.unlink(missing_ok=True)
        match kind:
            case "a FIFO":
                os.mkfifo(path)
            case "/dev/zero":
                path.symlink_to(kind)
            case _:
                path.touch()
                os.truncate(path, 2 << 30)
        status, answer = client.ask(world.directory / "control", "POST", "/reload")
        assert status == 409
        assert "this is no regular file" in str(answer) or "it has more than" in str(answer)
        assert int(status_field(server.parent, "VmHWM").split()[0]) < 200_000  # kB
        server.popen.terminate()
        assert server.ends_within(8) == 0


# Watching


def test_an_edit_is_noticed_though_the_process_that_watches_was_killed(world: World) -> None:
    with world.server() as server:
        eventually(lambda: bool(world.saved()), "the verdicts are not saved")
        eventually(lambda: len(children(server)) == 1, "nobody watches")
        (watching,) = children(server)
        os.kill(watching, signal.SIGKILL)
        world.configure("order: none\n")
        eventually(lambda: "reloaded" in server.log, "the edit is not noticed", 8)
        eventually(lambda: len(children(server)) == 1 and children(server) != [watching], "nobody watches any more")


def test_the_process_that_watches_shares_the_memory_of_the_present_zones(world: World) -> None:
    """It is forked anew after every reload, and ends with the server."""
    with world.server() as server:
        eventually(lambda: bool(world.saved()), "the verdicts are not saved")
        eventually(lambda: len(children(server)) == 1, "nobody watches")
        watching = children(server)
        world.ask("POST", "/reload")
        eventually(lambda: len(children(server)) == 1 and children(server) != watching, "the old one watches on")
        left = children(server)
    assert are_dead(left)


def test_five_thousand_zones_cost_the_parent_no_time(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in range(3000):
        (tmp_path / "zones" / f"z{number}.test.zone").write_text("@ 60 SOA ns1.x. h 1 1 1 1 1\n@ 60 NS ns1.x.\n")
    (tmp_path / "zones" / "example.test.yaml").unlink()
    with world.server() as server:
        time.sleep(1.0)
        before = ticks(server.parent)
        time.sleep(4.0)
        assert ticks(server.parent) - before < 12  # hundredths of a second; to look eight times took 20 and more


def ticks(pid: int) -> int:
    """Hundredths of seconds of processor time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
