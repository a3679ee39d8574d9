"""What the world around a server may do to it: each fault is made to happen, and the test says what is lost."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import dns.rdatatype
import pytest
from dnslb_server import DNSLB, Server, eventually, question, started
from peers import free_port
from programs import program
from test_disk import ticks
from test_processes import answers
from test_udp import packed
from world import World

from dnslb.admin import client

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root makes namespaces")

# What Python runs first in every process: a wall clock that somebody has set.
SET_CLOCK = """\
import time
plain = time.time
def shifted():
    try:
        with open({shift!r}) as file:
            return plain() + float(file.read())
    except (OSError, ValueError):
        return plain()
time.time = shifted
"""
DAY = 86400


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def within(server: Server, path: Path) -> Path:
    """The path as the server sees it."""
    return Path(f"/proc/{server.parent}/root{path}")


def order(world: World, address: str) -> list[str]:
    """Take it out; the warnings."""
    warnings: list[str] = world.ask("POST", "/orders", {"mode": "drain", "addresses": [address]})["warnings"]
    return warnings


@pytest.mark.parametrize("shift", [3650 * DAY, -3650 * DAY])
def test_a_clock_that_is_set_changes_no_verdict_and_stops_no_probe(
    world: World, shift: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: the times in the history, and an order that ends by the clock ends when that says so."""
    clock, hook = world.directory / "clock", world.directory / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(SET_CLOCK.format(shift=str(clock)))
    monkeypatch.setenv("PYTHONPATH", f"{hook}:{os.environ.get('PYTHONPATH', '')}")
    with world.server() as server:
        order(world, "192.0.2.1")
        clock.write_text(str(shift))
        for address in ("192.0.2.2", "192.0.2.3"):
            (world.up / address).unlink()
            eventually(lambda: world.backends()[address]["up"] is False, "it is not noticed")  # noqa: B023
        (world.up / "192.0.2.2").touch()
        eventually(lambda: world.backends()["192.0.2.2"]["up"] is True, "its return is not noticed")
        backends = world.backends()
        assert backends["192.0.2.1"]["mode"] == "drain"
        assert backends["192.0.2.4"]["up"] is True
        assert 1 <= world.ask("GET", "/status")["pools"][0]["rrsets"][0]["ttl"] <= 300
        before = ticks(server.parent)
        time.sleep(1.0)
        assert ticks(server.parent) - before < 60  # hundredths of a second: nothing spins
        clock.unlink()
        (world.up / "192.0.2.3").touch()
        eventually(lambda: world.backends()["192.0.2.3"]["up"] is True, "its return is not noticed")
        assert "Traceback" not in server.log


@as_root
@pytest.mark.parametrize("fault", ["is full", "is read-only"])
@pytest.mark.long
def test_a_state_that_cannot_be_written_loses_what_a_crash_would_lose_and_nothing_else(
    world: World, fault: str
) -> None:
    state = world.directory / "state"
    state.mkdir()
    options = "size=128k" if fault == "is full" else "ro"
    mounting = f'mount -t tmpfs -o {options} none {state} && exec "$@"'
    under = (program("unshare", "util-linux"), "--mount", "sh", "-c", mounting, "sh")
    with started(world.directory, "--workers", "1", "--listen", f"127.0.0.1:{free_port()}", under=under) as server:
        saved, filler = (within(server, state) / name for name in ("state.json", "filler"))
        if fault == "is full":
            assert order(world, "192.0.2.1") == []
            with pytest.raises(OSError, match="No space left"):
                filler.write_bytes(bytes(1 << 20))
        reason = "no space left on device" if fault == "is full" else "read-only file system"
        assert order(world, "192.0.2.2") == [
            f"{state}/state.json cannot be written: {reason}; orders, verdicts and history would be lost now"
        ]
        assert world.backends()["192.0.2.2"]["handed_out"] is False
        if fault == "is full":
            assert saved.read_text().count('"mode": "drain"') == 1  # what was saved before is whole
            filler.unlink()
        else:
            nsenter = [program("nsenter", "util-linux"), "-t", str(server.parent), "-m"]
            subprocess.run([*nsenter, "mount", "-o", "remount,rw", str(state)], check=True)
        eventually(lambda: saved.exists() and "192.0.2.2" in saved.read_text(), "it is not tried again", 20)


@as_root
def test_a_query_log_on_a_full_disk_loses_lines_and_no_reply(world: World) -> None:
    logs, port = world.directory / "logs", free_port()
    logs.mkdir()
    world.configure(f"query_log: {{file: {logs}/queries}}\n")
    mounting = f'mount -t tmpfs -o size=4k none {logs} && exec "$@"'
    under = (program("unshare", "util-linux"), "--mount", "sh", "-c", mounting, "sh")
    with started(world.directory, "--workers", "1", "--listen", f"127.0.0.1:{port}", under=under) as server:
        assert all(answers(port) for _ in range(200))
        eventually(lambda: "no space left on device" in server.log.lower(), f"nobody is told: {server.log}")
        assert answers(port)


