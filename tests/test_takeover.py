"""From one server to the next: what comes in between is answered, and what was ordered stands."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import dns.message
import dns.query
import pytest
from dnslb_server import DNSLB, ZONE, Server, eventually, in_session, launched, started
from peers import STARTING, free_port
from test_processes import Load, answers, as_root, listen, send_load, socket_inodes, udp_inodes
from test_service import managed
from world import World

from dnslb.admin import client
from dnslb.config.settings import Endpoint, parse_endpoint
from dnslb.ipc import sockets, takeover
from dnslb.ipc.takeover import CannotTakeOver


@contextmanager
def another(directory: Path, *options: str) -> Iterator[Server]:
    """A second server over the same directory, its files beside those of the first; from its start on."""
    files = directory / "second"
    files.mkdir(exist_ok=True)
    kept = ("--state", str(directory / "state"), "--control", str(directory / "control"))
    with launched([*DNSLB, "serve", str(directory / "zones"), *kept, *options], files) as server:
        yield server


def comes_up(server: Server) -> None:
    eventually(lambda: "try: dig" in server.said or server.popen.poll() is not None, "no announcement", STARTING)
    if server.popen.poll() is not None:
        pytest.fail(f"it ended with status {server.popen.returncode}\n{server.log}")


def under_load(port: int, seconds: float, act: Callable[[], None]) -> tuple[Load, int]:
    """What becomes of a steady stream of queries, and how many of those over TCP failed, while this is done."""
    query = dns.message.make_query("www.example.test.", "A")
    done = threading.Event()

    def ask_over_tcp() -> int:
        failed = 0
        while not done.wait(0.02):
            try:
                dns.query.tcp(query, "127.0.0.1", 5, port)
            except (OSError, EOFError, dns.exception.DNSException):
                failed += 1
        return failed

    with ThreadPoolExecutor(2) as threads:
        failures = threads.submit(ask_over_tcp)
        acting = threads.submit(act)
        try:
            load = send_load(port, seconds)
            acting.result()
        finally:
            done.set()
    return load, failures.result()


# The server is killed


def test_nothing_is_lost_when_the_parent_is_killed_and_started_again(tmp_path: Path) -> None:
    port = free_port()
    options = ("--workers", "2", *listen(port))
    with started(tmp_path, *options) as first:
        old = first.workers()
        held = {inode for pid in old for inode in socket_inodes(pid) & udp_inodes(port)}
        second: list[Server] = []

        def kill_and_start() -> None:
            time.sleep(0.5)
            os.kill(first.parent, signal.SIGKILL)
            time.sleep(0.5)
            second.append(stack.__enter__())
            comes_up(second[0])

        stack = another(tmp_path, *options)
        try:
            load, failed = under_load(port, 5.0, kill_and_start)
            assert load.lost == []
            assert failed == 0
            assert first.log.count("the parent is gone: answering for 60 s more, or until it is started again") == 2
            assert "this server has taken over from the workers of one that was gone" in second[0].log
            eventually(lambda: not first.processes(), "the old workers stay")
            assert {inode for pid in second[0].workers() for inode in socket_inodes(pid) & udp_inodes(port)} == held
            # And so once more.
            assert client.ask(tmp_path / "control", "GET", "/readyz")[0] == 200
        finally:
            stack.__exit__(None, None, None)
    assert not answers(port)


def test_orphans_are_taken_over_by_a_server_of_another_size_and_place(tmp_path: Path) -> None:
    kept, gone, new = free_port(), free_port(), free_port()
    with started(tmp_path, "--workers", "3", *listen(kept), *listen(gone)) as first:
        os.kill(first.parent, signal.SIGKILL)
        eventually(lambda: first.log.count("the parent is gone") == 3, "they do not notice")
        assert answers(kept) and answers(gone)
        with another(tmp_path, "--workers", "2", *listen(kept), *listen(new)) as second:
            comes_up(second)
            eventually(lambda: not first.processes(), "the old workers stay")
            assert all(answers(kept) for _ in range(20))
            assert all(answers(new) for _ in range(20))
            assert not answers(gone)


def test_once_a_new_server_takes_orders_no_orphan_answers_beside_it(tmp_path: Path) -> None:
    """It would not know of them."""
    port = free_port()
    with started(tmp_path, "--workers", "2", *listen(port)) as first, ExitStack() as clients:
        for _ in range(8):  # who has clients takes a while to leave
            clients.enter_context(socket.create_connection(("127.0.0.1", port)))
        os.kill(first.parent, signal.SIGKILL)
        with another(tmp_path, "--workers", "2", *listen(port)) as second:
            eventually(lambda: can_be_asked(tmp_path / "control"), "it does not come up", STARTING)
            assert first.workers() == []
            assert "beside ours" not in second.log


def can_be_asked(control: Path) -> bool:
    try:
        return client.ask(control, "GET", "/readyz")[0] == 200
    except client.Unreachable:
        return False


def test_verdicts_and_orders_go_on_after_a_kill(tmp_path: Path) -> None:
    world, port = World(tmp_path), free_port()
    with started(tmp_path, "--workers", "1", *listen(port)) as first:
        world.ask("POST", "/orders", {"mode": "drain", "addresses": ["192.0.2.1"]})
        os.kill(first.parent, signal.SIGKILL)
        with another(tmp_path, "--workers", "1", *listen(port)) as second:
            comes_up(second)
            assert world.backends()["192.0.2.1"]["mode"] == "drain"


def test_an_orphan_that_is_stopped_delays_the_next_server_for_a_bounded_time(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, "--workers", "2", *listen(port)) as first:
        stuck, _ = first.workers()
        os.kill(stuck, signal.SIGSTOP)
        os.kill(first.parent, signal.SIGKILL)
        try:
            with another(tmp_path, "--workers", "2", *listen(port)) as second:
                began = time.monotonic()
                comes_up(second)
                assert time.monotonic() - began < 20
                assert "1 of 2 workers of the server that is gone do not answer" in second.log
        finally:
            os.kill(stuck, signal.SIGKILL)
            eventually(lambda: stuck not in first.processes(), "it does not end")


# The server is replaced


def test_nothing_is_lost_when_a_new_server_takes_over(tmp_path: Path) -> None:
    port = free_port()
    options = ("--workers", "2", *listen(port))
    with started(tmp_path, *options) as first:
        seconds: list[Server] = []
        stack = another(tmp_path, *options, "--takeover")

        def take_over() -> None:
            time.sleep(0.5)
            seconds.append(stack.__enter__())
            comes_up(seconds[0])

        try:
            load, failed = under_load(port, 4.0, take_over)
            assert load.lost == []
            assert failed == 0
            assert first.popen.wait(5) == 0
            assert not first.processes()
            assert f"pid {seconds[0].parent} has taken over: this server leaves" in first.log
            assert client.ask(tmp_path / "control", "GET", "/readyz")[0] == 200
            # A third one takes over from the second, from the same places.
            with another_place(tmp_path, *options, "--takeover") as third:
                comes_up(third)
                assert seconds[0].popen.wait(5) == 0
                assert client.ask(tmp_path / "control", "GET", "/readyz")[0] == 200
                assert answers(port)
        finally:
            stack.__exit__(None, None, None)
    assert not (tmp_path / "control").exists()
    assert not (tmp_path / "control.takeover").exists()


@contextmanager
def another_place(directory: Path, *options: str) -> Iterator[Server]:
    files = directory / "third"
    files.mkdir()
    kept = ("--state", str(directory / "state"), "--control", str(directory / "control"))
    with launched([*DNSLB, "serve", str(directory / "zones"), *kept, *options], files) as server:
        yield server


def test_commands_and_orders_survive_a_takeover(tmp_path: Path) -> None:
    world, port, admin = World(tmp_path), free_port(), free_port()
    options = ("--workers", "1", *listen(port), "--admin", f"127.0.0.1:{admin}")
    with started(tmp_path, *options) as first:
        (world.up / "192.0.2.2").unlink()
        eventually(lambda: world.backends()["192.0.2.2"]["up"] is False, "it is not noticed")
        world.ask("POST", "/orders", {"mode": "drain", "addresses": ["192.0.2.1"]})
        failed: list[object] = []
        ordered: list[str] = []
        done = threading.Event()

        def ask_on() -> None:
            turn = 0
            while not done.wait(0.02):
                turn += 1
                mode = "maint" if turn % 2 else "ready"
                try:
                    status, answer = client.ask(
                        tmp_path / "control", "POST", "/orders", {"mode": mode, "addresses": ["192.0.2.4"]}
                    )
                    if status != 200:
                        failed.append(answer)
                    else:
                        ordered.append(mode)
                except client.Unreachable as error:
                    failed.append(str(error))

        thread = threading.Thread(target=ask_on)
        thread.start()
        with another(tmp_path, *options, "--takeover") as second:
            try:
                comes_up(second)
                assert first.popen.wait(10) == 0
                time.sleep(0.3)
            finally:
                done.set()
                thread.join()
            # A command that the old server was about to answer may fail; none finds nobody.
            assert len(failed) <= 1, failed
            backends = world.backends()
            assert backends["192.0.2.1"]["mode"] == "drain"
            assert backends["192.0.2.2"]["up"] is False
            assert backends["192.0.2.4"]["mode"] == ordered[-1]
            changes = [(what, address) for address, what in world.history()]
            assert changes.count(("drain", "192.0.2.1")) == 1
            assert changes.count(("down", "192.0.2.2")) == 1
            assert abs(sum(address == "192.0.2.4" for _, address in changes) - len(ordered)) <= 1
            with socket.create_connection(("127.0.0.1", admin), 5) as sock:
                sock.sendall(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                assert sock.recv(100).startswith(b"HTTP/1.1 200")
            world.ask("POST", "/orders", {"mode": "ready", "addresses": ["192.0.2.1"]})
            eventually(lambda: '"mode": "drain"' not in world.saved(), "the new server saves nothing")


def test_a_second_server_is_refused_unless_it_is_to_take_over(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, "--workers", "1", *listen(port)) as first:
        with another(tmp_path, "--workers", "1", *listen(port)) as second:
            assert second.popen.wait(STARTING) == 1
            assert second.log == (
                f"Error: another dnslb listens on {tmp_path}/control; stop it, or give --control PATH or --takeover\n"
            )
        assert answers(port)
        assert client.ask(tmp_path / "control", "GET", "/readyz")[0] == 200
        assert first.log == ""


def test_with_nobody_to_take_over_from_it_starts_as_usual(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, "--workers", "1", "--takeover", *listen(port)) as server:
        assert answers(port)
        assert server.log == ""


def test_a_new_server_that_fails_changes_nothing(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, "--workers", "1", *listen(port)) as first:
        elsewhere = ("--listen", "192.0.2.1:53")
        with another(tmp_path, "--workers", "1", *listen(port), *elsewhere, "--takeover") as second:
            assert second.popen.wait(STARTING) == 1
            assert "cannot listen on 192.0.2.1:53" in second.log
        assert answers(port)
        assert client.ask(tmp_path / "control", "GET", "/readyz")[0] == 200
        assert "has not taken over: it has left, or taken too long" in first.log
        with another(tmp_path, "--workers", "1", *listen(port), "--takeover") as third:
            comes_up(third)
            assert first.popen.wait(5) == 0
            assert answers(port)


def test_a_server_that_hangs_is_named_to_who_wants_to_take_over(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, "--workers", "1", *listen(port)) as first:
        os.kill(first.parent, signal.SIGSTOP)
        try:
            with another(tmp_path, "--workers", "1", *listen(port), "--takeover") as second:
                began = time.monotonic()
                assert second.popen.wait(STARTING) == 1
                assert time.monotonic() - began < 12
                assert f"(pid {first.parent}) does not answer; end it (kill -9 {first.parent})" in second.log
            assert answers(port)
            # And so it is.
            os.kill(first.parent, signal.SIGKILL)
            with another(tmp_path, "--workers", "1", *listen(port), "--takeover") as third:
                comes_up(third)
                eventually(lambda: not first.processes(), "the old workers stay")
                assert answers(port)
        finally:
            with suppress(ProcessLookupError):
                os.kill(first.parent, signal.SIGCONT)


def test_two_new_servers_at_once(tmp_path: Path) -> None:
    port = free_port()
    options = ("--workers", "1", *listen(port), "--takeover")
    with (
        started(tmp_path, "--workers", "1", *listen(port)) as first,
        another(tmp_path, *options) as second,
        another_place(tmp_path, *options) as third,
    ):
        both = (second, third)
        eventually(lambda: any("try: dig" in each.said for each in both), "none comes up", STARTING)
        assert first.popen.wait(5) == 0
        # The other was refused, or came later and has taken over once more.
        eventually(lambda: any(each.popen.poll() is not None for each in both), "both live", STARTING)
        assert answers(port)
        assert client.ask(tmp_path / "control", "GET", "/readyz")[0] == 200


# Attacks on the socket


def test_who_connects_and_says_nothing_keeps_nobody_out_for_long(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, "--workers", "1", *listen(port)) as first:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
            silent.settimeout(20)
            silent.connect(str(tmp_path / "control.takeover"))
            with another(tmp_path, "--workers", "1", *listen(port), "--takeover") as second:
                assert second.popen.wait(STARTING) == 1
                assert f"pid {os.getpid()} takes over already; wait for it" in second.log
            assert silent.recv(1) == b""
        with another(tmp_path, "--workers", "1", *listen(port), "--takeover") as third:
            comes_up(third)
            assert first.popen.wait(5) == 0


@pytest.mark.parametrize("octets", [
    b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\2[]", b"\0\0\0\2{}", b"\0\0\0\x0c{\"take\": 99}", b"\0\0\0\1x",
    b"GET / HTTP/1.1\r\n\r\n",
])  # fmt: skip
def test_who_talks_nonsense_gets_nothing(tmp_path: Path, octets: bytes) -> None:
    with started(tmp_path, "--workers", "1", *listen(port := free_port())) as server:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(20)
            sock.connect(str(tmp_path / "control.takeover"))
            sock.sendall(octets)
            with suppress(ConnectionResetError):  # by which it says that it has not read all
                assert sock.recv(1) == b""
        assert answers(port)
        assert "Traceback" not in server.log


@as_root
def test_only_root_and_the_user_of_the_server_are_handed_anything(tmp_path: Path) -> None:
    """The group may give orders, but not answer in our place."""
    with started(tmp_path, "--workers", "1", *listen(free_port())):
        place = tmp_path / "control.takeover"
        assert oct(place.stat().st_mode & 0o777) == "0o660"
        place.chmod(0o666)
        for each in (tmp_path, *tmp_path.parents):
            with suppress(PermissionError):
                each.chmod(each.stat().st_mode | 0o011)
        source = f"""
