"""Experiment 2: how evenly the backends are used, window by window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from comparison import backends, dnslb, envoy, haproxy, l7, load, palette, probing, unbound
from comparison.backends import Backend
from comparison.dnslb import Pool, owner
from comparison.envoy import ENVOY
from comparison.experiment import Experiment, Lab, Plot, Result, Table
from comparison.haproxy import HAPROXY
from comparison.l7 import Front
from comparison.load import Record, Stream
from comparison.processes import Program, free_port
from comparison.statistics import jain, max_over_mean, mean, variation
from comparison.stub import Endpoint
from comparison.unbound import UNBOUND, Setting
from dnslb.advice import forecast
from dnslb.advice.forecast import Situation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLONES, RESOLVERS = 4, 8
SKEW = 1.0              # Zipf's exponent of the resolvers
RATE = 12.0             # requests per second, of each name
TTLS, QUICK_TTLS = (1, 5, 15, 60), (1, 5)
SECONDS, QUICK_SECONDS = 100.0, 10.0
WINDOW, QUICK_WINDOW = 10.0, 5.0
# Long TTLs mean few draws in a run: these have more names, which are drawn for independently.
NAMES = {1: 1, 5: 1, 15: 2, 60: 4}
TOLERANCE = 0.3         # of the formula's CV: a few dozen draws cannot be closer
OVERTIME = 1            # seconds that unbound keeps busy names beyond the TTL: see experiment 1
DIRECT = "direct"
ROUND_ROBIN = " round robin"
L7_PROGRAMS: tuple[tuple[Program, ModuleType], ...] = ((HAPROXY, haproxy), (ENVOY, envoy))


@dataclass(frozen=True, slots=True)
class Mode:
    """What dnslb answers, and what resolvers do with it."""

    name: str
    key: str                # the first part of its names
    order: str
    answers: int            # addresses in a reply
    shuffled: bool          # by the resolvers, as they do unless told otherwise
    drawn: int              # addresses among which a client of a cached answer may find itself: the formula's answers

    @property
    def is_judged(self) -> bool:
        """Whether the formula's premise holds: addresses are drawn, not dealt in turns."""
        return self.order == "random" or self.drawn == CLONES


MODES = (
    Mode("single, random", "random", "random", 1, True, 1),
    Mode("single, cyclic", "cyclic", "cyclic", 1, True, 1),
    Mode("full, order kept", "kept", "cyclic", CLONES, False, 1),
    Mode("full, shuffled", "shuffled", "cyclic", CLONES, True, CLONES),
)


@dataclass(frozen=True, slots=True)
class Evenness:
    """Of the windows of one condition."""

    cv: float               # root of the mean square
    max_over_mean: float
    jain: float


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    ttl: int | None         # None: not cached
    measured: Evenness
    formula: Evenness | None
    judged: bool
    whole_run: float        # CV of the run as one window
    windows: Sequence[Sequence[Sequence[int]]]  # requests of each clone, window by window, of each stream

    @property
    def deviation(self) -> float | None:
        return self.measured.cv / self.formula.cv - 1 if self.formula else None


def evenness(windows: Sequence[Sequence[int]]) -> Evenness:
    cv = mean([variation(window) ** 2 for window in windows]) ** 0.5
    return Evenness(cv, mean([max_over_mean(window) for window in windows]), mean([jain(window) for window in windows]))


def situation(drawn: int, window: float) -> Situation:
    return Situation(probing.probe(0), backends=CLONES, answers=drawn, rate=RATE, resolvers=RESOLVERS, skew=SKEW,
                     window=window)


def expected(drawn: int, ttl: int, window: float) -> Evenness:
    cv = forecast.imbalance(situation(drawn, window), ttl + OVERTIME)
    return Evenness(cv, forecast.max_over_mean(cv, CLONES), forecast.jain(cv))


def windows(records: Sequence[Record], clones: Sequence[Backend], began: float, count: int, length: float,
            ) -> list[list[int]]:
    """Requests of each clone, window by window."""
    counts: list[Counter[str]] = [Counter() for _ in range(count)]
    for record in records:
        at = int((record.scheduled - began) / length)
        if at < len(counts):
            counts[at][record.backend] += 1
    return [[count[clone.name] for clone in clones] for count in counts]


