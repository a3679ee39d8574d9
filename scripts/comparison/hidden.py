"""Experiment 19: one address in an answer, by what is hidden behind who asks, at the same number of queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from comparison import backends, dnslb, haproxy, l7, load, palette, simulated, unbound
from comparison.backends import Backend
from comparison.dnslb import Dnslb, Pool, owner
from comparison.experiment import Experiment, Lab, Plot, Result, Table, sleep_until
from comparison.haproxy import HAPROXY
from comparison.l7 import Front
from comparison.load import Outcome, Record, Stream
from comparison.processes import free_port
from comparison.simulated import Scale, Simulated
from comparison.statistics import mean, median, spread
from comparison.stub import Endpoint
from comparison.unbound import UNBOUND, Setting
from dnslb.simulation.demand import Demand
from dnslb.simulation.trial import Extent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLONES, RESOLVERS = 4, 8
SKEW = 1.0              # Zipf's exponent of the resolvers
RATE = 8.0              # sessions a second, of each name: one look-up, one connection
SESSION = 5.0           # seconds that one lasts
LOAD = 2 / 3            # of what all clones can
WINDOW = 8.0            # seconds, over which utilisation is told, as in the papers
MEAN = 8                # seconds: the constant TTL
LEVELS, QUICK_LEVELS = (0, 35, 65), (35,)   # percent by which the weakest clone is below the strongest
NAMES, QUICK_NAMES = 3, 1   # of each condition, each with sessions of its own
LEARNING, QUICK_LEARNING = 90.0, 4.0        # seconds before anything is told
SECONDS, QUICK_SECONDS = 160.0, 16.0        # that are told of
DEADLINE = 2 * SESSION
LAG = 0.4               # seconds, 99th percentile, by which the generator may be late: a twentieth of a window
FULL = 20               # weight of the strongest clone
HIGH = 0.98             # of what a clone can, as in the papers
LEAST = "HAProxy least conn."
ADAPTIVE = f"{{min: 2s, mean: {MEAN}s, adaptive: load}}"
MODES: dict[str, dict[str, Any]] = {
    "constant": {"answers": 1},
    "adaptive": {"answers": 1, "ttl": 4 * MEAN, "policy": ADAPTIVE},
    "least assigned": {"answers": 1, "order": "least_assigned"},
    "both": {"answers": 1, "order": "least_assigned", "ttl": 4 * MEAN, "policy": ADAPTIVE},
    "whole set": {},
}


@dataclass(frozen=True, slots=True)
class Case:
    """One way to balance, at one level."""

    name: str
    level: int
    busiest: tuple[float, ...]      # utilisation of the busiest clone, window by window
    failed: int
    queries: float | None           # a second that reached dnslb, for one name

    @property
    def well(self) -> float:
        """The part of the windows in which no clone was beyond what it can, about."""
        return sum(value < HIGH for value in self.busiest) / len(self.busiest)


@dataclass(frozen=True, slots=True)
class Line:
    """One condition, and the names that it is tried with."""

    name: str
    level: int
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What dnslb tells of one name."""

    queries: int                    # up to now
    loads: Sequence[float | None]   # look-ups a second behind each resolver; None: not known


@dataclass(frozen=True, slots=True)
class Estimate:
    """What dnslb made of one resolver, for names with adaptive TTLs."""

    truth: float                    # requests a second
    told: tuple[float, ...]


def capacities(level: int) -> list[int]:
    """Weights of the clones: from the strongest to the weakest in equal steps."""
    return [round(FULL * (1 - level / 100 * number / (CLONES - 1))) for number in range(CLONES)]


def loads() -> list[float]:
    """Look-ups a second behind each resolver."""
    parts = [1 / place**SKEW for place in range(1, RESOLVERS + 1)]
    return [RATE * part / sum(parts) for part in parts]


def label(name: str, level: int, number: int) -> str:
    return f"{name.replace(' ', '-')}-{level}-{number}"


def pool(clones: Sequence[Backend], level: int, how: Mapping[str, Any]) -> Pool:
    homes = tuple(clone.address for clone in clones)
    weights = dict(zip(homes, capacities(level), strict=True)) if "answers" in how and level else {}
    return Pool(homes, 0, **{"ttl": MEAN, **how}, weights=weights)


