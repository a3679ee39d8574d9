"""Experiment 10: requests for images go to one pool, those for the API to another; by name or by path."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

from comparison import backends, dnslb, envoy, haproxy, l7, load, nginx, probing
from comparison.backends import Backend
from comparison.dnslb import Pool, owner
from comparison.envoy import ENVOY
from comparison.experiment import Experiment, Lab, Result, Table, sleep_until
from comparison.haproxy import HAPROXY
from comparison.l7 import Front
from comparison.load import Record, Stream
from comparison.nginx import NGINX
from comparison.processes import Program, free_port

KINDS = ("img", "api")
CLONES = 2              # of each kind
RATE = 20.0             # requests per second, of each kind and way
BEFORE, QUICK_BEFORE = 8.0, 2.0     # seconds until the img pool dies
AFTER, QUICK_AFTER = 16.0, 4.0
TTL = 1
STRAY = "stray"         # /img asked under the API's name
L7_PROGRAMS: tuple[tuple[Program, ModuleType], ...] = ((HAPROXY, haproxy), (ENVOY, envoy), (NGINX, nginx))


@dataclass(frozen=True, slots=True)
class Way:
    """One way to tell the kinds apart."""

    name: str
    names: int              # in the DNS, each of them in a certificate
    lines: int              # of configuration, as it was used here
    certificate: str        # where it is, with its key


@dataclass(frozen=True, slots=True)
class Case:
    """What became of one way's requests."""

    way: Way
    landed: dict[str, float]        # share that its own pool served, by kind, before
    stray: float                    # share of /img under the API's name that the img pool served
    failed: dict[str, float]        # share that failed after the img pool's death, by kind
    told: str                       # what most of the img clients got then: a status, or an error


def label(way: str, kind: str) -> str:
    return f"{way}/{kind}"


def dns_way(lab: Lab, farms: Mapping[str, Sequence[Backend]], seconds: float) -> tuple[Way, list[Stream]]:
    """Two names.  Clients look up for each request, and ask dnslb itself: no cache shall blur the picture."""
    pools = {kind: Pool(tuple(clone.address for clone in farm), farm[0].port, TTL) for kind, farm in farms.items()}
    server = dnslb.start(lab, pools)

    def stream(kind: str, name: str, path: str) -> Stream:
        return Stream(label("dnslb", kind), RATE, seconds, farms[name][0].port, name=owner(name),
                      resolvers=(server.endpoint,), path=path)

    text = dnslb.zone_file(pools) + dnslb.policy_file(pools)
    way = Way("dnslb", len(KINDS), len(text.splitlines()), f"on each of {len(KINDS) * CLONES} clones")
    return way, [*(stream(kind, kind, f"/{kind}/1") for kind in KINDS), stream(STRAY, "api", "/img/1")]


def l7_way(lab: Lab, program: Program, module: ModuleType, farms: Mapping[str, Sequence[Backend]], seconds: float,
           ) -> tuple[Way, list[Stream]]:
    """One name; the balancer reads the path."""
    routes = tuple((f"/{kind}", l7.servers(farm)) for kind, farm in farms.items())
    front = Front(free_port([l7.HOME]), l7.servers(farms["api"]), routes=routes)
    balancer = module.start(lab, [front])
    [file] = [file for suffix in ("cfg", "conf", "json")
              for file in lab.directory.glob(f"{program.name.lower()}-{balancer.port}.{suffix}")]

    def stream(kind: str, path: str) -> Stream:
        return Stream(label(program.name, kind), RATE, seconds, balancer.port, (l7.HOME,), path=path)

    way = Way(program.name, 1, len(file.read_text().splitlines()), "on the balancer")
    return way, [*(stream(kind, f"/{kind}/1") for kind in KINDS), stream(STRAY, "/img/1")]


