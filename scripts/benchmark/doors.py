"""Attacks that are no floods of queries: a first round of probes that hangs, and crowds at the door for operators.

dnslb alone has these; of NSD and BIND there is the time that they take to start.
"""

from __future__ import annotations

import http.client
import math
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import NamedTuple

from benchmark.backends import Backends, Witness, bind_all
from benchmark.finding import Finding
from benchmark.probes import addresses
from benchmark.processes import free_port, running
from benchmark.queries import CLASSES, FOUR, NOERROR, ZONE, ZONE_NAME, A, QueryClass, Question, Transport, packet
from benchmark.servers import BIND, DNSLB, NSD, Server
from benchmark.targets import ROOT, Ground, Site, Target, ask, find_fault, prepare, start

HANGING = 4000              # targets that take connections and say nothing
PROGRAMS = 60               # exec probes that do not end
PLAIN = QueryClass("plain", "a name without a pool", ((100, FOUR),))
LONGEST = 40.0              # seconds until a server must have answered
MOST_START = 1.0            # seconds that a start may take longer than one without pools
MOST_FIRST = 6.0            # seconds until a pool's first answer: the round's 5 s, and a start

SLOW = 70                   # connections to the API that never say what they want
READYZ = 1.0                # seconds within which /readyz must be there
POOLS = 2500                # of 4 backends, for GET /status
ASKED = 60                  # requests for /status at once
INTERVAL = 0.5              # seconds between the probes of the backend that dies
MOST_DELAY = 1.0            # seconds that its verdict may take longer than at rest
MOST_LATE = 0.050           # seconds that a probe may come late
SETTLING = 2.0              # seconds


def site(directory: Path, ground: Ground, records: str = "", policy: str = "") -> Site:
    zone = directory / "zones" / f"{ZONE_NAME}.zone"
    zone.parent.mkdir()
    zone.write_text(ZONE + records)
    if policy:
        zone.with_suffix(".yaml").write_text(policy)
    return Site(directory, zone, zone, None, ground.python, ground.core)


class Slow(NamedTuple):
    """A pool by the name of ``slow``."""

    records: str
    policy: str


NO_POOL = Slow("", "")


# -- the first round of probes -----------------------------------------------------------------------------------------

def first_round(ground: Ground) -> Iterator[Finding]:
    """From the start of the process to the first right answer, for a name without a pool and for one with."""
    quick = []
    for server in (DNSLB, NSD, BIND):
        plain, _ = first_answers(server, ground)
        quick.append(plain)
        yield said(Finding("first answer, no pools", server.name, plain, "s"))
    hanging = addresses(HANGING)
    port, sockets = bind_all(hanging)
    with ExitStack() as stack:
        for listener in sockets.values():
            stack.enter_context(listener).listen(8)
        policy = f"pools: {{slow: {{probe: {{http: /, port: {port}, interval: 5s, timeout: 2s}}}}}}\n"
        pool = Slow("".join(f"slow A {address}\n" for address in hanging), policy)
        yield from slow_start(f"{HANGING:,} hanging targets", pool, ground, quick[0])
    policy = "pools: {slow: {probe: {exec: [/bin/sleep, '30'], interval: 5s, timeout: 5s}}}\n"
    pool = Slow("".join(f"slow A {address}\n" for address in addresses(PROGRAMS)), policy)
    yield from slow_start(f"{PROGRAMS} hanging exec probes", pool, ground, quick[0])


def slow_start(what: str, slow: Slow, ground: Ground, quick: float) -> Iterator[Finding]:
    plain, pool = first_answers(DNSLB, ground, slow)
    yield said(Finding(f"first answer, {what}, no pool", DNSLB.name, plain, "s", quick + MOST_START))
    yield said(Finding(f"first answer, {what}, the pool", DNSLB.name, pool, "s", quick + MOST_FIRST))


def first_answers(server: Server, ground: Ground, slow: Slow | None = None) -> tuple[float, float]:
    """Seconds from the start until a name without a pool, and the pool, have an answer."""
    with tempfile.TemporaryDirectory(prefix="dnslb-abuse-") as name:
        port = free_port()
        command = prepare(server, site(Path(name), ground, *(slow or NO_POOL)), port)
        began = time.monotonic()
        with running(command, ground.core, Path(name) / "log", ROOT) as process:
            target = Target(server, process.pid, port, ground.core)
            plain = until(lambda: find_fault(target, PLAIN, Random(0), timeout=0.2) is None, LONGEST)
            plain = time.monotonic() - began if plain < math.inf else plain
            pool = until(lambda: is_there("slow", port), LONGEST) if slow else 0.0
            return plain, time.monotonic() - began if pool < math.inf else pool


def until(is_so: Callable[[], bool], longest: float, pause: float = 0.02) -> float:
    """Seconds until it is so; infinite when it never is."""
    began = time.monotonic()
    while time.monotonic() < began + longest:
        if is_so():
            return time.monotonic() - began
        time.sleep(pause)
    return math.inf


def is_there(owner: str, port: int) -> bool:
    """Whether the name has an answer of any kind."""
    with suppress(OSError):
        reply = ask(packet(Question(f"{owner}.{ZONE_NAME}"), CLASSES[1], Random(0)), port, Transport.UDP, timeout=0.2)
        return reply[3] & 15 == NOERROR
    return False


# -- the door for operators --------------------------------------------------------------------------------------------

def with_admin(port: int) -> Server:
    return replace(DNSLB, command=(*DNSLB.command, "--admin", f"127.0.0.1:{port}"))


