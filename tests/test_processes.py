"""The processes: who replaces whom, who ends when, who they run as, and what they weigh."""

from __future__ import annotations

import asyncio
import errno
import os
import pwd
import select
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import dns.message
import pytest
from dnslb_server import DNSLB, ZONE, eventually, launched, question, resident, started, status_field
from peers import STARTING, Address, free_port, is_served

from dnslb.config.settings import Settings
from dnslb.parent.shared_assignment import SharedAssignment
from dnslb.parent.telling.totals import Totals
from dnslb.parent.worker_process import WorkerSockets
from dnslb.parent.workers import Workers, WorkersFailed

ENDING = 2.0            # seconds from a signal to the last process
SAMPLE_ZONES = Path(__file__).parent.parent / "zones"
MOST_RESIDENT = 45 << 20

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can bind low ports and become another user")


def listen(port: int) -> tuple[str, ...]:
    return "--listen", f"127.0.0.1:{port}"


def tell(capsys: pytest.CaptureFixture[str], measured: str) -> None:
    """Print a figure that the machine decides, and that no test should hold it to."""
    with capsys.disabled():
        sys.stdout.write(f"\n{measured}\n")


def answers(port: int) -> bool:
    return is_served("example.test.", Address("127.0.0.1", port))


# A worker dies


@dataclass(slots=True)
class Load:
    """A steady stream of queries from many clients, and which of them were answered."""

    sent: dict[tuple[int, int], float]      # (client, id) → when, on the monotonic clock
    answered: set[tuple[int, int]]

    @property
    def lost(self) -> list[float]:
        return [when for key, when in self.sent.items() if key not in self.answered]


def send_load(port: int, seconds: float, clients: int = 16, pause: float = 0.001) -> Load:
    """About a thousand queries a second; then one more second for late replies."""
    load = Load({}, set())
    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(clients)]
    poll = select.poll()
    by_descriptor = {}
    for client, sock in enumerate(socks):
        sock.connect(("127.0.0.1", port))
        sock.setblocking(False)
        poll.register(sock, select.POLLIN)
        by_descriptor[sock.fileno()] = client, sock

    def receive(wait: float) -> None:
        for descriptor, _ in poll.poll(wait * 1000):
            client, sock = by_descriptor[descriptor]
            load.answered.add((client, int.from_bytes(sock.recv(65535)[:2])))

    start = time.monotonic()
    number = 0
    while time.monotonic() < start + seconds:
        client = number % clients
        load.sent[client, number] = time.monotonic()
        socks[client].send(question("www", number=number))
        number += 1
        while (left := start + number * pause - time.monotonic()) > 0:
            receive(left)
    end = time.monotonic() + 1.0
    while load.lost and time.monotonic() < end:
        receive(0.05)
    for sock in socks:
        sock.close()
    return load


def socket_inodes(pid: int) -> set[str]:
    """The sockets that a process has open, bound ones and others."""
    links = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    return {link for link in links if link.startswith("socket:")}


def udp_inodes(port: int) -> set[str]:
    """The UDP sockets of the machine that are bound to 127.0.0.1 and the port."""
    rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[1] == f"0100007F:{port:04X}"}