def judge(way: Way, records: Mapping[str, Sequence[Record]], death: float, settled: float) -> Case:
    """``settled``: from when on the death has had its effect on caches and verdicts."""
    def before(kind: str) -> list[Record]:
        return [record for record in records[label(way.name, kind)] if record.ended < death]

    def after(kind: str) -> list[Record]:
        return [record for record in records[label(way.name, kind)] if record.scheduled >= settled]

    def served_by(pool: str, found: Sequence[Record]) -> float:
        return sum(record.backend.startswith(pool) for record in found) / max(1, len(found))

    def failing(found: Sequence[Record]) -> float:
        return sum(not record.ok for record in found) / max(1, len(found))

    told = Counter(record.error or str(record.status) for record in after("img"))
    return Case(way, {kind: served_by(kind, before(kind)) for kind in KINDS}, served_by("img", before(STRAY)),
                {kind: failing(after(kind)) for kind in KINDS}, told.most_common(1)[0][0] if told else "nothing")


def run(lab: Lab) -> Result:
    wait, rest = lab.full_or_quick((BEFORE, AFTER), (QUICK_BEFORE, QUICK_AFTER))
    farms = {kind: backends.start(lab, CLONES, prefix=kind) for kind in KINDS}
    made = [dns_way(lab, farms, wait + rest), *(l7_way(lab, program, module, farms, wait + rest)
                                                for program, module in L7_PROGRAMS if lab.has(program))]
    running = load.start(lab, [stream for _, streams in made for stream in streams])
    lab.progress(f"both img clones will be killed after {wait:.0f} s")
    sleep_until(running.began + wait)
    death = time.monotonic()
    for clone in farms["img"]:
        clone.process.kill()
    records = running.wait().records
    settled = death + min(rest / 2, probing.probe(0).detection + TTL + 1)
    return report(lab, [judge(way, records, death, settled) for way, _ in made])


# What it says.


def report(lab: Lab, cases: Sequence[Case]) -> Result:
    asked = Table("Who answered", [
        "", *(f"/{kind}: by its pool" for kind in KINDS), "/img under the API's name: by the img pool",
    ], [[case.way.name, *(f"{case.landed[kind]:.1%}" for kind in KINDS), f"{case.stray:.0%}"] for case in cases])
    death = Table("When the img pool is dead", ["", *(f"/{kind} fails" for kind in KINDS), "/img gets"], [
        [case.way.name, *(f"{case.failed[kind]:.0%}" for kind in KINDS), case.told] for case in cases])
    needed = Table("What it takes", [
        "", "names", "lines of configuration", "certificate and key", "one space of URLs",
    ], [[case.way.name, str(case.way.names), str(case.way.lines), case.way.certificate,
         "yes" if case.stray > 0.5 else "n/a: the name decides, not the path"] for case in cases], is_numeric=False)
    notes = [*lab.notes,
             f"{CLONES} clones of each kind; all probed alike ({probing.describe()}; nginx has no probes); the lines "
             "are those of the files that were used here, Envoy's in JSON with a value on each line",
             "by name a client has to be told two names, and each clone needs the key of its own name; both names can "
             "be in one certificate",
             "with the whole img pool dead, dnslb hands out all of it (when_all_down: all): better a dead address than "
             "none"]
    measurements: dict[str, Any] = {"cases": [asdict(case) for case in cases]}
    return Result(measurements, [asked, death, needed], [], reading(cases), notes)


def reading(cases: Sequence[Case]) -> str:
    landed = min(share for case in cases for share in case.landed.values())
    hurt = max(case.failed["api"] for case in cases)
    dns, *others = cases
    first = (f"By name as by path, the requests land in the pool that they are meant for ({landed:.1%} at the least), "
             f"and when the img pool dies, the API goes on ({hurt:.1%} of its requests fail at the most)")
    if not others:
        return f"{first}."
    by_path = ", ".join(f"{case.way.name} {case.stray:.0%}" for case in others)
    return (f"{first}.  Of requests for images under the API's name, dnslb, which does not see the path, gets "
            f"{dns.stray:.0%} to the img pool; the others do not ask for the name ({by_path}).")


EXPERIMENT = Experiment(
    number=10,
    name="content",
    question="Images from one pool, the API from another: what does it take, by name and by path?",
    setup="""
clients ── img.lb.test? api.lb.test? ──> dnslb
   ├──────── HTTP to img.lb.test ─────────────────────────────> img1 img2   X: both are killed
   └──────── HTTP to api.lb.test ─────────────────────────────> api1 api2
clients ── HTTP, /img and /api ──> HAProxy, Envoy, nginx ── path ──> img1 img2, api1 api2
""",
    run=run,
    limits="No TLS: with it, by name a certificate is needed on each backend.",
)
