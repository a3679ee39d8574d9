"""How long replies take, and what a query costs that comes alone: dnslb beside NSD and BIND.

One client (``steady.c``) asks at an even rate, whatever becomes of its queries; a reply counts from when its query was
due.  All servers run all the time; one is asked, in rounds.  At the lowest rate no two queries meet: each wakes its
server, which costs more than all else, so that the floor is ``echo.c``, a C program that blocks in ``recvfrom``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmark import traffic
from benchmark.finding import Finding
from benchmark.processes import core_seconds, usage
from benchmark.queries import CLASSES, FOUR, MISSING, NODATA, TWO, ZONE, ZONE_NAME
from benchmark.servers import BIND, DNSLB, ECHO, NSD, Server
from benchmark.targets import HERE, Ground, RefusedError, Site, Target, compile_c, start
from benchmark.traffic import LOST, Met

SERVERS = (ECHO, DNSLB, NSD, BIND)
RATES = (1000, 10_000, 50_000)  # queries a second
ALONE = RATES[0]
SECONDS = 3.0               # of each run
ROUNDS = 3
MOST_RATIO = 1.5            # of the cost of a query that comes alone, to the floor's


@dataclass(frozen=True, slots=True)
class Outcome:
    met: Met
    microseconds: float     # CPU of the server per reply
    noise: float            # share of its core that something else used


def measure(servers: Sequence[Server], ground: Ground) -> Iterator[Finding]:
    outcomes: dict[tuple[str, int], list[Outcome]] = {}
    with tempfile.TemporaryDirectory(prefix="dnslb-latency-") as name, ExitStack() as stack:
        directory = Path(name)
        program = directory / "steady"
        compile_c(HERE / "steady.c", program)
        questions = traffic.write_questions((FOUR, TWO, NODATA, MISSING), directory / "questions")
        zone = directory / "zones" / f"{ZONE_NAME}.zone"
        zone.parent.mkdir()
        zone.write_text(ZONE)
        site = Site(directory, zone, zone, None, ground.python, ground.core)
        targets = [start(server, site, CLASSES[0], stack) for server in servers]
        for number in range(1, ROUNDS + 1):
            for rate in RATES:
                for target in targets:
                    outcome = ask(program, target, traffic.Others(target.port, questions, SECONDS, rate))
                    outcomes.setdefault((target.server.name, rate), []).append(outcome)
                    print(f"{number} {rate:6,}/s {target.server.name:6} {describe(outcome)}", flush=True)
    yield from findings(outcomes)


def ask(program: Path, target: Target, others: traffic.Others) -> Outcome:
    before, core = usage(target.pid), core_seconds(target.core)
    with traffic.steady(program, others) as client:
        asked = traffic.seen(client)
    cpu, core = usage(target.pid).cpu_since(before), core_seconds(target.core) - core
    replies = sum(query.taken != LOST for query in asked)
    if not replies:
        raise RefusedError(f"{target.server.name} does not answer")
    # A reply of the floor is not right, as it is the query; but it is one.
    return Outcome(traffic.summary(asked), 1e6 * cpu / replies, max(0.0, core - cpu) / others.seconds)


def describe(outcome: Outcome) -> str:
    met = outcome.met
    times = "" if met.wrong else f"; replies after {1e3 * met.median:.3f} ms, 99 % within {1e3 * met.late:.3f} ms"
    noise = f", others {outcome.noise:.0%}" if outcome.noise > 0.03 else ""
    return f"{outcome.microseconds:6.2f} µs, {met.lost} lost{times}{noise}"


def findings(outcomes: dict[tuple[str, int], list[Outcome]]) -> Iterator[Finding]:
    """Medians of the rounds."""
    for rate in RATES:
        floor = cost(outcomes[ECHO.name, rate]) if (ECHO.name, rate) in outcomes else None
        for server in (server for server, measured in outcomes if measured == rate):
            group = outcomes[server, rate]
            is_judged = server == DNSLB.name and rate == ALONE and floor is not None
            yield Finding(f"{rate:,}/s: CPU per query", server, cost(group), "µs",
                          MOST_RATIO * floor if is_judged and floor else None)
            if server != ECHO.name:
                yield Finding(f"{rate:,}/s: median", server, 1e6 * median(one.met.median for one in group), "µs")
                yield Finding(f"{rate:,}/s: 99th percentile", server, 1e6 * median(one.met.late for one in group), "µs")
                yield Finding(f"{rate:,}/s: lost", server, 100 * median(one.met.loss for one in group), "%")


def cost(outcomes: Sequence[Outcome]) -> float:
    return median(one.microseconds for one in outcomes)
