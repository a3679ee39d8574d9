"""Experiment 4: what the hop through an L7 balancer costs: time, CPU, and the most that goes through."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from comparison import backends, dnslb, envoy, haproxy, l7, load, nginx, unbound, wrk
from comparison.backends import Backend
from comparison.dnslb import Pool, owner
from comparison.envoy import ENVOY
from comparison.experiment import Experiment, Lab, Plot, Result, Table, sleep_until
from comparison.haproxy import HAPROXY
from comparison.l7 import Front
from comparison.load import Outcome, Stream
from comparison.nginx import NGINX
from comparison.processes import Meter, Process, free_port
from comparison.statistics import Spread, median, percentile, percentiles, spread
from comparison.unbound import Layer
from comparison.wrk import WRK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATES = (100, 400, 800)     # requests per second; all below the knee of any of them on two cores
POOLED_RATE = 400           # once more with kept connections
AGE = 10.0                  # seconds that a kept connection lives
GAP = 0.15                  # seconds between two segments
TTL = 5
RESOLVERS = 2
SHARES = (0.5, 0.9, 0.99)
TICKS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200)    # milliseconds
ROLES = ("balancer", "resolvers", "backends", "client")
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
    for program, module, tuned in ((HAPROXY, haproxy, True), (ENVOY, envoy, True), (NGINX, nginx, False),
                                   (NGINX, nginx, True)):
        if lab.has(program):
            balancer = module.start(lab, [Front(free_port([l7.HOME]), l7.servers(clones))], tuned)
            name = program.name + (" tuned" if tuned and program is NGINX else "")
            ways.append(Way(name, (l7.HOME,), balancer.port, (balancer.process,)))
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
    failed: int
    cpu: dict[str, float]               # seconds by role


def measure(lab: Lab, segments: Sequence[Segment], clones: Sequence[Backend], seconds: float) -> dict[str, Sample]:
    """All segments one after the other; CPU time is read at their edges."""
    readings: dict[str, list[dict[str, float]]] = defaultdict(list)

    def attempt() -> Outcome:
        readings.clear()
        running = load.start(lab, [stream for segment in segments for stream in streams(segment, seconds)])
        backend_meter, client_meter = Meter(*(clone.process for clone in clones)), Meter(running.process)
        meters = {segment.way.name: (Meter(*segment.way.balancer), Meter(*segment.way.resolving))
                  for segment in segments}
        for segment in segments:
            balancer, resolvers = meters[segment.way.name]
            for edge in (segment.begin, segment.begin + seconds + GAP / 2):
                sleep_until(running.began + edge)
                figures = (balancer.read(), resolvers.read(), backend_meter.read(), client_meter.read())
                readings[segment.label].append(dict(zip(ROLES, figures, strict=True)))
        return running.wait()

    outcome = load.unless_void(lab, attempt)
    samples = {}
    for segment in segments:
        before, after = readings[segment.label]
        records = outcome.records[segment.label]
        samples[segment.label] = Sample([record.latency for record in records if record.ok],
                                        sum(not record.ok for record in records),
                                        {role: 1000 * (after[role] - before[role]) / len(records) for role in ROLES})
    return samples


def plan(lab: Lab, ways: Sequence[Way], seconds: float) -> list[Segment]:
    """Every way at every rate, in random order."""
    kinds = [(rate, False) for rate in lab.full_or_quick(RATES, (RATES[1],))] + [(POOLED_RATE, True)]
    order = lab.shuffled([(way, rate, pooled) for way in ways for rate, pooled in kinds])
    return [Segment(way, rate, pooled, 0.5 + at * (seconds + GAP)) for at, (way, rate, pooled) in enumerate(order)]


def run(lab: Lab) -> Result:
    clones = backends.start(lab)
    ways = build(lab, clones)
    seconds = lab.full_or_quick(1.8, 0.5)
    samples: dict[str, list[Sample]] = defaultdict(list)
    most: dict[str, list[float]] = defaultdict(list)
    for number in range(lab.repeats):
        segments = plan(lab, ways, seconds)
        lab.progress(f"repeat {number + 1} of {lab.repeats}: {len(segments)} segments of {seconds:g} s")
        for label, sample in measure(lab, segments, clones, seconds).items():
            samples[label].append(sample)
        if lab.has(WRK):
            # Kept connections need no look-ups: what holds for direct ones holds for dnslb.
            for way in lab.shuffled([way for way in ways if not way.resolvers]):
                most[way.name].append(wrk.maximum(lab, way.addresses, way.port, lab.full_or_quick(2, 1)))
    return report(lab, ways, dict(samples), dict(most))


# What it says.


def latencies(samples: Sequence[Sample], shares: Sequence[float]) -> list[Spread]:
    """The percentiles, in milliseconds, repeat by repeat: a minute that something else disturbed is not in a median."""
    repeats = [percentiles(sample.latencies, shares) for sample in samples if sample.latencies]
    return [spread([1000 * value for value in values]) for values in zip(*repeats, strict=True)]


def rarest(samples: Sequence[Sample]) -> float | None:
    """The 99.9th percentile, in milliseconds, of all repeats together; None when they are too few."""
    everything = [latency for sample in samples for latency in sample.latencies]
    return 1000 * percentile(everything, 0.999) if len(everything) >= PRECISE else None


def rates_of(samples: dict[str, list[Sample]]) -> list[int]:
    return sorted({int(label.split("/")[1]) for label in samples if label.endswith("/new")})


def report(lab: Lab, ways: Sequence[Way], samples: dict[str, list[Sample]], most: dict[str, list[float]]) -> Result:
    names, rates = [way.name for way in ways], rates_of(samples)
    tables = [latency_table(f"Latency, ms: {rate} requests/s, a new connection for each", names, samples,
                            f"{rate}/new") for rate in rates]
    tables.append(latency_table(f"Latency, ms: {POOLED_RATE} requests/s over kept connections", names, samples,
                                f"{POOLED_RATE}/kept"))
    tables.append(cpu_table(names, samples, most))
    failed = {label: sum(sample.failed for sample in found) for label, found in samples.items()}
    notes = [*lab.notes, *(f"{label}: {count} requests failed" for label, count in failed.items() if count),
             "tuned: see scripts/README.md; nginx keeps no connections to its servers unless it is told to; the others "
             "do, and save the clones the accepting of connections",
             "the clones are Python and shared by all; generator, balancers and clones share the cores, so the highest "
             "throughput says what is left over for them more than what a balancer could do alone"]
    measurements: dict[str, Any] = {
        "ttl": TTL, "failed": failed,
        "latency_ms": {label: {str(share): asdict(one)
                               for share, one in zip(SHARES, latencies(found, SHARES), strict=True)}
                       | {"0.999": rarest(found)} for label, found in samples.items()},
        "cpu_ms_per_request": {label: {role: [sample.cpu[role] for sample in found] for role in ROLES}
                               for label, found in samples.items()},
        "wrk_per_second": most,
    }
    plots = [Plot("Latency from the scheduled moment, new connections",
                  partial(draw_latency, names, rates, samples), (9.5, 4.2)),
             Plot(f"CPU per request at {RATES[1]} requests/s, by process",
                  partial(draw_cpu, names, samples), (8.5, 4.2))]
    return Result(measurements, tables, plots, reading(names, samples, most), notes)


def latency_table(title: str, names: Sequence[str], samples: dict[str, list[Sample]], kind: str) -> Table:
    rows = []
    for name in names:
        found = samples[f"{name}/{kind}"]
        rare = rarest(found)
        rows.append([name, *(one.show(2) for one in latencies(found, SHARES)), f"{rare:.2f}" if rare else "–"])
    return Table(title, ["", "p50", "p90", "p99", "p99.9 of all repeats"], rows)


def cpu_table(names: Sequence[str], samples: dict[str, list[Sample]], most: dict[str, list[float]]) -> Table:
    rows = []
    for name in names:
        row = [name]
        for kind in (f"{RATES[1]}/new", f"{POOLED_RATE}/kept"):
            cpu = {role: spread([sample.cpu[role] for sample in samples[f"{name}/{kind}"]]) for role in ROLES}
            row += [cpu["balancer"].show(3), f"{cpu['resolvers'].median:.3f}", f"{cpu['backends'].median:.3f}"]
        row.append(spread(most[name]).show(0) if name in most else "as direct" if name == "dnslb" and most else "–")
        rows.append(row)
    kinds = [f"{kind}: {what}" for kind in ("new", "kept") for what in ("balancer", "resolvers", "backends")]
    return Table(f"CPU seconds per 1,000 requests at {RATES[1]} requests/s, over new and kept connections; "
                 "requests/s at most (wrk, kept connections)", ["", *kinds, "at most"], rows)


def reading(names: Sequence[str], samples: dict[str, list[Sample]], most: dict[str, list[float]]) -> str:
    def middle(name: str, kind: str) -> float:
        return latencies(samples[f"{name}/{kind}"], SHARES)[0].median

    def cost(name: str) -> float:
        return median([sample.cpu["balancer"] + sample.cpu["resolvers"] for sample in samples[f"{name}/{new}"]])

    new, kept = f"{RATES[1]}/new", f"{POOLED_RATE}/kept"
    added = ", ".join(f"{name} {middle(name, new) - middle('direct', new):+.2f} and "
                      f"{middle(name, kept) - middle('direct', kept):+.2f} ms, {cost(name):.3f} s of CPU"
                      for name in names if name != "direct")
    text = (f"Without any balancing the median is {middle('direct', new):.2f} ms over new connections and "
            f"{middle('direct', kept):.2f} over kept ones; to it, and to the CPU of 1,000 requests over new ones, add: "
            f"{added} (by DNS it is the look-up, resolvers included).")
    if most:
        rates = ", ".join(f"{name} {median(most[name]):,.0f}" for name in names if name in most)
        text += f"  The most that went through, requests a second over kept connections: {rates}."
    return text


COLOURS = ("#222222", "#d1495b", "#00798c", "#7b4fa3", "#b0b0b0", "#6b6b6b")


def draw_latency(names: Sequence[str], rates: Sequence[int], samples: dict[str, list[Sample]], figure: Figure) -> None:
    """A panel for each rate: latency over the percentile, on an axis that stretches the tail."""
    panels = figure.subplots(1, len(rates), sharey=True, squeeze=False)[0]
    for rate, panel in zip(rates, panels, strict=True):
        for name, colour in zip(names, COLOURS, strict=False):
            found = samples[f"{name}/{rate}/new"]
            fewest = min(len(sample.latencies) for sample in found)
            tail = [10 ** (-at / 20) for at in range(61) if 10 ** (-at / 20) * fewest >= 2]
            curve = latencies(found, [1 - share for share in tail])
            panel.plot([1 / share for share in tail], [one.median for one in curve], color=colour, label=name,
                       linewidth=2 if name in ("direct", "dnslb") else 1.3)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlim(1, 1000)
        panel.set_xticks([1, 10, 100, 1000], ["0", "90", "99", "99.9"])
        panel.set_xlabel("percentile")
        panel.set_title(f"{rate} requests/s", fontsize=10)
        panel.minorticks_off()
    panels[0].set_ylabel("ms")
    lowest, highest = panels[0].get_ylim()
    ticks = [tick for tick in TICKS if lowest < tick < highest]
    panels[0].set_yticks(ticks, map(str, ticks))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(names), fontsize=8)


def draw_cpu(names: Sequence[str], samples: dict[str, list[Sample]], figure: Figure) -> None:
    """Stacked bars: new connections above, kept ones below."""
    colours = {"balancer": "#d1495b", "resolvers": "#edae49", "backends": "#8fb1cc", "client": "#dddddd"}
    panels = figure.subplots(1, 2, sharey=True)
    for panel, kind, title in zip(panels, (f"{RATES[1]}/new", f"{POOLED_RATE}/kept"),
                                  ("new connections", "kept connections"), strict=True):
        left = [0.0] * len(names)
        for role, colour in colours.items():
            values = [median([sample.cpu[role] for sample in samples[f"{name}/{kind}"]]) for name in names]
            panel.barh(range(len(names)), values, left=left, color=colour, label=role, height=0.7)
            left = [begin + value for begin, value in zip(left, values, strict=True)]
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("CPU ms per request")
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
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

an open loop at {', '.join(map(str, RATES))} requests a second (below the knee), then wrk for the most that goes through
""",
    run=run,
)
