"""An edit while the server runs: read as a whole or not at all, and no query lost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import dns.message
import pytest
from dnslb_server import DNSLB, Server, eventually, question, resident, started
from peers import Address, free_port

from dnslb.admin import client

ZONE = """\
$TTL 300
@    SOA  ns1 hostmaster {serial} 3600 900 1209600 60
     NS   ns1
ns1  A    192.0.2.53
a    TXT  "{serial}"
b    TXT  "{serial}"
"""


def write(directory: Path, serial: int, more: str = "") -> None:
    """As an editor does: a new file in the place of the old one."""
    zones = directory / "zones"
    zones.mkdir(exist_ok=True)
    new = zones / "example.test.zone.new"
    new.write_text(ZONE.format(serial=serial) + more)
    new.replace(zones / "example.test.zone")


def ask(address: Address, name: str, kind: str = "TXT") -> list[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.sendto(question(name, kind), address)
        reply = dns.message.from_wire(sock.recv(4096))
    return [str(rdata).strip('"') for rrset in reply.answer for rdata in rrset]


def serving(address: Address, serial: int) -> Callable[[], bool]:
    return lambda: ask(address, "a") == [str(serial)]


def status(directory: Path) -> list[str]:
    """The lines of ``dnslb status``."""
    words = [*DNSLB, "status", "--control", str(directory / "control")]
    return subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()


def listening(port: int, *more: str) -> tuple[str, ...]:
    return ("--listen", f"127.0.0.1:{port}", "--workers", "2", *more)


def confirmed_soon(directory: Path) -> None:
    """What vanishes is not held for long."""
    (directory / "zones" / "dnslb.yaml").write_text("confirm: 500ms\n")


def reloads(server: Server) -> int:
    return server.log.count(" reloaded ") + server.log.count("not reloaded")


@pytest.mark.parametrize("how", ["watched", "SIGHUP"])
def test_an_edited_zone_is_served(tmp_path: Path, how: str) -> None:
    write(tmp_path, 1)
    port = free_port()
    address = Address("127.0.0.1", port)
    with started(tmp_path, *listening(port, *(["--no-watch"] if how == "SIGHUP" else []))) as server:
        assert ask(address, "a") == ["1"]
        workers = server.workers()
        write(tmp_path, 2)
        if how == "SIGHUP":
            time.sleep(1.5)
            assert ask(address, "a") == ["1"]
            os.kill(server.parent, signal.SIGHUP)
        eventually(serving(address, 2), "the edit was not read")
        eventually(lambda: " reloaded " in server.log, "nothing was logged")
        assert "example.test. serial 1 → 2" in server.log
        eventually(lambda: len(server.workers()) == 2, "the old workers have not left")
        assert not set(workers) & set(server.workers())


@pytest.mark.parametrize(("breakage", "fact"), [
    ("syntax", "example.test.zone:7:5: 192.0.2.300 is no IPv4 address"),
    ("cut off", "example.test.zone:4:7: the A record lacks its address"),
    ("empty", "the zone example.test. has no SOA"),
    ("deleted", "there is no *.zone file here"),
    ("a directory", "example.test.zone: "),
    ("a link to nowhere", "example.test.zone: "),
    ("not text", "example.test.zone:1:"),
    ("its policy stays", "there is no zone file of that name"),
])  # fmt: skip
def test_with_a_mistake_the_old_data_go_on_being_served(tmp_path: Path, breakage: str, fact: str) -> None:
    write(tmp_path, 1)
    port = free_port()
    address = Address("127.0.0.1", port)
    file = tmp_path / "zones" / "example.test.zone"
    other = tmp_path / "zones" / "other.test.zone"
    other.write_text(ZONE.format(serial=1))
    with started(tmp_path, *listening(port)) as server:
        match breakage:
            case "syntax":
                write(tmp_path, 2, "c A 192.0.2.300\nd MX mail\n")
            case "cut off":
                file.write_bytes(file.read_bytes()[:-40])
            case "empty":
                file.write_text("")
            case "deleted":
                other.unlink()
                file.unlink()
            case "a directory":
                file.unlink()
                file.mkdir()
            case "a link to nowhere":
                file.unlink()
                file.symlink_to("nowhere")
            case "not text":
                file.write_bytes(bytes(range(256)))
            case "its policy stays":
                file.with_suffix(".yaml").write_text("pools: {}\n")
                file.unlink()
        eventually(lambda: "not reloaded" in server.log, "the mistake was not noticed")
        assert ask(address, "a") == ["1"]
        assert "Traceback" not in server.log
        assert fact in server.log
        said = status(tmp_path)
        assert said[0].startswith("not reloaded at ") and "the files have mistakes" in said[0]
        assert fact in said[1]
        if file.is_dir():
            file.rmdir()
        other.write_text(ZONE.format(serial=1))  # else its loss would be held
        write(tmp_path, 3)
        eventually(serving(address, 3), "the mended file was not read")
        eventually(lambda: not status(tmp_path)[0].startswith("not reloaded"), "the status still complains")


def test_a_file_that_may_not_be_read_is_a_mistake(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can start a server as another user")
    write(tmp_path, 1)
    for path in (tmp_path, *tmp_path.parents):
        with suppress(PermissionError):
            path.chmod(path.stat().st_mode | 0o755)
    port = free_port()
    address = Address("127.0.0.1", port)
    with started(tmp_path, *listening(port, "--user", "nobody")) as server:
        write(tmp_path, 2)
        (tmp_path / "zones" / "example.test.zone").chmod(0)
        eventually(lambda: "not reloaded" in server.log, "the mistake was not noticed")
        assert ask(address, "a") == ["1"]
        assert "Permission denied" in server.log or "permission denied" in server.log
        (tmp_path / "zones" / "example.test.zone").chmod(0o644)
        eventually(serving(address, 2), "the mended file was not read")


def test_zones_come_and_go(tmp_path: Path) -> None:
    write(tmp_path, 1)
    port = free_port()
    other = tmp_path / "zones" / "other.test.zone"
    address = Address("127.0.0.1", port)
    query = dns.message.make_query("a.other.test.", "TXT", use_edns=False).to_wire()

    def rcode() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.sendto(query, address)
            return dns.message.from_wire(sock.recv(4096)).rcode()

    confirmed_soon(tmp_path)
    with started(tmp_path, *listening(port)) as server:
        assert rcode() == dns.rcode.REFUSED
        other.write_text(ZONE.format(serial=7))
        eventually(lambda: rcode() == dns.rcode.NOERROR, "the new zone is not served")
        other.unlink()
        eventually(lambda: rcode() == dns.rcode.REFUSED, "the removed zone is still served")
        eventually(lambda: "other.test. removed" in server.log, "nothing was logged")
        assert "other.test. added, serial 7" in server.log


def test_an_edit_of_an_included_file_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, 1, "$INCLUDE more.inc\n")
    (tmp_path / "zones" / "more.inc").write_text("c TXT one\n")
    port = free_port()
    address = Address("127.0.0.1", port)
    with started(tmp_path, *listening(port)):
        assert ask(address, "c") == ["one"]
        (tmp_path / "zones" / "more.inc").write_text("c TXT two\n")
        eventually(lambda: ask(address, "c") == ["two"], "the edit was not read")


def test_a_pool_can_be_added_and_removed(tmp_path: Path) -> None:
    write(tmp_path, 1, "www A 192.0.2.1\n    A 192.0.2.2\n")
    port = free_port()
    address = Address("127.0.0.1", port)
    policy = tmp_path / "zones" / "example.test.yaml"
    confirmed_soon(tmp_path)
    with started(tmp_path, *listening(port)):
        assert len(ask(address, "www", "A")) == 2
        policy.write_text("pools: {www: {answers: 1}}\n")
        eventually(lambda: len(ask(address, "www", "A")) == 1, "the pool is not served")
        policy.unlink()
        eventually(lambda: len(ask(address, "www", "A")) == 2, "the pool is still served")


def test_no_query_is_lost(tmp_path: Path) -> None:
    """A burst of edits under load."""
    write(tmp_path, 1)
    port = free_port()
    address = Address("127.0.0.1", port)
    packet = [question("a", "TXT", number) for number in range(65536)]
    lost: list[int] = []
    answered = 0
    done = threading.Event()

    def load() -> None:
        nonlocal answered
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(3)
            sock.connect(address)
            number = 0
            while not done.is_set():
                batch = range(number, number + 20)
                for one in batch:
                    sock.send(packet[one % 65536])
                got = 0
                try:
                    for _ in batch:
                        sock.recv(4096)
                        got += 1
                except TimeoutError:
                    lost.append(len(batch) - got)
                answered += got
                number += 20

    with started(tmp_path, *listening(port)) as server:
        thread = threading.Thread(target=load)
        thread.start()
        try:
            for serial in range(2, 8):
                write(tmp_path, serial)
                os.kill(server.parent, signal.SIGHUP)
                eventually(serving(address, serial), "the edit was not read", 10)
        finally:
            done.set()
            thread.join()
        assert answered > 1000
        assert not lost, f"{sum(lost)} of {answered} lost"
        eventually(lambda: reloads(server) >= 6, "not every reload was logged")


def test_the_lock_file_of_an_editor_is_no_zone(tmp_path: Path) -> None:
    write(tmp_path, 1)
    port = free_port()
    address = Address("127.0.0.1", port)
    with started(tmp_path, *listening(port)) as server:
        (tmp_path / "zones" / ".#example.test.zone").symlink_to("somebody@somewhere.1234")
        write(tmp_path, 2)
        eventually(serving(address, 2), "the edit was not read")
        assert "not reloaded" not in server.log


def test_reloads_leave_nothing_behind(tmp_path: Path) -> None:
    records = "".join(f"host{number} A 192.0.2.{number % 250}\n" for number in range(20_000))
    write(tmp_path, 1, f"www A 127.0.1.11\n    A 127.0.1.12\n{records}")
    policy = "pools: {www: {probe: {tcp: 9, interval: 1h}}}\n"
    (tmp_path / "zones" / "example.test.yaml").write_text(policy)

    def grown(server: Server, times: int) -> int:
        before = resident(server.parent)
        for _ in range(times):
            assert client.ask(tmp_path / "control", "POST", "/reload")[0] == 200
        return resident(server.parent) - before

    with started(tmp_path, *listening(free_port(), "--no-watch")) as server:
        grown(server, 4)  # two catalogs live at once, and memory is not given back in the same pieces
        assert grown(server, 6) < 10 << 20, "each catalog takes 7 MB"


def reload(directory: Path) -> subprocess.CompletedProcess[str]:
    words = [*DNSLB, "reload", "--control", str(directory / "control")]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def test_a_reload_says_what_is_other_than_what_ran(tmp_path: Path) -> None:
    write(tmp_path, 1, "www A 192.0.2.1\n    A 192.0.2.2\nold TXT x\n")
    zones = tmp_path / "zones"
    (zones / "example.test.yaml").write_text("pools: {www: {answers: 1}}\n")
    with started(tmp_path, *listening(free_port(), "--no-watch")) as server:
        write(tmp_path, 2, "www A 192.0.2.1\n    A 192.0.2.3\n    A 192.0.2.4\nnew A 192.0.2.5\n    A 192.0.2.6\n")
        (zones / "example.test.yaml").write_text("pools: {www: {answers: 2, order: random}, new: {}}\n")
        (zones / "dnslb.yaml").write_text("order: random\nlog_format: json\n")
        # The two TXT records with the serial, addresses, and the names new and old.
        records = "serial 1 → 2{} 6 records added, 4 gone"
        pools = "www.example.test. changed (backends, order, answers)", "new.example.test. added"
        restart = "log_format: what the files say now holds when dnslb is started again\n"
        done = reload(tmp_path)
        assert done.stdout.splitlines() == [
            f"example.test.  {records.format(';')}", "2 pools", *(f"  {pool}" for pool in pools), "settings: order",
        ]  # fmt: skip
        assert done.stderr == restart
        said = f"example.test. {records.format(',')}; pool {pools[0]}; pool {pools[1]}; settings: order, by "
        assert server.log.count(f" reloaded {zones}: {said}") == 1
        # What waits for a start is shown until it is done, and logged once.
        assert "RESTART NEEDED for what the files say of: log_format" in status(tmp_path)
        again = reload(tmp_path)
        assert again.stdout.splitlines() == ["example.test.  serial 2, unchanged", "2 pools, unchanged"]
        assert again.stderr == restart
        assert server.log.count(restart) == 1
        assert server.log.count(" nothing has changed, by ") == 1
        (zones / "dnslb.yaml").write_text("order: random\n")
        assert reload(tmp_path).stderr == ""
        assert not any("RESTART" in line for line in status(tmp_path))


def test_a_warning_that_was_said_is_not_repeated(tmp_path: Path) -> None:
    """Lines that were added before it make no other warning of it."""
    mail = "@ MX 10 mail.example.test\n"
    write(tmp_path, 1, mail)
    with started(tmp_path, *listening(free_port(), "--no-watch")) as server:
        assert server.log.count("the zone's name twice") == 1
        write(tmp_path, 2, f"c TXT c\n{mail}")
        done = reload(tmp_path)
        assert done.stderr == "1 warning as before: see `dnslb check`\n"
        write(tmp_path, 3, f"{mail}@ MX 20 other.example.test\n")
        done = reload(tmp_path)
        assert "other.example.test.example.test." in done.stderr and "mail.example.test" not in done.stderr
        write(tmp_path, 4, f"{mail}@ MX 20 other.example.test\nd A 192.0.2.300\n")
        assert reload(tmp_path).returncode == 1
        assert server.log.count("the zone's name twice") == 2
        # What was mended, and is wrong again, is news.
        write(tmp_path, 5)
        reload(tmp_path)
        write(tmp_path, 6, mail)
        reload(tmp_path)
        assert server.log.count("the zone's name twice") == 3


@pytest.mark.parametrize("level", ["error", "info"])
def test_a_refused_reload_is_logged_once_with_its_mistakes_at_every_level(tmp_path: Path, level: str) -> None:
    write(tmp_path, 1)
    with started(tmp_path, *listening(free_port(), "--no-watch", "--log-level", level)) as server:
        write(tmp_path, 2, "c A 192.0.2.300\n")
        assert reload(tmp_path).returncode == 1
        lines = [line.split(" ", 2)[2] for line in server.log.splitlines()]
        assert len(lines) == 2
        assert lines[0].startswith("ERROR ") and "192.0.2.300 is no IPv4 address" in lines[0]
        assert lines[1].startswith("ERROR not reloaded: ")
