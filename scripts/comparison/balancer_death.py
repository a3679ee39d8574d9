"""Experiment 7: the balancer itself dies, and comes back."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from comparison import backends, dnslb, envoy, haproxy, l7, load, palette, unbound
from comparison.backends import Backend
from comparison.dnslb import Dnslb, Pool, owner
from comparison.envoy import ENVOY
from comparison.experiment import Experiment, Lab, Plot, Result, Table, sleep_until
from comparison.haproxy import HAPROXY
from comparison.l7 import Front
from comparison.load import Outcome, Record, Stream
from comparison.processes import Process, Program, free_port
from comparison.statistics import spread
from comparison.stub import Endpoint
from comparison.unbound import UNBOUND, Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATE = 40.0             # requests per second, of each condition
RESOLVERS = 4           # of each condition
LONGEST_REPEATS = 3     # what happens hardly varies
PROGRAMS: tuple[tuple[Program, ModuleType], ...] = ((HAPROXY, haproxy), (ENVOY, envoy))


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds after the plan's start."""

    ttl: int
    dies: float
    returns: float
    ends: float


FULL = Times(ttl=5, dies=8, returns=22, ends=32)
QUICK = Times(ttl=1, dies=2, returns=5, ends=7.5)


@dataclass
class Condition:
    """One service, and what is killed of it."""

    name: str
    port: int                                   # that clients connect to
    victim: Process
    start_again: Callable[[], Process]
    resolvers: tuple[Endpoint, ...] = ()        # none: an L7 balancer
    dead_at: float = 0.0                        # on the monotonic clock
    back_at: float = 0.0                        # when the command to start it again was given


def build(lab: Lab, clones: Sequence[Backend], ttl: int) -> list[Condition]:
    homes, port = tuple(clone.address for clone in clones), clones[0].port
    pools = {"www": Pool(homes, port, ttl)}
    serving = [dnslb.start(lab, pools, number) for number in range(1, 5)]

    def named(name: str, servers: Sequence[Dnslb], setting: Setting) -> Condition:
        resolvers = unbound.start(lab, [setting] * RESOLVERS, *(server.endpoint for server in servers))
        first = servers[0]

        def start_again() -> Process:
            return dnslb.start(lab, pools, serving.index(first) + 1, first.endpoint.port).process

        return Condition(name, port, first.process, start_again, tuple(resolver.endpoint for resolver in resolvers))

    conditions = [named("dnslb, one node", serving[:1], Setting()),
                  named("dnslb, one node, serve-expired", serving[1:2], Setting(serve_expired=True)),
                  named("dnslb, two nodes", serving[2:], Setting())]
    for program, module in PROGRAMS:
        if lab.has(program):
            front = Front(free_port([l7.HOME]), l7.servers(clones))
            start: Callable[[], Process] = partial(start_process, lab, module, front)
            conditions.append(Condition(program.name, front.port, start(), start))
    return conditions


def start_process(lab: Lab, module: ModuleType, front: Front) -> Process:
    process = module.start(lab, [front]).process
    assert isinstance(process, Process)
    return process


def streams(lab: Lab, condition: Condition, times: Times) -> list[Stream]:
    """Every resolver's cache has another age when the nameserver dies."""
    if not condition.resolvers:
        return [Stream(condition.name, RATE, times.ends, condition.port, (l7.HOME,), poisson=False)]
    found = []
    for resolver in condition.resolvers:
        begin = lab.rng.random() * times.ttl
        found.append(Stream(condition.name, RATE / len(condition.resolvers), times.ends - begin, condition.port,
                            name=owner("www"), resolvers=(resolver,), poisson=False, begin=begin))
    return found


@dataclass(frozen=True, slots=True)
class Case:
    """One condition, once.  Times in seconds."""

    first: float | None     # from the death to the sending of the first request that failed
    last: float | None      # from the restart to the sending of the last one
    share: float            # of the requests between death and restart, that failed
    errors: dict[str, int]
    timeline: list[float]   # share that went well, by second of the plan


def judge(condition: Condition, records: Sequence[Record], began: float, times: Times) -> Case:
    dead, back = condition.dead_at, condition.back_at
    failed = [record for record in records if not record.ok and record.ended >= dead]
    meanwhile = [record for record in records if dead <= record.scheduled < back]
    by_second: list[list[bool]] = [[] for _ in range(int(times.ends))]
    for record in records:
        by_second[min(int(record.scheduled - began), len(by_second) - 1)].append(record.ok)
    return Case(
        first=max(0.0, failed[0].scheduled - dead) if failed else None,
        last=max(0.0, failed[-1].scheduled - back) if failed else None,
        share=sum(not record.ok for record in meanwhile) / len(meanwhile),
        errors=dict(Counter(record.error or str(record.status) for record in failed)),
        timeline=[sum(found) / len(found) if found else 1.0 for found in by_second])


def repeat(lab: Lab, conditions: Sequence[Condition], times: Times) -> Outcome:
    running = load.start(lab, [stream for condition in conditions for stream in streams(lab, condition, times)])
    sleep_until(running.began + times.dies)
    for condition in conditions:
        condition.dead_at = time.monotonic()
        condition.victim.kill()
    sleep_until(running.began + times.returns)
    # At once: the second must not wait until the first is ready.
    with ThreadPoolExecutor(len(conditions)) as pool:
        list(pool.map(revive, conditions))
    return running.wait()


