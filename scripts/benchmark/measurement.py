"""One measurement: check, load, count.

A run that cannot be trusted (wrong answers, lost queries, another mix of rcodes than the class has) raises
``RefusedError`` with the reason, and there is no figure.
"""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

from benchmark.processes import ServerStoppedError, core_seconds, usage
from benchmark.queries import RCODES, QueryClass, Transport
from benchmark.targets import REPLY_TIMEOUT, RefusedError, Target, find_fault

LARGEST_LOSS = 0.001        # of the queries
LARGEST_SHIFT = 0.01        # of a share of rcodes
LARGEST_NOISE = 0.05        # of either core, used by something else; a noisier run is done again
ATTEMPTS = 2                # at a quiet run; then the quieter counts
TCP_CONNECTIONS = 8         # kept; PowerDNS gives each a thread, and BIND lets ten wait to be accepted


@dataclass(frozen=True, slots=True)
class Load:
    """How hard the generator drives, and for how long."""

    core: int                   # of the generator
    seconds: float
    warm_up: float              # seconds, before the clock starts
    outstanding: int            # queries on the way at any time
    rate: int | None            # queries per second at most; None: as fast as the replies come
    own: Path | None            # the compiled load.c, for UDP; None: dnsperf


@dataclass(frozen=True, slots=True)
class Run:
    """The figures of one server under one query class, once."""

    server: str
    query_class: str
    repeat: int
    queries: int
    lost: int
    rcodes: dict[str, int]
    octets: int                 # of the average reply
    seconds: float
    qps: float
    microseconds: float         # CPU per query, all processes of the server
    busy: float                 # share of its core that the server used; below 1 the generator was the limit
    others: float               # share of that core, or of the generator's, that something else used: noise
    memory_before: int          # resident bytes of all processes
    memory_after: int
    resident: tuple[int, ...]   # resident bytes of each process, afterwards


@dataclass(frozen=True, slots=True)
class Refusal:
    server: str
    query_class: str
    repeat: int
    reason: str


def generator(target: Target, query_class: QueryClass, load: Load, seconds: float, queries: Path) -> list[str]:
    if load.own and query_class.transport is Transport.UDP:
        return [str(load.own), str(target.port), str(queries), str(seconds), str(load.outstanding)]
    clients = TCP_CONNECTIONS if query_class.transport is Transport.TCP else 1
    command = ["dnsperf", "-s", "127.0.0.1", "-p", target.port, "-m", query_class.transport.value, "-B", "-d", queries,
               "-c", clients, "-T", 1, "-q", load.outstanding, "-l", seconds, "-t", REPLY_TIMEOUT]
    return [str(word) for word in (*command, *(("-Q", load.rate) if load.rate else ()))]


def drive(command: list[str], load: Load, seconds: float) -> str:
    """One run of the generator on its core; what it prints."""
    try:
        done = subprocess.run(["taskset", "-c", str(load.core), *command],
                              capture_output=True, text=True, timeout=seconds + 20, check=True)
    except subprocess.TimeoutExpired:
        raise RefusedError("the generator did not come to an end") from None
    except subprocess.CalledProcessError as error:
        raise RefusedError(f"the generator failed: {(error.stderr or error.stdout).strip()[-200:]}") from None
    return done.stdout


def number(name: str, text: str) -> float:
    found = re.search(rf"{re.escape(name)}:?\s+([\d.]+)", text)
    if not found:
        raise RefusedError(f"the generator printed no {name!r}")
    return float(found[1])


def both_cores(target: Target, load: Load) -> tuple[float, float]:
    """Busy seconds so far of the server's core, and of the generator's without the generator and us."""
    ours = sum(sum(getrusage(who)[:2]) for who in (RUSAGE_SELF, RUSAGE_CHILDREN))
    return core_seconds(target.core), core_seconds(load.core) - ours


def measure(target: Target, query_class: QueryClass, load: Load, repeat: int, files: tuple[Path, Path]) -> Run:
    """Check the answers, warm up with the first file, measure with the second."""
    if fault := find_fault(target, query_class, Random(repeat)):
        raise RefusedError(fault)
    cold = usage(target.pid)
    drive(generator(target, query_class, load, load.warm_up, files[0]), load, load.warm_up)
    before, cores_before, started = usage(target.pid), both_cores(target, load), time.monotonic()
    text = drive(generator(target, query_class, load, load.seconds, files[1]), load, load.seconds)
    wall, cores_after, after = time.monotonic() - started, both_cores(target, load), usage(target.pid)

    sent, completed, lost = (int(number(f"Queries {what}", text)) for what in ("sent", "completed", "lost"))
    if not completed or lost > LARGEST_LOSS * sent:
        raise RefusedError(f"{lost:,} of {sent:,} queries lost")
    rcodes = {name: int(count) for name, count in re.findall(r"([A-Z][A-Z0-9]+) (\d+) \(", text)}
    for rcode, name in RCODES.items():
        share = rcodes.get(name, 0) / completed
        expected = float(name == "NOERROR") if target.server.is_floor else query_class.rcode_share(rcode)
        if abs(share - expected) > LARGEST_SHIFT:
            raise RefusedError(f"{share:.1%} {name}, expected {expected:.1%}: {completed:,} replies, {rcodes}")
    cpu = after.cpu_since(before)
    server_core, generator_core = (end - begin for begin, end in zip(cores_before, cores_after, strict=True))
    return Run(
        server=target.server.name, query_class=query_class.name, repeat=repeat,
        queries=completed, lost=lost, rcodes=rcodes, octets=int(number("response", text)),
        seconds=number("Run time (s)", text), qps=number("Queries per second", text),
        microseconds=1e6 * cpu / completed, busy=cpu / wall,
        others=max(0.0, server_core - cpu, generator_core) / wall,
        memory_before=sum(cold.resident.values()), memory_after=sum(after.resident.values()),
        resident=tuple(sorted(after.resident.values(), reverse=True)),
    )


def measure_quietly(target: Target, query_class: QueryClass, load: Load, repeat: int, files: tuple[Path, Path],
                    ) -> Run | Refusal:
    """The first run that nothing disturbed, else the least disturbed."""
    runs: list[Run] = []
    try:
        while len(runs) < ATTEMPTS and all(run.others > LARGEST_NOISE for run in runs):
            runs.append(measure(target, query_class, load, repeat, files))
    except (RefusedError, ServerStoppedError) as error:
        return Refusal(target.server.name, query_class.name, repeat, str(error))
    return min(runs, key=lambda run: run.others)
