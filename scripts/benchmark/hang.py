"""What clients notice of processes that hang, die or are replaced: dnslb beside NSD and BIND.

A steady load comes from many ports, so that the system spreads it over all workers; every query is checked.  Processes
are suspended and killed by their ids.  A server whose first process is killed is started again at once, by the same
command, as a service manager would: it tries again every 100 ms until it runs.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from benchmark import traffic
from benchmark.backends import Backends
from benchmark.finding import Finding
from benchmark.processes import running, tree, usage
from benchmark.queries import CLASSES, FOUR, MISSING, NODATA, OPT, TWO, ZONE, ZONE_NAME, A, Question, Transport, packet
from benchmark.servers import BIND, DNSLB, NSD, Server
from benchmark.targets import ROOT, Ground, RefusedError, Site, Target, ask, prepare, wait_until_right

RATE = 2000             # queries a second
PORTS = 64              # that they come from
BEFORE = 2.0            # seconds of load before something happens
AFTER = 14.0            # seconds of load after it
MOST_HUNG = 7.0         # seconds of losses after a worker hangs: noticed after 5 s, and replaced
MOST_SILENT = 0.1       # seconds without an answer when the first process was killed
MOST_LOWERED = 5.0      # seconds until workers whose parent hangs answer with the lowest TTL: three intervals, and some
TTL, LOWEST, INTERVAL = 60, 5, 1.0
ON_THE_WAY = 0.05       # seconds that a query may have been due before
AGAIN = 0.1             # seconds between attempts to start
QUESTIONS = (FOUR, TWO, NODATA, MISSING)
BACKENDS = ("127.0.1.11", "127.0.1.12")
EDE = 15                # the option (RFC 8914 §2)


@dataclass(frozen=True, slots=True)
class Place:
    """A server that runs, and how to start it again."""

    server: Server
    command: list[str]
    process: subprocess.Popen[bytes]
    target: Target
    directory: Path
    stack: ExitStack

    def start_again(self, number: int, *more: str) -> subprocess.Popen[bytes]:
        log = self.directory / f"log-{number}"
        command = [*self.command, *more]
        return self.stack.enter_context(running(command, self.target.core, log, ROOT))


def two_workers(server: Server) -> Server:
    files = tuple((name, text.replace("server-count: 1", "server-count: 2")) for name, text in server.files)
    command = tuple("2" if before == "--workers" else word
                    for before, word in zip(("", *server.command), server.command, strict=False))
    return replace(server, files=files, command=command)


def reuseport(server: Server) -> Server:
    """Each of its processes with a socket of its own, as dnslb's workers have."""
    files = tuple((name, text.replace("server:\n", "server:\n  reuseport: yes\n", 1)) for name, text in server.files)
    return replace(server, name=f"{server.name}-reuseport", files=files)


def lay_out(directory: Path, ground: Ground, probe_port: int) -> Site:
    zone = directory / "zones" / f"{ZONE_NAME}.zone"
    zone.parent.mkdir()
    records = "".join(f"pool {TTL} A {address}\n" for address in BACKENDS)
    zone.write_text(ZONE + records)
    zone.with_suffix(".yaml").write_text(
        f"pools:\n  pool: {{probe: {{tcp: {probe_port}, interval: {INTERVAL:g}s, timeout: 500ms}}, "
        f"ttl: {{min: {LOWEST}s}}}}\n")
    return Site(directory, zone, zone, None, ground.python, ground.core)


def begin(server: Server, site: Site, stack: ExitStack, port: int) -> Place:
    command = prepare(server, site, port)
    directory = site.directory / server.name
    process = stack.enter_context(running(command, site.core, directory / "log", ROOT))
    target = Target(server, process.pid, port, site.core)
    wait_until_right(target, process, CLASSES[0], 20.0)
    return Place(server, command, process, target, directory, stack)


