"""Experiment 4: what the hop through an L7 balancer costs: time, CPU, and the most that goes through."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import ceil, log10
from types import ModuleType
from typing import TYPE_CHECKING, Any

from comparison import backends, dnslb, envoy, haproxy, l7, load, nginx, palette, unbound, wrk
from comparison.backends import Backend
from comparison.dnslb import Pool, owner
from comparison.envoy import ENVOY
from comparison.experiment import Experiment, Lab, Plot, Result, Table, sleep_until
from comparison.haproxy import HAPROXY
from comparison.l7 import Front
from comparison.load import Stream
from comparison.nginx import NGINX
from comparison.processes import Meter, Process, Program, free_port
from comparison.statistics import Spread, errors, percentile, percentiles, spread
from comparison.stub import Endpoint
from comparison.unbound import Layer
from comparison.wrk import WRK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATES = (100, 400, 800)     # requests per second; then wrk, for as many as go through
MIDDLE = 400                # the rate of the tables
AGE = 10.0                  # seconds that a kept connection lives
GAP = 0.15                  # seconds between two segments
IDLE = 2.0                  # seconds in which nobody asks
TTL = 5
RESOLVERS = 2
SHARES = (0.5, 0.9, 0.99)
TICKS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200)    # milliseconds
BALANCER, RESOLVING, CLONES, CLIENT = ROLES = ("balancer", "resolvers", "clones", "client")
L7_PROGRAMS: tuple[tuple[Program, ModuleType], ...] = ((HAPROXY, haproxy), (ENVOY, envoy), (NGINX, nginx))
KINDS = ("new", "kept")     # connections
PRECISE = 1000              # samples from which on a 99.9th percentile is given


@dataclass(frozen=True, slots=True)
class Way:
    """How requests reach the clones."""

    name: str
    addresses: tuple[str, ...]      # where wrk sends
    port: int
    balancer: tuple[Process, ...] = ()
    resolvers: Layer | None = None  # None: there is no name to look up

    @property
    def resolving(self) -> tuple[Process, ...]:
        return self.resolvers.processes if self.resolvers else ()


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time in which one way is measured at one rate."""

    way: Way
    rate: int
    pooled: bool
    begin: float

    @property
    def label(self) -> str:
        return f"{self.way.name}/{self.rate}/{'kept' if self.pooled else 'new'}"


def build(lab: Lab, clones: Sequence[Backend]) -> list[Way]:
    homes, port = tuple(clone.address for clone in clones), clones[0].port
    server = dnslb.start(lab, {"www": Pool(homes, port, TTL)})
    resolvers = unbound.start_if_there(lab, RESOLVERS, server.endpoint)
    ways = [Way("direct", homes, port),
            Way("dnslb", homes, port, (server.process,), resolvers)]
    for program, module in L7_PROGRAMS:
        if lab.has(program):
            for setting in ("default", "tuned"):
                fronts = [Front(free_port([l7.HOME]), l7.servers(clones))]
                balancer = module.start(lab, fronts, setting == "tuned")
                ways.append(Way(f"{program.name} {setting}", (l7.HOME,), balancer.port, (balancer.process,)))
    return ways


