"""Operations under dnsperf's load: reloads, drains and killed workers, and what the clients see of them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import dns.message
import dns.rdatatype
from dnslb_server import Server, eventually, question, started
from peers import free_port
from programs import program

from dnslb.admin import client

RELOADS, DRAINS, KILLS = 50, 20, 10
RATE = 2000  # queries a second, of dnsperf; the checker sends as many as it can besides
LONGEST = 120  # seconds: a test that hangs ends
HOSTS = ("127.0.1.21", "127.0.1.22", "127.0.1.23")

# Every record carries the version of the file: the serial, the text, and the addresses of three names.
ZONE = """\
$TTL 300
@      SOA  ns1 hostmaster {version} 3600 900 1209600 60
       NS   ns1
ns1    A    198.51.100.{version}
alias  CNAME text
text   TXT  "{version}"
mx     MX   10 mail1
       MX   20 mail2
mail1  A    198.51.100.{version}
mail2  A    198.51.100.{version}
www 2  A    127.0.1.21
    2  A    127.0.1.22
    2  A    127.0.1.23
"""
POLICY = "pools: {{www: {{probe: {{tcp: {port}, interval: 1s, timeout: 900ms}}}}}}\n"
QUESTIONS = (("alias", "TXT"), ("mx", "MX"), ("text", "AAAA"), ("nowhere", "A"), ("www", "A"))


def write(zones: Path, version: int) -> None:
    new = zones / "example.test.zone.new"
    new.write_text(ZONE.format(version=version))
    new.replace(zones / "example.test.zone")


def versions(reply: dns.message.Message) -> set[int]:
    """Of all records in the reply that carry one."""
    found = set()
    for rrset in (*reply.answer, *reply.authority, *reply.additional):
        for rdata in rrset:
            if rrset.rdtype == dns.rdatatype.SOA:
                found.add(int(rdata.serial))
            elif rrset.rdtype == dns.rdatatype.TXT:
                found.add(int(rdata.strings[0]))
            elif rrset.rdtype == dns.rdatatype.A and str(rdata).startswith("198.51.100."):
                found.add(int(str(rdata).rpartition(".")[2]))
    return found


@dataclass
class Checker:
    """Asks without a pause, from a new socket each time, so that every worker is asked."""

    port: int
    served: int = 1  # every worker serves this version at least
    asked: int = 0
    lost: int = 0
    mixed: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    drained: str | None = None  # no worker hands out this address
    revived: list[str] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        for number in count():
            if self.done.is_set():
                return
            name, kind = QUESTIONS[number % len(QUESTIONS)]
            served, drained = self.served, self.drained
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(3)
                sock.sendto(question(name, kind, number % 65536), ("127.0.0.1", self.port))
                self.asked += 1
                try:
                    reply = dns.message.from_wire(sock.recv(4096))
                except TimeoutError:
                    self.lost += 1
                    continue
            found = versions(reply)
            if len(found) > 1:
                self.mixed.append(str(reply))
            if found and min(found) < served:
                self.stale.append(f"{min(found)} after {served}: {reply}")
            if drained is not None and self.drained == drained and drained in str(reply):
                self.revived.append(str(reply))


@contextmanager
def load(port: int, directory: Path) -> Iterator[dict[str, int]]:
    """dnsperf asks until the block ends; then its counts are there."""
    queries = directory / "queries"
    queries.write_text("".join(f"{name}.example.test {kind}\n" for name, kind in QUESTIONS))
    counts: dict[str, int] = {}
    popen = subprocess.Popen(
        [program("dnsperf", "dnsperf"), "-s", "127.0.0.1", "-p", str(port), "-d", str(queries), "-Q", str(RATE),
         "-l", str(LONGEST), "-c", "8", "-t", "3"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        yield counts
    finally:
        popen.send_signal(signal.SIGINT)
        try:
            said, _ = popen.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            popen.kill()
            said, _ = popen.communicate()
        counts |= {word: int(number) for word, number in re.findall(r"Queries (sent|completed|lost): +(\d+)", said)}


@contextmanager
def scene(directory: Path) -> Iterator[tuple[Server, Checker, Path]]:
    probed, port = free_port(), free_port()
    zones = directory / "zones"
    zones.mkdir()
    write(zones, 1)
    (zones / "example.test.yaml").write_text(POLICY.format(port=probed))
    with ExitStack() as stack:
        for host in HOSTS:
            stack.enter_context(socket.create_server((host, probed), backlog=4096))
        server = stack.enter_context(
            started(directory, "--listen", f"127.0.0.1:{port}", "--workers", "2", "--no-watch")
        )
        checker = Checker(port)
        thread = threading.Thread(target=checker.run)
        thread.start()
        try:
            yield server, checker, zones
        finally:
            checker.done.set()
            thread.join()


def control(directory: Path, target: str, value: object = None) -> None:
    status, reply = client.ask(directory / "control", "POST", target, value)
    assert status == 200, reply


def test_reloads_and_drains_lose_no_reply_and_every_reply_is_of_one_catalog(tmp_path: Path) -> None:
    orders = iter(
        (mode, host) for number in range(DRAINS) for host in (HOSTS[number % 3],) for mode in ("drain", "ready")
    )
    with scene(tmp_path) as (server, checker, zones), load(checker.port, tmp_path) as counts:
        for version in range(2, RELOADS + 2):
            write(zones, version)
            control(tmp_path, "/reload")
            checker.served = version
            mode, host = next(orders, ("", ""))
            if mode:
                checker.drained = None
                control(tmp_path, "/orders", {"mode": mode, "addresses": [host]})
                checker.drained = host if mode == "drain" else None
        eventually(lambda: len(server.workers()) == 2, "old workers have not left")
    assert counts["sent"] > RATE
    assert (counts["lost"], checker.lost) == (0, 0)
    assert not checker.mixed
    assert not checker.stale
    assert not checker.revived
    assert "Traceback" not in server.log


def test_killed_workers_lose_only_what_they_held(tmp_path: Path) -> None:
    with scene(tmp_path) as (server, checker, zones), load(checker.port, tmp_path) as counts:
        for version in range(2, KILLS + 2):
            victim = server.workers()[version % 2]
            os.kill(victim, signal.SIGKILL)
            eventually(lambda: victim not in server.processes() and len(server.workers()) == 2, "no new worker")  # noqa: B023
            write(zones, version)
            control(tmp_path, "/reload")
            checker.served = version
            time.sleep(1.1)  # a worker that dies younger than a second is replaced only after a pause
    # What a worker has read and not answered dies with it: a batch of 64 at most for each kill.
    assert counts["lost"] + checker.lost <= 64 * KILLS
    assert not checker.mixed
    assert not checker.stale
