"""Whatever TCP clients do, UDP, the parent and other TCP clients have their turn."""

from __future__ import annotations

import select
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from dnslb_server import eventually, question, resident, started
from flood import flooding
from peers import Address, free_port
from programs import program

from dnslb.admin import client

RATE = 2000        # UDP queries a second of a client that behaves
SECONDS = 2.0      # that it asks
SLOWEST = 0.5      # seconds until any of its replies: a hundred turns, for machines that do other things too
GROWTH = 64 << 20  # octets that a flood may make a worker hold
DESCRIPTORS = 64   # that each process of a server may have
TRIES = 5          # of a client over TCP: connections at the limit may go at any time
QUESTION = question("www")[2:]


@dataclass(frozen=True, slots=True)
class Seen:
    asked: int
    lost: int
    slowest: float  # seconds


def steady(address: Address) -> Seen:
    """Queries at an even rate from one client; what came of them."""
    sent: dict[int, float] = {}
    slowest, asked = 0.0, 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.connect(address)
        sock.setblocking(False)
        start = time.monotonic()
        while (now := time.monotonic()) < start + SECONDS + 1.0 and (sent or now < start + SECONDS):
            due = int((min(now, start + SECONDS) - start) * RATE)
            while asked < due:
                sent[asked] = now
                sock.send(asked.to_bytes(2) + QUESTION)
                asked += 1
            select.select([sock], [], [], 0.001)
            try:
                while True:
                    slowest = max(slowest, time.monotonic() - sent.pop(int.from_bytes(sock.recv(4096)[:2]), now))
            except BlockingIOError:
                pass
    return Seen(asked, len(sent), slowest)


def is_served_over_tcp(address: Address) -> bool:
    for _ in range(TRIES):
        try:
            with socket.create_connection(address, 2.0, ("127.0.0.2", 0)) as sock:
                sock.sendall((len(QUESTION) + 2).to_bytes(2) + b"\0\7" + QUESTION)
                if sock.recv(4096)[2:4] == b"\0\7":
                    return True
        except OSError:
            pass
    return False


@pytest.mark.parametrize(("kind", "connections", "addresses"), [
    ("pipelines that are read", 300, 10),
    ("pipelines that are not read", 300, 10),
    ("pipelines that are read", 990, 10),
    ("large replies", 100, 1),
    ("queries full of options", 20, 1),
    ("tiny segments", 300, 10),
    ("connects", 0, 20),
])  # fmt: skip
def test_udp_the_parent_and_other_clients_have_their_turn(
    tmp_path: Path, kind: str, connections: int, addresses: int
) -> None:
    address = Address("127.0.0.1", free_port())
    with started(tmp_path, "--workers", "1", "--listen", f"127.0.0.1:{address.port}") as server:
        (worker,) = server.workers()
        assert is_served_over_tcp(address)
        before = resident(worker)
        with flooding(kind, address, connections, addresses):
            seen = steady(address)
            assert seen.lost <= seen.asked // 100
            assert seen.slowest <= SLOWEST
            assert is_served_over_tcp(address)
            assert tells(tmp_path / "control")
            assert resident(worker) - before < GROWTH
        assert server.workers() == [worker]
        assert server.log == ""


def tells(control: Path) -> bool:
    """Whether the parent hears its worker."""
    status, _ = client.ask(control, "GET", "/readyz")
    return status == 200


def test_without_descriptors_the_longest_idle_connection_makes_room(tmp_path: Path) -> None:
    """Accepting pauses at the first sign and never fails in a loop; one line says so, and one that it is over."""
    address = Address("127.0.0.1", free_port())
    options = ["--workers", "1", "--listen", f"127.0.0.1:{address.port}"]
    under = [program("prlimit", "util-linux"), f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]
    with started(tmp_path, *options, under=under) as server, ExitStack() as stack:
        for _ in range(2 * DESCRIPTORS):
            stack.enter_context(socket.create_connection(address, 5.0))
        assert is_served_over_tcp(address)
        seen = steady(address)
        assert seen.lost <= seen.asked // 100
        assert all(is_served_over_tcp(address) for _ in range(2 * DESCRIPTORS))
        eventually(lambda: "accepted again" in server.log, "the pause does not end", 10.0)
    first, last = server.log.splitlines()
    assert "TCP connections cannot be accepted: too many open files, with " in first
    assert "TCP connections are accepted again; at most " in last