def under_load(server: Server, ground: Ground, happen: Callable[[Place], float]) -> tuple[list[traffic.Asked], float]:
    """What the others met, and when (by time.monotonic) it happened."""
    with tempfile.TemporaryDirectory(prefix="dnslb-hang-") as name, ExitStack() as stack:
        directory = Path(name)
        program = traffic.compile_clients(directory).steady
        questions = traffic.write_questions(QUESTIONS, directory / "questions")
        with Backends(BACKENDS) as backends:
            backends.revive(*BACKENDS)
            place = begin(server, lay_out(directory, ground, backends.port), stack, quiet_port())
            load = traffic.Others(place.target.port, questions, BEFORE + AFTER, RATE, PORTS)
            with traffic.steady(program, load) as others:
                time.sleep(BEFORE)
                began = happen(place)
                time.sleep(max(0.0, began + AFTER - time.monotonic()))
                asked = traffic.seen(others)
            # Before the stack ends what runs: a suspended process could not end by itself.
            resume(place.process.pid)
            return asked, began


def quiet_port() -> int:
    """A port that nobody is given by chance while the server is down."""
    for port in Random().sample(range(10_000, 20_000), 100):
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp, suppress(OSError):
            udp.bind(("127.0.0.1", port))
            tcp.bind(("127.0.0.1", port))
            return port
    raise RefusedError("no port is free")


def resume(root: int) -> None:
    for pid in tree(root):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


# -- what happens, and when (by time.monotonic) it did -----------------------------------------------------------------

def suspend_worker(place: Place) -> float:
    """SIGSTOP of the busiest process but the first."""
    root = place.target.pid
    before = usage(root).cpu
    time.sleep(0.5)
    after = usage(root).cpu
    busiest = max(after.keys() - {root}, key=lambda pid: after[pid] - before.get(pid, 0.0), default=None)
    if busiest is None:
        raise RefusedError("it has one process only")
    began = time.monotonic()
    os.kill(busiest, signal.SIGSTOP)
    return began


def kill_first(place: Place) -> float:
    began = time.monotonic()
    place.process.kill()
    place.process.wait()
    keep_starting(place)
    return began


def restart(place: Place) -> float:
    """SIGTERM, and once it has ended, start."""
    began = time.monotonic()
    place.process.terminate()
    with suppress(subprocess.TimeoutExpired):
        place.process.wait(AFTER / 2)
    keep_starting(place)
    return began


def take_over(place: Place) -> float:
    """A second one takes the sockets of the first, which then ends by itself."""
    began = time.monotonic()
    place.start_again(1, "--takeover")
    return began


