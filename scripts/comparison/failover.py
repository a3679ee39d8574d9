"""Experiment 3: one of four backends dies; how many requests fail, and for how long."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from comparison import backends, dnslb, envoy, haproxy, l7, load, nginx, palette, probing, unbound
from comparison.backends import Backend
from comparison.dnslb import Pool, owner
from comparison.envoy import ENVOY
from comparison.experiment import Experiment, Lab, Plot, Result, Table, sleep_until
from comparison.haproxy import HAPROXY
from comparison.l7 import Front
from comparison.load import Outcome, Record, Stream
from comparison.nginx import NGINX
from comparison.processes import Program, free_port
from comparison.statistics import errors, percentiles, spread
from comparison.unbound import Layer
from dnslb.advice import forecast
from dnslb.advice.resolver import KINDS
from dnslb.balance.ttl import OVERTIME

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAULTS = ("SIGKILL", "SIGSTOP", "status 500")
CLONES = 4
RESOLVERS = 8
RATE = 16.0         # requests per second, of each condition under each fault
QUICK_RATE = 8.0
PROMISE, QUICK_PROMISE = 10, 8      # seconds: `failover:` of the adaptive TTL
AFTER = 2.0         # seconds that are watched beyond the worst case
SLOW = 0.5          # seconds beyond which a user notices
LATENCIES = (0.5, 0.99, 0.999)
CURL, JAVA = ", clients like curl", ", clients like Java"
TUNED = " tuned"
L7_PROGRAMS: tuple[tuple[Program, ModuleType], ...] = ((HAPROXY, haproxy), (ENVOY, envoy), (NGINX, nginx))


@dataclass(frozen=True, slots=True)
class Condition:
    """One way to balance, and one kind of client."""

    name: str
    ttl: int = 0                    # of its answers; 0: an L7 balancer
    pool: str = ""                  # the first part of the pool's name
    like_curl: bool = False

    @property
    def is_dns(self) -> bool:
        return bool(self.ttl)


@dataclass(frozen=True, slots=True)
class Case:
    """What one condition went through under one fault, in one repeat."""

    requests: int                   # from the fault to the end of the watch
    failed: int                     # of them
    last: float                     # seconds from the fault until the last failure was known to its client
    healed: bool                    # before the watch ended
    errors: dict[str, int]
    latencies: list[float]          # seconds, of those that went well: LATENCIES
    slow: int                       # of those that went well: took longer than SLOW
    timeline: list[float]           # share of failed requests in each second, from 2 s before the fault on


def dns_conditions(ttls: Sequence[int], promise: int) -> list[Condition]:
    modes = ((f"single{JAVA}", "single", False), (f"full{JAVA}", "full", False), (f"full{CURL}", "full", True))
    found = [Condition(f"dnslb TTL {ttl}, {mode}", ttl, f"{pool}-{ttl}", like_curl)
             for mode, pool, like_curl in modes for ttl in ttls]
    ceiling = int(promise - probing.probe(0).detection - OVERTIME)
    return [*found, Condition(f"dnslb failover: {promise}s, full{JAVA}", ceiling, f"promise-{promise}")]


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
            end = fault_at + watched(site)
            if condition in site.balancers:
                port = site.balancers[condition].fronts[number].port
                yield Stream(label, rate, end - fault_at + 3, port, (l7.HOME,), poisson=False, begin=fault_at - 3)
                continue
            for resolver in site.resolvers.endpoints:
                begin = fault_at - 1 - condition.ttl * lab.rng.random()
                yield Stream(label, rate / RESOLVERS, end - begin, farm[0].port, poisson=False, begin=begin,
                             name=owner(f"{condition.pool}-{number}"), resolvers=(resolver,),
                             hold=site.resolvers.hold, like_curl=condition.like_curl)


def rate_of(lab: Lab) -> float:
    return lab.full_or_quick(RATE, QUICK_RATE)


def worst(condition: Condition) -> float:
    """The advisor's bound, behind unbound."""
    return forecast.failover_worst(probing.probe(0), condition.ttl, 0, KINDS["unbound"])


