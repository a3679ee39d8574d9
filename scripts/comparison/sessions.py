"""Experiment 9: a user's requests land on different clones; does each find the user's session?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from types import ModuleType
from typing import TYPE_CHECKING, Any

from comparison import backends, dnslb, envoy, haproxy, l7, load, nginx, palette, redis, unbound
from comparison.backends import Backend
from comparison.dnslb import Pool, owner
from comparison.envoy import ENVOY
from comparison.experiment import Experiment, Lab, Plot, Result, Table
from comparison.haproxy import HAPROXY
from comparison.l7 import Front
from comparison.load import Record, Stream
from comparison.nginx import NGINX
from comparison.processes import NotStartedError, Program, free_port
from comparison.redis import REDIS
from comparison.statistics import mean
from comparison.unbound import UNBOUND, Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLONES, RESOLVERS = 4, 8
USERS = 64
RATE = 30.0             # requests per second, of each line of the table
SECONDS, QUICK_SECONDS = 45.0, 5.0
TTL, QUICK_TTL = 5, 2
POOLS = {
    "dnslb cyclic": Pool((), 0, order="cyclic"),
    "dnslb single": Pool((), 0, order="cyclic", answers=1),
    "dnslb sticky": Pool((), 0, order="sticky", answers=1),
}
L7_PROGRAMS: tuple[tuple[Program, ModuleType], ...] = ((HAPROXY, haproxy), (ENVOY, envoy), (NGINX, nginx))
WAYS = (("round robin", False), ("cookie", True))
LOCAL = "local"
GOOD = 0.95             # of the requests, for the reading


@dataclass(frozen=True, slots=True)
class Case:
    """One way to balance, with sessions in one place."""

    way: str
    store: str              # local or Redis
    requests: int           # but for the first of each user, which must begin a session
    found: int              # of these, how many found what the user's last request left
    clones: float           # that a user met, on average

    @property
    def share(self) -> float:
        return self.found / self.requests


def label(way: str, store: str) -> str:
    return f"{way}/{store}"


def pool_name(way: str, store: str) -> str:
    return f"{way}-{store}".replace(" ", "-").lower()


def dns_streams(lab: Lab, farms: Mapping[str, Sequence[Backend]]) -> Iterator[Stream]:
    seconds, ttl = lab.full_or_quick((SECONDS, TTL), (QUICK_SECONDS, QUICK_TTL))
    pools = {pool_name(way, store): replace(pool, addresses=tuple(clone.address for clone in farm), ttl=ttl)
             for store, farm in farms.items() for way, pool in POOLS.items()}
    server = dnslb.start(lab, pools)
    resolvers = unbound.start(lab, [Setting()] * RESOLVERS, server.endpoint, spread=True)
    endpoints = tuple(resolver.endpoint for resolver in resolvers)
    for store, farm in farms.items():
        for way in POOLS:
            yield Stream(label(way, store), RATE, seconds, farm[0].port, name=owner(pool_name(way, store)),
                         resolvers=endpoints, clients=USERS, path="/session", cookies=True)


def l7_streams(lab: Lab, program: Program, module: ModuleType, farms: Mapping[str, Sequence[Backend]],
               ) -> Iterator[Stream]:
    """One balancer, with a front for each way and each farm."""
    seconds = lab.full_or_quick(SECONDS, QUICK_SECONDS)
    fronts = {label(f"{program.name} {way}", store): Front(free_port([l7.HOME]), l7.servers(farm), sticky=sticky)
              for store, farm in farms.items() for way, sticky in WAYS}
    module.start(lab, list(fronts.values()))
    for name, front in fronts.items():
        yield Stream(name, RATE, seconds, front.port, (l7.HOME,), clients=USERS, path="/session", cookies=True)


def judge(name: str, records: Sequence[Record]) -> Case:
    """A session in a clone's own memory is as the user left it only where the last request was; others have older
    copies, or none."""
    way, _, store = name.partition("/")
    by_user: dict[int, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.ended):
        if record.ok:
            by_user.setdefault(record.client, []).append(record)
    pairs = [pair for found in by_user.values() for pair in pairwise(found)]
    if not pairs:
        raise NotStartedError(f"{name}: no user was served twice")
    found = sum(this.note == "found" and (store != LOCAL or this.backend == last.backend) for last, this in pairs)
    return Case(way, store, len(pairs), found,
                mean([len({record.backend for record in found}) for found in by_user.values()]))


def run(lab: Lab) -> Result:
    stores: dict[str, int | None] = {LOCAL: None}
    if lab.has(REDIS):
        stores[REDIS.name] = redis.start(lab)[1]
    farms = {store: backends.start(lab, CLONES, port, prefix=store[0].lower()) for store, port in stores.items()}
    streams = list(dns_streams(lab, farms)) if lab.has(UNBOUND) else []
    for program, module in L7_PROGRAMS:
        if lab.has(program):
            streams += l7_streams(lab, program, module, farms)
    if not streams:
        raise NotStartedError("; ".join(lab.notes))
    lab.progress(f"{USERS} users on each of {len(streams)} ways, for {streams[0].seconds:.0f} s")
    outcome = load.start(lab, streams).wait()     # once: clones know the users from then on
    return report(lab, [judge(stream.label, outcome.records[stream.label]) for stream in streams])


# What it says.


def by_way(cases: Sequence[Case]) -> dict[str, dict[str, Case]]:
    """By way, and there by store."""
    found: dict[str, dict[str, Case]] = {}
    for case in cases:
        found.setdefault(case.way, {})[case.store] = case
    return found


def report(lab: Lab, cases: Sequence[Case]) -> Result:
    ways = by_way(cases)
    stores = list(dict.fromkeys(case.store for case in cases))
    header = ["", "clones that a user met", *(f"found, sessions {where(store)}" for store in stores)]
    rows = [[way, f"{its[LOCAL].clones:.1f}", *(f"{its[store].share:.1%}" for store in stores)]
            for way, its in ways.items()]
    notes = [*lab.notes,
             f"found: of {USERS} users' requests but their first, those that met the session as the last request had "
             "left it",
             f"each user asks one of {RESOLVERS} resolvers, and a look-up is made for each request; the resolvers are "
             "in networks (/24) of their own, as a sticky order goes by the network that asks dnslb: all users behind "
             "one resolver share a clone",
             "sticky in dnslb means a single address; a user who changes networks changes clones, which no cookie does"]
    measurements: dict[str, Any] = {"cases": [asdict(case) | {"share": case.share} for case in cases]}
    plots = [Plot("Requests that find their session", partial(draw, ways, stores))]
    return Result(measurements, [Table("", header, rows)], plots, reading(ways), notes)


def where(store: str) -> str:
    return "in the clone" if store == LOCAL else f"in {store}"


def reading(ways: Mapping[str, Mapping[str, Case]]) -> str:
    def is_good(case: Case) -> bool:
        return case.share > GOOD

    kept = [way for way, its in ways.items() if is_good(its[LOCAL])]
    lost = [f"{way} {its[LOCAL].share:.0%}" for way, its in ways.items() if not is_good(its[LOCAL])]
    first = (f"With sessions in the clones' own memory, more than {GOOD:.0%} of the requests find theirs by "
             f"{', '.join(kept) or 'no way'}; fewer by {', '.join(lost) or 'none'}")
    shared = [its[REDIS.name] for its in ways.values() if REDIS.name in its]
    if not shared:
        return f"{first}."
    return (f"{first}.  With sessions in Redis it does not matter where a request lands "
            f"({min(case.share for case in shared):.1%} find theirs at the least).")


def draw(ways: Mapping[str, Mapping[str, Case]], stores: Sequence[str], figure: Figure) -> None:
    axes = figure.subplots()
    height = 0.8 / len(stores)
    for number, (store, colour) in enumerate(zip(stores, (palette.VERMILION, palette.BLUE), strict=False)):
        places = [line + (number - (len(stores) - 1) / 2) * height for line in range(len(ways))]
        bars = axes.barh(places, [100 * its[store].share for its in ways.values()], height, color=colour,
                         label=where(store))
        axes.bar_label(bars, fmt="%.0f %%", padding=3, fontsize=8)
    axes.set_yticks(range(len(ways)), ways)
    axes.invert_yaxis()
    axes.set_xlim(0, 112)
    axes.set_xlabel("requests that find their session, %")
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower center", ncols=2, title="sessions are kept", title_fontsize=8, fontsize=9)


EXPERIMENT = Experiment(
    number=9,
    name="sessions",
    question="A user's requests land on different clones: does each find the session?",
    setup="""
64 users ──> 8 unbound, each in a /24 of its own ──> dnslb: cyclic, single, sticky     l1 l2 l3 l4   sessions in memory
   └────────────────────────── HTTP, a new connection each ──────────────────────────> r1 r2 r3 r4 ──> Redis
64 users ── HTTP, cookies ─> HAProxy, Envoy, nginx: round robin, cookie ─────────────────> (all of them)
""",
    run=run,
    limits="Users do not change their network, and no backend leaves: both move sticky clients.",
)
