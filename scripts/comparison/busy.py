"""Experiment 16: backends at 70 % of what they can, whose requests queue; one resolver has 40 % of the clients."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from comparison import backends, dnslb, haproxy, l7, load, palette, unbound
from comparison.backends import Backend
from comparison.dnslb import Pool, owner
from comparison.experiment import Experiment, Lab, Plot, Result, Table
from comparison.haproxy import HAPROXY
from comparison.l7 import Front
from comparison.load import Record, Stream
from comparison.processes import free_port
from comparison.statistics import errors, percentile, spread
from comparison.unbound import UNBOUND, Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLONES = 4
SERVICE = 0.05          # seconds that a request keeps a clone busy
LOAD = 0.7              # of what all clones can
RATE = LOAD * CLONES / SERVICE
RESOLVERS = 8
LARGEST = 0.4           # of the clients, behind the first resolver; the others have equal parts of the rest
WINDOW = 8.0            # seconds, over which utilisation is told
TTLS, QUICK_TTLS = (1, 5, 30), (1, 5)
SECONDS, QUICK_SECONDS = 48.0, 8.0
DEADLINE = 5.0          # seconds that clients wait: a queue is the point
MODES: dict[str, dict[str, Any]] = {
    "all, cyclic": {}, "one, cyclic": {"answers": 1}, "one, random": {"answers": 1, "order": "random"}}
ALGORITHMS = {"HAProxy round robin": "roundrobin", "HAProxy least conn.": "leastconn"}


@dataclass(frozen=True, slots=True)
class Case:
    """One way to balance."""

    requests: int
    failed: int
    utilisation: tuple[float, ...]      # of the busiest clone over the mean of all, window by window
    milliseconds: tuple[float, float]   # p50 and p99, of all that were answered


def shares() -> list[float]:
    """Of the clients, resolver by resolver."""
    return [LARGEST, *[(1 - LARGEST) / (RESOLVERS - 1)] * (RESOLVERS - 1)]


def farm(lab: Lab) -> list[Backend]:
    clones = backends.start(lab, CLONES)
    for clone in clones:
        clone.change(service=SERVICE)
    return clones


def dns_streams(lab: Lab, ttls: Sequence[int], seconds: float) -> Iterator[Stream]:
    names = [(mode, ttl) for mode in MODES for ttl in ttls]
    farms = [farm(lab) for _ in names]
    pools = {f"pool-{at}": Pool(tuple(clone.address for clone in clones), clones[0].port, ttl, **MODES[mode])
             for at, ((mode, ttl), clones) in enumerate(zip(names, farms, strict=True))}
    server = dnslb.start(lab, pools)
    resolvers = unbound.start(lab, [Setting()] * RESOLVERS, server.endpoint)
    for at, ((mode, ttl), clones) in enumerate(zip(names, farms, strict=True)):
        for resolver, share in zip(resolvers, shares(), strict=True):
            yield Stream(f"dnslb TTL {ttl}, {mode}", RATE * share, seconds, clones[0].port, name=owner(f"pool-{at}"),
                         resolvers=(resolver.endpoint,), deadline=DEADLINE)


def l7_streams(lab: Lab, seconds: float) -> Iterator[Stream]:
    for name, algorithm in ALGORITHMS.items():
        front = Front(free_port([l7.HOME]), l7.servers(farm(lab)), algorithm)
        yield Stream(name, RATE, seconds, haproxy.start(lab, [front]).port, (l7.HOME,), deadline=DEADLINE)


def judge(records: Sequence[Record], began: float, seconds: float) -> Case:
    well = [record for record in records if record.ok]
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for record in well:
        counts[int((record.scheduled - began) / WINDOW)][record.backend] += 1
    whole = [counts[at] for at in range(int(seconds / WINDOW))]
    took = [1000 * record.latency for record in well]
    return Case(len(records), len(records) - len(well),
                tuple(CLONES * max(count.values()) / count.total() for count in whole if count),
                (percentile(took, 0.5), percentile(took, 0.99)))


def run(lab: Lab) -> Result:
    ttls, seconds = lab.full_or_quick((TTLS, SECONDS), (QUICK_TTLS, QUICK_SECONDS))
    streams = [*dns_streams(lab, ttls, seconds), *(l7_streams(lab, seconds) if lab.has(HAPROXY) else ())]
    labels = list(dict.fromkeys(stream.label for stream in streams))
    lab.progress(f"{len(labels)} ways side by side, each {RATE:.0f} requests a second, for {seconds:.0f} s")
    outcome = load.measure(lab, streams)
    return report(lab, {label: judge(outcome.records[label], outcome.began, seconds) for label in labels})


# What it says.


def report(lab: Lab, cases: dict[str, Case]) -> Result:
    rows = [[name, spread(case.utilisation).show(2), f"{LOAD * spread(case.utilisation).highest:.0%}",
             *(f"{value:.0f}" for value in case.milliseconds), f"{case.failed} of {case.requests}"]
            for name, case in cases.items()]
    table = Table("The busiest clone over the mean; what it would have to do of what it can; latency; failures",
                  ["", f"busiest, over {WINDOW:.0f} s", "its load at worst", "p50, ms", "p99, ms", "failed"], rows)
    notes = [*lab.notes, f"{CLONES} clones that take {SERVICE * 1000:.0f} ms for a request, one after the other: "
             f"{RATE:.0f} requests a second are {LOAD:.0%} of what they can; {RESOLVERS} resolvers, the first with "
             f"{LARGEST:.0%} of the clients; clients wait {DEADLINE:g} s; ranges are those of the windows of one run"]
    plots = [Plot("The busiest clone in each window, over the mean", partial(draw, cases), (8.5, 4.2))]
    measurements: dict[str, Any] = {"load": LOAD, "cases": {name: asdict(case) for name, case in cases.items()}}
    return Result(measurements, [table], plots, reading(cases), notes)


def reading(cases: dict[str, Case]) -> str:
    def told(names: Sequence[str]) -> str:
        return ", ".join(f"{name} {cases[name].milliseconds[1]:.0f} ms" for name in names)

    ones = [name for name in cases if ", one, cyclic" in name]
    whole = [name for name in cases if ", all" in name]
    beside = [name for name in cases if not name.startswith("dnslb")]
    text = (f"With one address in an answer the largest resolver's clients go to one backend for a TTL, and its queue "
            f"grows: p99 is {told(ones)}; with all addresses {told(whole)}")
    return f"{text}.  Who sees each request has {told(beside)}." if beside else f"{text}."


def draw(cases: dict[str, Case], figure: Figure) -> None:
    axes = figure.subplots()
    colours = {"all, cyclic": palette.BLUE, "one, cyclic": palette.VERMILION, "one, random": palette.ORANGE}
    for line, (name, case) in enumerate(cases.items()):
        middle = spread(case.utilisation)
        colour = colours.get(name.partition(", ")[2], palette.GREEN)
        axes.errorbar([middle.median], [line], xerr=errors([middle]), marker="o", color=colour, capsize=3)
    axes.axvline(1 / LOAD, color=palette.BLACK, linewidth=1, linestyle="--")
    axes.set_yticks(range(len(cases)), list(cases))
    axes.invert_yaxis()
    axes.set_xlim(0.95, None)
    axes.set_xlabel("busiest / mean: median and range of the windows; right of the dashed line its queue grows")
    axes.grid(axis="y", visible=False)


EXPERIMENT = Experiment(
    number=16,
    name="busy",
    question="Backends at 70 % of what they can, one resolver with 40 % of the clients: do queues grow?",
    setup="""
40 % of the clients ──> unbound 1    ┐
60 % ─────────────────> unbound 2-8  ┴──> dnslb: TTL 1, 5, 30; one address in an answer, or all
   └──────────── HTTP ────────────────────────> b1 b2 b3 b4, 50 ms each, one request after the other
clients ── HTTP ──> HAProxy ──────────────────> b1 b2 b3 b4    round robin, least connections
""",
    run=run,
    limits="Service times are all alike, and clients do not give up and come back; dnslb does not see the load, and "
           "was not told of it.",
    needs=(UNBOUND,),
)
