"""Experiment 6: a new version is rolled out, one clone after the other."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from comparison import backends, dnslb, haproxy, l7, load, palette, probing, unbound
from comparison.backends import Backend
from comparison.dnslb import Dnslb, Pool, owner
from comparison.experiment import Experiment, Lab, Plot, Result, Table
from comparison.haproxy import HAPROXY, HAProxy
from comparison.l7 import Front
from comparison.load import Record, Stream
from comparison.processes import NotStartedError, free_port
from comparison.statistics import spread
from comparison.unbound import UNBOUND, Setting
from dnslb.advice import forecast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLONES, RESOLVERS = 4, 4
REPLACED, QUICK_REPLACED = CLONES, 1
RATE = 40.0             # requests per second, of each condition
SERVICE = 0.05          # seconds that a request takes: some are always under way
RESTART, QUICK_RESTART = 3.0, 0.5       # seconds from a clone's end to its successor's start
TTLS, QUICK_TTLS = (2, 5), (1,)
LEAD = 1.0              # seconds of traffic before the first clone ends, and after the last
LONGEST = 60.0          # seconds that any one wait may take
REPEATS = 2             # at most: every clone is replaced in each
COMMANDS = 3.0          # seconds that the commands for one clone may take, on a busy machine
BACK = forecast.recovery_worst(probing.probe(0)) + 1.0      # seconds until a clone is up again, at most


@dataclass(frozen=True, slots=True)
class Step:
    """One clone replaced; seconds after the roll-out began."""

    taken_out: float
    stopped: float
    started: float
    back: float


class HaltedError(Exception):
    """The experiment has ended before the roll-out."""


Move = Callable[[Backend, Event], None]     # may take long; raises HaltedError as soon as the event is set


@dataclass
class Rollout:
    """One condition: its clones, its clients, and how it takes a clone out and puts it back."""

    name: str
    clones: list[Backend]
    stream: Stream
    take_out: Move          # returns when nobody is sent to it any more
    put_back: Move          # returns when it may be counted on
    restart: float          # seconds from a clone's end to its successor's start
    steps: list[Step] = field(default_factory=list)
    began: float = 0.0
    error: Exception | None = None

    def perform(self, lab: Lab, at: float, halt: Event) -> None:
        """Replace all clones, until halted.  Runs in a thread; what goes wrong is kept."""
        self.steps = []
        try:
            pause(at - time.monotonic(), halt)
            self.began = time.monotonic()
            for clone in self.clones[:lab.full_or_quick(REPLACED, QUICK_REPLACED)]:
                self.replace(clone, lab, halt)
        except (NotStartedError, HaltedError, OSError) as error:
            self.error = error

    def replace(self, clone: Backend, lab: Lab, halt: Event) -> None:
        taken_out = self._now()
        self.take_out(clone, halt)
        stopped = self._now()
        clone.process.popen.terminate()
        clone.process.popen.wait()
        pause(self.restart, halt)
        clone.revive(lab)
        clone.change(delay=SERVICE)
        started = self._now()
        self.put_back(clone, halt)
        self.steps.append(Step(taken_out, stopped, started, self._now()))

    def _now(self) -> float:
        return time.monotonic() - self.began


@dataclass(frozen=True, slots=True)
class Case:
    """What one roll-out did to its clients."""

    requests: int
    failed: int
    duration: float                 # seconds
    steps: tuple[Step, ...]
    failures: tuple[float, ...]     # seconds after the roll-out began


# How clones are taken out and put back.


def do_nothing(clone: Backend, halt: Event) -> None:
    """The clone is stopped under the traffic."""


def drain_and_wait(server: Dnslb, pool: str, clone: Backend, halt: Event) -> None:
    """As an operator does: the command returns when the last cached copy has expired."""
    command(server, halt, "drain", owner(pool), clone.address, "--wait")
    pause(2 * SERVICE, halt)    # who connected in the last moment is served


def ready(server: Dnslb, pool: str, clone: Backend, halt: Event) -> None:
    command(server, halt, "ready", owner(pool), clone.address)
    await_up(server, pool, clone, halt)


def await_up(server: Dnslb, pool: str, clone: Backend, halt: Event) -> None:
    """Until dnslb hands it out and its last probe was good."""
    def is_back() -> bool:
        [backend] = [backend for backend in server.status(owner(pool))["pools"][0]["rrsets"][0]["backends"]
                     if backend["address"] == clone.address]
        return bool(backend["up"] and backend["streak"] == 0 and backend["handed_out"])

    await_true(is_back, f"{clone.name} does not come back in dnslb", halt)


def command(server: Dnslb, halt: Event, *arguments: str) -> None:
    """``dnslb`` with these arguments, from its start to its end."""
    with subprocess.Popen([sys.executable, "-m", "dnslb", *arguments, "--control", server.control],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            await_true(lambda: process.poll() is not None, f"dnslb {arguments[0]} does not return", halt)
        finally:
            process.terminate()
        said = process.communicate()[1]
    if process.returncode:
        raise NotStartedError(f"dnslb {arguments[0]}: {said.strip()}")


def drain_server(balancer: HAProxy, clone: Backend, halt: Event) -> None:
    """Until it has no request any more."""
    balancer.state(clone.name, "drain")
    await_true(lambda: statistic(balancer, clone.name, "scur") == "0", f"{clone.name} keeps requests in HAProxy", halt)


def ready_server(balancer: HAProxy, clone: Backend, halt: Event) -> None:
    balancer.state(clone.name, "ready")
    await_server(balancer, clone, halt)


def await_server(balancer: HAProxy, clone: Backend, halt: Event) -> None:
    """Until no probe is against it."""
    await_true(lambda: statistic(balancer, clone.name, "status") == "UP", f"{clone.name} does not come back in HAProxy",
               halt)


def await_true(claim: Callable[[], bool], otherwise: str, halt: Event) -> None:
    deadline = time.monotonic() + LONGEST
    while not claim():
        if time.monotonic() > deadline:
            raise NotStartedError(otherwise)
        pause(0.05, halt)


def pause(seconds: float, halt: Event) -> None:
    if halt.wait(max(0.0, seconds)):
        raise HaltedError("it took longer than its traffic")


def statistic(balancer: HAProxy, server: str, field_name: str) -> str:
    header, *lines = balancer.command("show stat").lstrip("# ").splitlines()
    names = header.split(",")
    for line in lines:
        values = dict(zip(names, line.split(","), strict=False))
        if values.get("pxname") == "farm0" and values.get("svname") == server:
            return values[field_name]
    raise NotStartedError(f"haproxy: no server {server} in farm0")


# The run.


def build(lab: Lab) -> list[Rollout]:
    ttls, restart = lab.full_or_quick((TTLS, RESTART), (QUICK_TTLS, QUICK_RESTART))
    rollouts = [*dns_rollouts(lab, ttls, restart)] if lab.has(UNBOUND) else []
    if lab.has(HAPROXY):
        rollouts += haproxy_rollouts(lab, ttls[-1], restart)
    if not rollouts:
        raise NotStartedError("; ".join(lab.notes))
    return rollouts


def new_clones(lab: Lab) -> list[Backend]:
    clones = backends.start(lab, CLONES)
    for clone in clones:
        clone.change(delay=SERVICE)
    return clones


def length(lab: Lab, ttl: int, restart: float) -> float:
    """Seconds of traffic that the longest roll-out needs."""
    return 2 * LEAD + lab.full_or_quick(REPLACED, QUICK_REPLACED) * (ttl + 1 + restart + BACK + COMMANDS)


def dns_rollouts(lab: Lab, ttls: Sequence[int], restart: float) -> Iterator[Rollout]:
    conditions = [(ttl, drained, False) for drained in (True, False) for ttl in ttls] + [(ttls[-1], False, True)]
    farms = [new_clones(lab) for _ in conditions]
    pools = {f"pool-{at}": Pool(tuple(clone.address for clone in farm), farm[0].port, ttl)
             for at, (farm, (ttl, _, _)) in enumerate(zip(farms, conditions, strict=True))}
    server = dnslb.start(lab, pools)
    resolvers = unbound.start(lab, [Setting()] * RESOLVERS, server.endpoint)
    endpoints = tuple(resolver.endpoint for resolver in resolvers)
    for pool, farm, (ttl, drained, like_curl) in zip(pools, farms, conditions, strict=True):
        how = "drain --wait" if drained else "no drain, clients like curl" if like_curl else "no drain"
        name = f"dnslb TTL {ttl}, {how}"
        stream = Stream(name, RATE, length(lab, ttls[-1], restart), farm[0].port, name=owner(pool), resolvers=endpoints,
                        like_curl=like_curl)
        take_out = partial(drain_and_wait, server, pool) if drained else do_nothing
        put_back = partial(ready if drained else await_up, server, pool)
        yield Rollout(name, farm, stream, take_out, put_back, restart)


def haproxy_rollouts(lab: Lab, ttl: int, restart: float) -> Iterator[Rollout]:
    for drained, tuned in ((True, False), (False, False), (False, True)):
        farm = new_clones(lab)
        balancer = haproxy.start(lab, [Front(free_port([l7.HOME]), l7.servers(farm))], tuned)
        name = f"HAProxy{' tuned' if tuned else ''}, {'drain' if drained else 'no drain'}"
        stream = Stream(name, RATE, length(lab, ttl, restart), balancer.port, (l7.HOME,))
        take_out = partial(drain_server, balancer) if drained else do_nothing
        put_back = partial(ready_server if drained else await_server, balancer)
        yield Rollout(name, farm, stream, take_out, put_back, restart)


def repeat(lab: Lab, rollouts: Sequence[Rollout]) -> list[Case]:
    """All of them at once, each on clones of its own."""
    running = load.start(lab, [rollout.stream for rollout in rollouts])
    halt = Event()
    threads = [Thread(target=rollout.perform, args=(lab, running.began + LEAD, halt)) for rollout in rollouts]
    for thread in threads:
        thread.start()
    try:
        outcome = running.wait()
    finally:
        # They must not start clones that nobody stops.
        halt.set()
        for thread in threads:
            thread.join()
    for rollout in rollouts:
        if rollout.error:
            raise NotStartedError(f"{rollout.name}: {rollout.error}")
    return [judge(rollout, outcome.records[rollout.name]) for rollout in rollouts]


def judge(rollout: Rollout, records: Sequence[Record]) -> Case:
    duration = rollout.steps[-1].back
    during = [record for record in records if 0 <= record.scheduled - rollout.began <= duration + LEAD / 2]
    failures = tuple(record.scheduled - rollout.began for record in during if not record.ok)
    return Case(len(during), len(failures), duration, tuple(rollout.steps), failures)


def run(lab: Lab) -> Result:
    rollouts = build(lab)
    repeats = min(lab.repeats, REPEATS)
    cases: dict[str, list[Case]] = {rollout.name: [] for rollout in rollouts}

    def attempt(number: int) -> list[Case]:
        lab.progress(f"roll-out {number + 1} of {repeats}, {len(rollouts)} ways at once")
        return repeat(lab, rollouts)

    for found in load.unvoided(lab, repeats, attempt):
        for rollout, case in zip(rollouts, found, strict=True):
            cases[rollout.name].append(case)
    return report(lab, cases)


# What it says.


def report(lab: Lab, cases: dict[str, list[Case]]) -> Result:
    header = ["", "requests", "failed", "duration, s", "per clone, s", "of it draining, s"]
    rows = [[name, spread([case.requests for case in found]).show(0), spread([case.failed for case in found]).show(0),
             spread([case.duration for case in found]).show(),
             f"{per_clone(found):.1f}", f"{waiting(found):.1f}"] for name, found in cases.items()]
    restart = lab.full_or_quick(RESTART, QUICK_RESTART)
    notes = [*lab.notes,
             f"{RATE:.0f} requests a second, each takes {SERVICE * 1000:.0f} ms and has a connection of its own; a new "
             f"clone starts {restart:g} s after the old one was ended (SIGTERM, which cuts off what is under way); the "
             f"next is taken only when this one is up; probes: {probing.describe()}",
             "connections that clients keep open would outlive a drain in DNS; what drains them is their maximum age, "
             "which has to be waited for as well"]
    plots = [Plot("One roll-out, clone after clone; ticks are requests that failed", partial(draw, cases), (9.0, 5.0))]
    measurements: dict[str, Any] = {"rate": RATE, "restart": restart, "conditions": {
        name: [asdict(case) for case in found] for name, found in cases.items()}}
    return Result(measurements, [Table("", header, rows)], plots, reading(cases), notes)


def per_clone(cases: Sequence[Case]) -> float:
    return spread([case.duration / len(case.steps) for case in cases]).median


def waiting(cases: Sequence[Case]) -> float:
    return spread([step.stopped - step.taken_out for case in cases for step in case.steps]).median


def reading(cases: dict[str, list[Case]]) -> str:
    def failed(name: str) -> float:
        return spread([case.failed for case in cases[name]]).median

    drained = [name for name in cases if name.endswith((", drain", "drain --wait"))]
    others = [name for name in cases if name not in drained]
    lost = [f"{name} {failed(name):.0f}" for name in drained if failed(name)]
    first = "Drained, no request fails" if not lost else f"Drained, requests fail all the same: {', '.join(lost)}"
    times = ", ".join(f"{name.partition(',')[0]} {waiting(cases[name]):.1f} s" for name in drained)
    second = ", ".join(f"{name.replace(', no drain', '', 1)} {failed(name):.0f}" for name in others)
    return (f"{first}; the wait until nobody is sent to a clone any more, for each clone: {times}.  "
            f"Without a drain there fail, in a roll-out: {second}.")


PHASES = (("taken_out", "stopped", palette.ORANGE, "draining"), ("stopped", "started", palette.VERMILION, "away"),
          ("started", "back", palette.BLUE, "not yet counted on"))


def draw(cases: dict[str, list[Case]], figure: Figure) -> None:
    """A line for each way, the first roll-out."""
    axes = figure.subplots()
    for line, (case, *_) in enumerate(cases.values()):
        for begin, end, colour, label in PHASES:
            spans = [(getattr(step, begin), getattr(step, end) - getattr(step, begin)) for step in case.steps]
            axes.broken_barh(spans, (line - 0.2, 0.4), color=colour, label=label if line == 0 else None)
        axes.plot(case.failures, [line - 0.34] * len(case.failures), marker="|", color=palette.BLACK, linestyle="none",
                  markersize=5)
        axes.annotate(f"{case.failed} failed", (case.duration, line), xytext=(5, 0), textcoords="offset points",
                      va="center", fontsize=8)
    axes.set_yticks(range(len(cases)), cases)
    axes.invert_yaxis()
    axes.set_xlim(0, max(case.duration for found in cases.values() for case in found[:1]) * 1.12)
    axes.set_xlabel("seconds")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)


EXPERIMENT = Experiment(
    number=6,
    name="deploys",
    question="A new version is rolled out: how many requests fail, and how long does it take?",
    setup="""
clients ──(look-up for each connection)──> 4 unbound ──> dnslb <── drain b1 --wait, ready b1, drain b2 --wait ...
   └───────────────────────── HTTP ──────────────────────────────> b1 b2 b3 b4   replaced one after the other
clients ── HTTP ──> HAProxy <── set server b1 state drain ... ───> b1 b2 b3 b4   replaced one after the other
""",
    run=run,
    limits="One request a connection: clients that keep connections stay with a drained backend until these end.",
)