def run(lab: Lab) -> Result:
    levels, names = lab.full_or_quick((LEVELS, NAMES), (QUICK_LEVELS, QUICK_NAMES))
    learning, seconds = lab.full_or_quick((LEARNING, SECONDS), (QUICK_LEARNING, QUICK_SECONDS))
    clones = backends.start(lab, CLONES)
    lines = [Line(name, level, tuple(label(name, level, number) for number in range(names)))
             for name in [*MODES, *([LEAST] if lab.has(HAPROXY) else [])] for level in levels]
    server = dnslb.start(lab, {its: pool(clones, line.level, MODES[line.name])
                               for line in lines if line.name in MODES for its in line.labels})
    resolvers = unbound.start(lab, [Setting()] * RESOLVERS, server.endpoint, spread=True)
    endpoints = tuple(resolver.endpoint for resolver in resolvers)
    streams = [stream for line in lines for stream in streams_of(lab, line, clones, endpoints, learning + seconds)]
    for clone in clones:  # only now: balancers must find them well
        clone.change(delay=SESSION)
    lab.progress(f"{len(streams)} names side by side: {learning:.0f} s to learn, then {seconds:.0f} s")

    def measure() -> tuple[Outcome, dict[str, Seen], dict[str, Seen]]:
        running = load.start(lab, streams, LAG)
        sleep_until(running.began + learning)
        before = look(server)
        sleep_until(running.began + learning + seconds)
        after = look(server)
        return running.wait(), before, after

    outcome, before, after = load.unless_void(lab, measure)
    queries = {its: (seen.queries - before[its].queries) / seconds for its, seen in after.items()}
    cases = [judge(line, outcome.records, queries, outcome.began + learning, seconds) for line in lines]
    adaptive = [its for line in lines if line.name == "adaptive" for its in line.labels]
    lab.progress("the same in the simulation")
    return report(lab, cases, [after[its].loads for its in adaptive], list(simulations(lab, levels)))


def simulations(lab: Lab, levels: Sequence[int]) -> Iterator[Simulated]:
    # So many requests in a session that its length alone tells what it costs, as here.
    demand = Demand(RATE, RESOLVERS, SKEW, SESSION, 1000.0, LOAD, WINDOW)
    name = f"here: {CLONES} clones, {RESOLVERS} resolvers, TTL {MEAN}"
    here = Scale(name, CLONES, MEAN, demand, Extent(3600.0, 0, 2))
    for scale in lab.full_or_quick(simulated.scales(here), (here,)):
        for level in levels:
            yield from simulated.simulate(scale, level, HIGH)


def streams_of(
    lab: Lab, line: Line, clones: Sequence[Backend], endpoints: tuple[Endpoint, ...], seconds: float
) -> Iterator[Stream]:
    for its in line.labels:
        if line.name in MODES:
            yield Stream(its, RATE, seconds, clones[0].port, name=owner(its), resolvers=endpoints, skew=SKEW,
                         deadline=DEADLINE)
        else:
            front = Front(free_port([l7.HOME]), l7.servers(clones, capacities(line.level)), "leastconn")
            yield Stream(its, RATE, seconds, haproxy.start(lab, [front]).port, (l7.HOME,), deadline=DEADLINE)


def look(server: Dnslb) -> dict[str, Seen]:
    """What dnslb tells of each name, by its first label."""
    found = {}
    for one in server.status()["pools"]:
        rrset = one["rrsets"][0]
        heaviest = (rrset["hidden_load"] or {"heaviest": ()})["heaviest"]
        networks = {each["network"]: each["requests"] for each in heaviest}
        told = [networks.get(f"127.0.{3 + number}.0/24") for number in range(RESOLVERS)]
        found[one["owner"].partition(".")[0]] = Seen(sum(each["led"] for each in rrset["backends"]), told)
    return found


def judge(line: Line, records: Mapping[str, Sequence[Record]], queries: Mapping[str, float], begin: float,
          seconds: float) -> Case:
    found = [records[its] for its in line.labels]
    busiest = [value for its in found for value in busiest_of(its, capacities(line.level), begin, seconds)]
    failed = sum(not record.ok for its in found for record in its if record.scheduled >= begin)
    reached = [queries[its] for its in line.labels if its in queries]
    return Case(line.name, line.level, tuple(busiest), failed, mean(reached) if reached else None)