def streams(segment: Segment, seconds: float) -> list[Stream]:
    """Direct requests go to each clone in equal parts; those by name look up for every new connection."""
    way, age = segment.way, AGE if segment.pooled else 0.0
    if way.resolvers:
        # A browser that keeps connections looks up for each new one only; a look-up for each request would not be fair.
        return [Stream(segment.label, segment.rate, seconds, way.port, name=owner("www"), clients=8,
                       resolvers=way.resolvers.endpoints, hold="ttl" if segment.pooled else way.resolvers.hold,
                       begin=segment.begin, connection_age=age)]
    return [Stream(segment.label, segment.rate / len(way.addresses), seconds, way.port, addresses=(address,),
                   clients=8 // len(way.addresses), begin=segment.begin, connection_age=age)
            for address in way.addresses]


@dataclass(frozen=True, slots=True)
class Sample:
    """One segment, once."""

    latencies: list[float]              # seconds
    requests: int
    failed: int
    cpu: dict[str, float]               # milliseconds a request, by role, without what it uses anyway


def rest(ways: Sequence[Way], clones: Sequence[Backend]) -> dict[str, dict[str, float]]:
    """CPU milliseconds a second that each way's processes use when nobody asks: probes, mostly."""
    meters = {way.name: {BALANCER: Meter(*way.balancer), RESOLVING: Meter(*way.resolving),
                         CLONES: Meter(*(clone.process for clone in clones))} for way in ways}
    before = {name: {role: meter.read() for role, meter in own.items()} for name, own in meters.items()}
    sleep_until(time.monotonic() + IDLE)
    return {name: {role: 1000 * (meter.read() - before[name][role]) / IDLE for role, meter in own.items()}
            for name, own in meters.items()}


def measure(lab: Lab, segments: Sequence[Segment], clones: Sequence[Backend], seconds: float,
            idle: dict[str, dict[str, float]]) -> dict[str, Sample]:
    """All segments one after the other; CPU time is read at their edges."""
    readings: dict[str, list[dict[str, float]]] = defaultdict(list)
    running = load.start(lab, [stream for segment in segments for stream in streams(segment, seconds)], load.FINE)
    backend_meter, client_meter = Meter(*(clone.process for clone in clones)), Meter(running.process)
    meters = {segment.way.name: (Meter(*segment.way.balancer), Meter(*segment.way.resolving)) for segment in segments}
    for segment in segments:
        balancer, resolvers = meters[segment.way.name]
        for edge in (segment.begin, segment.begin + seconds + GAP / 2):
            sleep_until(running.began + edge)
            figures = (balancer.read(), resolvers.read(), backend_meter.read(), client_meter.read())
            readings[segment.label].append(dict(zip(ROLES, figures, strict=True)))
    outcome = running.wait()
    samples = {}
    for segment in segments:
        before, after = readings[segment.label]
        records = outcome.records[segment.label]
        used = {role: 1000 * (after[role] - before[role]) - idle[segment.way.name].get(role, 0.0) * (seconds + GAP / 2)
                for role in ROLES}
        samples[segment.label] = Sample(
            [record.latency for record in records if record.ok], len(records), sum(not record.ok for record in records),
            {role: max(0.0, milliseconds) / len(records) for role, milliseconds in used.items()})
    return samples


@dataclass(frozen=True, slots=True)
class Most:
    """As many as go through: by wrk, in a closed loop."""

    per_second: float
    cpu: float          # milliseconds a request, of the balancer


def most_of(lab: Lab, way: Way, kept: bool) -> Most:
    meter, seconds = Meter(*way.balancer), 1
    before = meter.read()
    rate = wrk.maximum(lab, [Endpoint(address, way.port) for address in way.addresses], seconds, kept=kept)
    return Most(rate, 1000 * (meter.read() - before) / (rate * seconds))


def plan(lab: Lab, ways: Sequence[Way], seconds: float) -> list[Segment]:
    """Every way at every rate, in random order."""
    rates = lab.full_or_quick(RATES, (MIDDLE,))
    order = lab.shuffled([(way, rate, kind == "kept") for way in ways for rate in rates for kind in KINDS])
    return [Segment(way, rate, pooled, 0.5 + at * (seconds + GAP)) for at, (way, rate, pooled) in enumerate(order)]


@dataclass(frozen=True, slots=True)
class Round:
    """One repeat."""

    samples: dict[str, Sample]          # by way, rate and kind
    most: dict[str, Most]               # by way and kind


def run(lab: Lab) -> Result:
    clones = backends.start(lab)
    ways = build(lab, clones)
    seconds = lab.full_or_quick(0.9, 0.4)
    idle = rest(ways, clones)

    def attempt(number: int) -> Round:
        segments = plan(lab, ways, seconds)
        lab.progress(f"repeat {number + 1} of {lab.repeats}: {len(segments)} segments of {seconds:g} s")
        samples = measure(lab, segments, clones, seconds, idle)
        # wrk does not look names up: by name it would be what it is direct.
        most = {f"{way.name}/{kind}": most_of(lab, way, kind == "kept")
                for way, kind in lab.shuffled([(way, kind) for way in ways if not way.resolvers for kind in KINDS])
                } if lab.has(WRK) else {}
        return Round(samples, most)

    return report(lab, [way.name for way in ways], load.unvoided(lab, lab.repeats, attempt), idle)


# What it says.


def latencies(samples: Sequence[Sample], shares: Sequence[float]) -> list[Spread]:
    """The percentiles, in milliseconds, repeat by repeat: a minute that something else disturbed is not in a median."""
    repeats = [percentiles(sample.latencies, shares) for sample in samples if sample.latencies]
    return [spread([1000 * value for value in values]) for values in zip(*repeats, strict=True)]


def rarest(samples: Sequence[Sample]) -> float | None:
    """The 99.9th percentile, in milliseconds, of all repeats together; None when they are too few."""
    everything = [latency for sample in samples for latency in sample.latencies]
    return 1000 * percentile(everything, 0.999) if len(everything) >= PRECISE else None


def by_label(rounds: Sequence[Round]) -> dict[str, list[Sample]]:
    return {label: [one.samples[label] for one in rounds] for label in rounds[0].samples}


def report(lab: Lab, names: Sequence[str], rounds: Sequence[Round], idle: dict[str, dict[str, float]]) -> Result:
    samples = by_label(rounds)
    rates = sorted({int(label.split("/")[1]) for label in samples})
    tables = [latency_table(f"Latency, ms: {MIDDLE} requests/s, {what}", names, samples, f"{MIDDLE}/{kind}")
              for kind, what in zip(KINDS, ("a new connection for each", "over kept connections"), strict=True)]
    tables += [cpu_table(names, samples, kind) for kind in KINDS]
    tables.append(curve_table(names, rates, samples))
    if rounds[0].most:
        tables.append(most_table(names, rounds, idle))
    failed = {label: sum(sample.failed for sample in found) for label, found in samples.items()}
    notes = [*lab.notes, *(f"{label}: {count} of {sum(sample.requests for sample in samples[label])} requests failed"
                           for label, count in failed.items() if count),
             "default and tuned: see scripts/README.md; nginx keeps no connections to servers unless it is told so; "
             "the others do, and save the clones the accepting of connections",
             "what a program uses when nobody asks (probes) is subtracted from its CPU, and stated; the client and "
             "the clones are Python, dearer than what people run, and the same for all; a look-up is on the client's "
             "bill, as it is in life",
             f"ranges are those of {len(rounds)} repeats; where two overlap, no difference is shown"]
    measurements: dict[str, Any] = {
        "ttl": TTL, "failed": failed, "idle_ms_per_second": idle,
        "latency_ms": {label: {str(share): asdict(one)
                               for share, one in zip(SHARES, latencies(found, SHARES), strict=True)}
                       | {"0.999": rarest(found), "histogram": histogram(found)} for label, found in samples.items()},
        "cpu_ms_per_request": {label: {role: [sample.cpu[role] for sample in found] for role in ROLES}
                               for label, found in samples.items()},
        "most": [{label: asdict(one) for label, one in each.most.items()} for each in rounds],
    }
    plots = [Plot(f"Latency from the scheduled moment, {MIDDLE} requests/s", partial(draw_latency, names, samples),
                  (9.5, 4.4)),
             Plot("CPU per request, all processes together, by rate", partial(draw_cpu, names, rates, samples),
                  (9.5, 4.4))]
    return Result(measurements, tables, plots, reading(names, samples), notes)


def histogram(samples: Sequence[Sample]) -> dict[str, int]:
    """Counts by the upper edge in milliseconds; edges grow by a tenth of a decade."""
    counts = Counter(ceil(10 * log10(1000 * latency)) for sample in samples for latency in sample.latencies)
    return {f"{10 ** (edge / 10):.3g}": counts[edge] for edge in sorted(counts)}


def cpu(samples: Sequence[Sample], *roles: str) -> Spread:
    """Milliseconds a request, of these processes together."""
    return spread([sum(sample.cpu[role] for role in roles) for sample in samples])


def latency_table(title: str, names: Sequence[str], samples: dict[str, list[Sample]], kind: str) -> Table:
    rows = []
    for name in names:
        found = samples[f"{name}/{kind}"]
        rare = rarest(found)
        rows.append([name, *(one.show(2) for one in latencies(found, SHARES)), f"{rare:.2f}" if rare else "–"])
    return Table(title, ["", "p50", "p90", "p99", "p99.9 of all repeats"], rows)


def cpu_table(names: Sequence[str], samples: dict[str, list[Sample]], kind: str) -> Table:
    rows = [[name, *(f"{cpu(found, role).median:.3f}" for role in ROLES), cpu(found, *ROLES).show(3)]
            for name in names for found in [samples[f"{name}/{MIDDLE}/{kind}"]]]
    return Table(f"CPU seconds per 1,000 requests at {MIDDLE} requests/s, {kind} connections", ["", *ROLES, "together"],
                 rows)


def curve_table(names: Sequence[str], rates: Sequence[int], samples: dict[str, list[Sample]]) -> Table:
    header = ["", *(f"{kind}: {rate}/s" for kind in KINDS for rate in rates)]
    rows = [[name, *(cpu(samples[f"{name}/{rate}/{kind}"], BALANCER, RESOLVING).show(3)
                     for kind in KINDS for rate in rates)] for name in names]
    return Table("The same of balancer and resolvers alone, by rate", header, rows)


def most_table(names: Sequence[str], rounds: Sequence[Round], idle: dict[str, dict[str, float]]) -> Table:
    rows = []
    for name in names:
        row = [name]
        for kind in KINDS:
            found = [one.most[f"{name}/{kind}"] for one in rounds if f"{name}/{kind}" in one.most]
            row += [spread([one.per_second for one in found]).show(0), spread([one.cpu for one in found]).show(3)] \
                if found else ["as direct, and the look-ups", "–"]
        rows.append([*row, f"{sum(idle[name][role] for role in (BALANCER, RESOLVING)):.1f}"])
    return Table("At most, by wrk in a closed loop: requests/s, and the CPU seconds per 1,000; idle: its CPU "
                 "ms a second when nobody asks",
                 ["", *(f"{kind}: {what}" for kind in KINDS for what in ("requests/s", "CPU")), "idle"], rows)


def reading(names: Sequence[str], samples: dict[str, list[Sample]]) -> str:
    def added(name: str, kind: str) -> str:
        ours, direct = (latencies(samples[f"{one}/{MIDDLE}/{kind}"], SHARES)[0] for one in (name, "direct"))
        return f"{ours.median - direct.median:+.2f}{' (within the noise)' if ours.overlaps(direct) else ''}"

    def dear(kind: str) -> str:
        return ", ".join(f"{name} {cpu(samples[f'{name}/{MIDDLE}/{kind}'], *ROLES).show(2)}" for name in names)

    balanced = [name for name in names if name != "direct"]
    slower = ", ".join(f"{name} {added(name, 'new')} and {added(name, 'kept')}" for name in balanced)
    return (f"To the median latency over new and over kept connections are added, in ms: {slower}.  All processes "
            f"together, the client's included, use for a request over a new connection, in ms of CPU: {dear('new')}; "
            f"over a kept one: {dear('kept')}.")


COLOURS = {"direct": palette.BLACK, "dnslb": palette.VERMILION, "HAProxy": palette.BLUE, "Envoy": palette.PURPLE,
           "nginx": palette.GREEN}


def line(name: str) -> dict[str, Any]:
    """One colour for each program; defaults are dashed."""
    colour = COLOURS[name.split(maxsplit=1)[0]]
    return {"color": colour, "linestyle": "--" if name.endswith("default") else "-", "label": name}


def draw_latency(names: Sequence[str], samples: dict[str, list[Sample]], figure: Figure) -> None:
    """A panel for each kind: latency over the percentile, on an axis that stretches the tail."""
    panels = figure.subplots(1, len(KINDS), sharey=True, squeeze=False)[0]
    for kind, panel in zip(KINDS, panels, strict=True):
        for name in names:
            found = samples[f"{name}/{MIDDLE}/{kind}"]
            fewest = min(len(sample.latencies) for sample in found)
            tail = [10 ** (-at / 20) for at in range(61) if 10 ** (-at / 20) * fewest >= 2]
            curve = latencies(found, [1 - share for share in tail])
            panel.plot([1 / share for share in tail], [one.median for one in curve], linewidth=1.5, **line(name))
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlim(1, 1000)
        panel.set_xticks([1, 10, 100, 1000], ["0", "90", "99", "99.9"])
        panel.set_xlabel("percentile")
        panel.set_title(f"{kind} connections", fontsize=10)
        panel.minorticks_off()
    panels[0].set_ylabel("ms")
    lowest, highest = panels[0].get_ylim()
    ticks = [tick for tick in TICKS if lowest < tick < highest]
    panels[0].set_yticks(ticks, map(str, ticks))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)


