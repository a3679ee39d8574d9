"""Experiment 8: caches that do as they like; how long a backend that was removed still gets traffic."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from comparison import backends, dnslb, load, palette, unbound
from comparison.dnslb import Pool, owner
from comparison.experiment import Experiment, Lab, Plot, Result, Table, sleep_until
from comparison.load import Record, Stream
from comparison.statistics import median
from comparison.stub import Answer, Endpoint, Resolver
from comparison.unbound import UNBOUND, Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLONES = 4
NAME, QUIET = "www", "quiet"
TTL, QUICK_TTL = 5, 1
STUBBORN, QUICK_STUBBORN = 60, 4        # seconds: cache-min-ttl, and what clients hold
OVERTIME = 1            # seconds that unbound keeps a record beyond its TTL at most
RATE = 90.0             # requests per second, of each group
BATCHES = 12            # of clients that hold addresses: each began at another time
CLIENTS = 12            # in a batch
AFTER = 2.0             # seconds that are watched beyond the last that is expected
BIN, QUICK_BIN = 2.0, 1.0               # seconds of a step of the curves


@dataclass(frozen=True, slots=True)
class Group:
    """Clients behind resolvers of one kind."""

    name: str
    resolvers: tuple[Endpoint, ...]
    period: float       # seconds that an answer lasts, at most: in the resolver, and after that in the client
    held: float = 0.0   # of these, by the client
    is_stale: bool = False      # the resolver may serve expired records: there is no bound


@dataclass(frozen=True, slots=True)
class Case:
    """How the removed backend's traffic dies away in one group."""

    name: str
    requests: int           # to the removed backend, after its removal
    half: float             # seconds until half of it was gone
    last: float             # seconds until its last request was sent
    lifetime: float         # mean seconds that a client went on: the area below the curve
    worst: float | None     # by formula; None: there is no bound
    curve: tuple[float, ...]    # its traffic in each step, of what it was before


def groups(lab: Lab, resolvers: Sequence[Endpoint]) -> list[Group]:
    ttl, stubborn = lab.full_or_quick((TTL, STUBBORN), (QUICK_TTL, QUICK_STUBBORN))
    obedient, minimum, stale = tuple(resolvers[:2]), tuple(resolvers[2:6]), tuple(resolvers[6:])
    return [
        Group(f"TTL {ttl} is obeyed", obedient, ttl + OVERTIME),
        Group("resolver serves expired", stale, ttl + OVERTIME, is_stale=True),
        Group(f"resolver holds {stubborn} s", minimum, stubborn + OVERTIME),
        Group(f"client holds {stubborn} s", obedient, ttl + OVERTIME + stubborn, stubborn),
    ]


def settings(stubborn: int) -> list[Setting]:
    return [*[Setting()] * 2, *[Setting(cache_min_ttl=stubborn)] * 4, *[Setting(serve_expired=True)] * 2]


def streams(group: Group, removal: float, end: float, port: int) -> Iterator[Stream]:
    """Caches of any age at the removal: each was filled at another time before it."""
    if group.held:
        for batch in range(BATCHES):
            # A client's first request comes CLIENTS * BATCHES / RATE later, on average.
            begin = removal - group.held * (batch + 0.5) / BATCHES - CLIENTS * BATCHES / RATE
            yield Stream(group.name, RATE / BATCHES, end - begin, port, name=owner(NAME), resolvers=group.resolvers,
                         hold=group.held, clients=CLIENTS, poisson=False, begin=begin)
        return
    count = len(group.resolvers)
    for number, resolver in enumerate(group.resolvers):
        begin = max(0.0, removal - group.period * (number + 0.5) / count)
        yield Stream(group.name, RATE / count, end - begin, port, name=owner(NAME), resolvers=(resolver,), begin=begin)


async def ask(resolver: Endpoint, name: str) -> Answer:
    """Once, now."""
    socket = await Resolver.open(resolver)
    try:
        return await socket.ask(owner(name))
    finally:
        socket.close()


def judge(group: Group, records: Sequence[Record], removed: str, removal: float, step: float) -> Case:
    """The curve is of shares, so that it is no matter how many requests a step has; before, it had one in four."""
    after = [record for record in records if record.scheduled >= removal]
    total, its = Counter[int](), Counter[int]()
    for record in after:
        at = int((record.scheduled - removal) / step)
        total[at] += 1
        its[at] += record.backend == removed
    curve = tuple(CLONES * its[at] / total[at] if total[at] else 0.0 for at in range(max(total, default=-1) + 1))
    moments = [record.scheduled - removal for record in after if record.backend == removed]
    half, last = (median(moments), max(moments)) if moments else (0.0, 0.0)
    worst = None if group.is_stale else group.period
    return Case(group.name, len(moments), half, last, sum(curve) * step, worst, curve)


