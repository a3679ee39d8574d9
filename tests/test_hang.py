"""A worker that hangs is replaced, one that is busy is not; and workers whose parent hangs say so to their clients."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dns.edns
import dns.message
import dns.query
import pytest
from dnslb_server import Server, eventually, launched, question, started
from peers import STARTING, free_port
from scrape import fetch, value
from test_processes import answers, listen, send_load
from world import World

from dnslb.admin import client
from dnslb.ipc.heartbeat import Heartbeat, Silence
from dnslb.system.usage import Usage

TIMEOUT = 2.0   # seconds of silence after which a worker is replaced, here
PATIENT = ("--worker-timeout", f"{TIMEOUT:g}s")


def get(directory: Path, target: str) -> tuple[int, Any]:
    return client.ask(directory / "control", "GET", target)


# A worker hangs


def test_a_stopped_worker_is_replaced_on_its_sockets(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, "--workers", "2", *PATIENT, *listen(port)) as server:
        before = server.workers()
        stopped: list[float] = []
        replaced: list[float] = []

        def stop_one() -> None:
            stopped.append(time.monotonic())
            os.kill(before[0], signal.SIGSTOP)
            eventually(lambda: len(set(server.workers()) - set(before)) == 1, "it is not replaced", 10)
            replaced.append(time.monotonic())

        thread = threading.Timer(0.5, stop_one)
        thread.start()
        load = send_load(port, TIMEOUT + 4.0)
        thread.join()
        took = replaced[0] - stopped[0]
        assert TIMEOUT - 0.1 < took < TIMEOUT + 2.5
        # What waits in its sockets is answered by the next, so far as it fits into them.
        assert all(stopped[0] - 0.2 < when < replaced[0] + 0.5 for when in load.lost)
        after = server.workers()
        assert before[1] in after and before[0] not in after
        doubt, error, *_ = server.log.splitlines()
        assert f"WARNING worker 1 (pid {before[0]}) has said nothing for " in doubt
        assert f"ERROR worker 1 (pid {before[0]}) hangs: it has said nothing for " in error
        assert "; it is killed, and a new one takes over its sockets" in error
        _, status = get(tmp_path, "/status")
        told = status["server"]
        assert (told["hung"], told["restarts"]) == (1, 1)
        _, history = get(tmp_path, "/history")
        (change,) = [each for each in history["changes"] if each["what"] != "started"]
        assert change["what"] == "worker hung"
        assert change["reason"].startswith(f"worker 1 (pid {before[0]}): it has said nothing for ")
        eventually(lambda: get(tmp_path, "/readyz")[0] == 200, "not ready again")


def test_an_order_goes_on_once_a_stopped_worker_is_replaced(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.server(*PATIENT) as server:
        (stuck,) = [pid for pid in server.workers() if "dnslb" in Path(f"/proc/{pid}/cmdline").read_text()]
        os.kill(stuck, signal.SIGSTOP)
        began = time.monotonic()
        world.ask("POST", "/orders", {"mode": "drain", "addresses": ["192.0.2.1"]})
        assert time.monotonic() - began < TIMEOUT + 4.0
        assert world.backends()["192.0.2.1"]["mode"] == "drain"


def test_the_log_and_readyz_agree_on_a_silent_worker(tmp_path: Path) -> None:
    with started(tmp_path, "--workers", "2", "--worker-timeout", "10s", *listen(free_port())) as server:
        stuck = server.workers()[1]
        os.kill(stuck, signal.SIGSTOP)
        try:
            eventually(lambda: get(tmp_path, "/readyz")[0] == 503, "ready without a worker", 9)
            assert get(tmp_path, "/readyz")[1]["error"] == "not known to answer: worker 2"
            assert f"WARNING worker 2 (pid {stuck}) has said nothing for 5." in server.log
        finally:
            os.kill(stuck, signal.SIGCONT)
        eventually(lambda: get(tmp_path, "/readyz")[0] == 200, "not ready again")
        assert f"INFO worker 2 (pid {stuck}) answers again" in server.log
        assert server.workers()[1] == stuck


def test_a_parent_that_was_stopped_hears_its_workers_before_it_judges_them(tmp_path: Path) -> None:
    with started(tmp_path, "--workers", "2", "--worker-timeout", "1s", *listen(free_port())) as server:
        before = server.workers()
        for _ in range(2):
            os.kill(server.parent, signal.SIGSTOP)
            time.sleep(2.5)
            os.kill(server.parent, signal.SIGCONT)
            eventually(lambda: get(tmp_path, "/readyz")[0] == 200, "not ready")
        assert server.workers() == before
        assert "hangs" not in server.log


def test_a_worker_under_a_flood_is_not_killed(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, "--workers", "1", "--worker-timeout", "1s", *listen(port)) as server:
        before = server.workers()
        done = threading.Event()

        def flood() -> None:
            packet = question("www")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect(("127.0.0.1", port))
                while not done.is_set():
                    with suppress(OSError):
                        sock.send(packet)

        threads = [threading.Thread(target=flood) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(4)
        done.set()
        for thread in threads:
            thread.join()
        assert server.workers() == before
        assert "hangs" not in server.log


PATCHED = """
import os, sys, time
from dataclasses import replace
from dnslb.cli import main
from dnslb.worker import counters, worker