def draw_cpu(names: Sequence[str], rates: Sequence[int], samples: dict[str, list[Sample]], figure: Figure) -> None:
    """A panel for each kind: all processes together, with the range of the repeats."""
    panels = figure.subplots(1, len(KINDS), sharey=True)
    for kind, panel in zip(KINDS, panels, strict=True):
        for name in names:
            found = [cpu(samples[f"{name}/{rate}/{kind}"], *ROLES) for rate in rates]
            panel.errorbar(rates, [one.median for one in found], errors(found), marker="o", capsize=3, markersize=4,
                           **line(name))
        panel.set_title(f"{kind} connections", fontsize=10)
        panel.set_xlabel("requests per second")
        panel.set_xticks(rates)
        panel.set_ylim(0, None)
    panels[0].set_ylabel("CPU ms per request")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)


EXPERIMENT = Experiment(
    number=4,
    name="hop",
    question="What does the hop through an L7 balancer cost?",
    setup=f"""
direct:  client ────────────────────────────> b1 b2 b3 b4
dnslb:   client ──(look-up: unbound, dnslb, TTL {TTL})
            └───────────────────────────────> b1 b2 b3 b4
L7:      client ──> HAProxy, Envoy, nginx ──> b1 b2 b3 b4

an open loop at {', '.join(map(str, RATES))} requests a second, over new and over kept connections; then wrk, a closed
loop, for the most that goes through
""",
    run=run,
    limits="Two cores for everybody, no network, no TLS, small bodies: the milliseconds are this machine's. What "
           "carries over are ratios of CPU.",
)