def revive(condition: Condition) -> None:
    condition.back_at = time.monotonic()
    condition.victim = condition.start_again()


def run(lab: Lab) -> Result:
    times = lab.full_or_quick(FULL, QUICK)
    clones = backends.start(lab)
    conditions = build(lab, clones, times.ttl)
    cases: dict[str, list[Case]] = defaultdict(list)
    repeats = min(lab.repeats, LONGEST_REPEATS)

    def attempt(number: int) -> dict[str, Case]:
        lab.progress(f"repeat {number + 1} of {repeats}: dead after {times.dies:g} s, back after {times.returns:g} s")
        outcome = repeat(lab, conditions, times)
        return {condition.name: judge(condition, outcome.records[condition.name], outcome.began, times)
                for condition in conditions}

    for found in load.unvoided(lab, repeats, attempt):
        for name, case in found.items():
            cases[name].append(case)
    return report(lab, times, cases)


# What it says.


def seconds(values: Sequence[float | None]) -> str:
    found = [value for value in values if value is not None]
    return spread(found).show(1) if found else "none failed"


def report(lab: Lab, times: Times, cases: dict[str, list[Case]]) -> Result:
    rows = [[name, seconds([case.first for case in found]), f"{100 * median_share(found):.0f} %",
             seconds([case.last for case in found]),
             ", ".join(sorted({error for case in found for error in case.errors})) or "–"]
            for name, found in cases.items()]
    header = ["", "first failure after, s", f"failed in the {times.returns - times.dies:g} s of its absence",
              "last failure after the restart, s", "how"]
    measurements: dict[str, Any] = {
        "ttl": times.ttl, "dies": times.dies, "returns": times.returns,
        "conditions": {name: [{"first": case.first, "last": case.last, "share": case.share, "errors": case.errors,
                               "timeline": case.timeline} for case in found] for name, found in cases.items()}}
    notes = [*lab.notes, "a restart is counted from the command; dnslb probes every backend once before it answers",
             "serve-expired hands out addresses for as long as the nameserver is away, whether they are dead or not"]
    late = [case.last for case in cases["dnslb, one node"] if case.last and case.last > 1]
    if late:
        notes.append("unbound leaves a server alone for a while that did not answer: here up to "
                     f"{max(late):.0f} s after the only dnslb came back")
    plots = [Plot("Share of requests that go well; the balancer is killed, and started again",
                  partial(draw, times, cases), (8.5, 5.5))]
    return Result(measurements, [Table("", header, rows, is_numeric=False)], plots, reading(times, cases), notes)


def median_share(cases: Sequence[Case]) -> float:
    return spread([case.share for case in cases]).median


def reading(times: Times, cases: dict[str, list[Case]]) -> str:
    def lost(name: str) -> str:
        return f"{100 * median_share(cases[name]):.0f} %"

    first = cases["dnslb, one node"]
    failed = [case.first for case in first if case.first is not None]
    held = f"after {spread(failed).median:.1f} s" if failed else f"> {times.returns - times.dies:.0f} s later"
    text = (f"Without its only dnslb a service lives on from caches (TTL {times.ttl}): the first request failed "
            f"{held}, {lost('dnslb, one node')} failed in all; with serve-expired "
            f"{lost('dnslb, one node, serve-expired')}, with a second node {lost('dnslb, two nodes')}.")
    balancers = [name for name in cases if not name.startswith("dnslb")]
    if balancers:
        text += "  A single L7 balancer takes the service with it: " \
                + ", ".join(f"{name} {lost(name)} failed" for name in balancers) + "."
    return text


def draw(times: Times, cases: dict[str, list[Case]], figure: Figure) -> None:
    panels = figure.subplots(len(cases), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for panel, (name, found) in zip(panels, cases.items(), strict=True):
        shares = [100 * spread([case.timeline[at] for case in found]).median for at in range(len(found[0].timeline))]
        panel.stairs([100.0] * len(shares), fill=True, color=palette.VERMILION)
        panel.stairs(shares, fill=True, color=palette.GREEN)
        for moment in (times.dies, times.returns):
            panel.axvline(moment, color=palette.BLACK, linewidth=1, linestyle="--")
        panel.set_ylabel(name.replace(", ", ",\n"), rotation=0, ha="right", va="center", fontsize=8)
        panel.set_ylim(0, 100)
        panel.set_yticks([0, 50, 100])
    panels[-1].set_xlabel(f"seconds; killed at {times.dies:g}, started again at {times.returns:g}; "
                          "green: well, red: failed, %")


EXPERIMENT = Experiment(
    number=7,
    name="balancer_death",
    question="The balancer itself dies: what do clients notice?",
    setup="""
clients ──> 4 unbound ───────────────────> dnslb X             (a) one node
clients ──> 4 unbound, serve-expired ────> dnslb X             (b) one node, stale answers allowed
clients ──> 4 unbound ───────────────────> dnslb X, dnslb      (c) two nodes
   └──────────────── HTTP ───────────────────────────────────> b1 b2 b3 b4
clients ── HTTP ──> HAProxy X ───────────────────────────────> b1 b2 b3 b4     (Envoy: the same)
""",
    run=run,
    limits="A second L7 balancer with VRRP was not measured; nor was a resolver that knows no second nameserver "
           "yet.",
    needs=(UNBOUND,),
)
