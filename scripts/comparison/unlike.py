"""Experiment 5: backends that are not alike: one is slow, or they are of unlike speeds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from comparison import backends, dnslb, envoy, haproxy, l7, load, nginx, palette, unbound
from comparison.backends import Backend
from comparison.dnslb import Pool, owner
from comparison.envoy import ENVOY
from comparison.experiment import Experiment, Lab, Plot, Result, Table
from comparison.haproxy import HAPROXY
from comparison.l7 import Front
from comparison.load import Record, Stream
from comparison.nginx import NGINX
from comparison.processes import Program, free_port
from comparison.statistics import errors, mean, percentile, spread
from comparison.unbound import UNBOUND, Layer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLONES = 4
RESOLVERS = 8
RATE = 60.0                             # requests per second, of each condition
SLOW = (0.2, 0.0, 0.0, 0.0)             # seconds that each clone waits before it replies
SPEEDS = (0.025, 0.05, 0.1, 0.1)
WEIGHTS = (4, 2, 1, 1)                  # as the speeds
TTL = 1                                 # so that resolvers pin as little as they can
PROGRAMS: tuple[tuple[Program, ModuleType], ...] = ((HAPROXY, haproxy), (ENVOY, envoy), (NGINX, nginx))


@dataclass(frozen=True, slots=True)
class Condition:
    name: str
    port: int
    pool: str = ""          # of dnslb; else the port is an L7 balancer's


def build(lab: Lab, clones: Sequence[Backend]) -> tuple[Layer, list[Condition], list[Condition]]:
    """The resolvers, and the conditions for the slow clone and for the unlike speeds."""
    homes, port = tuple(clone.address for clone in clones), clones[0].port
    weights = dict(zip(homes, WEIGHTS, strict=True))
    server = dnslb.start(lab, {
        "full": Pool(homes, port, TTL),
        "weighted": Pool(homes, port, TTL, weights=weights),
        "single": Pool(homes, port, TTL, answers=1, weights=weights)})
    resolvers = unbound.start_if_there(lab, RESOLVERS, server.endpoint)
    slow = [Condition("dnslb", port, "full")]
    speeds = [Condition("dnslb", port, "full"), Condition("dnslb weights, full", port, "weighted"),
              Condition("dnslb weights, single", port, "single")]
    for program, module in PROGRAMS:
        if lab.has(program):
            fronts = [Front(free_port([l7.HOME]), l7.servers(clones)),
                      Front(free_port([l7.HOME]), l7.servers(clones), "leastconn"),
                      Front(free_port([l7.HOME]), l7.servers(clones, WEIGHTS))]
            module.start(lab, fronts)
            names = [f"{program.name} {what}" for what in ("round robin", "least conn.", "weights")]
            robin, least, weighted = (Condition(name, front.port)
                                      for name, front in zip(names, fronts, strict=True))
            slow += [robin, least]
            speeds += [weighted, least]
    return resolvers, slow, speeds


def stream(condition: Condition, resolvers: Layer, seconds: float) -> Stream:
    if condition.pool:
        return Stream(condition.name, RATE, seconds, condition.port, name=owner(condition.pool),
                      resolvers=resolvers.endpoints, hold=resolvers.hold)
    return Stream(condition.name, RATE, seconds, condition.port, addresses=(l7.HOME,))


@dataclass(frozen=True, slots=True)
class Case:
    """One condition, once."""

    latencies: tuple[float, float, float]   # mean, median, 99th percentile; milliseconds
    shares: tuple[float, ...]               # of the requests, clone by clone


def judge(records: Sequence[Record], clones: Sequence[Backend]) -> Case:
    latencies = [1000 * record.latency for record in records]
    counts = Counter(record.backend for record in records)
    shares = tuple(counts[clone.name] / len(records) for clone in clones)
    return Case((mean(latencies), percentile(latencies, 0.5), percentile(latencies, 0.99)), shares)


def run(lab: Lab) -> Result:
    clones = backends.start(lab, CLONES)
    resolvers, slow, speeds = build(lab, clones)
    seconds = lab.full_or_quick(7.0, 2.0)
    cases: dict[str, dict[str, list[Case]]] = {"slow": defaultdict(list), "speeds": defaultdict(list)}

    def attempt(number: int) -> dict[str, dict[str, Case]]:
        lab.progress(f"repeat {number + 1} of {lab.repeats}")
        found = {}
        for kind, delays, conditions in lab.shuffled([("slow", SLOW, slow), ("speeds", SPEEDS, speeds)]):
            for clone, delay in zip(clones, delays, strict=True):
                clone.change(delay=delay)
            # All conditions at once: together they ask little of the clones.
            streams = [stream(condition, resolvers, seconds) for condition in conditions]
            outcome = load.start(lab, streams, load.FINE).wait()
            found[kind] = {condition.name: judge(outcome.records[condition.name], clones) for condition in conditions}
        return found

    for repeat in load.unvoided(lab, lab.repeats, attempt):
        for kind, found in repeat.items():
            for name, case in found.items():
                cases[kind][name].append(case)
    return report(lab, cases)


# What it says.


def share(cases: Sequence[Case], clone: int) -> float:
    return spread([case.shares[clone] for case in cases]).median


def latency(cases: Sequence[Case], which: int) -> float:
    return spread([case.latencies[which] for case in cases]).median


def off(cases: Sequence[Case]) -> float:
    """The largest distance of a share from its weight's, in percentage points."""
    return max(abs(share(cases, clone) - weight / sum(WEIGHTS)) for clone, weight in enumerate(WEIGHTS)) * 100


