"""Experiment 18: one of four busy clones becomes four times slower, and says so: when do clients leave it?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from comparison import backends, dnslb, haproxy, l7, load, palette
from comparison.backends import Backend
from comparison.dnslb import Dnslb, Pool, owner
from comparison.experiment import Experiment, Lab, Plot, Result, Table, sleep_until
from comparison.haproxy import HAPROXY, HAProxy
from comparison.l7 import Front
from comparison.load import Record, Stream
from comparison.processes import free_port
from comparison.statistics import mean, percentile
from comparison.stub import Endpoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLONES = 4
SERVICE, SLOW = 0.05, 0.2       # seconds that a request keeps a clone busy; the first one's, after the change
LOAD = 0.5                      # of what all clones can, before it
ALIKE = 0.85                    # the same where no clone changes: there feedback can only do harm
CACHES = 40                     # as many resolvers with equally many clients each
TTL, QUICK_TTL = 5, 1
BEFORE, QUICK_BEFORE = 15.0, 3.0
SECONDS, QUICK_SECONDS = 75.0, 15.0     # after the change
SETTLED = 0.6                   # of these: from then on weights should be at rest
DEADLINE = 5.0                  # seconds that clients wait: a queue is the point
LOOK = 0.5                      # seconds from one look at weights to the next
WINDOW = 5.0                    # seconds over which a share is taken
FALLEN = 0.5 / CLONES           # of all requests: half of what it had
HEADER = "{header: X-Load}"
MODES = {
    "dnslb, no feedback": "",
    "dnslb, feedback": HEADER,
    "dnslb, feedback, sheds": "{header: X-Load, overload: 90%}",
    "dnslb, undamped": HEADER,
    "alike, no feedback": "",
    "alike, feedback": HEADER,
    "alike, undamped": HEADER,
}
FRONTS = {"HAProxy agent-check": ("roundrobin", True), "HAProxy least conn.": ("leastconn", False)}


@dataclass(frozen=True, slots=True)
class Case:
    """One way to balance."""

    fallen: float | None                # seconds until the slow clone had half its share; None: never
    share: float                        # of the slow clone, when weights should be at rest
    milliseconds: tuple[float, float]   # p99 from the change on, and when weights should be at rest
    failed: float                       # of all requests since the change
    swing: float | None                 # of the weights, at rest: the mean change of a share a second; None: no weights
    curve: tuple[float, ...]            # the slow clone's share, in windows


@dataclass(frozen=True, slots=True)
class Way:
    """Where its clients ask, and what its weights are."""

    port: int
    shares: Callable[[], list[float]] | None    # by weight, clone by clone; None: it has no weights that move
    name: str = ""                              # to be looked up; else the port is an L7 balancer's
    server: Endpoint | None = None

    def stream(self, label: str, seconds: float) -> Stream:
        rate = (ALIKE if is_alike(label) else LOAD) * CLONES / SERVICE
        if self.server is None:
            return Stream(label, rate, seconds, self.port, (l7.HOME,), deadline=DEADLINE)
        return Stream(label, rate, seconds, self.port, name=self.name, resolvers=(self.server,), hold="ttl",
                      clients=CACHES, deadline=DEADLINE)


def farm(lab: Lab) -> list[Backend]:
    clones = backends.start(lab, CLONES)
    for clone in clones:
        clone.change(service=SERVICE)
    return clones


def start_dns(lab: Lab, ttl: int) -> tuple[dict[str, Way], list[Backend]]:
    """Each way has clones of its own."""
    farms = {mode: farm(lab) for mode in MODES}
    labels = {mode: f"pool-{at}" for at, mode in enumerate(MODES)}
    ways: dict[str, Way] = {}
    for number, module in enumerate(("dnslb", "comparison.naive"), 1):
        pools = {labels[mode]: Pool(tuple(clone.address for clone in clones), clones[0].port, ttl, answers=1,
                                    load=MODES[mode])
                 for mode, clones in farms.items() if mode.endswith("undamped") == (number == 2)}
        server = dnslb.start(lab, pools, number, module=module)
        ways |= {mode: Way(farms[mode][0].port, partial(dns_shares, server, owner(labels[mode])), owner(labels[mode]),
                           server.endpoint)
                 for mode in MODES if labels[mode] in pools}
    return {mode: ways[mode] for mode in MODES}, [clones[0] for mode, clones in farms.items() if not is_alike(mode)]


def is_alike(name: str) -> bool:
    return name.startswith("alike")


def dns_shares(server: Dnslb, name: str) -> list[float]:
    [rrset] = server.status(name)["pools"][0]["rrsets"]
    return [backend["share"] for backend in rrset["backends"]]


def start_l7(lab: Lab) -> tuple[dict[str, Way], list[Backend]]:
    farms = {name: farm(lab) for name in FRONTS}
    fronts = [Front(free_port([l7.HOME]), l7.servers(farms[name], [100] * CLONES), algorithm, agents=has_agents)
              for name, (algorithm, has_agents) in FRONTS.items()]
    running = haproxy.start(lab, fronts)
    ways = {name: Way(front.port, partial(l7_shares, running, f"farm{at}") if front.agents else None)
            for at, (name, front) in enumerate(zip(FRONTS, fronts, strict=True))}
    return ways, [clones[0] for clones in farms.values()]


def l7_shares(running: HAProxy, name: str) -> list[float]:
    weights = running.weights(name)
    return [weight / max(1, sum(weights)) for weight in weights]


def run(lab: Lab) -> Result:
    ttl, before, seconds = lab.full_or_quick((TTL, BEFORE, SECONDS), (QUICK_TTL, QUICK_BEFORE, QUICK_SECONDS))
    ways, slow = start_dns(lab, ttl)
    if lab.has(HAPROXY):
        more, others = start_l7(lab)
        ways, slow = ways | more, slow + others
    streams = [way.stream(name, before + seconds) for name, way in ways.items()]
    rate = sum(stream.rate for stream in streams)
    lab.progress(f"{len(ways)} ways side by side, {rate:.0f} requests a second, for {before + seconds:.0f} s")
    running = load.start(lab, streams)
    looks: dict[str, list[list[float]]] = {name: [] for name in ways}
    change = running.began + before
    sleep_until(change)
    for clone in slow:
        clone.change(service=SLOW)
    for at in range(int(seconds / LOOK)):
        sleep_until(change + at * LOOK)
        for name, way in ways.items():
            if way.shares is not None:
                looks[name].append(way.shares())
    records = running.wait().records
    return report(lab, ttl, {name: judge(records[name], looks[name], change, seconds) for name in ways})


def judge(records: Sequence[Record], looks: Sequence[Sequence[float]], change: float, seconds: float) -> Case:
    since = [record for record in records if record.scheduled >= change]
    rest = change + SETTLED * seconds
    at_rest = [record for record in since if record.scheduled >= rest]
    steps = [change + at * LOOK for at in range(int((seconds - WINDOW) / LOOK) + 1)]
    curve = [share([one for one in since if at <= one.scheduled < at + WINDOW]) for at in steps]
    fallen = next((at - change for at, part in zip(steps, curve, strict=True) if part < FALLEN), None)
    still = looks[int(SETTLED * len(looks)) :]
    return Case(fallen, share(at_rest), (p99(since), p99(at_rest)), mean([float(not one.ok) for one in since]),
                swing(still) if still else None, tuple(curve))


def share(records: Sequence[Record]) -> float:
    """Of the slow clone.  A request that failed was its: no other keeps clients waiting for so long."""
    return mean([float(not one.ok or one.backend == "b1") for one in records]) if records else 0.0


def p99(records: Sequence[Record]) -> float:
    return 1000 * percentile([one.latency for one in records], 0.99)


def swing(looks: Sequence[Sequence[float]]) -> float:
    """What part of all clients the weights send elsewhere than a second ago, on average."""
    moved = [sum(abs(one - other) for one, other in zip(*pair, strict=True)) / 2 for pair in pairwise(looks)]
    return mean(moved) / LOOK if moved else 0.0


# What it says.


def report(lab: Lab, ttl: int, cases: dict[str, Case]) -> Result:
    rows = [[name, "–" if is_alike(name) else "never" if case.fallen is None else f"{case.fallen:.1f}",
             f"{case.share:.0%}",
             *(f"{value:.0f}" for value in case.milliseconds), f"{case.failed:.1%}",
             "–" if case.swing is None else f"{100 * case.swing:.1f}"] for name, case in cases.items()]
    table = Table(f"One of four clones takes four times as long from a moment on; and four alike at {ALIKE:.0%}",
                  ["", "s until it has half its share", "its share at last", "p99 since then, ms", "p99 at last, ms",
                   "failed", "weights move, points a second"], rows)
    notes = [*lab.notes, f"{CLONES} clones that take {SERVICE * 1000:.0f} ms for a request, one after the other, at "
             f"{LOAD:.0%}; then the first takes {SLOW * 1000:.0f} ms, and with a quarter of the requests would have to "
             f"do {LOAD * SLOW / SERVICE:.0%} of what it can; even shares of load would give it "
             f"{SERVICE / SLOW / (CLONES - 1 + SERVICE / SLOW):.0%}; TTL {ttl}, {CACHES} caches with as many "
             f"clients each, one address in an answer; clones are asked every second; clients wait {DEADLINE:g} s",
             f"at last: in the last {1 - SETTLED:.0%} of the time; undamped: each reading counts whole and at once, "
             "which no setting allows"]
    plots = [Plot("The slow clone's share of the requests, from the change on", partial(draw, cases), (8.5, 4.2))]
    measurements: dict[str, Any] = {"ttl": ttl, "cases": {name: asdict(case) for name, case in cases.items()}}
    return Result(measurements, [table], plots, reading(cases), notes)


def reading(cases: dict[str, Case]) -> str:
    def told(name: str) -> str:
        case = cases[name]
        fallen = "never" if case.fallen is None else f"after {case.fallen:.0f} s"
        return f"{fallen}, p99 at last {case.milliseconds[1]:.0f} ms"

    damped, naive = (cases[f"dnslb, {name}"].swing or 0.0 for name in ("feedback", "undamped"))
    alike = ", ".join(f"{name.partition(', ')[2]} {case.milliseconds[1]:.0f} ms"
                      for name, case in cases.items() if is_alike(name))
    beside = "; ".join(f"{name} {told(name)}" for name in FRONTS if name in cases)
    text = (f"Without feedback the slow clone loses half its share {told('dnslb, no feedback')}; with it "
            f"{told('dnslb, feedback')}; shedding {told('dnslb, feedback, sheds')}.  Undamped, weights move "
            f"{100 * naive:.1f} points a second, damped {100 * damped:.1f}; among clones that are alike, at "
            f"{ALIKE:.0%}, the p99 is: {alike}")
    return f"{text}.  Who sees each request: {beside}." if beside else f"{text}."


def draw(cases: dict[str, Case], figure: Figure) -> None:
    axes = figure.subplots()
    colours = (palette.BLACK, palette.BLUE, palette.GREEN, palette.VERMILION, palette.ORANGE, palette.PURPLE)
    slowed = [(name, case) for name, case in cases.items() if not is_alike(name)]
    for colour, (name, case) in zip(colours, slowed, strict=False):
        axes.plot([at * LOOK for at in range(len(case.curve))], [100 * part for part in case.curve], label=name,
                  color=colour)
    axes.set_xlabel(f"seconds since the change; each point is {WINDOW:g} s from there on")
    axes.set_ylabel("share of the slow clone, %")
    axes.set_ylim(0, None)
    axes.legend(fontsize=8)


EXPERIMENT = Experiment(
    number=18,
    name="feedback",
    question="One of four busy clones becomes four times slower, and says so: when do clients leave it?",
    setup="""
clients that hold an answer for its TTL ──> dnslb: TTL 5, one address; asks /healthz every second, X-Load: 0.93
   └──────────── HTTP ────────────────> b1 (slow from a moment on) b2 b3 b4, one request after the other
clients ── HTTP ──> HAProxy ──────────> b1 b2 b3 b4    agent-check (7%), or least connections
""",
    run=run,
    limits="One run, loads that the clones know exactly, caches with equally many clients (what a large one "
           "does is in experiment 16).  A real load average is late itself, and browsers hold addresses for a minute.",
)