import os, socket
os.setgid(65534); os.setuid(65534)
sock = socket.socket(socket.AF_UNIX)
sock.settimeout(10)
sock.connect({str(place)!r})
sock.sendall(b'\\0\\0\\0\\x0b{{"take": 1}}')
print(socket.recv_fds(sock, 4096, 16)[:2])
"""
        command = [DNSLB[0], "-c", source]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        nothing = ("ConnectionResetError", "BrokenPipeError")
        assert done.stdout == "(b'', [])\n" or done.stderr.splitlines()[-1].startswith(nothing), done.stderr


def test_a_server_that_speaks_another_language_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "control.takeover"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(place))
        listener.listen()

        def answer() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(4096)
                message = json.dumps({"later": "version"}).encode()
                sock.sendall(len(message).to_bytes(4) + message)
                sock.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(CannotTakeOver, match="it speaks another language: stop it, and start this one"):
            takeover.ask(place)
        thread.join()


def test_nobody_there(tmp_path: Path) -> None:
    assert takeover.ask(tmp_path / "control.takeover").pairs == []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(tmp_path / "control.takeover"))
    assert takeover.ask(tmp_path / "control.takeover").pairs == []


def endpoint() -> Endpoint:
    found = parse_endpoint(f"127.0.0.1:{free_port()}")
    assert found is not None
    return found


@pytest.mark.parametrize(("old", "new", "sizes"), [
    (2, 2, [1, 1]), (2, 3, [1, 1, 1]), (3, 2, [2, 1]), (4, 1, [4]),
])  # fmt: skip
def test_every_socket_that_is_wanted_goes_to_a_worker(old: int, new: int, sizes: list[int]) -> None:
    wanted, unwanted = endpoint(), endpoint()
    inherited = [pair for share in sockets.open_all((wanted, unwanted), old) for pair in share]
    shares = sockets.open_all((wanted,), new, inherited)
    assert [len(share) for share in shares] == sizes
    given = [pair for share in shares for pair in share]
    assert all(pair in given for pair in inherited if pair.endpoint == wanted)
    assert all(pair.udp.fileno() == -1 for pair in inherited if pair.endpoint == unwanted)
    for pair in given:
        pair.udp.close()
        pair.tcp.close()


# By a signal, and under a service manager


def test_a_signal_starts_the_program_anew_and_the_manager_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, port = World(tmp_path), free_port()
    with managed(monkeypatch, str(tmp_path / "notify")) as manager, started(
        tmp_path, "--workers", "2", *listen(port)
    ) as first:
        assert manager.hear()[0] == "READY=1"
        successor: list[int] = []

        def renew() -> None:
            time.sleep(0.3)
            os.kill(first.parent, signal.SIGUSR2)
            (line,) = manager.hear()
            successor.append(int(line.removeprefix("MAINPID=")))
            assert manager.hear() == ["READY=1", "STATUS=1 zones, 1 pools"]

        try:
            load, failed = under_load(port, 4.0, renew)
            assert load.lost == []
            assert failed == 0
            assert first.popen.wait(5) == 0
            assert world.backends()["192.0.2.1"]["up"]
        finally:
            for pid in successor:
                os.kill(pid, signal.SIGTERM)
                eventually(lambda: not in_session(first.parent), "it does not end", 10)


def test_an_anew_that_fails_is_told_and_changes_nothing(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, "--workers", "1", "--no-watch", *listen(port)) as server:
        zone = tmp_path / "zones" / "example.test.zone"
        zone.write_text(ZONE + "broken\n")
        os.kill(server.parent, signal.SIGUSR2)
        eventually(lambda: "has not taken over: it ended with status 1" in server.log, "it is not told", STARTING)
        assert answers(port)
