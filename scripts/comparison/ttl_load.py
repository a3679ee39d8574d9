"""Experiment 1: how many queries reach the authority, for each TTL."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import expm1
from typing import TYPE_CHECKING, Any

from comparison import backends, dnslb, load, palette, relay, unbound
from comparison.dnslb import Pool, owner
from comparison.experiment import Experiment, Lab, Plot, Result, Table
from comparison.load import Record, Stream
from comparison.relay import Query
from comparison.stub import Endpoint
from comparison.unbound import UNBOUND, Setting
from dnslb.advice import forecast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESOLVERS = 8
SKEW = 1.0              # Zipf's exponent: the first resolver has a third of the clients
RATE = 40.0             # look-ups per second, of each name
TTLS, QUICK_TTLS = (0, 1, 2, 5, 10, 30, 60), (0, 1, 2, 5)
SECONDS, QUICK_SECONDS = 95.0, 8.0
TOLERANCE, QUICK_TOLERANCE = 0.05, 0.20     # of the queries that are expected
CURVES = 200            # points of a drawn curve


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured of one TTL, and what is expected."""

    ttl: int
    look_ups: float         # per second, by clients
    queries: float          # per second, at the authority
    formula: float          # Σ λ/(1 + λT)
    whole_seconds: float    # the same for caches that count in whole seconds
    counted: int            # queries that the rate is made of

    @property
    def deviation(self) -> float:
        """From the load that whole seconds make."""
        return self.queries / self.whole_seconds - 1


def whole_second_load(rates: Sequence[float], ttl: float) -> float:
    """Σ 1/(T + 1 + 1/(e^λ - 1)): the load by caches whose clock has whole seconds, as unbound's; Σ λ for T = 0.

    A record that is stored at a fraction p of a second expires T seconds after the next full one: it lives T + 1 - p.
    The next look-up comes E later, E of mean 1/λ, and is the next p: the fraction of E, which is 1/λ - 1/(e^λ - 1) on
    average.  Busy names are asked right after a full second, and live T + 1; rare ones live T + 1/2.
    """
    if not ttl:
        return sum(rates)
    return sum(1 / (ttl + 1 + 1 / expm1(rate)) for rate in rates)


def look_up_rates(records: Sequence[Record], seconds: float) -> list[float]:
    """Resolver by resolver, as they were drawn: close to Zipf's law."""
    counts = Counter(record.client for record in records)
    return [counts[client] / seconds for client in sorted(counts)]


def measure(ttl: int, queries: Sequence[Query], rates: Sequence[float]) -> Point:
    """Queries per second of each resolver, from its first to its last: no matter in which part of a cycle it ended."""
    total, counted = 0.0, 0
    for resolver in {query.resolver for query in queries}:
        moments = sorted(query.at for query in queries if query.resolver == resolver)
        if len(moments) > 1:
            total += (len(moments) - 1) / (moments[-1] - moments[0])
            counted += len(moments) - 1
    formulas = forecast.authoritative_load(rates, ttl), whole_second_load(rates, ttl)
    return Point(ttl, sum(rates), total, *formulas, counted)


def run(lab: Lab) -> Result:
    ttls, seconds = lab.full_or_quick((TTLS, SECONDS), (QUICK_TTLS, QUICK_SECONDS))
    [clone] = backends.start(lab, 1)
    server = dnslb.start(lab, {f"ttl-{ttl}": Pool((clone.address,), 0, ttl) for ttl in ttls})
    with relay.relaying(server.endpoint) as tap:
        resolvers = unbound.start(lab, [Setting()] * RESOLVERS, tap.endpoint)
        endpoints = tuple(resolver.endpoint for resolver in resolvers)
        lab.progress(f"{RATE * len(ttls):.0f} look-ups a second for {seconds:.0f} s")
        began = time.monotonic()
        outcome = load.start(lab, [stream(ttl, seconds, clone.port, endpoints) for ttl in ttls]).wait()
    queries = [query for query in tap.queries if query.at > began]
    points = [measure(ttl, [query for query in queries if query.name == owner(f"ttl-{ttl}")],
                      look_up_rates(outcome.records[str(ttl)], seconds)) for ttl in ttls]
    return report(lab, points)


def stream(ttl: int, seconds: float, port: int, resolvers: tuple[Endpoint, ...]) -> Stream:
    """One client for each resolver: all those behind it."""
    return Stream(str(ttl), RATE, seconds, port, name=owner(f"ttl-{ttl}"), resolvers=resolvers, skew=SKEW)


