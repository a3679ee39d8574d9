"""Experiment 20: a fleet doubles within ten seconds, by clones that join by themselves and are cold still."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from comparison import backends, dnslb, load, palette, unbound
from comparison.backends import Backend
from comparison.dnslb import Dnslb, Pool, owner
from comparison.experiment import Experiment, Lab, Plot, Result, Table, sleep_until
from comparison.load import Record, Stream
from comparison.unbound import UNBOUND, Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLEET = 10              # clones in the zone file; as many join
PACE = 1.0              # seconds from one that joins to the next
WARM, COLD = 0.05, 0.4  # seconds that a request keeps a clone busy
WARMING = 20.0          # seconds of a cold clone until it is warm
LOAD = 0.6              # of what the fleet can before it doubles
RATE = LOAD * FLEET / WARM
RESOLVERS, TTL = 12, 1
LEAD = 8.0              # seconds before the first joins
WINDOW = 2.0            # seconds, over which shares and errors are told
SECONDS, QUICK_SECONDS = 60.0, 24.0
SLOWSTARTS = {"at once": 0.0, "slowstart 20 s": 20.0}
NETWORK = "127.0.1.0/24"


@dataclass(frozen=True, slots=True)
class Case:
    """One pool, window by window."""

    requests: int
    failed: int
    newcomers: tuple[float, ...]        # part of the replies that came from those who have joined
    errors: tuple[float, ...]           # part of the requests that failed
    even_at: float | None               # seconds after the first joined at which they had 45 % for good; None: never


def judge(records: Sequence[Record], began: float, seconds: float, joined: float, newcomers: set[str]) -> Case:
    """``joined``: when the first did, on the clock of ``began``."""
    windows: dict[int, list[Record]] = defaultdict(list)
    for record in records:
        windows[int((record.scheduled - began) / WINDOW)].append(record)
    whole = [windows[at] for at in range(int(seconds / WINDOW))]
    shares, errors = [], []
    for window in whole:
        well = [record for record in window if record.ok]
        shares.append(sum(record.backend in newcomers for record in well) / max(1, len(well)))
        errors.append(1 - len(well) / max(1, len(window)))
    uneven = [at for at, share in enumerate(shares) if share < 0.45]
    last = (uneven[-1] + 1 if uneven else 0) * WINDOW
    even_at = None if last >= seconds else began + last - joined
    failed = sum(not record.ok for record in records)
    return Case(len(records), failed, tuple(shares), tuple(errors), even_at)


def warmth(since: float) -> float:
    """Seconds that a request takes a clone that began to work so many seconds ago."""
    return WARM + (COLD - WARM) * max(0.0, 1 - since / WARMING)


def double(server: Dnslb, crews: Sequence[Sequence[Backend]], begin: float) -> None:
    """In every pool one clone joins each second, and all that have joined warm up."""
    joined: list[float] = []
    while len(joined) < FLEET or time.monotonic() < joined[-1] + WARMING + 1:
        now = time.monotonic()
        if len(joined) < FLEET and now >= begin + len(joined) * PACE:
            for number, crew in enumerate(crews):
                server.join(owner(f"pool-{number}"), crew[len(joined)].address)
            joined.append(now)
        for at, since in enumerate(joined):
            for crew in crews:
                crew[at].change(service=warmth(now - since))
        sleep_until(now + PACE / 2)


def run(lab: Lab) -> Result:
    seconds = lab.full_or_quick(SECONDS, QUICK_SECONDS)
    fleets = [backends.start(lab, 2 * FLEET) for _ in SLOWSTARTS]
    for fleet in fleets:
        for number, clone in enumerate(fleet):
            clone.change(service=WARM if number < FLEET else COLD)
    pools = {
        f"pool-{number}": Pool(tuple(clone.address for clone in fleet[:FLEET]), fleet[0].port, TTL, answers=1,
                               slowstart=slowstart, register=NETWORK)
        for number, (slowstart, fleet) in enumerate(zip(SLOWSTARTS.values(), fleets, strict=True))
    }
    server = dnslb.start(lab, pools)
    resolvers = tuple(one.endpoint for one in unbound.start(lab, [Setting()] * RESOLVERS, server.endpoint))
    streams = [Stream(label, RATE, seconds, fleet[0].port, name=owner(f"pool-{number}"), resolvers=resolvers)
               for number, (label, fleet) in enumerate(zip(SLOWSTARTS, fleets, strict=True))]
    lab.progress(f"{FLEET} clones and {FLEET} that join, {RATE:.0f} requests a second, for {seconds:.0f} s")
    running = load.start(lab, streams)
    begin = running.began + LEAD
    double(server, [fleet[FLEET:] for fleet in fleets], begin)
    outcome = running.wait()
    newcomers = {clone.name for clone in fleets[0][FLEET:]}
    return report(lab, {label: judge(outcome.records[label], outcome.began, seconds, begin, newcomers)
                        for label in SLOWSTARTS})


# What it says.


def report(lab: Lab, cases: dict[str, Case]) -> Result:
    rows = [[name, f"{case.failed} of {case.requests}", f"{max(case.errors):.1%}",
             "-" if case.even_at is None else f"{case.even_at:.0f} s"] for name, case in cases.items()]
    table = Table("While a fleet doubles: requests that fail, and when the new ones have their share",
                  ["those who join", "failed", f"in the worst {WINDOW:g} s", "45 % at the new ones after"], rows)
    notes = [*lab.notes, f"{FLEET} warm clones, {WARM * 1000:.0f} ms for a request, one after the other, at {LOAD:.0%} "
             f"of what they can; {FLEET} more join, one in {PACE:g} s, and take {COLD * 1000:.0f} ms at first, "
             f"{WARM * 1000:.0f} ms after {WARMING:.0f} s; {RESOLVERS} resolvers, TTL {TTL}, one address in an answer; "
             f"clients wait {load.DEADLINE:g} s"]
    measurements: dict[str, Any] = {"window": WINDOW, "cases": {name: asdict(case) for name, case in cases.items()}}
    plots = [Plot("Replies of those who have joined, and requests that fail", partial(draw, cases), (8.5, 4.6))]
    return Result(measurements, [table], plots, reading(cases), notes)


def reading(cases: dict[str, Case]) -> str:
    told = "; ".join(f"{name}, {case.failed / case.requests:.1%} of all requests fail, {max(case.errors):.0%} in the "
                     f"worst {WINDOW:g} s" for name, case in cases.items())
    return (f"Cold clones that get their whole share when their first probe has passed cannot take it: {told}.  "
            "A slow start makes that rarer, not gentler: whom a resolver is told, gets all of its clients for a TTL.")


def draw(cases: dict[str, Case], figure: Figure) -> None:
    upper, lower = figure.subplots(2, sharex=True)
    for colour, (name, case) in zip((palette.VERMILION, palette.BLUE), cases.items(), strict=True):
        times = [at * WINDOW - LEAD for at in range(len(case.errors))]
        upper.step(times, [100 * share for share in case.newcomers], where="post", color=colour, label=name)
        lower.step(times, [100 * part for part in case.errors], where="post", color=colour)
    upper.axhline(50, color=palette.LIGHT)
    upper.set_ylabel("at the new ones, %")
    upper.legend()
    lower.set_ylabel("failed, %")
    lower.set_xlabel("seconds since the first has joined")


EXPERIMENT = Experiment(
    number=20,
    name="joining",
    question="A fleet doubles by clones that join by themselves, and are cold still: who notices?",
    setup="""
clients ──(look-up: 12 unbound)──> dnslb <── dnslb join ── b11 … b20, cold: one each second
   └──────────────── HTTP ────────────────> b1 … b10, and b11 … b20 when a probe has passed
""",
    run=run,
    limits="Clones warm up by the clock, not by what they serve; they join over the control socket, without a token.",
    needs=(UNBOUND,),
)