def keep_starting(place: Place) -> None:
    """Start until one stays, or the time is over."""
    deadline, number = time.monotonic() + AFTER / 2, 0
    while time.monotonic() < deadline:
        number += 1
        process = place.start_again(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(AGAIN * 10)
            time.sleep(AGAIN)
            continue
        return


@dataclass(frozen=True, slots=True)
class Event:
    what: str
    happen: Callable[[Place], float]
    held: str               # lost, silence or over: which of the figures has a bar
    most: float | None      # the bar, for dnslb


# -- the cases ---------------------------------------------------------------------------------------------------------

def hung_worker(ground: Ground) -> Iterator[Finding]:
    """One of two workers hangs; BIND has threads only, and no such case."""
    event = Event("SIGSTOP of one of two workers", suspend_worker, "over", MOST_HUNG)
    for server in (two_workers(DNSLB), two_workers(NSD), reuseport(two_workers(NSD))):
        yield from losses(event, server, ground)


def killed_first(ground: Ground) -> Iterator[Finding]:
    event = Event("kill -9 of the first process, and a start", kill_first, "silence", MOST_SILENT)
    for server in (DNSLB, NSD, BIND):
        yield from losses(event, server, ground)


def restarted(ground: Ground) -> Iterator[Finding]:
    event = Event("SIGTERM, and a start", restart, "silence", None)
    for server in (DNSLB, NSD, BIND):
        yield from losses(event, server, ground)


def takeover(ground: Ground) -> Iterator[Finding]:
    told = subprocess.run([ground.python, "-m", "dnslb", "serve", "--help"], capture_output=True, text=True, cwd=ROOT,
                          timeout=30, check=False)
    if "--takeover" not in told.stdout:
        print("takeover: this dnslb has no serve --takeover")
        return
    yield from losses(Event("serve --takeover", take_over, "lost", 0.0), DNSLB, ground)


def losses(event: Event, server: Server, ground: Ground) -> Iterator[Finding]:
    """The share lost, the longest silence, and when all was over."""
    what, bar = event.what, event.most if server.name == DNSLB.name else None
    try:
        asked, began = under_load(server, ground, event.happen)
    except (RefusedError, OSError) as error:
        print(f"without {server.name}: {what}: {error}", flush=True)
        if server.name == DNSLB.name:
            yield Finding(f"{what}: queries lost", server.name, math.inf, "queries", 0.0, str(error))
        return
    # What was on the way may be lost too.
    began -= ON_THE_WAY
    since = [query for query in asked if query.due >= began]
    met, over = traffic.summary(since), traffic.last_loss(since, began)
    note = f"{met.loss:.1%} of {met.asked:,}" + (f", {met.wrong} wrong" if met.wrong else "")
    if met.lag > traffic.MOST_LAG:
        note += f"; ourselves {1e3 * met.lag:.0f} ms late"
    figures = (("lost", "queries lost", float(met.lost + met.wrong), "queries", note),
               ("silence", "longest silence", traffic.silence(since), "s", ""),
               ("over", "until all is answered", math.inf if over is None else over, "s",
                f"observed for {AFTER:g} s" if over is None else ""))
    for key, name, value, unit, remark in figures:
        yield Finding(f"{what}: {name}", server.name, value, unit, bar if key == event.held else None, remark)


def hung_parent(ground: Ground) -> Iterator[Finding]:
    """SIGSTOP of dnslb's parent, which probes: after how long do its workers answer with the lowest TTL?"""
    with tempfile.TemporaryDirectory(prefix="dnslb-hang-") as name, ExitStack() as stack:
        directory = Path(name)
        backends = stack.enter_context(Backends(BACKENDS))
        backends.revive(*BACKENDS)
        site = lay_out(directory, ground, backends.port)
        place = begin(DNSLB, site, stack, quiet_port())
        # At first nothing is known for long, and the TTL is low.
        ttl = answered_ttl(place.target.port)[0]
        deadline = time.monotonic() + 40.0
        while ttl is not None and ttl <= 2 * LOWEST and time.monotonic() < deadline:
            time.sleep(0.2)
            ttl = answered_ttl(place.target.port)[0]
        place.process.send_signal(signal.SIGSTOP)
        began, lowered, explained = time.monotonic(), math.inf, math.inf
        while time.monotonic() < began + AFTER and math.inf in (lowered, explained):
            now, is_explained = answered_ttl(place.target.port)
            if now is not None and now <= LOWEST:
                lowered = min(lowered, time.monotonic() - began)
            if is_explained:
                explained = min(explained, time.monotonic() - began)
            time.sleep(0.02)
        resume(place.process.pid)
    note = f"TTL {ttl} before, probes every {INTERVAL:g} s"
    yield Finding("SIGSTOP of the parent: lowest TTL after", DNSLB.name, lowered, "s", MOST_LOWERED, note)
    yield Finding("SIGSTOP of the parent: EDE after", DNSLB.name, explained, "s", MOST_LOWERED)


def answered_ttl(port: int) -> tuple[int | None, bool]:
    """The TTL of the pool's first address, and whether an EDE option comes with it."""
    query = packet(Question(f"pool.{ZONE_NAME}", A), CLASSES[1], Random(0))
    with suppress(OSError):
        reply = ask(query, port, Transport.UDP, timeout=0.5)
        end = query.index(b"\0", 12) + 5
        ttl = int.from_bytes(reply[end + 6 : end + 10]) if int.from_bytes(reply[6:8]) else None
        opt = reply.find(b"\0" + OPT.to_bytes(2), end)
        return ttl, opt >= 0 and struct.pack(">H", EDE) in reply[opt + 11 : opt + 13]
    return None, False


CASES: dict[str, Callable[[Ground], Iterator[Finding]]] = {
    "worker": hung_worker, "parent": hung_parent, "kill": killed_first, "restart": restarted, "takeover": takeover,
}


def measure(names: Iterable[str], ground: Ground) -> Iterator[Finding]:
    for name in names:
        for finding in CASES[name](ground):
            print(f"{finding.what}, {finding.server}: {finding.value:.3f} {finding.unit} {finding.note}", flush=True)
            yield finding