def test_a_killed_worker_costs_queries_of_the_first_second_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    with started(tmp_path, "--workers", "2", *listen(port)) as server:
        before = server.workers()
        held = {pid: socket_inodes(pid) & udp_inodes(port) for pid in before}
        victim, other = before
        send_load(port, 1.0)    # and the workers are no longer young
        killed: list[float] = []

        def kill_victim() -> None:
            killed.append(time.monotonic())
            os.kill(victim, signal.SIGKILL)

        timer = threading.Timer(0.5, kill_victim)
        timer.start()
        load = send_load(port, 3.0)
        timer.join()
        after = server.workers()
        late = [when - killed[0] for when in load.lost]
        when_lost = f", sent {min(late):.3f} to {max(late):.3f} s after it" if late else ""
        tell(capsys, f"kill -9 of one of two workers: {len(late)} of {len(load.sent)} queries lost{when_lost}")
        assert all(-0.1 < seconds < 1.0 for seconds in late)
        assert len(load.answered) > 1000
        assert len(after) == 2
        assert other in after
        assert victim not in after
        (successor,) = set(after) - {other}
        assert len(held[victim]) == 1
        assert socket_inodes(successor) & udp_inodes(port) == held[victim]
        assert socket_inodes(other) & udp_inodes(port) == held[other] != held[victim]
        # One line, with the number, the signal and what happens next.
        (line,) = server.log.splitlines()
        number = before.index(victim) + 1
        assert line.endswith(
            f"ERROR worker {number} (pid {victim}) was killed by SIGKILL; a new one takes over its sockets"
        )


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT], ids=lambda number: number.name)
def test_a_worker_that_ends_is_logged_once_and_replaced(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    with started(tmp_path, "--workers", "1", *listen(port)) as server:
        (worker,) = server.workers()
        os.kill(worker, number)
        eventually(lambda: server.workers() not in ([], [worker]), "no new worker")
        eventually(lambda: answers(port), "no answer from the new worker")
        (line,) = server.log.splitlines()
        assert f"worker 1 (pid {worker}) was killed by {number.name}; a new one takes over its sockets" in line


def test_a_worker_leaves_to_the_parent_what_is_meant_for_it(tmp_path: Path) -> None:
    """A terminal sends SIGINT to all processes, a service manager SIGTERM: no worker may end before the parent does."""
    port = free_port()
    with started(tmp_path, "--workers", "1", *listen(port)) as server:
        workers = server.workers()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(workers[0], number)
            assert answers(port)
        assert server.workers() == workers
        assert server.log == ""


def test_queries_that_come_while_there_is_no_worker_wait_for_the_next(tmp_path: Path) -> None:
    port = free_port()
    with (
        started(tmp_path, "--workers", "1", *listen(port)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        (worker,) = server.workers()
        udp.settimeout(5.0)
        udp.connect(("127.0.0.1", port))
        os.kill(worker, signal.SIGSTOP)
        for number in range(100):
            udp.send(question("www", number=number))
        with socket.create_connection(("127.0.0.1", port), 5.0) as tcp:
            tcp.sendall(len(question("www")).to_bytes(2) + question("www"))
            os.kill(worker, signal.SIGKILL)
            assert {int.from_bytes(udp.recv(65535)[:2]) for _ in range(100)} == set(range(100))
            assert int.from_bytes(tcp.recv(2)) > 12


BROKEN = """
import sys
from dnslb.cli import main
from dnslb.ipc import sockets
from dnslb.worker import worker

shares = []
open_all, run = sockets.open_all, worker.run

def open_and_remember(*arguments):
    shares.extend(open_all(*arguments))
    return shares

def fail(task):
    if shares.index(task.share.sockets) in {failing}:
        raise SystemError("broken on purpose")
    run(task)

sockets.open_all, worker.run = open_and_remember, fail
main(sys.argv[1:], prog_name="dnslb")
"""


@pytest.mark.parametrize("failing", [{0, 1}, {0}, {1}], ids=["both", "the first", "the second"])
def test_workers_that_cannot_start_end_the_server_with_an_error(tmp_path: Path, failing: set[int]) -> None:
    source = BROKEN.format(failing=failing)
    kept = ("--state", str(tmp_path / "state"), "--control", str(tmp_path / "control"))
    options = (*kept, "--workers", "2", *listen(free_port()))
    command = [sys.executable, "-c", source, "serve", str(SAMPLE_ZONES), *options]
    with launched(command, tmp_path) as server:
        assert server.ends_within(STARTING) == 1
        assert server.said == ""
        assert "broken on purpose" in server.log
        assert any(f"worker {number + 1} (pid " in server.log for number in failing)
        assert "ended with status 1 before it answered" in server.log
        assert server.log.splitlines()[-1] == "Error: the workers do not come up: see the lines above"


# The parent dies, or is told to end


@pytest.mark.parametrize("grace", [0, 1])
def test_workers_do_not_outlive_the_grace_when_the_parent_is_killed(tmp_path: Path, grace: int) -> None:
    port = free_port()
    with started(tmp_path, "--workers", "3", "--orphan-grace", f"{grace}s", *listen(port)) as server:
        assert len(server.workers()) == 3
        os.kill(server.parent, signal.SIGKILL)
        if grace:
            assert answers(port)
        assert server.ends_within(grace + ENDING) == -signal.SIGKILL
        assert not answers(port)


def test_nor_do_those_that_replaced_others(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, "--workers", "2", "--orphan-grace", "1s", *listen(port)) as server:
        before = server.workers()
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        eventually(lambda: len(server.workers()) == 2 and not set(before) & set(server.workers()), "no new workers")
        eventually(lambda: answers(port), "no answer from the new workers")
        os.kill(server.parent, signal.SIGKILL)
        server.ends_within(1 + ENDING)


def test_without_a_control_socket_nobody_can_take_over_and_workers_leave_at_once(tmp_path: Path) -> None:
    port, zones = free_port(), tmp_path / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text(ZONE)
    command = [*DNSLB, "serve", str(zones), "--state", str(tmp_path / "state"), "--workers", "2", *listen(port)]
    # The default place is no directory that anybody could make.
    with launched(["env", "XDG_RUNTIME_DIR=/dev/null", *command], tmp_path) as server:
        eventually(lambda: answers(port), "no answer", STARTING)
        assert "no control socket: /dev/null/dnslb.sock" in server.log
        os.kill(server.parent, signal.SIGKILL)
        server.ends_within(ENDING)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("to_all", [False, True], ids=["to the parent", "to all, as a terminal does"])
def test_the_server_ends_cleanly_also_with_an_idle_connection(
    tmp_path: Path, number: signal.Signals, to_all: bool
) -> None:
    port = free_port()
    with started(tmp_path, "--workers", "2", *listen(port)) as server:
        with socket.create_connection(("127.0.0.1", port), 5.0) as idle:
            idle.sendall(len(question("www")).to_bytes(2) + question("www"))
            assert idle.recv(65535)
            if to_all:
                os.killpg(server.parent, number)
            else:
                os.kill(server.parent, number)
            assert server.ends_within(ENDING) == 0
            assert idle.recv(1) == b""
        assert server.log == ""


def test_the_port_is_free_again_after_the_end(tmp_path: Path) -> None:
    port = free_port()
    for run in range(2):
        directory = tmp_path / str(run)
        directory.mkdir()
        with started(directory, "--workers", "2", *listen(port)), socket.create_connection(("127.0.0.1", port), 5.0):
            assert answers(port)


def test_a_connection_in_progress_gets_its_replies_at_the_end(tmp_path: Path) -> None:
    """A client that has sent its queries and reads slowly: none of those received is dropped."""
    port = free_port()
    with started(tmp_path, "--workers", "1", *listen(port)) as server, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        sock.settimeout(5.0)
        sock.connect(("127.0.0.1", port))
        packet = question("large", "TXT")
        sock.sendall((len(packet).to_bytes(2) + packet) * 100)
        stream = sock.makefile("rb")
        lengths = [stream.read(2)]      # the first reply has come: all queries have, in its segment
        os.kill(server.parent, signal.SIGTERM)
        replies = []
        while lengths[-1]:
            replies.append(stream.read(int.from_bytes(lengths[-1])))
            lengths.append(stream.read(2))
        # Looked at when all have come: that takes its time, and a client too slow is left alone.
        assert len(replies) == 100
        assert all(len(dns.message.from_wire(reply).answer[0]) == 250 for reply in replies[::10])
        assert server.ends_within(ENDING) == 0


def test_a_client_that_does_not_read_cannot_delay_the_end(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, "--workers", "1", *listen(port)) as server, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(5.0)
        sock.connect(("127.0.0.1", port))
        packet = question("large", "TXT")
        sock.sendall((len(packet).to_bytes(2) + packet) * 1000)
        assert sock.recv(1)
        os.kill(server.parent, signal.SIGTERM)
        assert server.ends_within(ENDING + 1) == 0


def test_a_worker_that_does_not_listen_is_killed_at_the_end(tmp_path: Path) -> None:
    with started(tmp_path, "--workers", "2", *listen(free_port())) as server:
        os.kill(server.workers()[0], signal.SIGSTOP)
        os.kill(server.parent, signal.SIGTERM)
        assert server.ends_within(8.0) == 0


# Privileges and weight


def low_port() -> int:
    """A free one below 1024, on 127.0.0.1."""
    for port in range(1023, 952, -1):
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
        ):
            try:
                udp.bind(("127.0.0.1", port))
                tcp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    pytest.fail("no free port from 953 to 1023")


def ids(pid: int, field: str) -> set[int]:
    """Real, effective, saved and file-system ids."""
    return set(map(int, status_field(pid, field).split()))


@as_root
def test_every_process_runs_as_the_user_once_the_ports_are_open(tmp_path: Path) -> None:
    port, nobody = low_port(), pwd.getpwnam("nobody")
    with started(tmp_path, "--workers", "2", "--user", "nobody", *listen(port)) as server:
        assert answers(port)
        assert len(server.processes()) == 3
        for pid in server.processes():
            assert ids(pid, "Uid") == {nobody.pw_uid}
            assert ids(pid, "Gid") == {nobody.pw_gid}
            assert ids(pid, "Groups") == {nobody.pw_gid}
            assert int(status_field(pid, "CapEff"), 16) == 0
        # A worker that dies is replaced without any of the privileges that opened its sockets.
        before = server.workers()
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: len(set(server.workers()) - set(before)) == 1, "no new worker")
        assert all(ids(pid, "Uid") == {nobody.pw_uid} for pid in server.processes())
        eventually(lambda: answers(port), "no answer")


def test_a_worker_of_the_sample_zones_is_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    start = time.monotonic()
    kept = ("--state", str(tmp_path / "state"), "--control", str(tmp_path / "control"))
    options = (*kept, "--workers", "2", *listen(port))
    command = [*DNSLB, "serve", str(SAMPLE_ZONES), *options]
    with launched(command, tmp_path) as server:
        eventually(lambda: is_served("example.com.", Address("127.0.0.1", port)), "no answer", STARTING)
        seconds = time.monotonic() - start
        eventually(lambda: "try: dig" in server.said, "no announcement", STARTING)
        ask_some(port)
        sizes = [resident(worker) for worker in server.workers()]
        megabytes = ", ".join(f"{size / 2**20:.1f} MB" for size in sizes)
        tell(capsys, f"sample zones: first answer after {seconds:.2f} s; workers resident {megabytes}")
        assert max(sizes) <= MOST_RESIDENT


def ask_some(port: int) -> None:
    """Some hundreds of queries from many clients, so that every worker has met some."""
    for rrtype in ("A", "AAAA", "MX", "ANY"):
        query = dns.message.make_query("www.example.com.", rrtype).to_wire()
        for _ in range(50):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(5.0)
                sock.sendto(query, ("127.0.0.1", port))
                assert sock.recv(65535)


# The workers alone


def test_a_worker_answers_by_the_updates_that_came_before_its_birth() -> None:
    async def live() -> None:
        workers = Workers(SharedAssignment({}, Settings()), WorkerSockets([[]]), Totals())
        number = workers.publish({})
        try:
            await workers.come_up()
            async with asyncio.timeout(STARTING):
                await workers.in_force(number)
        finally:
            await workers.stop()

    asyncio.run(live())


def test_workers_that_cannot_be_forked_do_not_come_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise OSError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(WorkersFailed):
        asyncio.run(Workers(SharedAssignment({}, Settings()), WorkerSockets([[]]), Totals()).come_up())
