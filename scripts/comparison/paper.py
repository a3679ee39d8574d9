"""Experiment 17: cost and scale beyond these machines, on paper: nothing is measured here, parameters are stated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from comparison import palette
from comparison.experiment import Experiment, Lab, Plot, Result, Table
from dnslb.advice import forecast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATE = "2026-11"            # of the parameters
REQUESTS = (100, 1_000, 10_000, 100_000)    # per second
TTLS = (5, 30)


@dataclass(frozen=True, slots=True)
class Parameters:
    """To be replaced by one's own: all of it is in this one place."""

    requests_per_connection: int = 10
    resolvers: int = 1_000
    skew: float = 1.0               # Zipf's exponent
    request: int = 1_000            # octets, head and body
    reply: int = 10_000             # octets
    look_up: int = 250              # octets on the wire, query and reply with four addresses, headers included
    dns_core: int = 100_000         # queries a second of one core: README, "Speed"
    l7_core: int = 10_000           # requests a second of one core: experiment 4's orders of magnitude
    busy: float = 0.5               # of a core, at most
    backends: int = 20
    interval: float = 5.0           # seconds from probe to probe


PARAMETERS = Parameters()


@dataclass(frozen=True, slots=True)
class Line:
    """What so many requests a second make.  All per second, but for nodes."""

    requests: int
    ttl: int
    queries: float
    dns_octets: float
    dns_nodes: int          # and one more than the load needs
    l7_octets: float        # in and out
    l7_nodes: int


def line(requests: int, ttl: int, given: Parameters) -> Line:
    look_ups = requests / given.requests_per_connection
    shares = forecast.zipf(given.resolvers, given.skew)
    queries = forecast.authoritative_load([look_ups * share for share in shares], ttl)
    return Line(requests, ttl, queries, queries * given.look_up, nodes(queries, given.dns_core, given),
                2 * requests * (given.request + given.reply), nodes(requests, given.l7_core, given))


def nodes(load: float, core: int, given: Parameters) -> int:
    """With one core each, one of which may be away."""
    return ceil(load / (core * given.busy)) + 1


def probes(count: int, given: Parameters) -> float:
    """Per second, in all: every node asks every backend."""
    return count * given.backends / given.interval


def run(lab: Lab) -> Result:
    given = PARAMETERS
    lines = [line(requests, ttl, given) for requests in REQUESTS for ttl in TTLS]
    rows = [[f"{one.requests:,}", str(one.ttl), f"{one.queries:,.0f}", f"{8 * one.dns_octets / 1e6:,.2f}",
             f"{8 * one.l7_octets / 1e6:,.0f}", f"{one.dns_nodes} : {one.l7_nodes}",
             f"{probes(one.dns_nodes, given):.0f} : {probes(one.l7_nodes, given):.0f}"] for one in lines]
    table = Table("By formula", ["requests/s", "TTL, s", "queries/s at dnslb", "Mbit/s by DNS", "Mbit/s through L7",
                                 "nodes, DNS : L7", "probes/s, DNS : L7"], rows)
    notes = [f"parameters, {DATE} (scripts/comparison/paper.py): {given.requests_per_connection} requests a "
             f"connection; {given.resolvers:,} resolvers, Zipf {given.skew:g}; {given.request:,} octets a request, "
             f"{given.reply:,} a reply, {given.look_up} a look-up; a core does {given.dns_core:,} queries or "
             f"{given.l7_core:,} requests a second and is kept at {given.busy:.0%}; one node more than the load needs; "
             f"{given.backends} backends, each probed every {given.interval:g} s by every node"]
    plots = [Plot("Octets that pass the balancer", partial(draw, lines), (8.0, 4.0))]
    measurements = {"parameters": asdict(given), "lines": [asdict(one) for one in lines]}
    return Result(measurements, [table], plots, reading(lines), notes)


def reading(lines: Sequence[Line]) -> str:
    last, few = lines[-1], lines[0]
    return (f"At {last.requests:,} requests a second {last.l7_nodes} L7 nodes carry {8 * last.l7_octets / 1e9:.0f} "
            f"Gbit/s, where {last.dns_nodes} nodes of dnslb answer {last.queries:,.0f} queries at TTL {last.ttl}.  At "
            f"{few.requests:,} a second either needs {few.dns_nodes} nodes, and this difference decides nothing.")


def draw(lines: Sequence[Line], figure: Figure) -> None:
    axes = figure.subplots()
    for ttl, colour in zip(TTLS, (palette.VERMILION, palette.ORANGE), strict=True):
        found = [one for one in lines if one.ttl == ttl]
        axes.plot([one.requests for one in found], [8 * one.dns_octets / 1e6 for one in found], color=colour,
                  marker="o", label=f"DNS, TTL {ttl}")
    through = [one for one in lines if one.ttl == TTLS[0]]
    axes.plot([one.requests for one in through], [8 * one.l7_octets / 1e6 for one in through], color=palette.BLUE,
              marker="s", label="through an L7 balancer")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("requests per second")
    axes.set_ylabel("Mbit/s")
    axes.legend()


EXPERIMENT = Experiment(
    number=17,
    name="paper",
    question="What do cost and scale look like beyond these machines, on paper?",
    setup="nothing runs: formulas and stated parameters",
    run=run,
    limits="Prices, people and network equipment; nor what an L7 balancer saves elsewhere (TLS, retries, connections).",
)
