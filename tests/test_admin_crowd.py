"""One greedy client, or many: monitoring is answered all the same, and the loop in which probes run is never late."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import select
import socket
import time
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from crowds import TOKEN, Lazy, Many, serving
from dnslb_server import eventually, resident, started
from peers import free_port
from scrape import fetch, value
from test_admin_address import Address, everything, options, settled
from test_control import parsed

from dnslb.admin import connection
from dnslb.control.errors import Unknown
from dnslb.control.status import PoolStatus, Status

MONITORING = ("/healthz", "/readyz", "/metrics")
PARTIAL = b"POST /orders HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le"
HELD = 0.15  # seconds of CPU time at a stretch, at most: the clients of the tests have their share in it
ALL = b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def run(story: Coroutine[object, object, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 50))


def counted(metrics: bytes, reason: str) -> float:
    text = b"# HELP dnslb_admin_refused_total " + metrics.partition(b"# HELP dnslb_admin_refused_total ")[2]
    return value(text.decode(), "dnslb_admin_refused_total", reason=reason)


# Places.


@pytest.mark.parametrize("octets", [b"", PARTIAL, ALL * 20], ids=["silent", "slow to ask", "slow to take"])
def test_seventy_connections_of_one_client_lock_monitoring_out_nowhere(
    octets: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 100.0)

    async def story() -> None:
        async with serving(Lazy(count=200)) as scene:
            held = [await scene.hold(octets) for _ in range(70)]
            for target in MONITORING:
                assert (await scene.ask(target))[0] == 200
            for _, writer in held:
                writer.close()

    run(story())


def test_a_new_connection_gets_the_place_of_the_one_that_kept_us_waiting_longest() -> None:
    async def story() -> None:
        async with serving(Lazy(count=1)) as scene:
            held = [await scene.hold(PARTIAL) for _ in range(33)]
            async with asyncio.timeout(2):
                with suppress(ConnectionError):
                    assert await held[0][0].read() == b""
            for reader, writer in held[1:]:
                assert not reader.at_eof()
                writer.close()

    run(story())


def test_an_exchange_is_bounded_however_a_reply_trickles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LONGEST", 1.0, raising=False)

    async def story() -> None:
        async with serving(Lazy(count=9000)) as scene:  # 9 MB, more than the system takes in advance
            reader, writer = await scene.hold(ALL)
            refused = 0.0
            while not refused:
                await reader.read(1000)
                _, text = await scene.ask("/metrics")
                refused = counted(text, "slow")
            writer.close()

    run(story())


def test_octets_that_come_one_by_one_do_not_prolong_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.5)

    async def story() -> None:
        async with serving(Lazy()) as scene:
            reader, writer = await scene.hold(b"POST /orders HTTP/1.0\r\nContent-Length: 1000\r\n\r\n")
            began = time.monotonic()
            while not reader.at_eof() and time.monotonic() - began < 5:
                writer.write(b" ")
                with suppress(TimeoutError, ConnectionError):
                    await asyncio.wait_for(reader.read(1000), 0.05)
            assert time.monotonic() - began < 3

    run(story())


def test_a_body_in_countless_chunks_is_refused() -> None:
    async def story() -> None:
        async with serving(Lazy()) as scene:
            reader, writer = await scene.hold(
                b"POST /orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 20_000
            )
            assert parsed(await reader.read())[0] == 413
            writer.close()

    run(story())


# Work.


def test_sixty_who_want_everything_keep_no_turn_of_the_loop_waiting() -> None:
    async def story() -> None:
        operations = Lazy(count=2000)
        async with serving(operations) as scene:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(scene.ask("/status")) for _ in range(30)]
                asked += [group.create_task(scene.ask("/probes")) for _ in range(15)]
                asked += [group.create_task(scene.ask("/metrics")) for _ in range(15)]
            replies = [task.result() for task in asked]
            assert {status for status, _ in replies} <= {200, 503}
            assert [status for status, _ in replies].count(200) >= 20
            assert all(len(json.loads(body)["pools"]) == 2000 for status, body in replies[:30] if status == 200)
            assert operations.asked <= 4, "equal requests share an answer"
            assert max(scene.spent) < HELD

    run(story())


def test_a_client_that_asks_on_and_on_keeps_no_turn_waiting() -> None:
    async def story() -> None:
        async with serving(Lazy(count=500)) as scene:
            pipelined = b"".join(b"GET /status/%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % n for n in range(200))
            held = [await scene.hold(pipelined) for _ in range(30)]
            began = time.monotonic()
            while time.monotonic() - began < 2:
                assert (await scene.ask("/readyz"))[0] == 200
                assert (await scene.ask("/metrics", patience=5))[0] == 200
            assert max(scene.spent) < HELD
            for _, writer in held:
                writer.close()

    run(story())


def test_whoever_is_sent_away_may_ask_again() -> None:
    async def story() -> None:
        async with serving(Lazy(count=2000)) as scene:
            asked = [scene.ask(f"/status/{number}") for number in range(20)]
            replies = await asyncio.gather(*asked)
            refused = [json.loads(body) for status, body in replies if status == 503]
            assert refused
            assert refused[0]["error"] == "too many requests are being answered"
            assert (await scene.ask("/status/x"))[0] == 200
            _, text = await scene.ask("/metrics")
            assert counted(text, "busy") > 0

    run(story())


@pytest.mark.long
def test_slow_readers_of_long_replies_fill_no_memory() -> None:
    async def story() -> None:
        async with serving(Lazy(count=4000)) as scene:  # 3.5 MB each
            before = resident(os.getpid())
            held = []
            for number in range(60):
                held.append(await scene.hold(b"GET /status/%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % number))
                await asyncio.sleep(0.2)
            assert resident(os.getpid()) - before < 150 << 20
            for _, writer in held:
                writer.close()

    run(story())


def test_what_is_wrong_in_the_midst_of_the_work_is_told_as_ever() -> None:
    class Nobody(Many):
        def status(self, pattern: str | None) -> Status:
            def pools() -> Iterator[PoolStatus | None]:
                yield None
                raise Unknown(f"no pool is called {pattern}", "look")

            return replace(super().status("x"), pools=pools())

    async def story() -> None:
        async with serving(Nobody(count=1)) as scene:
            status, body = await scene.ask("/status/nobody")
            assert (status, json.loads(body)["error"]) == (404, "no pool is called nobody")

    run(story())


# Names and patterns.


@pytest.mark.parametrize("pattern", ["x" * 1005, "*a" * 17, "[" * 17, "*" * 14_000])
def test_a_pattern_that_no_name_needs_is_refused(pattern: str) -> None:
    async def story() -> None:
        async with serving(Lazy(count=1)) as scene:
            assert (await scene.ask(f"/status/{pattern}"))[0] == 400
            assert (await scene.ask(f"/status/{'x' * 1004}"))[0] == 200

    run(story())


# Tokens.


def test_wrong_tokens_are_told_slowed_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with serving(Lazy(count=1), TOKEN.encode()) as scene:
            began = time.monotonic()
            for _ in range(4):
                status, _ = await scene.ask("/reload", Authorization="Bearer guessed-by-somebody")
                assert status == 401
            assert time.monotonic() - began >= 0.1 + 0.2 + 0.4 + 0.8
            began = time.monotonic()
            status, _ = await scene.ask("/log-level", Authorization=f"Bearer {TOKEN}")
            assert status == 405  # it is let in at once
            assert time.monotonic() - began < 1
            _, text = await scene.ask("/metrics")
            assert counted(text, "token") == 4

    with caplog.at_level(logging.WARNING):
        run(story())
    assert [record.getMessage() for record in caplog.records] == ["a wrong token from 127.0.0.1"]
    assert "guessed" not in caplog.text


def test_those_who_guess_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 100.0)

    async def story() -> None:
        async with serving(Lazy(count=1), TOKEN.encode()) as scene:
            guess = b"POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nContent-Length: 0\r\n\r\n"
            held = [await scene.hold(guess * 5) for _ in range(70)]
            for target in (*MONITORING, "/status"):
                assert (await scene.ask(target))[0] == 200
            for _, writer in held:
                writer.close()

    run(story())


# Descriptors.


def test_without_descriptors_it_waits_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with serving(Lazy(count=1)) as scene:
            assert (await scene.ask("/healthz"))[0] == 200
            late = socket.create_connection(("127.0.0.1", scene.port))
            late.close()
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            with socket.socket() as client:
                client.setblocking(False)
                resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
                try:
                    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", scene.port))
                    await asyncio.sleep(2.5)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert (await scene.ask("/healthz"))[0] == 200

    with caplog.at_level(logging.WARNING):
        run(story())
    assert [record.getMessage() for record in caplog.records] == [
        "no operator can be let in: too many open files; it is tried again every second"
    ]


# A real server.


def test_a_real_server_is_seen_by_its_monitoring_whoever_sits_in_it(tmp_path: Path) -> None:
    settled(tmp_path)
    port = free_port()
    with started(tmp_path, *options(port)) as running, ExitStack() as stack:
        control = tmp_path / "control"
        for _ in range(70):
            stack.enter_context(Address(running, port).connect()).sendall(PARTIAL)
            sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            sock.connect(str(control))
            sock.sendall(PARTIAL)
        for target in MONITORING:
            assert fetch(control, target)[0] == 200
            with Address(running, port).connect() as sock:
                sock.sendall(f"GET {target} HTTP/1.0\r\n\r\n".encode())
                assert everything(sock).startswith(b"HTTP/1.1 200 ")
        assert value(fetch(control, "/metrics")[2], "dnslb_admin_refused_total", reason="crowd") >= 70


MANY = 4000
HEAD = "@ 300 SOA ns1 h 1 3600 900 1209600 60\n@ 300 NS ns1\nns1 300 A 192.0.2.53\n"


def test_a_probe_of_a_large_server_is_not_late_while_sixty_ask_for_everything(tmp_path: Path) -> None:
    zones, listen = tmp_path / "zones", free_port()
    zones.mkdir()
    backends = range(MANY)
    records = "".join(f"www{number} 30 A 192.0.{number // 250}.{number % 250 + 1}\n" for number in backends)
    (zones / "example.test.zone").write_text(f"{HEAD}{records}probed 30 A 127.0.1.41\n")
    pools = "".join(f"  www{number}: {{}}\n" for number in backends)
    with socket.create_server(("127.0.1.41", 0), backlog=100) as probed:
        probed.settimeout(10)
        probe = f"{{tcp: {probed.getsockname()[1]}, interval: 100ms, timeout: 90ms}}"
        (zones / "example.test.yaml").write_text(f"pools:\n{pools}  probed: {{probe: {probe}}}\n")
        with started(tmp_path, "--listen", f"127.0.0.1:{listen}", "--workers", "1", "--no-watch") as running:
            while select.select([probed], [], [], 0)[0]:
                probed.accept()[0].close()  # those of the start
            at = times_of(probed, 20)
            usual = sorted(later - earlier for earlier, later in pairwise(at))[-2]
            with ExitStack() as stack:
                for _ in range(60):
                    sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                    sock.connect(str(tmp_path / "control"))
                    sock.sendall(ALL)
                at = times_of(probed, 30)
            worst = sorted(later - earlier for earlier, later in pairwise(at))[-2]
            assert worst - usual < 0.05, f"{worst:.3f} s between two probes, {usual:.3f} s before"
            eventually(lambda: fetch(tmp_path / "control", "/readyz")[0] == 200, "not ready")
            assert "Traceback" not in running.log


def times_of(listener: socket.socket, count: int) -> list[float]:
    """When so many connections came."""
    found = []
    for _ in range(count):
        listener.accept()[0].close()
        found.append(time.monotonic())
    return found
