"""Experiment 15: dnslb before two HAProxies, which look after the backends: what does each of them catch?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from comparison import backends, dnslb, haproxy, l7, load, probing, unbound
from comparison.backends import Backend
from comparison.dnslb import Dnslb, Pool, owner
from comparison.experiment import Experiment, Lab, Result, Table, sleep_until
from comparison.haproxy import HAPROXY
from comparison.l7 import Front
from comparison.load import Record, Stream
from comparison.processes import Process, free_port
from comparison.statistics import spread
from comparison.unbound import UNBOUND, Setting
from dnslb.advice import forecast
from dnslb.advice.resolver import KINDS

HOMES = ("127.0.2.10", "127.0.2.11", "127.0.2.12")      # two behind the name; one alone, that clients are told of
TTL = 2
RATE = 40.0             # requests per second, of each condition
RESOLVERS = 4
AWAY = 2.0              # seconds that a HAProxy is away when it is replaced
REPEATS = 2             # at most
LIKE = ("Java", "curl")
ALONE = "one HAProxy"


@dataclass
class Site:
    """Everything that runs."""

    lab: Lab
    clones: list[Backend]
    fronts: list[Front]             # in the order of HOMES
    processes: list[Process]
    server: Dnslb

    def begin_again(self, number: int) -> None:
        """A HAProxy in the place of one that has ended; it returns when that one serves."""
        self.processes[number] = haproxy.start(self.lab, [self.fronts[number]], tuned=True).process


def build(lab: Lab) -> tuple[Site, list[Stream]]:
    clones = backends.start(lab)
    port = free_port(HOMES)
    fronts = [Front(port, l7.servers(clones), home=home) for home in HOMES]
    processes = [haproxy.start(lab, [front], tuned=True).process for front in fronts]
    server = dnslb.start(lab, {"www": Pool(HOMES[:2], port, TTL)})
    resolvers = tuple(resolver.endpoint for resolver in unbound.start(lab, [Setting()] * RESOLVERS, server.endpoint))
    named = Stream("", RATE, 0.0, port, name=owner("www"), resolvers=resolvers)
    streams = [Stream(ALONE, RATE, 0.0, port, (HOMES[2],)),
               *(replace(named, label=both(like), like_curl=like == "curl") for like in LIKE)]
    return Site(lab, clones, fronts, processes, server), streams


def both(like: str) -> str:
    return f"dnslb and two, clients like {like}"


# What happens: to the first of the two, and to the one alone.

HIT = (0, 2)


def kill(site: Site) -> None:
    for number in HIT:
        site.processes[number].kill()
    time.sleep(AWAY + settling())
    for number in HIT:
        site.begin_again(number)


def hang(site: Site) -> None:
    for number in HIT:
        site.processes[number].suspend()
    time.sleep(AWAY + settling())
    for number in HIT:
        site.processes[number].resume()


def upgrade(site: Site) -> None:
    """As its manual says: drained in dnslb; the one alone can only be restarted."""
    waits = site.server.drain(HOMES[0])
    site.processes[2].popen.terminate()
    site.processes[2].popen.wait()
    time.sleep(AWAY)
    site.begin_again(2)
    time.sleep(max(0.0, waits - AWAY))
    site.processes[0].popen.terminate()
    site.processes[0].popen.wait()
    time.sleep(AWAY)
    site.begin_again(0)
    site.server.ready(HOMES[0])


def lose_backend(site: Site) -> None:
    """A clone dies; each HAProxy looks after that."""
    victim = site.lab.rng.choice(site.clones)
    victim.process.kill()
    time.sleep(AWAY)
    victim.revive(site.lab)


EVENTS: dict[str, Callable[[Site], None]] = {
    "a HAProxy is killed": kill, "a HAProxy hangs": hang, "a HAProxy is upgraded (drained in DNS)": upgrade,
    "a backend is killed": lose_backend}
QUICK_EVENTS = ("a HAProxy is killed",)


TOLD = ("a HAProxy is killed", "a backend is killed")


def settling() -> float:
    """Seconds until nobody is sent to a dead one any more."""
    return forecast.failover_worst(probing.probe(0), TTL, 0, KINDS["unbound"])


@dataclass(frozen=True, slots=True)
class Case:
    """One event, for one kind of clients, once."""

    requests: int
    failed: int
    last: float     # seconds from the event until the last failure was known


def judge(records: Sequence[Record], began: float, ended: float) -> Case:
    during = [record for record in records if record.ended >= began and record.scheduled < ended]
    failed = [record for record in during if not record.ok]
    return Case(len(during), len(failed), max((record.ended - began for record in failed), default=0.0))


def repeat(site: Site, streams: Sequence[Stream], event: Callable[[Site], None], seconds: float) -> dict[str, Case]:
    running = load.start(site.lab, [replace(stream, seconds=seconds) for stream in streams])
    lead = TTL + 1.5 + site.lab.rng.random()
    sleep_until(running.began + lead)
    began = time.monotonic()
    event(site)
    # All of them watch the same time, which ends with the load.
    outcome = running.wait()
    return {label: judge(records, began, running.began + seconds) for label, records in outcome.records.items()}


def run(lab: Lab) -> Result:
    site, streams = build(lab)
    names = lab.full_or_quick(tuple(EVENTS), QUICK_EVENTS)
    repeats = min(lab.repeats, REPEATS)
    seconds = TTL + 3 + 2 * AWAY + settling() + 2
    cases: dict[str, list[dict[str, Case]]] = {}
    for name in names:
        def attempt(number: int, name: str = name) -> dict[str, Case]:
            lab.progress(f"{name}, {number + 1} of {repeats}")
            found = repeat(site, streams, EVENTS[name], seconds)
            # The next begins when dnslb counts on both again.
            time.sleep(probing.RISE * probing.INTERVAL + 0.5)
            return found

        cases[name] = load.unvoided(lab, repeats, attempt)
    return report(lab, cases, seconds)


# What it says.


def report(lab: Lab, cases: dict[str, list[dict[str, Case]]], seconds: float) -> Result:
    labels = [ALONE, *map(both, LIKE)]
    rows = [[name, *(cell([each[label] for each in found]) for label in labels)] for name, found in cases.items()]
    notes = [*lab.notes, f"{RATE:.0f} requests a second of each kind, watched for {seconds:.0f} s; TTL {TTL}; clients "
             f"wait {load.DEADLINE:g} s; HAProxy is tuned; probes: {probing.describe()}, dnslb's of a HAProxy go "
             "through it to a backend"]
    measurements: dict[str, Any] = {
        "ttl": TTL, "events": {name: {label: [asdict(each[label]) for each in found] for label in labels}
                               for name, found in cases.items()}}
    table = Table("Requests that fail, and seconds until the last one does", ["", *labels], rows)
    return Result(measurements, [table], [], reading(cases), notes)


def cell(cases: Sequence[Case]) -> str:
    requests = spread([case.requests for case in cases]).median
    last = f", {spread([case.last for case in cases]).median:.1f} s" if any(case.failed for case in cases) else ""
    return f"{spread([case.failed for case in cases]).show(0)} of {requests:.0f}{last}"


def reading(cases: dict[str, list[dict[str, Case]]]) -> str:
    def told(name: str) -> str:
        found = {label: cell([each[label] for each in cases[name]]) for label in (ALONE, *map(both, LIKE))}
        return "; ".join(f"{label} {text}" for label, text in found.items())

    return "  ".join(f"When {name}, there fail: {told(name)}." for name in cases if name in TOLD)


EXPERIMENT = Experiment(
    number=15,
    name="both",
    question="dnslb before two HAProxies, as we recommend: what does each catch?",
    setup="""
clients ──(look-up: 4 unbound)──> dnslb ──probes──> HAProxy X, HAProxy ──probes──> b1 b2 b3 b4
   └──────────────── HTTP ────────────────────────> HAProxy X, HAProxy ──────────> b1 b2 b3 b4
clients ──────────── HTTP ────────────────────────> HAProxy X ───────────────────> b1 b2 b3 b4    (alone)
""",
    run=run,
    limits="Both HAProxies and all backends are on one machine: a site that is lost takes its backends with it.",
    needs=(UNBOUND, HAPROXY),
)
