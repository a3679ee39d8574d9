"""Experiment 3: one of four backends dies; how many requests fail, and for how long."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from comparison import backends, dnslb, envoy, haproxy, l7, load, nginx, probing, unbound
from comparison.backends import Backend
from comparison.dnslb import Pool, owner
from comparison.envoy import ENVOY
from comparison.experiment import Experiment, Lab, Plot, Result, Table, sleep_until
from comparison.haproxy import HAPROXY
from comparison.l7 import Front
from comparison.load import Outcome, Record, Stream
from comparison.nginx import NGINX
from comparison.processes import Program, free_port
from comparison.statistics import spread
from comparison.unbound import Layer
from dnslb.advice import forecast
from dnslb.balance.ttl import OVERTIME

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAULTS = ("SIGKILL", "SIGSTOP", "status 500")
CLONES = 4
RESOLVERS = 8
RATE = 16.0         # requests per second, of each condition under each fault
QUICK_RATE = 8.0
PROMISE, QUICK_PROMISE = 10, 8      # seconds: `failover:` of the adaptive TTL
AFTER = 2.0         # seconds that are watched beyond the worst case
L7_LONGEST = 7.5    # seconds that an L7 balancer may take to see that a backend hangs
TUNED = " tuned"
L7_PROGRAMS: tuple[tuple[Program, ModuleType], ...] = ((HAPROXY, haproxy), (ENVOY, envoy), (NGINX, nginx))


@dataclass(frozen=True, slots=True)
class Condition:
    """One way to balance, and one kind of client."""

    name: str
    ttl: int = 0                    # of its answers; 0: an L7 balancer
    pool: str = ""                  # the first part of the pool's name
    next_address: bool = False

    @property
    def is_dns(self) -> bool:
        return bool(self.ttl)


@dataclass(frozen=True, slots=True)
class Case:
    """What one condition went through under one fault, in one repeat."""

    failed: float                   # requests per 1,000 a second
    last: float                     # seconds from the fault to the sending of the last request that failed
    healed: bool                    # before the watch ended
    errors: dict[str, int]
    timeline: list[float]           # share of failed requests in each second, from 2 s before the fault on


def dns_conditions(ttls: Sequence[int], promise: int) -> list[Condition]:
    modes = (("single", "single", False), ("full", "full", False), ("full, next address", "full", True))
    found = [Condition(f"dnslb TTL {ttl}, {mode}", ttl, f"{pool}-{ttl}", next_address)
             for mode, pool, next_address in modes for ttl in ttls]
    ceiling = int(promise - probing.probe(0).detection - OVERTIME)
    return [*found, Condition(f"dnslb failover: {promise}s, full", ceiling, f"promise-{promise}")]


def pools(conditions: Sequence[Condition], clones: Sequence[Sequence[Backend]]) -> dict[str, Pool]:
    """A name for each pool and fault."""
    found = {}
    for number, farm in enumerate(clones):
        homes, port = tuple(clone.address for clone in farm), farm[0].port
        for condition in conditions:
            kind, _, seconds = condition.pool.partition("-")
            if kind == "promise":
                pool = Pool(homes, port, ttl=300, policy=f"{{min: 1s, failover: {seconds}s}}")
            else:
                pool = Pool(homes, port, condition.ttl, answers=1 if kind == "single" else None)
            found[f"{condition.pool}-{number}"] = pool
    return found


@dataclass(frozen=True, slots=True)
class Site:
    """Everything that runs."""

    clones: tuple[list[Backend], ...]       # four for each fault
    resolvers: Layer
    dns: tuple[Condition, ...]
    balancers: dict[Condition, l7.Balancer]

    @property
    def conditions(self) -> list[Condition]:
        return [*self.dns, *self.balancers]


def build(lab: Lab, ttls: Sequence[int]) -> Site:
    clones = tuple(backends.start(lab, CLONES) for _ in FAULTS)
    conditions = tuple(dns_conditions(ttls, lab.full_or_quick(PROMISE, QUICK_PROMISE)))
    server = dnslb.start(lab, pools(conditions, clones))
    resolvers = unbound.start_if_there(lab, RESOLVERS, server.endpoint)
    balancers = {}
    for program, module in L7_PROGRAMS:
        if lab.has(program):
            for tuned in (False, True):
                # A front for each fault, before the clones that will suffer it.
                fronts = [Front(free_port([l7.HOME]), l7.servers(farm)) for farm in clones]
                name = program.name + (TUNED if tuned else "")
                balancers[Condition(name)] = module.start(lab, fronts, tuned)
    return Site(clones, resolvers, conditions, balancers)


def streams(site: Site, fault_at: float, lab: Lab) -> Iterator[Stream]:
    """Each condition under each fault.  A resolver first asks at any time within a TTL before the fault, so that its
    copy is of any age then.
    """
    for condition in site.conditions:
        for number, farm in enumerate(site.clones):
            label, rate = f"{condition.name}/{number}", rate_of(lab)
            end = fault_at + watched(condition)
            if condition in site.balancers:
                port = site.balancers[condition].fronts[number].port
                yield Stream(label, rate, end - fault_at + 3, port, (l7.HOME,), poisson=False, begin=fault_at - 3)
                continue
            for resolver in site.resolvers.endpoints:
                begin = fault_at - 1 - condition.ttl * lab.rng.random()
                yield Stream(label, rate / RESOLVERS, end - begin, farm[0].port, poisson=False, begin=begin,
                             name=owner(f"{condition.pool}-{number}"), resolvers=(resolver,),
                             hold=site.resolvers.hold, next_address=condition.next_address)


def rate_of(lab: Lab) -> float:
    return lab.full_or_quick(RATE, QUICK_RATE)


def worst(condition: Condition) -> float:
    """The advisor's bound."""
    return forecast.failover_worst(probing.probe(0), condition.ttl, 0)