# What it says.


def report(lab: Lab, points: Sequence[Point]) -> Result:
    rates = [RATE * share for share in forecast.zipf(RESOLVERS, SKEW)]
    tolerance = lab.full_or_quick(TOLERANCE, QUICK_TOLERANCE)
    header = ["TTL, s", "look-ups/s", "at the authority/s", "Σ λ/(1+λT)", "in whole seconds", "off by", "from caches"]
    rows = [[str(point.ttl), f"{point.look_ups:.1f}", f"{point.queries:.2f}", f"{point.formula:.2f}",
             f"{point.whole_seconds:.2f}", f"{point.deviation:+.1%}", f"{1 - point.queries / point.look_ups:.1%}"]
            for point in points]
    off = [point for point in points if abs(point.deviation) > tolerance]
    notes = [*lab.notes,
             f"unbound's clock has whole seconds: it holds a record for its TTL and up to a second more. That makes "
             f"Σ 1/(T+1+1/(e^λ-1)); tolerance: {tolerance:.0%} of it",
             "a relay between the resolvers and dnslb counts every query; a resolver's rate is taken from its first to "
             "its last query, its λ from the look-ups that its clients made"]
    notes += [f"TTL {point.ttl} is off by {point.deviation:+.1%}: its rate is made of {point.counted} queries only"
              for point in off]
    measurements: dict[str, Any] = {
        "rates": list(rates), "tolerance": tolerance, "within_tolerance": not off,
        "points": [asdict(point) | {"deviation": point.deviation} for point in points]}
    plots = [Plot("Queries that reach dnslb from 8 resolvers, by TTL", partial(draw, points, rates))]
    return Result(measurements, [Table("", header, rows)], plots, reading(points, tolerance), notes)


def reading(points: Sequence[Point], tolerance: float) -> str:
    one = next(point for point in points if point.ttl == 1)
    last = points[-1]
    worst = max(points, key=lambda point: abs(point.deviation))
    lie = "All points lie" if abs(worst.deviation) <= tolerance else "Not all points lie"
    return (f"A TTL of 1 s already keeps {1 - one.queries / one.look_ups:.0%} of the look-ups away from dnslb, one of "
            f"{last.ttl} s {1 - last.queries / last.look_ups:.1%}.  {lie} within {tolerance:.0%} of the formula for "
            f"whole seconds, the farthest (TTL {worst.ttl}) {abs(worst.deviation):.1%} off; the textbook's Σ λ/(1+λT) "
            f"expects {one.formula / one.queries:.1f} times what comes at TTL 1, and "
            f"{last.formula / last.queries:.2f} times at TTL {last.ttl}.")


def draw(points: Sequence[Point], rates: Sequence[float], figure: Figure) -> None:
    axes = figure.subplots()
    end = points[-1].ttl
    # From TTL 1 on: below it there is no whole second.
    span = [end ** (step / CURVES) for step in range(CURVES + 1)]
    axes.plot([0.0, *(step / 50 for step in range(1, 50)), *span],
              [forecast.authoritative_load(rates, ttl) for ttl in [0.0, *(step / 50 for step in range(1, 50)), *span]],
              color=palette.GREY, linestyle="--", label="Σ λ/(1+λT)")
    axes.plot(span, [whole_second_load(rates, ttl) for ttl in span], color=palette.BLUE,
              label="Σ 1/(T+1+1/(e$^λ$-1)): whole seconds")
    axes.plot([point.ttl for point in points], [point.queries for point in points], color=palette.VERMILION, marker="o",
              linestyle="none", markersize=7, label="measured")
    axes.set_xscale("symlog", linthresh=1)
    axes.set_yscale("log")
    axes.set_xticks([point.ttl for point in points], [str(point.ttl) for point in points])
    axes.set_xlim(-0.05, end * 1.1)
    axes.set_xlabel("TTL, s")
    axes.set_ylabel("queries per second at dnslb")
    axes.legend()


EXPERIMENT = Experiment(
    number=1,
    name="ttl_load",
    question="How does the TTL set the load of the nameserver?",
    setup="""
clients ──(40 look-ups/s of each name, by Zipf's law)──> 8 unbound ──> relay that counts ──> dnslb
                                                                                      names with TTL 0, 1, 2 ... 60
""",
    run=run,
    limits="unbound only, and look-ups without memory: people come in waves. Other resolvers' clocks are in "
           "experiment 12.",
    needs=(UNBOUND,),
)
