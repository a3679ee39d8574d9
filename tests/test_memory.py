"""What goes on across reloads and restarts: turns, the trust in an answer, TCP connections."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import dns.message
import pytest
from dnslb_server import Server, eventually, question, started
from peers import Address, free_port

from dnslb.admin import client

RELOADS = 6
CLIENTS = 8
ZONE = """\
$TTL 300
@    SOA  ns1 hostmaster {serial} 3600 900 1209600 60
     NS   ns1
ns1  A    192.0.2.53
a    TXT  "{serial}"
www  A    127.0.1.21
     A    127.0.1.22
     A    127.0.1.23
     A    127.0.1.24
pool A    127.0.1.21
     A    127.0.1.22
     A    127.0.1.23
     A    127.0.1.24
$GENERATE 1-16 n$ A 127.0.1.21
$GENERATE 1-16 n$ A 127.0.1.22
$GENERATE 1-16 n$ A 127.0.1.23
$GENERATE 1-16 n$ A 127.0.1.24
$GENERATE 1-250 large 30 TXT "$ {long}"
"""
POLICY = "pools: {pool: {}}\n"
HOSTS = [f"127.0.1.{number}" for number in (21, 22, 23, 24)]


def write(directory: Path, serial: int) -> None:
    zones = directory / "zones"
    zones.mkdir(exist_ok=True)
    new = zones / "example.test.zone.new"
    new.write_text(ZONE.format(serial=serial, long="x" * 200))
    new.replace(zones / "example.test.zone")


def reload(directory: Path, serial: int) -> None:
    write(directory, serial)
    status, reply = client.ask(directory / "control", "POST", "/reload")
    assert status == 200, reply


@contextmanager
def serving(directory: Path, *options: str, policy: str = POLICY) -> Iterator[tuple[Server, Address]]:
    port = free_port()
    write(directory, 1)
    (directory / "zones" / "example.test.yaml").write_text(policy)
    with started(directory, "--listen", f"127.0.0.1:{port}", "--no-watch", "--workers", "1", *options) as server:
        yield server, Address("127.0.0.1", port)


def records(reply: dns.message.Message) -> list[str]:
    return [str(rdata).strip('"') for rrset in reply.answer for rdata in rrset]


def ask(address: Address, name: str) -> dns.message.Message:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.sendto(question(name), address)
        return dns.message.from_wire(sock.recv(4096), one_rr_per_rrset=True)


def leader(address: Address, name: str) -> str:
    return records(ask(address, name))[0]


def framed(packet: bytes) -> bytes:
    return len(packet).to_bytes(2) + packet


def receive(stream: BinaryIO) -> dns.message.Message:
    """The next reply; the test fails when there is none."""
    octets = stream.read(int.from_bytes(stream.read(2)))
    assert octets, "the connection was closed"
    return dns.message.from_wire(octets)


# Turns.


def test_turns_go_on_across_reloads(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, address):
        leaders: dict[str, list[str]] = {"www": [], "pool": []}
        for serial in range(2, RELOADS + 4):
            for name, found in leaders.items():
                found.append(leader(address, name))
            reload(tmp_path, serial)
    for found in leaders.values():
        begin = HOSTS.index(found[0])
        assert found == [HOSTS[(begin + turn) % 4] for turn in range(len(found))]


def test_nobody_gains_by_workers_that_begin(tmp_path: Path) -> None:
    """At the start, or in the place of one that died: that all of 16 begin alike has a chance of one in 4 ** 15."""
    with serving(tmp_path) as (server, address):
        assert len({leader(address, f"n{number}") for number in range(1, 17)}) > 1
        (victim,) = server.workers()
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: server.workers() not in ([], [victim]), "no new worker")
        assert len({leader(address, f"n{number}") for number in range(1, 17)}) > 1


# TCP connections.


@dataclass
class Client:
    """Asks over one connection, again and again, as soon as it has its reply."""

    address: Address
    served: int = 1  # this serial is promised
    asked: int = 0
    stale: list[str] = field(default_factory=list)
    mistake: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        try:
            with socket.create_connection(self.address, 5) as sock, sock.makefile("rb") as stream:
                while not self.done.is_set():
                    served = self.served
                    sock.sendall(framed(question("a", "TXT", self.asked % 65536)))
                    (serial,) = records(receive(stream))
                    self.asked += 1
                    if int(serial) < served:
                        self.stale.append(f"{serial} after {served}")
        except (OSError, AssertionError) as error:
            self.mistake = error


def test_busy_connections_live_through_reloads_and_get_nothing_stale(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as (server, address):
        clients = [Client(address) for _ in range(CLIENTS)]
        threads = [threading.Thread(target=each.run) for each in clients]
        for thread in threads:
            thread.start()
        for serial in range(2, RELOADS + 2):
            before = [each.asked for each in clients]
            reload(tmp_path, serial)
            for each in clients:
                each.served = serial
            eventually(lambda: all(c.asked > was or c.mistake for c, was in zip(clients, before, strict=True)), "idle")  # noqa: B023
        for each in clients:
            each.done.set()
        for thread in threads:
            thread.join()
        assert [each.mistake for each in clients] == [None] * CLIENTS
        assert [each.stale for each in clients] == [[]] * CLIENTS
        assert "Traceback" not in server.log


def test_an_idle_connection_lives_through_a_reload_and_half_a_query_is_not_forgotten(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, address), ExitStack() as stack:
        idle, halved = (stack.enter_context(socket.create_connection(address, 5)) for _ in range(2))
        query = framed(question("a", "TXT"))
        halved.sendall(query[:20])
        for serial in (2, 3):
            reload(tmp_path, serial)
        idle.sendall(query)
        halved.sendall(query[20:])
        for sock in (idle, halved):
            assert records(receive(sock.makefile("rb"))) == ["3"]


def test_replies_that_are_due_come_whole_and_in_order(tmp_path: Path) -> None:
    """Many megabytes of them, to a client that reads none before the reload."""
    with serving(tmp_path) as (_, address), socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
        sock.settimeout(5)
        sock.connect(address)
        asked = 100
        sock.sendall(b"".join(framed(question("large", "TXT", number)) for number in range(asked)))
        sock.shutdown(socket.SHUT_WR)
        for serial in (2, 3):
            reload(tmp_path, serial)
        stream = sock.makefile("rb")
        for number in range(asked):
            reply = receive(stream)
            assert (reply.id, len(reply.answer[0])) == (number, 250)
        assert stream.read() == b""


def test_a_reload_makes_nobody_less_idle(tmp_path: Path) -> None:
    with serving(tmp_path, "--tcp-idle", "1s") as (_, address), socket.create_connection(address, 5) as sock:
        start = time.monotonic()
        for serial in (2, 3):
            time.sleep(0.3)
            reload(tmp_path, serial)
        assert sock.recv(1) == b""
        assert 0.9 < time.monotonic() - start < 1.5


def test_hundreds_of_connections_go_over(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, address), ExitStack() as stack:
        socks = [
            stack.enter_context(socket.create_connection(address, 5, (f"127.0.0.{2 + number % 10}", 0)))
            for number in range(600)
        ]
        reload(tmp_path, 2)
        for sock in socks:
            sock.sendall(framed(question("a", "TXT")))
        for sock in socks:
            assert records(receive(sock.makefile("rb"))) == ["2"]
        assert server.log.count("\n") == 1


# Trust in an answer.


def ttl(address: Address) -> int:
    return ask(address, "pool").answer[0].ttl


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_makes_no_answer_older_than_it_is(tmp_path: Path, end: signal.Signals) -> None:
    port, state = free_port(), tmp_path / "state" / "state.json"
    probe = f"{{tcp: {port}, interval: 200ms, timeout: 150ms, fall: 2, rise: 1}}"
    policy = f"pools: {{pool: {{probe: {probe}}}}}\n"
    with ExitStack() as stack:
        backends = [stack.enter_context(socket.create_server((host, port), backlog=4096)) for host in HOSTS]
        with serving(tmp_path, "--orphan-grace", "0s", policy=policy) as (server, address):
            assert ttl(address) == 300
            backends[0].close()
            eventually(lambda: len(ask(address, "pool").answer) == 3, "the death is not noticed")
            eventually(lambda: state.is_file() and "pool.example.test. A" in state.read_text(), "nothing is saved")
            os.kill(server.parent, end)
            server.ends_within(10.0)
        with serving(tmp_path, policy=policy) as (_, address):
            assert len(ask(address, "pool").answer) == 3
            assert 5 <= ttl(address) <= 20
