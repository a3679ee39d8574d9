"""Experiment 14: the nameserver loses packets, or is gone: how many look-ups go well, and how much more is asked?

After Moura, Heidemann, Müller, Schmidt, Davids, "When the dike breaks: dissecting DNS defenses during DDoS", IMC 2018.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

from comparison import dnslb, load, palette, relay, unbound
from comparison.dnslb import Pool, owner
from comparison.experiment import Experiment, Lab, Plot, Result, Table
from comparison.lookups import Pace, Sight, note_lag, watch
from comparison.relay import Relay
from comparison.stub import Endpoint, Resolver
from comparison.unbound import UNBOUND, Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOSSES, QUICK_LOSSES = (50, 75, 90, 100), (50, 100)    # per cent
TTLS, QUICK_TTLS = (1, 10, 30), (1,)
NAMES = 4                   # of each TTL, whose copies are of other ages
RATE = 2.0                  # look-ups per second, of each name
WELL, QUICK_WELL = 14.0, 3.0        # seconds without loss
ILL, QUICK_ILL = 45.0, 6.0
PATIENCE = 5.0              # seconds that a client waits for a reply (resolv.conf(5))


@dataclass(frozen=True, slots=True)
class Line:
    """One resolver's look-ups of the names with one TTL, while packets are lost."""

    loss: int               # per cent
    ttl: int
    is_stale: bool          # expired records are served
    look_ups: int
    answered: int           # in time, with an address
    queries: int            # that were sent to us, arrived or not
    queries_before: float   # so many would have been sent in the same time without loss


def label(ttl: int, number: int, is_stale: bool) -> str:
    return f"{'stale' if is_stale else 'fresh'}-{ttl}-{number}"


def run(lab: Lab) -> Result:
    losses, ttls = lab.full_or_quick((LOSSES, TTLS), (QUICK_LOSSES, QUICK_TTLS))
    names = {label(ttl, number, is_stale): Pool(("127.0.1.11",), 0, ttl)
             for ttl in ttls for number in range(NAMES) for is_stale in (False, True)}
    server = dnslb.start(lab, names)
    with ExitStack() as taps:
        ways = {}
        for number, loss in enumerate(losses):
            tap = taps.enter_context(relay.relaying(server.endpoint))
            found = unbound.start(lab, [Setting(), Setting(serve_expired=True)], tap.endpoint,
                                  network=f"127.0.{5 + number}")
            ways[loss] = tap, [resolver.endpoint for resolver in found]
        lab.progress(f"{', '.join(map(str, losses))} % of the packets will be lost")
        return report(lab, load.unless_void(lab, lambda: asyncio.run(observe(lab, ways, ttls))))


async def observe(lab: Lab, ways: dict[int, tuple[Relay, list[Endpoint]]], ttls: Sequence[int]) -> list[Line]:
    begin = time.monotonic() + 0.2
    breaks = begin + lab.full_or_quick(WELL, QUICK_WELL)
    end = breaks + lab.full_or_quick(ILL, QUICK_ILL)
    seen: dict[tuple[int, int, bool], list[Sight]] = {}
    tasks = []
    for loss, (tap, endpoints) in ways.items():
        tap.queries.clear()
        tap.loss = 0.0
        for endpoint, is_stale in zip(endpoints, (False, True), strict=True):
            resolver = await Resolver.open(endpoint)
            for ttl in ttls:
                into = seen.setdefault((loss, ttl, is_stale), [])
                # Their copies are of any age when the trouble begins, as far as the time before it allows.
                tasks += [watch(resolver, label(ttl, number, is_stale),
                                Pace(RATE, begin + (breaks - begin) * number / NAMES, end), into, PATIENCE)
                          for number in range(NAMES)]
    looking = asyncio.gather(*tasks)
    await asyncio.sleep(breaks - time.monotonic())
    for loss, (tap, _) in ways.items():
        tap.loss = loss / 100
    await looking
    note_lag(lab, [sight for sights in seen.values() for sight in sights], load.COARSE)
    return [judge(key, sights, ways[key[0]][0], (begin, breaks, end)) for key, sights in seen.items()]