def report(lab: Lab, cases: dict[str, dict[str, list[Case]]]) -> Result:
    slow, speeds = cases["slow"], cases["speeds"]
    slow_rows = [[name, f"{share(found, 0):.0%}", *latency_cells(found)] for name, found in slow.items()]
    speed_rows = [[name, ":".join(f"{100 * share(found, clone):.0f}" for clone in range(CLONES)), f"{off(found):.1f}",
                   *latency_cells(found)] for name, found in speeds.items()]
    tables = [
        Table("One of four clones takes 200 ms longer",
              ["", "its share", "mean, ms", "median, ms", "p99, ms"], slow_rows),
        Table("Clones that take 25, 50, 100, 100 ms; weights, where given, 4:2:1:1 (50:25:12.5:12.5)",
              ["", "shares, %", "furthest off, points", "mean, ms", "median, ms", "p99, ms"], speed_rows)]
    measurements: dict[str, Any] = {
        kind: {name: {"shares": [case.shares for case in found], "latency_ms": [case.latencies for case in found]}
               for name, found in conditions.items()}
        for kind, conditions in cases.items()}
    plots = [Plot("Share of each clone; the mean latency at the right", partial(draw, cases), (9.5, 4.4))]
    notes = [*lab.notes, "DNS knows no least connections: a nameserver does not see them",
             f"dnslb: TTL {TTL}; single: `answers: 1`"]
    if UNBOUND.path():
        notes.append(f"{RESOLVERS} resolvers, which shuffle whole sets of addresses (unbound's default)")
    return Result(measurements, tables, plots, reading(slow, speeds), notes)


def latency_cells(cases: Sequence[Case]) -> list[str]:
    return [spread([case.latencies[which] for case in cases]).show(0) for which in range(3)]


def reading(slow: dict[str, list[Case]], speeds: dict[str, list[Case]]) -> str:
    def least(cases: dict[str, list[Case]]) -> list[str]:
        return [name for name in cases if name.endswith("least conn.")]

    first = f"dnslb goes on sending {share(slow['dnslb'], 0):.0%} of the requests to the slow clone " \
            f"(mean {latency(slow['dnslb'], 0):.0f} ms)"
    if least(slow):
        first += ", as round robin does; least connections sends " + ", ".join(
            f"{share(slow[name], 0):.0%} (mean {latency(slow[name], 0):.0f} ms, {name.split()[0]})"
            for name in least(slow))
    second = f"Weights are {off(speeds['dnslb weights, single']):.1f} points off at most with single answers, and " \
             f"{off(speeds['dnslb weights, full']):.1f} with whole sets of addresses"
    if least(speeds):
        second += "; least connections finds the speeds by itself, " + ", ".join(
            f"{off(speeds[name]):.1f} points off ({name.split()[0]})" for name in least(speeds))
    return f"{first}.  {second}."


COLOURS = (palette.VERMILION, palette.ORANGE, palette.SKY, palette.BLUE)


def draw(cases: dict[str, dict[str, list[Case]]], figure: Figure) -> None:
    panels = figure.subplots(1, 2)
    titles = ("b1 takes 200 ms longer", "25, 50, 100, 100 ms; weights 4:2:1:1")
    for panel, conditions, title in zip(panels, cases.values(), titles, strict=True):
        left = [0.0] * len(conditions)
        for clone, colour in enumerate(COLOURS):
            # Means: unlike medians, they add up.
            shares = [100 * mean([case.shares[clone] for case in found]) for found in conditions.values()]
            panel.barh(range(len(conditions)), shares, left=left, color=colour, label=f"b{clone + 1}", height=0.7)
            if not clone:
                ranges = [spread([100 * case.shares[clone] for case in found]) for found in conditions.values()]
                panel.errorbar(shares, range(len(conditions)), xerr=errors(ranges), color=palette.BLACK,
                               linestyle="none", capsize=3, linewidth=1)
            left = [begin + width for begin, width in zip(left, shares, strict=True)]
        for place, found in enumerate(conditions.values()):
            panel.text(101, place, f"{latency(found, 0):.0f} ms", va="center", fontsize=8)
        panel.set_yticks(range(len(conditions)), list(conditions), fontsize=8)
        panel.set_xlim(0, 115)
        panel.set_xticks([0, 25, 50, 75, 100])
        panel.set_xlabel("share of the requests, %")
        panel.set_title(title, fontsize=10)
        panel.invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)


EXPERIMENT = Experiment(
    number=5,
    name="unlike",
    question="Backends that are slow, or of unlike speeds: who notices?",
    setup="""
clients ──(look-up for each connection)──> 8 unbound ──> dnslb     b1: +200 ms | 25 ms  weight 4
   └──────────────── HTTP ──────────────────────────────────────>  b2:         | 50 ms         2
clients ── HTTP ──> HAProxy, Envoy, nginx: round robin, ────────>  b3:         | 100 ms        1
                    weights, least connections                     b4:         | 100 ms        1
""",
    run=run,
    limits="Delays are constant and nothing queues: a backend that is overloaded grows slower, which least "
           "connections sees and DNS does not.",
)
