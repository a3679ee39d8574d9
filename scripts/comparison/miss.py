"""Experiment 13: what clients wait for when a name is not in the cache, by the way to the nameserver."""

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
from comparison.statistics import percentile
from comparison.stub import Endpoint, Resolver
from comparison.unbound import UNBOUND, Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DELAYS, QUICK_DELAYS = (0, 5, 30, 100), (0, 30)     # milliseconds, there and back
TTLS, QUICK_TTLS = (1, 5, 30), (1,)
RATES = (1, 10)             # look-ups per second
SECONDS, QUICK_SECONDS = 50.0, 6.0
BUSY = 100                  # look-ups per second of a name whose every expiry meets a herd
BUSY_SECONDS, QUICK_BUSY_SECONDS = 12.0, 4.0
LATE = 0.01                 # seconds that look-ups may be late, 99th percentile; the delays are far longer
WAITED = 0.5                # of the delay: so long at least does a look-up take that waits for us


@dataclass(frozen=True, slots=True)
class Line:
    """One resolver's look-ups of one name."""

    delay: int                  # milliseconds
    ttl: int
    rate: int                   # look-ups per second
    prefetch: bool
    look_ups: int
    failed: int
    milliseconds: tuple[float, float, float]    # p50, p90, p99
    waited: int                 # look-ups
    queries: int                # that reached us


def label(ttl: int, rate: int, prefetch: bool) -> str:
    return f"{'early' if prefetch else 'late'}-{ttl}-{rate}"


def run(lab: Lab) -> Result:
    delays, ttls = lab.full_or_quick((DELAYS, TTLS), (QUICK_DELAYS, QUICK_TTLS))
    kinds = [(ttl, rate) for ttl in ttls for rate in RATES] + [(1, BUSY)]
    names = {label(ttl, rate, prefetch): Pool(("127.0.1.11",), 0, ttl) for ttl, rate in kinds
             for prefetch in (False, True)}
    server = dnslb.start(lab, names)
    with ExitStack() as taps:
        ways = {}
        for number, delay in enumerate(delays):
            tap = taps.enter_context(relay.relaying(server.endpoint))
            tap.delay = delay / 1000
            found = unbound.start(lab, [Setting(), Setting(prefetch=True)], tap.endpoint, network=f"127.0.{5 + number}")
            ways[delay] = tap, [resolver.endpoint for resolver in found]
        lab.progress(f"{len(names) * len(delays)} names are looked up")
        return report(lab, load.unless_void(lab, lambda: asyncio.run(observe(lab, ways, kinds))))


async def observe(lab: Lab, ways: dict[int, tuple[Relay, list[Endpoint]]], kinds: Sequence[tuple[int, int]],
                  ) -> list[Line]:
    begin = time.monotonic() + 0.2
    end = begin + lab.full_or_quick(SECONDS, QUICK_SECONDS)
    busy_end = begin + lab.full_or_quick(BUSY_SECONDS, QUICK_BUSY_SECONDS)
    seen: dict[tuple[int, int, int, bool], list[Sight]] = {}
    tasks = []
    for delay, (tap, endpoints) in ways.items():
        tap.queries.clear()
        for endpoint, prefetch in zip(endpoints, (False, True), strict=True):
            resolver = await Resolver.open(endpoint)
            for ttl, rate in kinds:
                if rate == BUSY and delay != max(ways):
                    continue
                into = seen.setdefault((delay, ttl, rate, prefetch), [])
                pace = Pace(rate, begin + lab.rng.random() / rate, busy_end if rate == BUSY else end)
                tasks.append(watch(resolver, label(ttl, rate, prefetch), pace, into, 2.0))
    await asyncio.gather(*tasks)
    note_lag(lab, [sight for sights in seen.values() for sight in sights], LATE)
    return [judge(key, sights, ways[key[0]][0]) for key, sights in seen.items()]


def judge(key: tuple[int, int, int, bool], sights: Sequence[Sight], tap: Relay) -> Line:
    delay, ttl, rate, prefetch = key
    took = [1000 * (sight.at - sight.asked) for sight in sights]
    wanted = owner(label(ttl, rate, prefetch))
    return Line(delay, ttl, rate, prefetch, len(sights), sum(bool(sight.problem) for sight in sights),
                (percentile(took, 0.5), percentile(took, 0.9), percentile(took, 0.99)),
                sum(milliseconds > WAITED * delay for milliseconds in took) if delay else 0,
                sum(query.name == wanted for query in tap.queries))