def test_without_descriptors_the_parent_refuses_a_reload_and_goes_on(world: World) -> None:
    """Lost: the reload.  Probes that need a descriptor are our fault, and change no verdict."""
    port = free_port()
    with started(world.directory, "--workers", "1", "--no-watch", "--listen", f"127.0.0.1:{port}") as server:
        most = resource.prlimit(server.parent, resource.RLIMIT_NOFILE)
        for left in range(1, 12):
            held = len(os.listdir(f"/proc/{server.parent}/fd"))
            resource.prlimit(server.parent, resource.RLIMIT_NOFILE, (held + left, most[1]))
            status, answer = client.ask(world.directory / "control", "POST", "/reload")
            assert status in (200, 409), (left, answer)
            assert answers(port)
        resource.prlimit(server.parent, resource.RLIMIT_NOFILE, most)
        world.ask("POST", "/reload")
        assert "too many open files; the old data go on being served" in server.log
        assert all(backend["up"] for backend in world.backends().values())


def test_a_worker_that_gets_no_memory_goes_on_or_is_replaced(world: World) -> None:
    """Lost: the replies for which there was no room."""
    port = free_port()
    with started(world.directory, "--workers", "1", "--listen", f"127.0.0.1:{port}") as server:
        (worker,) = server.workers()
        used = int(Path(f"/proc/{worker}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.prlimit(worker, resource.RLIMIT_AS, (used, resource.RLIM_INFINITY))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(30_000):
                sock.sendto(packed([f"n{number}", "x" * 60], dns.rdatatype.A), ("127.0.0.1", port))
        eventually(lambda: answers(port), "nobody answers", 10)
        assert world.ask("GET", "/status")["server"]["silent"] == []


@pytest.mark.long
@pytest.mark.xfail(reason="it may wait for ever, and all reloads after it: known, in faults.md", strict=False)
def test_a_reload_that_finds_no_memory_is_refused(world: World) -> None:
    """Lost: the reload."""
    port = free_port()
    with started(world.directory, "--workers", "1", "--no-watch", "--listen", f"127.0.0.1:{port}") as server:
        zone = world.directory / "zones" / "example.test.zone"
        text = zone.read_text()
        zone.write_text(text + "".join(f"n{number} A 192.0.2.1\n" for number in range(30_000)))
        used = int(Path(f"/proc/{server.parent}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.prlimit(server.parent, resource.RLIMIT_AS, (used + (4 << 20), resource.RLIM_INFINITY))
        status, answer = client.ask(world.directory / "control", "POST", "/reload")
        assert status == 409, answer
        assert answers(port)
        resource.prlimit(server.parent, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        world.ask("POST", "/reload")


# Asks once; prints how many addresses came.
ASK = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(0.5)
    try:
        sock.sendto(bytes.fromhex(sys.argv[1]), ("10.9.9.9", 53))
        print(sock.recv(4096)[7])
    except OSError:
        print("nobody")
"""


@as_root
def test_an_address_that_goes_and_comes_back_is_answered_again(world: World) -> None:
    """Lost: what is asked while it is gone."""
    ip = program("ip", "iproute2")
    make = f'{ip} link set lo up && {ip} address add 10.9.9.9/32 dev lo && exec "$@"'
    under = (program("unshare", "util-linux"), "--net", "sh", "-c", make, "sh")
    with started(world.directory, "--workers", "1", "--listen", "10.9.9.9:53", under=under) as server:
        inside = [program("nsenter", "util-linux"), "-t", str(server.parent), "-n"]

        def ask() -> str:
            command = [*inside, sys.executable, "-c", ASK, question("www").hex()]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

        workers = server.workers()
        assert ask() == "1"
        for gone, back in (
            ("address del 10.9.9.9/32 dev lo", "address add 10.9.9.9/32 dev lo"),
            ("link set lo down", "link set lo up"),
        ):
            subprocess.run([*inside, ip, *gone.split()], check=True)
            assert ask() == "nobody"
            subprocess.run([*inside, ip, *back.split()], check=True)
            eventually(lambda: ask() == "1", "it is not answered again")
        assert server.workers() == workers
        assert "Traceback" not in server.log


def test_a_log_that_nobody_reads_stops_neither_probes_nor_orders(world: World) -> None:
    """Lost: lines of the log, which the log tells once it is read again."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(write, bytes(4096))
    os.set_blocking(write, True)
    kept = ("--state", str(world.directory / "state"), "--control", str(world.directory / "control"))
    listen = ("--listen", f"127.0.0.1:{free_port()}", "--workers", "1")
    command = [*DNSLB, "serve", str(world.directory / "zones"), *kept, *listen]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=write) as popen:
        try:
            eventually(lambda: asked(world), "it does not start", 20)
            (world.up / "192.0.2.2").unlink()
            eventually(lambda: world.backends()["192.0.2.2"]["up"] is False, "it is not noticed")
            assert order(world, "192.0.2.1") == []
            assert len(os.read(read, 1 << 20)) >= 4096
            (world.up / "192.0.2.2").touch()
            eventually(lambda: world.backends()["192.0.2.2"]["up"] is True, "its return is not noticed")
            os.set_blocking(read, False)
            assert b"lines of the log are lost: nobody has read it" in os.read(read, 1 << 20)
        finally:
            popen.terminate()
            os.close(write)
            os.close(read)
        assert popen.wait(10) == 0


def asked(world: World) -> bool:
    try:
        return bool(world.ask("GET", "/status"))
    except client.Unreachable:
        return False