def run(lab: Lab) -> Result:
    ttls, seconds = lab.full_or_quick((TTLS, SECONDS), (QUICK_TTLS, QUICK_SECONDS))
    length = lab.full_or_quick(WINDOW, QUICK_WINDOW)
    clones = backends.start(lab, CLONES)
    lines = [*dns_lines(lab, ttls, clones, seconds), *l7_lines(lab, clones, seconds)]
    streams = [stream for line in lines for stream in line.streams]
    lab.progress(f"{len(streams)} conditions side by side for {seconds:.0f} s")
    outcome = load.measure(lab, streams)
    count = int(seconds / length)
    cases = [judge(line, [windows(outcome.records[stream.label], clones, outcome.began, count, length)
                          for stream in line.streams], length) for line in lines]
    return report(lab, cases, length)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table, and the requests that it is made of."""

    name: str
    streams: tuple[Stream, ...]     # each for itself: of a name of its own
    mode: Mode | None = None        # None: without resolvers
    ttl: int | None = None


def dns_lines(lab: Lab, ttls: Sequence[int], clones: Sequence[Backend], seconds: float) -> list[Line]:
    homes, port = tuple(clone.address for clone in clones), clones[0].port
    names = {(mode, ttl): [f"{mode.key}-{ttl}-{number}" for number in range(NAMES[ttl])]
             for mode in MODES for ttl in ttls}
    pools = {name: Pool(homes, 0, ttl, answers=mode.answers, order=mode.order)
             for (mode, ttl), its in names.items() for name in its}
    server = dnslb.start(lab, pools | {DIRECT: Pool(homes, 0, 0)})
    resolvers = unbound.start(lab, [Setting(roundrobin=shuffled) for shuffled in (True, False)
                                    for _ in range(RESOLVERS)], server.endpoint)
    endpoints = tuple(resolver.endpoint for resolver in resolvers)
    sides = {True: endpoints[:RESOLVERS], False: endpoints[RESOLVERS:]}

    def stream(name: str, resolvers: tuple[Endpoint, ...]) -> Stream:
        return Stream(name, RATE, seconds, port, name=owner(name), resolvers=resolvers, skew=SKEW)

    lines = [Line(mode.name, tuple(stream(name, sides[mode.shuffled]) for name in its), mode, ttl)
             for (mode, ttl), its in names.items()]
    return [*lines, Line("each asks dnslb", (stream(DIRECT, (server.endpoint,)),))]


def l7_lines(lab: Lab, clones: Sequence[Backend], seconds: float) -> Iterator[Line]:
    for program, module in L7_PROGRAMS:
        if lab.has(program):
            front = Front(free_port([l7.HOME]), l7.servers(clones))
            stream = Stream(program.name, RATE, seconds, module.start(lab, [front]).port, (l7.HOME,))
            yield Line(program.name + ROUND_ROBIN, (stream,))


def judge(line: Line, split: Sequence[Sequence[Sequence[int]]], length: float) -> Case:
    """``split``: the windows of each stream."""
    whole = mean([variation([sum(column) for column in zip(*each, strict=True)]) for each in split])
    measured = evenness([window for each in split for window in each])
    if line.mode is None or line.ttl is None:
        return Case(line.name, None, measured, None, False, whole, split)
    formula = expected(line.mode.drawn, line.ttl, length)
    return Case(line.name, line.ttl, measured, formula, line.mode.is_judged, whole, split)


# What it says.


def report(lab: Lab, cases: Sequence[Case], length: float) -> Result:
    header = ["", "TTL, s", "CV", "formula", "off by", "max/mean", "formula", "Jain", "formula", "CV, whole run"]
    rows = [row(case) for case in cases]
    judged = [case for case in cases if case.judged]
    off = [case for case in judged if abs(case.deviation or 0.0) > TOLERANCE]
    notes = [*lab.notes,
             f"shares of {CLONES} backends in windows of {length:.0f} s with {RATE * length:.0f} requests; chance "
             f"alone makes a CV of {forecast.binomial(CLONES, RATE * length):.3f}; the formulas are those of "
             f"`dnslb ttl`, with a TTL {OVERTIME} s longer, as unbound keeps it",
             "the formula draws an address for each resolver and TTL; cyclic order deals them in turns, like cards, "
             "and resolvers that ask one after the other get different ones: those rows may lie below it"]
    if lab.quick:
        notes.append("too short to be judged by the formula")
    else:
        notes.append(f"tolerance: {TOLERANCE:.0%} of the formula's CV, where addresses are drawn")
        notes += [f"{case.name}, TTL {case.ttl}: {case.deviation:+.0%}, beyond the tolerance; its draws are too few"
                  for case in off]
    measurements: dict[str, Any] = {
        "window": length, "rate": RATE, "tolerance": TOLERANCE, "within_tolerance": not off,
        "cases": [asdict(case) | {"deviation": case.deviation} for case in cases]}
    plots = [Plot(f"How uneven the shares of {CLONES} backends are, in windows of {length:.0f} s",
                  partial(draw, cases, length))]
    return Result(measurements, [Table("", header, rows)], plots, reading(cases), notes)


def row(case: Case) -> list[str]:
    measured, formula = case.measured, case.formula
    cells = [case.name, "–" if case.ttl is None else str(case.ttl), f"{measured.cv:.3f}"]
    cells += [f"{formula.cv:.3f}", f"{case.deviation:+.0%}"] if formula else ["–", "–"]
    cells += [f"{measured.max_over_mean:.2f}", f"{formula.max_over_mean:.2f}" if formula else "–"]
    cells += [f"{measured.jain:.3f}", f"{formula.jain:.3f}" if formula else "–"]
    return [*cells, f"{case.whole_run:.3f}"]


def reading(cases: Sequence[Case]) -> str:
    def find(name: str, ttl: int | None) -> Case:
        return next(case for case in cases if (case.name, case.ttl) == (name, ttl))

    ttl = max(case.ttl for case in cases if case.ttl)
    single, full, direct = find("single, random", ttl), find("full, shuffled", ttl), find("each asks dnslb", None)
    text = (f"With a TTL of {ttl} s, one address in an answer gives the busiest of {CLONES} backends "
            f"{single.measured.max_over_mean:.2f} times its share; the whole RRset, which resolvers shuffle, "
            f"{full.measured.max_over_mean:.2f} times, whatever the TTL")
    balancers = [case for case in cases if case.name.endswith(ROUND_ROBIN)]
    if not balancers:
        return f"{text}."
    beside = " and ".join(f"{case.name} {case.measured.max_over_mean:.2f}" for case in balancers)
    return (f"{text}.  {beside}: who sees every request deals them out in turns, as dnslb does without resolvers "
            f"({direct.measured.max_over_mean:.2f}); behind resolvers it is chance.")


COLOURS = {"single, random": palette.VERMILION, "single, cyclic": palette.ORANGE, "full, order kept": palette.PURPLE,
           "full, shuffled": palette.GREEN}


def draw(cases: Sequence[Case], length: float, figure: Figure) -> None:
    axes = figure.subplots()
    ttls = sorted({case.ttl for case in cases if case.ttl})
    for mode in MODES:
        values = [case.measured.cv for case in cases if case.name == mode.name]
        axes.plot(ttls, values, color=COLOURS[mode.name], marker="o", label=mode.name)
    span = [ttls[-1] ** (step / 50) for step in range(51)]
    for drawn, what in ((1, "formula, single"), (CLONES, "formula, full: chance alone")):
        axes.plot(span, [forecast.imbalance(situation(drawn, length), ttl + OVERTIME) for ttl in span],
                  color=palette.BLACK, linestyle="--" if drawn == 1 else ":", label=what)
    uncached = [case for case in cases if case.ttl is None]
    for case in uncached:
        axes.axhline(case.measured.cv, color=palette.BLUE, linewidth=0.8)
    axes.annotate(", ".join(case.name for case in uncached), (ttls[-1], max(case.measured.cv for case in uncached)),
                  xytext=(0, 3), textcoords="offset points", ha="right", fontsize=8, color=palette.BLUE)
    axes.set_xscale("log")
    axes.set_xticks(ttls, [str(ttl) for ttl in ttls])
    axes.minorticks_off()
    axes.set_ylim(-0.02, None)
    axes.set_xlabel("TTL, s")
    axes.set_ylabel("coefficient of variation")
    axes.legend(fontsize=8)


EXPERIMENT = Experiment(
    number=2,
    name="evenness",
    question="How evenly are the backends used, with one address in an answer or all of them?",
    setup="""
clients ──(look-up for each connection)──> 8 unbound that shuffle  ──> dnslb: single, full      b1 b2 b3 b4
                                           8 unbound that do not   ──> dnslb: full               ^
clients ──(look-up for each connection)───────────────────────────────> dnslb                    │
   └───────────────────────── HTTP, a new connection each ───────────────────────────────────────┤
clients ── HTTP ──> HAProxy, Envoy: round robin ─────────────────────────────────────────────────┘

a third of the clients is behind the first resolver, the rest by Zipf's law; each line of the table has names of its own
""",
    run=run,
    limits="Eight resolvers, four backends, one mix of clients; a public resolver with thousands of caches "
           "behind one address looks like many.",
    needs=(UNBOUND,),
)