def busiest_of(records: Sequence[Record], shares: Sequence[int], begin: float, seconds: float) -> list[float]:
    """The utilisation of the busiest clone in each window, by the sessions that are open."""
    count = int(seconds / WINDOW)
    open_in: list[dict[str, float]] = [dict.fromkeys((f"b{number}" for number in range(1, CLONES + 1)), 0.0)
                                       for _ in range(count)]
    for record in records:
        start, end = record.scheduled - begin, record.scheduled - begin + SESSION
        for at in range(max(0, int(start // WINDOW)), min(count, int(end // WINDOW) + 1)):
            if record.ok:
                open_in[at][record.backend] += min(end, (at + 1) * WINDOW) - max(start, at * WINDOW)
    can = [share / sum(shares) * WINDOW * RATE * SESSION / LOAD for share in shares]
    return [max(used / most for used, most in zip(window.values(), can, strict=True)) for window in open_in]


# What it says.


def report(
    lab: Lab, cases: Sequence[Case], told: Sequence[Sequence[float | None]], beside: list[Simulated]
) -> Result:
    constant = {case.level: case.queries for case in cases if case.name == "constant"}
    rows = [[case.name, f"{case.level} %", f"{case.well:.0%}", spread(case.busiest).show(2),
             "–" if case.queries is None else f"{case.queries:.2f}", ratio(case, constant), str(case.failed)]
            for case in cases]
    columns = [[value for value in column if value is not None] for column in zip(*told, strict=True)]
    estimates = [Estimate(truth, tuple(column)) for truth, column in zip(loads(), columns, strict=True)]
    known = [[f"127.0.{3 + number}.0/24", f"{one.truth:.2f}",
              spread(one.told).show(2) if one.told else "not known yet",
              f"{median(one.told) / one.truth - 1:+.0%}" if one.told else "–"]
             for number, one in enumerate(estimates)]
    tables = [
        Table(f"Utilisation of the busiest clone in windows of {WINDOW:.0f} s, and the queries that it costs",
              ["", "weakest is less by", f"windows < {HIGH}", "busiest", "queries/s", "of constant", "failed"], rows),
        Table("What is hidden behind the resolvers, and what dnslb made of it, in look-ups a second",
              ["resolver", "truth", "told", "off by"], known),
        simulated.table(beside, HIGH)]
    notes = [*lab.notes, f"{RATE:.0f} sessions of {SESSION:.0f} s a second for each name, {LOAD:.0%} of what all "
             f"clones can; {RESOLVERS} unbounds by Zipf's law; constant TTL and mean of others: {MEAN} s",
             "ranges are those of the windows, or names, of one run; chance alone makes the busiest of equal clones "
             "uneven: whole sets show how much"]
    measurements: dict[str, Any] = {"load": LOAD, "window": WINDOW, "cases": [asdict(case) | {"well": case.well}
                                    for case in cases], "estimates": [asdict(one) for one in estimates],
                                    "simulated": simulated.measurements(beside)}
    levels = sorted({case.level for case in cases})
    level = levels[len(levels) // 2]
    plots = [Plot(f"The busiest clone, window by window; the weakest can {level} % less", partial(draw, cases, level)),
             Plot(f"Windows in which no clone is busier than {HIGH}", partial(draw_levels, cases))]
    return Result(measurements, tables, plots, reading(cases), notes)


def ratio(case: Case, constant: Mapping[int, float | None]) -> str:
    beside = constant.get(case.level)
    return f"{case.queries / beside:.2f}" if beside and case.queries is not None else "–"


def reading(cases: Sequence[Case]) -> str:
    def told(name: str) -> str:
        return " and ".join(f"{case.well:.0%}" for case in cases if case.name == name and case.level in ends)

    levels = sorted({case.level for case in cases})
    ends = {levels[0], levels[-1]}
    said = ", ".join(f"{name} {told(name)}" for name in dict.fromkeys(case.name for case in cases))
    between = f"clones alike and {levels[-1]} % apart" if len(ends) > 1 else f"clones {levels[0]} % apart"
    costs = {name: [case.queries for case in cases if case.name == name] for name in ("constant", "adaptive")}
    share = sum(value or 0.0 for value in costs["adaptive"]) / (sum(value or 0.0 for value in costs["constant"]) or 1.0)
    return (f"Windows in which no clone is overloaded, with {between}: {said}.  TTLs by hidden load cost {share:.2f} "
            f"times the queries of the constant one.")


COLOURS = {"constant": palette.VERMILION, "adaptive": palette.BLUE, "least assigned": palette.ORANGE,
           "both": palette.PURPLE, "whole set": palette.SKY, LEAST: palette.GREEN}


def draw(cases: Sequence[Case], level: int, figure: Figure) -> None:
    axes = figure.subplots()
    for case in cases:
        if case.level == level:
            values = sorted(case.busiest)
            axes.step(values, [(at + 1) / len(values) for at in range(len(values))], where="post",
                      color=COLOURS[case.name], label=case.name)
    axes.axvline(HIGH, color=palette.BLACK, linewidth=1, linestyle="--")
    axes.set_xlabel("utilisation of the busiest clone")
    axes.set_ylabel("part of the windows")
    axes.legend(fontsize=8)


def draw_levels(cases: Sequence[Case], figure: Figure) -> None:
    axes = figure.subplots()
    for name in dict.fromkeys(case.name for case in cases):
        its = [case for case in cases if case.name == name]
        well = [case.well for case in its]
        axes.plot([case.level for case in its], well, marker="o", color=COLOURS[name], label=name)
    axes.set_xticks(sorted({case.level for case in cases}))
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("percent by which the weakest clone can less than the strongest")
    axes.set_ylabel("part of the windows")
    axes.legend(fontsize=8)


EXPERIMENT = Experiment(
    number=19,
    name="hidden",
    question="One address in an answer: does it help to know what a resolver hides?",
    setup="""
a third of the clients ──> unbound 1    ┐
the rest, by Zipf ───────> unbound 2-8  ┴──> dnslb: one address, TTL constant or by hidden load, cyclic or to who was
   │                                              assigned least; whole sets
   └──── HTTP, 5 s each ─────────────────────────> b1 b2 b3 b4, of which some count for less than others
clients ── HTTP ──> HAProxy, least connections ──> b1 b2 b3 b4
""",
    run=run,
    limits="Eight resolvers that all count in whole seconds as unbound does; sessions of one length; clones are not "
           "slower, but count for less; the authority learns for a minute and a half first.",
    needs=(UNBOUND,),
)