def watched(condition: Condition) -> float:
    """Seconds after the fault."""
    return (worst(condition) if condition.is_dns else L7_LONGEST) + AFTER


def break_one(clone: Backend, fault: str) -> None:
    match fault:
        case "SIGKILL":
            clone.process.kill()
        case "SIGSTOP":
            clone.process.suspend()
        case _:
            clone.change(status=500)


def mend(clone: Backend, fault: str, lab: Lab) -> None:
    match fault:
        case "SIGKILL":
            clone.revive(lab)
        case "SIGSTOP":
            clone.process.resume()
        case _:
            clone.change(status=200)


def repeat(lab: Lab, site: Site, longest: int) -> tuple[Outcome, list[float]]:
    """All conditions and faults at once.  The outcome, and when each fault happened."""
    # Caches still hold answers from before the last mending, for a TTL and a second at most.
    settling = lab.full_or_quick(3.0, 1.5)
    fault_at = longest + settling + lab.rng.random() * probing.INTERVAL
    running = load.start(lab, list(streams(site, fault_at, lab)))
    victims = [lab.rng.choice(farm) for farm in site.clones]
    sleep_until(running.began + fault_at)
    moments = []
    for fault, victim in zip(FAULTS, victims, strict=True):
        break_one(victim, fault)
        moments.append(time.monotonic())
    try:
        return running.wait(), moments
    finally:
        for fault, victim in zip(FAULTS, victims, strict=True):
            mend(victim, fault, lab)