def watched(site: Site) -> float:
    """Seconds after the fault: for all alike."""
    return max(map(worst, site.dns)) + load.DEADLINE + AFTER


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


def judge(records: Sequence[Record], fault: float, watched: float) -> Case:
    after = [record for record in records if record.ended >= fault]
    failures = [record for record in after if not record.ok]
    last = max((record.ended - fault for record in failures), default=0.0)
    by_second: dict[int, list[bool]] = defaultdict(list)
    for record in records:
        by_second[int((record.scheduled - fault) // 1)].append(not record.ok)
    timeline = [sum(found) / len(found) if (found := by_second[second]) else 0.0 for second in range(-2, int(watched))]
    took = [record.latency for record in after if record.ok]
    return Case(
        len(after), len(failures), last,
        healed=not failures or max(record.scheduled for record in failures) < fault + watched - 1.0,
        errors=dict(Counter(record.error or str(record.status) for record in failures)),
        latencies=percentiles(took, LATENCIES) if took else [],
        slow=sum(latency > SLOW for latency in took), timeline=timeline)


def run(lab: Lab) -> Result:
    ttls = lab.full_or_quick((1, 5, 15, 30), (1, 3))
    site = build(lab, ttls)
    cases: dict[tuple[str, int], list[Case]] = defaultdict(list)

    def attempt(number: int) -> dict[tuple[str, int], Case]:
        lab.progress(f"repeat {number + 1} of {lab.repeats}: a clone of each farm will be broken")
        outcome, moments = repeat(lab, site, ttls[-1])
        return {(condition.name, fault): judge(outcome.records[f"{condition.name}/{fault}"], moment, watched(site))
                for condition in site.conditions for fault, moment in enumerate(moments)}

    for found in load.unvoided(lab, lab.repeats, attempt):
        for key, case in found.items():
            cases[key].append(case)
    return report(lab, site, ttls, dict(cases))


# What it says.


def predicted_failed(condition: Condition, fault: str, rate: float) -> float:
    """Of that many requests a second, by clients that take the first address alone."""
    probe, per_resolver = probing.probe(0), rate / RESOLVERS
    hits = forecast.hit_rate([per_resolver], condition.ttl)
    detection = (forecast.detection_mean_hang if fault == "SIGSTOP" else forecast.detection_mean_killed)(probe)
    return forecast.failed_requests(rate, CLONES, detection + hits * condition.ttl / 2)


def bound(condition: Condition, fault: str) -> float:
    """Seconds until the last client knows of its failure: of a hang, when its own deadline has passed."""
    return worst(condition) + (load.DEADLINE if fault == "SIGSTOP" else 0.0)


def failed_cell(cases: Sequence[Case]) -> str:
    """Counted, not scaled: ``48 (44–52) of 600``."""
    requests = spread([case.requests for case in cases]).median
    return f"{spread([case.failed for case in cases]).show(0)} of {requests:.0f}"


def last_cell(cases: Sequence[Case], watched: float) -> str:
    if not all(case.healed for case in cases):
        return f"> {watched:.0f}"
    return spread([case.last for case in cases]).show(1)


def latency_cell(cases: Sequence[Case]) -> str:
    middle = [spread([1000 * case.latencies[at] for case in cases if case.latencies]).median
              for at in range(len(LATENCIES)) if any(case.latencies for case in cases)]
    return " / ".join(f"{value:.0f}" for value in middle) or "–"


def slow_cell(cases: Sequence[Case]) -> str:
    well = sum(case.requests - case.failed for case in cases)
    return f"{sum(case.slow for case in cases) / well:.1%}" if well else "–"


def report(lab: Lab, site: Site, ttls: Sequence[int], cases: dict[tuple[str, int], list[Case]]) -> Result:
    rate, seconds = rate_of(lab), watched(site)
    tables = []
    for number, fault in enumerate(FAULTS):
        rows = []
        for condition in site.conditions:
            found = cases[condition.name, number]
            known = condition.is_dns and not condition.like_curl
            rows.append([
                condition.name, failed_cell(found), f"{predicted_failed(condition, fault, rate):.0f}" if known else "–",
                last_cell(found, seconds), f"{bound(condition, fault):.1f}" if condition.is_dns else "–",
                latency_cell(found), slow_cell(found)])
        tables.append(Table(f"{fault}: requests that failed, seconds until the last one did, and the others' latency",
                            ["", "failed", "by formula", "last, s", "at worst, s", "p50 / p99 / p99.9, ms",
                             f"over {SLOW * 1000:.0f} ms"], rows))
    notes = [*lab.notes, f"probes of dnslb, HAProxy and Envoy: {probing.describe()}; nginx learns from requests only",
             f"{rate:.0f} requests a second in each row, all watched for {seconds:.0f} s after the fault; everybody's "
             f"clients wait {load.DEADLINE:g} s in all; counts are the median (range) of "
             f"{len(next(iter(cases.values())))} repeats; by the formulas of `dnslb ttl`: the mean, for clients like "
             "Java, and the worst case"]
    late = [f"{condition.name}, {FAULTS[number]}: {case.last:.1f} s" for condition in site.dns
            for number in range(len(FAULTS)) for case in cases[condition.name, number]
            if case.last > bound(condition, FAULTS[number])]
    if late:
        notes.append(f"later than the worst case: {'; '.join(late)}")
    measurements: dict[str, Any] = {
        "rate": rate, "resolvers": RESOLVERS, "detection_worst": probing.probe(0).detection, "late": late,
        "watched": seconds, "deadline": load.DEADLINE,
        "conditions": {
            condition.name: {
                "ttl": condition.ttl, "worst": worst(condition) if condition.is_dns else None,
                "faults": {fault: {
                    "predicted": predicted_failed(condition, fault, rate) if condition.is_dns else None,
                    "cases": [asdict(case) for case in cases[condition.name, number]],
                } for number, fault in enumerate(FAULTS)}}
            for condition in site.conditions}}
    plots = [Plot("Seconds of traffic that fail when one of four backends dies",
                  partial(draw_failed, site, ttls, cases, rate), (9.5, 4.6)),
             Plot("Share of failing requests around the fault (at 0 s), median of the repeats",
                  partial(draw_timelines, site, ttls, cases), (9.5, 6.5))]
    return Result(measurements, tables, plots, reading(site, ttls, cases), notes)


def reading(site: Site, ttls: Sequence[int], cases: dict[tuple[str, int], list[Case]]) -> str:
    def failed(name: str, fault: int) -> str:
        return failed_cell(cases[name, fault])

    low, high = ttls[0], ttls[-1]
    first = (f"When a backend is killed, dnslb's clients like Java lose {failed(f'dnslb TTL {low}, full{JAVA}', 0)} "
             f"requests at TTL {low} and {failed(f'dnslb TTL {high}, full{JAVA}', 0)} at TTL {high}, those like "
             f"curl {failed(f'dnslb TTL {high}, full{CURL}', 0)}; when it hangs, also these lose "
             f"{failed(f'dnslb TTL {low}, full{CURL}', 1)} and {failed(f'dnslb TTL {high}, full{CURL}', 1)}")
    if not site.balancers:
        return first + "."
    lost = [f"{name.name} {failed(name.name, 0)} (SIGSTOP {failed(name.name, 1)}, status 500 {failed(name.name, 2)})"
            for name in site.balancers]
    return f"{first}.  The L7 balancers lose: {'; '.join(lost)}."


MODES = {f"single{JAVA}": palette.VERMILION, f"full{JAVA}": palette.ORANGE, f"full{CURL}": palette.BLUE}


def draw_failed(site: Site, ttls: Sequence[int], cases: dict[tuple[str, int], list[Case]], rate: float,
                figure: Figure) -> None:
    """A panel for each fault: lines over the TTL for DNS, beside it a row of marks for the L7 balancers."""
    panels = figure.subplots(1, 2 * len(FAULTS), sharey=True, width_ratios=[3, 1] * len(FAULTS))
    for number, fault in enumerate(FAULTS):
        panel, beside = panels[2 * number], panels[2 * number + 1]
        for mode, colour in MODES.items():
            lost = [spread([case.failed / rate for case in cases[f"dnslb TTL {ttl}, {mode}", number]]) for ttl in ttls]
            panel.errorbar(ttls, [one.median for one in lost], errors(lost), color=colour, marker="o", capsize=3,
                           label=f"dnslb, {mode}")
        panel.plot(ttls, [predicted_failed(Condition("", ttl), fault, rate) / rate for ttl in ttls],
                   color=palette.BLACK, linestyle="--", label="by formula (like Java)")
        for place, condition in enumerate(site.balancers):
            lost = [spread([case.failed / rate for case in cases[condition.name, number]])]
            mark, colour = MARKS[condition.name.removesuffix(TUNED)]
            beside.errorbar([place], [lost[0].median], errors(lost), color=colour, marker=mark, capsize=3,
                            linestyle="none", markerfacecolor="white" if condition.name.endswith(TUNED) else colour,
                            label=condition.name)
        panel.set_title(fault, fontsize=10)
        panel.set_xlabel("TTL, s")
        panel.set_xticks(ttls)
        panel.minorticks_off()
        beside.set_xticks([])
        beside.set_xlim(-0.8, len(site.balancers) - 0.2)
        beside.set_xlabel("L7")
    panels[0].set_yscale("symlog", linthresh=0.1)
    most = max(case.failed / rate for found in cases.values() for case in found)
    panels[0].set_ylim(-0.02, max(0.2, 1.5 * most))
    ticks = [tick for tick in (0, 0.1, 0.3, 1, 3, 10, 30) if tick < 1.5 * most]
    panels[0].set_yticks(ticks, map(str, ticks))
    panels[0].set_ylabel("seconds of all traffic")
    handles, labels = (panels[0].get_legend_handles_labels()[at] + panels[1].get_legend_handles_labels()[at]
                       for at in (0, 1))
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)


MARKS = {"HAProxy": ("s", palette.GREEN), "Envoy": ("^", palette.PURPLE), "nginx": ("D", palette.SKY)}


def draw_timelines(site: Site, ttls: Sequence[int], cases: dict[tuple[str, int], list[Case]], figure: Figure) -> None:
    """A row for each of a choice of conditions, a column for each fault."""
    chosen = [f"dnslb TTL {ttls[0]}, full{JAVA}", f"dnslb TTL {ttls[-1]}, full{JAVA}",
              f"dnslb TTL {ttls[-1]}, full{CURL}",
              *(condition.name for condition in site.balancers if condition.name.split()[0] != "nginx")]
    panels = figure.subplots(len(chosen), len(FAULTS), sharex=True, sharey=True, squeeze=False)
    for row, name in enumerate(chosen):
        for number, fault in enumerate(FAULTS):
            lines = [case.timeline for case in cases[name, number]]
            shares = [spread([line[at] for line in lines]).median * 100 for at in range(len(lines[0]))]
            panel = panels[row][number]
            panel.stairs(shares, range(-2, len(shares) - 1), fill=True, color=palette.VERMILION)
            panel.axvline(0, color=palette.BLACK, linewidth=1)
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

single: one address in an answer; full: all four; clients like Java use the first, those like curl the next when it
refuses (measured: experiment 11); all give up after 1 s
faults: SIGKILL (refused), SIGSTOP (accepted, never answered), status 500 on all paths
""",
    run=run,
    limits="A machine or a network that is gone loses SYNs: see experiment 11 for what clients do then. "
           "Connections that clients keep, and retries by people, are not in it.",
)