def judge(key: tuple[int, int, bool], sights: Sequence[Sight], tap: Relay, times: tuple[float, float, float]) -> Line:
    loss, ttl, is_stale = key
    _, breaks, end = times
    during = [sight for sight in sights if sight.asked >= breaks]
    wanted = {owner(label(ttl, number, is_stale)) for number in range(NAMES)}
    moments = [query.at for query in tap.queries if query.name in wanted]
    # Busy enough, so that each name is asked for once in each TTL (and unbound's second).
    usual = NAMES * (end - breaks) / (ttl + 1)
    return Line(loss, ttl, is_stale, len(during),
                sum(bool(sight.addresses) and sight.at - sight.asked <= PATIENCE for sight in during),
                sum(breaks <= moment < end for moment in moments), usual)


# What it says.


def report(lab: Lab, lines: Sequence[Line]) -> Result:
    losses = sorted({line.loss for line in lines})
    rows, asked = [], []
    for ttl, is_stale in sorted({(line.ttl, line.is_stale) for line in lines}):
        found = {line.loss: line for line in lines if (line.ttl, line.is_stale) == (ttl, is_stale)}
        name = f"TTL {ttl}{', serve-expired' if is_stale else ''}"
        rows.append([name, *(f"{found[loss].answered} of {found[loss].look_ups}" for loss in losses)])
        asked.append([name, *(f"{found[loss].queries} ({found[loss].queries / found[loss].queries_before:.1f} ×)"
                              for loss in losses)])
    seconds = lab.full_or_quick(ILL, QUICK_ILL)
    header = ["", *(f"{loss} % lost" for loss in losses)]
    tables = [Table(f"Look-ups that get an address within {PATIENCE:g} s, in {seconds:g} s of trouble", header, rows),
              Table("Queries sent to us meanwhile, and how many times those that each TTL makes anyway", header, asked)]
    notes = [*lab.notes, f"unbound; {NAMES} names of each TTL, {RATE:g} look-ups a second each; before, all was well "
             f"for {lab.full_or_quick(WELL, QUICK_WELL):g} s; packets are lost on their way to us"]
    plots = [Plot("Look-ups that go well while packets are lost", partial(draw, lines), (8.0, 4.0))]
    return Result({"lines": [asdict(line) for line in lines]}, tables, plots, reading(lines), notes)


def reading(lines: Sequence[Line]) -> str:
    def share(loss: int, ttl: int, is_stale: bool) -> str:
        line = next(line for line in lines if (line.loss, line.ttl, line.is_stale) == (loss, ttl, is_stale))
        return f"{line.answered / line.look_ups:.0%}"

    most, least = max(line.loss for line in lines), min(line.loss for line in lines)
    short, long = min(line.ttl for line in lines), max(line.ttl for line in lines)
    times = max(line.queries / line.queries_before for line in lines)
    return (f"With {least} % of the packets lost {share(least, short, False)} of the look-ups go well at TTL {short} "
            f"and {share(least, long, False)} at TTL {long}; with {most} % lost {share(most, short, False)} and "
            f"{share(most, long, False)}, and {share(most, short, True)} where expired records are served.  Resolvers "
            f"that try again send up to {times:.0f} times the usual queries.")


def draw(lines: Sequence[Line], figure: Figure) -> None:
    axes = figure.subplots()
    losses = sorted({line.loss for line in lines})
    for ttl, colour in zip(sorted({line.ttl for line in lines}), (palette.VERMILION, palette.BLUE, palette.GREEN),
                           strict=False):
        for is_stale in (False, True):
            found = {line.loss: 100 * line.answered / line.look_ups for line in lines
                     if (line.ttl, line.is_stale) == (ttl, is_stale)}
            axes.plot(losses, [found[loss] for loss in losses], color=colour, marker="s" if is_stale else "o",
                      linestyle="--" if is_stale else "-", markerfacecolor="white" if is_stale else colour,
                      label=f"TTL {ttl}{', serve-expired' if is_stale else ''}")
    axes.set_xlabel("packets lost, %")
    axes.set_xticks(losses)
    axes.set_ylabel("look-ups that go well, %")
    axes.set_ylim(0, 105)
    axes.set_yticks(range(0, 101, 25))
    axes.legend(loc="lower left")


EXPERIMENT = Experiment(
    number=14,
    name="trouble",
    question="The nameserver loses packets, or is gone: what do clients notice?",
    setup="""
look-ups ──> unbound, serve-expired no or yes ──> relay that loses 50, 75, 90, 100 % ──> dnslb
""",
    run=run,
    limits="One nameserver and one resolver a line; with two nameservers that fail by turns, resolvers find the other.",
    needs=(UNBOUND,),
)