# What it says.


def report(lab: Lab, lines: Sequence[Line]) -> Result:
    delays = sorted({line.delay for line in lines})
    quiet = [line for line in lines if line.rate != BUSY]
    rows = []
    for ttl, rate, prefetch in sorted({(line.ttl, line.rate, line.prefetch) for line in quiet}):
        found = {line.delay: line for line in quiet if (line.ttl, line.rate, line.prefetch) == (ttl, rate, prefetch)}
        last = found[delays[-1]]
        rows.append([f"TTL {ttl}, {rate}/s{', prefetch' if prefetch else ''}",
                     *(" / ".join(f"{value:.1f}" for value in found[delay].milliseconds) for delay in delays),
                     f"{last.waited} of {last.look_ups}", f"{1 / (1 + rate * ttl):.0%}"])
    herd = [["prefetch" if line.prefetch else "no prefetch", str(line.look_ups), str(line.queries), str(line.waited)]
            for line in lines if line.rate == BUSY]
    tables = [Table("Look-up, ms: p50 / p90 / p99, by the delay to dnslb and back",
                    ["", *(f"{delay} ms" for delay in delays), f"waited, at {delays[-1]} ms", "1/(1+λT)"], rows),
              Table(f"A busy name, {delays[-1]} ms away: TTL 1, {BUSY} look-ups a second",
                    ["", "look-ups", "queries", "waited"], herd)]
    notes = [*lab.notes, "unbound; the delay is that of a relay between it and dnslb; with `prefetch: yes` it asks "
             "again when a look-up comes within the last tenth of a TTL, and answers from the cache meanwhile"]
    failed = sum(line.failed for line in lines)
    notes += [f"{failed} look-ups failed"] if failed else []
    plots = [Plot("Share of look-ups that wait for dnslb", partial(draw, quiet, delays[-1]), (8.0, 4.0))]
    return Result({"lines": [asdict(line) for line in lines]}, tables, plots, reading(lines), notes)


def reading(lines: Sequence[Line]) -> str:
    far = max(line.delay for line in lines)
    worst = max((line for line in lines if line.delay == far and line.rate != BUSY and not line.prefetch),
                key=lambda line: line.waited / line.look_ups)
    best = min((line for line in lines if line.delay == far and line.rate != BUSY and not line.prefetch),
               key=lambda line: line.waited / line.look_ups)
    herd = next(line for line in lines if line.delay == far and line.rate == BUSY and not line.prefetch)
    return (f"A look-up that misses waits for the way to dnslb and back: with {far} ms, {worst.waited} of "
            f"{worst.look_ups} look-ups do at TTL {worst.ttl} and {worst.rate}/s, {best.waited} of {best.look_ups} at "
            f"TTL {best.ttl} and {best.rate}/s.  When a busy name expires, a herd waits ({herd.waited} of "
            f"{herd.look_ups} look-ups), but only {herd.queries} queries reach us: unbound asks once for all.")


def draw(lines: Sequence[Line], delay: int, figure: Figure) -> None:
    axes = figure.subplots()
    looks = {1: ("o", palette.VERMILION), 10: ("s", palette.BLUE)}
    for rate, (mark, colour) in looks.items():
        for prefetch in (False, True):
            found = sorted((line.ttl, 100 * line.waited / line.look_ups) for line in lines
                           if (line.delay, line.rate, line.prefetch) == (delay, rate, prefetch))
            axes.plot([ttl for ttl, _ in found], [share for _, share in found], marker=mark, color=colour,
                      linestyle="--" if prefetch else "-", markerfacecolor="white" if prefetch else colour,
                      label=f"{rate}/s{', prefetch' if prefetch else ''}")
    axes.set_xscale("log")
    ttls = sorted({line.ttl for line in lines})
    axes.set_xticks(ttls, map(str, ttls))
    axes.minorticks_off()
    axes.set_xlabel("TTL, s")
    axes.set_ylabel(f"waiting, % (delay {delay} ms)")
    axes.set_ylim(0, None)
    axes.legend()


EXPERIMENT = Experiment(
    number=13,
    name="miss",
    question="What does a look-up cost that the cache cannot answer?",
    setup="""
look-ups (1/s, 10/s; a busy name 100/s) ──> unbound, prefetch no or yes ──> relay: 0, 5, 30, 100 ms ──> dnslb
""",
    run=run,
    limits="One resolver's clients at an even pace; a name that is rarer than its TTL is long waits nearly always.",
    needs=(UNBOUND,),
)