run = worker.run
def patched(task):
    once = {once!r}
    try:
        os.close(os.open(once, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        run(task)
    else:
        {fault}
worker.run = patched
main(sys.argv[1:], prog_name="dnslb")
"""
# The first worker has this fault, and the next does not.
DEAF = """
        import socket
        other = socket.create_server(("127.0.0.1", 0))
        other.setblocking(False)
        deaf = [replace(pair, tcp=other) for pair in task.share.sockets]
        run(replace(task, share=replace(task.share, sockets=deaf)))
"""
WORKING = """
        hear = counters.Counters.take
        def take(own, times=[]):
            times.append(1)
            if len(times) == 3:
                end = time.monotonic() + {seconds}
                while time.monotonic() < end:
                    pass
            return hear(own)
        counters.Counters.take = take
        run(task)
"""


@contextmanager
def with_fault(directory: Path, fault: str, *options: str) -> Iterator[Server]:
    source = PATCHED.format(once=str(directory / "once"), fault=fault.strip())
    zones = directory / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text("@ 60 SOA ns1 h 1 1h 1h 1h 1h\n@ 60 NS ns1\nns1 60 A 192.0.2.1\n")
    kept = ("--state", str(directory / "state"), "--control", str(directory / "control"))
    with launched([sys.executable, "-c", source, "serve", str(zones), *kept, *options], directory) as server:
        eventually(lambda: "try: dig" in server.said, "no announcement", STARTING)
        yield server


def test_a_worker_that_answers_tcp_no_more_is_replaced(tmp_path: Path) -> None:
    port = free_port()
    with with_fault(tmp_path, DEAF, "--workers", "1", *PATIENT, *listen(port)) as server:
        (deaf,) = server.workers()
        query = dns.message.make_query("ns1.example.test.", "A")
        assert dns.query.udp(query, "127.0.0.1", 5, port).answer
        began = time.monotonic()
        # The connection waits, and is answered by the next worker.
        assert dns.query.tcp(query, "127.0.0.1", 20, port).answer
        assert TIMEOUT - 0.5 < time.monotonic() - began < TIMEOUT + 4
        assert f"worker 1 (pid {deaf}) hangs: TCP connections wait, and it has accepted none for " in server.log


def test_a_worker_that_only_works_is_waited_for(tmp_path: Path) -> None:
    with with_fault(
        tmp_path, WORKING.format(seconds=2.6), "--workers", "1", "--worker-timeout", "1s", *listen(free_port())
    ) as server:
        before = server.workers()
        eventually(lambda: "has said nothing for" in server.log, "it was not busy", 10)
        eventually(lambda: "answers again" in server.log, "it does not answer again", 10)
        assert server.workers() == before
        assert "hangs" not in server.log


def test_a_worker_that_works_for_ever_is_replaced_in_the_end(tmp_path: Path) -> None:
    with with_fault(
        tmp_path, WORKING.format(seconds=3600), "--workers", "1", "--worker-timeout", "1s", *listen(free_port())
    ) as server:
        before = server.workers()
        eventually(lambda: "hangs: it has said nothing for " in server.log, "it is not replaced", 15)
        eventually(lambda: server.workers() not in ([], before), "there is no new one")


def used(cpu: float = 0.0, state: str = "S") -> Usage:
    return Usage(0, cpu, state)


@pytest.mark.parametrize(("looks", "stopped"), [
    ([used()] * 19, False),
    ([used()] * 21, True),
    ([used(state="T")] * 21, True),
    ([used(state="R")] * 60, False),                                 # starved of a processor
    ([used(state="D")] * 60, False),                                 # waits for its memory
    ([used(state="R")] * 81, True),                                  # whatever it does, it is not for ever
    ([used(cpu=0.01 * look) for look in range(60)], False),
    ([*(used(cpu=0.01 * look) for look in range(30)), *[used(cpu=0.29)] * 21], True),
    ([None] * 60, False),                                            # it has ended, and is about to be buried
])  # fmt: skip
def test_a_process_hangs_when_it_is_silent_and_does_nothing(looks: list[Usage | None], stopped: bool) -> None:
    heartbeat = Heartbeat(0.0)
    for number, look in enumerate(looks, 1):
        heartbeat.look(number / 4, look)
    assert heartbeat.has_stopped(5.0) is stopped


def test_silence_counts_only_while_somebody_listens() -> None:
    silence = Silence(0.0)
    silence.look(0.25)
    silence.look(10.25)
    assert silence.seconds == 0.75
    silence.end()
    silence.look(10.5)
    assert silence.seconds == 0.25


# The parent hangs


def asked(port: int) -> tuple[int, list[str]]:
    """The TTL of the pool's answer, and the texts of its extended errors."""
    reply = dns.query.udp(dns.message.make_query("www.example.test.", "A", use_edns=0), "127.0.0.1", 5, port)
    return reply.answer[0].ttl, [str(option) for option in reply.options if isinstance(option, dns.edns.EDEOption)]


def test_workers_whose_parent_hangs_lower_the_ttl_and_say_why(tmp_path: Path) -> None:
    world, port = World(tmp_path), free_port()
    with started(tmp_path, "--workers", "2", *listen(port)) as server:
        eventually(lambda: asked(port)[0] > 5, "the answer has not proved itself", 20)
        high = asked(port)
        os.kill(server.parent, signal.SIGSTOP)
        began = time.monotonic()
        try:
            told = " s: pools are answered with their lowest TTL\n"
            eventually(lambda: server.log.count(told) == 2, "it is not told", 10)
            assert time.monotonic() - began > 2.0
            note = "EDE 0 (Other): health is not known at present: this is the last known answer"
            eventually(lambda: [asked(port) for _ in range(8)] == [(5, [note])] * 8, "the TTL stays")
        finally:
            os.kill(server.parent, signal.SIGCONT)
        eventually(lambda: all(asked(port) == (high[0], []) for _ in range(8)), "the TTL does not rise again")
        eventually(lambda: server.log.count("the parent is heard again") == 2, "it is not told")
        assert "hangs" not in server.log
        assert world.backends()["192.0.2.1"]["up"]
        assert answers(port)


def test_a_hung_worker_is_counted(tmp_path: Path) -> None:
    with started(tmp_path, "--workers", "1", "--worker-timeout", "1s", *listen(free_port())) as server:
        os.kill(server.workers()[0], signal.SIGSTOP)
        eventually(lambda: "hangs" in server.log, "it is not noticed")
        eventually(lambda: get(tmp_path, "/readyz")[0] == 200, "not ready again")
        assert value(fetch(tmp_path / "control", "/metrics")[2], "dnslb_workers_hung_total") == 1