def judge(records: Sequence[Record], fault: float, watched: float, rate: float) -> Case:
    failures = [record for record in records if not record.ok and record.ended >= fault]
    errors: dict[str, int] = defaultdict(int)
    for record in failures:
        errors[record.error or str(record.status)] += 1
    last = max((record.scheduled - fault for record in failures), default=0.0)
    seconds = range(-2, int(watched) + 1)
    by_second: dict[int, list[bool]] = defaultdict(list)
    for record in records:
        by_second[int((record.scheduled - fault) // 1)].append(not record.ok)
    timeline = [sum(found) / len(found) if (found := by_second[second]) else 0.0 for second in seconds]
    # Healed: in the last second of the watch all were well.
    return Case(1000 * len(failures) / rate, max(0.0, last), last < watched - 1.0, dict(errors), timeline)


def run(lab: Lab) -> Result:
    ttls = lab.full_or_quick((1, 5, 15, 30), (1, 3))
    site = build(lab, ttls)
    cases: dict[tuple[str, int], list[Case]] = defaultdict(list)
    for number in range(lab.repeats):
        lab.progress(f"repeat {number + 1} of {lab.repeats}: a clone of each farm will be broken")
        moments: list[float] = []

        def attempt(into: list[float] = moments) -> Outcome:
            outcome, into[:] = repeat(lab, site, ttls[-1])
            return outcome

        outcome = load.unless_void(lab, attempt)
        for condition in site.conditions:
            for fault, moment in enumerate(moments):
                records = outcome.records[f"{condition.name}/{fault}"]
                cases[condition.name, fault].append(judge(records, moment, watched(condition), rate_of(lab)))
    return report(lab, site, ttls, dict(cases))


# What it says.


def predicted_failed(condition: Condition, fault: str, rate: float) -> float:
    """Where 1,000 are sent a second; for clients that do not try the next address."""
    probe, per_resolver = probing.probe(0), rate / RESOLVERS
    hits = forecast.hit_rate([per_resolver], condition.ttl)
    detection = (forecast.detection_mean_hang if fault == "SIGSTOP" else forecast.detection_mean_killed)(probe)
    return forecast.failed_requests(1000, CLONES, detection + hits * condition.ttl / 2)


def cell(cases: Sequence[Case]) -> list[str]:
    """Failed requests, and the last one's time."""
    last = spread([case.last for case in cases])
    stays = "" if all(case.healed for case in cases) else "to the end: "
    return [spread([case.failed for case in cases]).show(0), stays + last.show(1)]


def report(lab: Lab, site: Site, ttls: Sequence[int], cases: dict[tuple[str, int], list[Case]]) -> Result:
    header = ["", *(f"{fault}: {what}" for fault in FAULTS for what in ("failed", "last, s")),
              "by formula: failed", "by formula: last, s"]
    rows = []
    for condition in site.conditions:
        bound = f"{worst(condition):.1f}" if condition.is_dns else "–"
        forecasted = f"{predicted_failed(condition, 'SIGKILL', rate_of(lab)):.0f}" \
            if condition.is_dns and not condition.next_address else "–"
        rows.append([condition.name, *(text for number in range(len(FAULTS))
                                       for text in cell(cases[condition.name, number])), forecasted, bound])
    late = [f"{condition.name}, {FAULTS[number]}: {case.last:.1f} s" for condition in site.dns
            for number in range(len(FAULTS)) for case in cases[condition.name, number]
            if case.last > worst(condition)]
    notes = [*lab.notes, f"probes of dnslb, HAProxy and Envoy: {probing.describe()}; nginx learns from requests only",
             "failed: requests in all, where 1,000 are sent a second; last: when the last one of them was sent, in "
             "seconds after the fault; by the formulas of `dnslb ttl`: the mean, of SIGKILL, and the worst case"]
    if late:
        notes.append(f"later than the worst case: {'; '.join(late)}")
    measurements: dict[str, Any] = {
        "rate": rate_of(lab), "resolvers": RESOLVERS, "detection_worst": probing.probe(0).detection, "late": late,
        "conditions": {
            condition.name: {
                "ttl": condition.ttl, "worst": worst(condition) if condition.is_dns else None,
                "faults": {fault: {
                    "predicted": predicted_failed(condition, fault, rate_of(lab)) if condition.is_dns else None,
                    "failed": [case.failed for case in cases[condition.name, number]],
                    "last": [case.last for case in cases[condition.name, number]],
                    "healed": [case.healed for case in cases[condition.name, number]],
                    "errors": [case.errors for case in cases[condition.name, number]],
                } for number, fault in enumerate(FAULTS)}}
            for condition in site.conditions}}
    plots = [Plot("Requests that fail when one of four backends dies, where 1,000 are sent a second",
                  partial(draw_failed, site, ttls, cases), (9.5, 4.6)),
             Plot("Share of failing requests around the fault (at 0 s), median of the repeats",
                  partial(draw_timelines, site, ttls, cases), (9.5, 6.5))]
    return Result(measurements, [Table("", header, rows)], plots, reading(site, ttls, cases), notes)


def reading(site: Site, ttls: Sequence[int], cases: dict[tuple[str, int], list[Case]]) -> str:
    def failed(name: str, fault: int) -> float:
        return spread([case.failed for case in cases[name, fault]]).median

    low, high = ttls[0], ttls[-1]
    first = (f"When a backend is killed and 1,000 requests are sent a second, dnslb's clients lose "
             f"{failed(f'dnslb TTL {low}, full', 0):.0f} with TTL {low}, "
             f"{failed(f'dnslb TTL {high}, full', 0):.0f} with TTL {high}, and "
             f"{failed(f'dnslb TTL {high}, full, next address', 0):.0f} with TTL {high} when they try the next address")
    if not site.balancers:
        return first + "."
    lost = [f"{name.name} {failed(name.name, 0):.0f} (SIGSTOP {failed(name.name, 1):.0f}, "
            f"status 500 {failed(name.name, 2):.0f})" for name in site.balancers]
    return f"{first}.  The L7 balancers lose: {', '.join(lost)}."


COLOURS = {"single": "#d1495b", "full": "#edae49", "full, next address": "#2e8b57"}


def draw_failed(site: Site, ttls: Sequence[int], cases: dict[tuple[str, int], list[Case]], figure: Figure) -> None:
    """A panel for each fault: lines over the TTL for DNS, a mark at the right for each L7 balancer."""
    panels = figure.subplots(1, len(FAULTS), sharey=True)
    for number, (fault, panel) in enumerate(zip(FAULTS, panels, strict=True)):
        for mode, colour in COLOURS.items():
            spreads = [spread([case.failed for case in cases[f"dnslb TTL {ttl}, {mode}", number]]) for ttl in ttls]
            low = [one.median - one.lowest for one in spreads]
            high = [one.highest - one.median for one in spreads]
            panel.errorbar(ttls, [one.median for one in spreads], [low, high], color=colour, marker="o", capsize=3,
                           label=f"dnslb, {mode}")
        conditions = [Condition("", ttl) for ttl in ttls]
        panel.plot(ttls, [predicted_failed(condition, fault, RATE) for condition in conditions], color="#444444",
                   linestyle="--", label="by formula (no next address)")
        places = [ttls[-1] * (1.15 + 0.13 * at) for at in range(len(site.balancers))]
        draw_balancers(panel, places, [(condition.name, spread([case.failed for case in cases[condition.name, number]]
                                                               ).median) for condition in site.balancers])
        panel.set_title(fault, fontsize=10)
        panel.set_xlabel("TTL, s" + " (at the right: L7)" * bool(site.balancers))
        panel.set_xticks(ttls)
        panel.minorticks_off()
    panels[0].set_yscale("symlog", linthresh=100)
    most = max(case.failed for found in cases.values() for case in found)
    panels[0].set_ylim(-20, 1.5 * most)
    ticks = [tick for tick in (0, 50, 100, 300, 1000, 3000, 10000) if tick < 1.5 * most]
    panels[0].set_yticks(ticks, map(str, ticks))
    panels[0].set_ylabel("failed requests")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)


def draw_balancers(panel: Axes, places: Sequence[float], values: Sequence[tuple[str, float]]) -> None:
    marks = {"HAProxy": ("s", "#00798c"), "Envoy": ("^", "#7b4fa3"), "nginx": ("D", "#8a8a8a")}
    for place, (name, value) in zip(places, values, strict=True):
        mark, colour = marks[name.removesuffix(TUNED)]
        panel.plot([place], [value], marker=mark, color=colour, linestyle="none",
                   markerfacecolor="white" if name.endswith(TUNED) else colour, label=name)


def draw_timelines(site: Site, ttls: Sequence[int], cases: dict[tuple[str, int], list[Case]], figure: Figure) -> None:
    """A row for each of a choice of conditions, a column for each fault."""
    chosen = [f"dnslb TTL {ttls[0]}, full", f"dnslb TTL {ttls[-1]}, full", f"dnslb TTL {ttls[-1]}, full, next address",
              *(condition.name for condition in site.balancers if condition.name.split()[0] != "nginx")]
    panels = figure.subplots(len(chosen), len(FAULTS), sharex=True, sharey=True, squeeze=False)
    for row, name in enumerate(chosen):
        for number, fault in enumerate(FAULTS):
            lines = [case.timeline for case in cases[name, number]]
            shares = [spread([line[at] for line in lines]).median * 100 for at in range(len(lines[0]))]
            panel = panels[row][number]
            panel.stairs(shares, range(-2, len(shares) - 1), fill=True, color="#d1495b")
            panel.axvline(0, color="#444444", linewidth=1)
            panel.set_ylim(0, 60)
            panel.set_yticks([0, 25, 50])
            if row == 0:
                panel.set_title(fault, fontsize=10)
            if row == len(chosen) - 1:
                panel.set_xlabel("seconds since the fault")
        panels[row][0].set_ylabel(name.replace(", ", ",\n", 1), rotation=0, ha="right", va="center", fontsize=8)
    figure.supylabel("failing, %", fontsize=9)


EXPERIMENT = Experiment(
    number=3,
    name="failover",
    question="One of four backends dies: how many requests fail, and for how long?",
    setup="""
clients ──(look-up for each connection)──> 8 unbound ──> dnslb ──probes──> b1 b2 b3 b4
   └───────────────────────── HTTP, a new connection each ──────────────────^  X
clients ── HTTP ──> HAProxy, Envoy, nginx ──────────────(probes)──────────> b1 b2 b3 b4

single: one address in an answer; full: all four; next address: the client tries it when the first fails
faults: SIGKILL (refused), SIGSTOP (accepted, never answered; clients give up after 1 s), status 500 on all paths
""",
    run=run,
)