def slow_clients(ground: Ground) -> Iterator[Finding]:
    """70 connections of one client that never send a whole request: do others get /readyz?"""
    with tempfile.TemporaryDirectory(prefix="dnslb-abuse-") as name, ExitStack() as stack:
        admin = free_port()
        start(with_admin(admin), site(Path(name), ground), CLASSES[0], stack)
        yield said(Finding("GET /readyz at rest", DNSLB.name, get(admin, "/readyz", "127.0.0.1"), "s", READYZ))
        stack.enter_context(crowd(admin))
        time.sleep(1.0)
        for address in ("127.0.9.2", "127.0.9.1"):
            whose = "another client" if address != CROWD else "the same client"
            took = min(get(admin, "/readyz", address) for _ in range(3))
            yield said(Finding(f"GET /readyz by {whose}, {SLOW} slow connections", DNSLB.name, took, "s", READYZ))


CROWD = "127.0.9.1"


@contextmanager
def crowd(port: int) -> Iterator[None]:
    """Connections that send a piece of a request now and then, and are opened again when they are closed."""
    over = threading.Event()

    def keep() -> None:
        held = {slow(port) for _ in range(SLOW)}
        while not over.wait(0.05):
            for sock in list(held):
                with suppress(BlockingIOError):
                    try:
                        gone = not sock.recv(4096)
                    except OSError as error:
                        if isinstance(error, BlockingIOError):
                            raise
                        gone = True
                    if gone:
                        sock.close()
                        held.discard(sock)
                        held.add(slow(port))
        for sock in held:
            sock.close()

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def slow(port: int) -> socket.socket:
    sock = socket.socket()
    sock.bind((CROWD, 0))
    sock.settimeout(0.5)
    with suppress(OSError):
        sock.connect(("127.0.0.1", port))
        sock.send(b"GET /metrics HTTP/1.1\r\nHost:")
    sock.setblocking(False)
    return sock


def get(port: int, path: str, source: str, longest: float = 5.0) -> float:
    """Seconds until the reply is there; infinite without one."""
    began = time.monotonic()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, longest, source_address=(source, 0))
        connection.request("GET", path)
        is_right = connection.getresponse().read() is not None
        connection.close()
    except (OSError, http.client.HTTPException):
        return math.inf
    return time.monotonic() - began if is_right else math.inf


def status_crowd(ground: Ground) -> Iterator[Finding]:
    """A backend dies while sixty ask for the status of 10,000: how late is its verdict, how late are probes?"""
    watched = [f"127.0.1.{host}" for host in range(11, 15)]
    with tempfile.TemporaryDirectory(prefix="dnslb-abuse-") as name, ExitStack() as stack:
        witness = stack.enter_context(Witness(watched))
        witness.revive(*watched)
        # All probe the same four targets: 10,000 backends, and next to no probes.
        pools = {f"p{number}": addresses(4 * POOLS)[4 * number : 4 * number + 4] for number in range(POOLS)}
        records = "".join(f"{owner} A {address}\n" for owner, each in pools.items() for address in each)
        records += "".join(f"alone A {address}\n" for address in watched)
        shared = f"{{tcp: {witness.port}, interval: 1s, timeout: 500ms}}"
        alone = f"{{tcp: {witness.port}, interval: {INTERVAL}s, timeout: 500ms, fall: 2}}"
        policy = f"pools:\n  alone: {{probe: {alone}}}\n"
        for owner, each in pools.items():
            keys = ", ".join(f"{address}: {{probe_address: {watched[0]}}}" for address in each)
            policy += f"  {owner}: {{probe: {shared}, backends: {{{keys}}}}}\n"
        admin = free_port()
        target = start(with_admin(admin), site(Path(name), ground, records, policy), CLASSES[0], stack)
        time.sleep(SETTLING)
        rest = gone_after(witness, watched[3], target.port)
        yield said(Finding("a verdict in force, at rest", DNSLB.name, rest, "s"))
        witness.revive(watched[3])
        time.sleep(SETTLING + 4 * INTERVAL)
        began = time.monotonic()
        threads = [threading.Thread(target=get, args=(admin, "/status", f"127.0.9.{1 + number % 3}", 30.0), daemon=True)
                   for number in range(ASKED)]
        for thread in threads:
            thread.start()
        busy = gone_after(witness, watched[3], target.port)
        yield said(Finding(f"the same beside {ASKED} GET /status of {4 * POOLS:,} backends", DNSLB.name, busy, "s",
                           rest + MOST_DELAY))
        for thread in threads:
            thread.join(40.0)
        late = witness.lateness(watched[1:3], INTERVAL, began, time.monotonic())
        yield said(Finding("probes late by, meanwhile", DNSLB.name, 1e3 * late, "ms", 1e3 * MOST_LATE))


def gone_after(witness: Backends, address: str, port: int) -> float:
    """Kill the backend; seconds until the pool ``alone`` is answered without it."""
    question = packet(Question(f"alone.{ZONE_NAME}", A), CLASSES[1], Random(0))
    witness.kill(address)

    def is_gone() -> bool:
        with suppress(OSError):
            return int.from_bytes(ask(question, port, Transport.UDP, timeout=0.5)[6:8]) == 3
        return False

    return until(is_gone, LONGEST)


def said(finding: Finding) -> Finding:
    print(f"{finding.what}, {finding.server}: {finding.value:.3f} {finding.unit}", flush=True)
    return finding


CASES: dict[str, Callable[[Ground], Iterator[Finding]]] = {
    "first-round": first_round, "admin": slow_clients, "status": status_crowd,
}