def run(lab: Lab) -> Result:
    ttl, stubborn = lab.full_or_quick((TTL, STUBBORN), (QUICK_TTL, QUICK_STUBBORN))
    clones = backends.start(lab, CLONES)
    pool = Pool(tuple(clone.address for clone in clones), clones[0].port, ttl)
    server = dnslb.start(lab, {NAME: pool, QUIET: pool})
    resolvers = [resolver.endpoint for resolver in unbound.start(lab, settings(stubborn), server.endpoint)]
    kinds = groups(lab, resolvers)
    removal = stubborn + OVERTIME + 2.0
    end = removal + max(group.period for group in kinds) + AFTER
    quiet = resolvers[-1]
    asyncio.run(ask(quiet, QUIET))
    running = load.start(lab, [stream for group in kinds for stream in streams(group, removal, end, clones[0].port)])
    victim = lab.rng.choice(clones)
    lab.progress(f"{victim.name} will be drained after {removal:.0f} s, and watched for {end - removal:.0f} s")
    sleep_until(running.began + removal)
    server.drain(victim.address)
    drained = time.monotonic()
    outcome = running.wait()
    first = asyncio.run(ask(quiet, QUIET))
    late = time.monotonic() - drained
    time.sleep(1)
    second = asyncio.run(ask(quiet, QUIET))
    revenant = Revenant(late, first.ttl, victim.address in first.addresses, victim.address in second.addresses)
    step = lab.full_or_quick(BIN, QUICK_BIN)
    cases = [judge(group, outcome.records[group.name], victim.name, drained, step) for group in kinds]
    return report(lab, cases, kinds, revenant)


@dataclass(frozen=True, slots=True)
class Revenant:
    """What a resolver that serves expired records says of a name that nobody has asked for in the meantime."""

    after: float            # seconds since the removal
    ttl: int                # of the answer
    first: bool             # whether the removed backend was in it
    second: bool            # whether it was in the next, a second later


# What it says.


def report(lab: Lab, cases: Sequence[Case], kinds: Sequence[Group], revenant: Revenant) -> Result:
    header = ["", "requests after removal", "half of them within, s", "the last after, s", "worst case, s",
              "mean, s", "by formula, s"]
    rows = [[case.name, str(case.requests), f"{case.half:.1f}", f"{case.last:.1f}",
             "none" if case.worst is None else f"{case.worst:.0f}", f"{case.lifetime:.1f}",
             "–" if case.worst is None else f"{mean_lifetime(group):.1f}"]
            for case, group in zip(cases, kinds, strict=True)]
    notes = [*lab.notes,
             f"the backend was drained, not killed: it answers to the end, and shows who still comes; "
             f"{RATE:.0f} requests a second in each group, each with a look-up and a connection of its own",
             "worst case: the TTL or the resolver's minimum, the second by which unbound is late, and what the client "
             f"holds; the mean is half of each, as caches were of any age at the removal; {BATCHES * CLIENTS} clients "
             "that hold an address are few: expect a fifth either way"]
    if lab.quick:
        notes.append(f"in short: {QUICK_STUBBORN} s stand for the {STUBBORN} s of browsers")
    beyond = [case.name for case in cases if case.worst is not None and case.last > case.worst]
    if beyond:
        notes.append(f"later than the worst case: {', '.join(beyond)}")
    measurements: dict[str, Any] = {"cases": [asdict(case) for case in cases], "revenant": asdict(revenant),
                                    "beyond": beyond}
    step = lab.full_or_quick(BIN, QUICK_BIN)
    plots = [Plot("Traffic of a removed backend, of what it was before", partial(draw, cases, kinds, step))]
    return Result(measurements, [Table("", header, rows)], plots, reading(cases, revenant), notes)


def mean_lifetime(group: Group) -> float:
    """An answer's age at the removal is any: half of what the resolver keeps it, and of what the client does."""
    return group.period / 2


def reading(cases: Sequence[Case], revenant: Revenant) -> str:
    obeyed, *others = cases
    late = ", ".join(f"{case.last:.0f} s where the {case.name}" for case in others)
    text = (f"Where the TTL is obeyed, the removed backend got its last request after {obeyed.last:.1f} s; {late}.  "
            f"A resolver that serves expired records, asked for a quiet name {revenant.after:.0f} s after the "
            "removal, ")
    if not revenant.first:
        return f"{text}did not hand the removed backend out."
    return (f"{text}handed the removed backend out once more, with a TTL of {revenant.ttl} s"
            f"{'' if revenant.second else ', and no longer a second later'}.")


COLOURS = (palette.GREEN, palette.PURPLE, palette.VERMILION, palette.ORANGE)


def draw(cases: Sequence[Case], kinds: Sequence[Group], step: float, figure: Figure) -> None:
    axes = figure.subplots()
    for case, group, colour in zip(cases, kinds, COLOURS, strict=True):
        seconds = [at * step for at in range(len(case.curve) + 1)]
        # By chance a second may see more than its part before.
        shares = [min(100.0, 100 * share) for share in case.curve]
        axes.stairs(shares, seconds, color=colour, linewidth=1.8, label=case.name)
        if case.worst is not None:
            # Of caches of any age, as many expire in each second.
            axes.plot([0, group.held or group.period], [100, 0], color=colour, linestyle=":", linewidth=1)
    axes.set_xlabel("seconds since the removal")
    axes.set_ylabel("traffic left, %")
    axes.set_ylim(0, 105)
    axes.set_xlim(0, None)
    axes.legend(title="dotted: caches of any age", title_fontsize=8, fontsize=9)


EXPERIMENT = Experiment(
    number=8,
    name="stubborn",
    question="Caches do as they like: how long does a removed backend still get traffic?",
    setup="""
clients ──────────────────> 2 unbound                       ┐
clients that hold 60 s ──> (the same)                       ├──> dnslb: drain b?      b1 b2 b3 b4
clients ──────────────────> 4 unbound, cache-min-ttl: 60    │                         ^
clients ──────────────────> 2 unbound, serve-expired: yes   ┘                         │
   └───────────────────────── HTTP, a new connection each ────────────────────────────┘
""",
    run=run,
    limits="Real resolvers that raise TTLs are some per cent of all (8.74 % in a survey of 8,524, PAM 2023); "
           "each group here is pure.",
    needs=(UNBOUND,),
)
