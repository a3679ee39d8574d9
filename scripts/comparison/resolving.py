"""What caching resolvers do with our answers, inside an enclosure: they are asked there, and their queries noted."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from comparison import caches, dnslb, enclosure, relay
from comparison.caches import MAKES, STALE_MAKES, STUB, Cache, Make
from comparison.dnslb import Dnslb, Pool, owner
from comparison.experiment import Lab
from comparison.load import COARSE
from comparison.lookups import Pace, Sight, look, note_lag, watch
from comparison.relay import Query
from comparison.statistics import median
from comparison.stub import Endpoint, Resolver, question
from dnslb.dns import name, query

AUTHORITY, LOST_AUTHORITY = Endpoint("127.0.2.53", 53), Endpoint("127.0.2.54", 53)
TTLS, QUICK_TTLS = (0, 1, 2, 5, 30), (0, 1, 2)
RATE = 20.0                 # look-ups per second, of each name whose life is watched
HOLDING, QUICK_HOLDING = 62.0, 7.0      # seconds
PHASES, QUICK_PHASES = 3, 1     # more names for each TTL whose copies are of other ages when an address is drained
PHASE_RATE = 5.0
ORDERS = 60                 # look-ups at one go, to see the order
LARGE = {"60": 60, "100": 100}  # addresses of large pools
BACKENDS = tuple(f"127.0.1.{11 + number}" for number in range(4))
VICTIM = BACKENDS[1]
AWAY_TTL = 2                # of the name that is asked for while the authority is away
PATIENCE = 30.0             # seconds that a reply is waited for
STUB_PATIENCE = 5.0         # seconds that glibc waits for one (resolv.conf(5))
SILENCE = "nothing within 5 s"
GONE, BACK, WATCHED = 10.0, 40.0, 170.0     # seconds: when the authority goes, comes back, and the watch ends
OPT = bytes((0, 0, 41, 1232 >> 8, 1232 & 0xFF, 0, 0, 0, 0, 0, 0))     # EDNS with 1232 octets (RFC 6891)
TC = 0x02
COOKIE, SUBNET = 10, 8      # EDNS options (RFC 7873, RFC 7871)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is watched."""

    ttls: tuple[int, ...]
    phases: int


@dataclass
class Life:
    """What was seen of one resolver."""

    order: list[tuple[str, ...]]
    large: dict[str, dict[str, int]]
    sights: dict[str, list[Sight]] = field(default_factory=dict)    # by the first part of the name


def held_name(make: Make, ttl: int) -> str:
    return f"{make.key}-held-{ttl}"


def phase_name(make: Make, ttl: int, phase: int) -> str:
    return f"{make.key}-phase-{ttl}-{phase}"


def pools(makes: Sequence[Make], plan: Plan) -> dict[str, Pool]:
    """Names of its own for each resolver: what is asked for says who asks."""
    pools = {f"large-{key}": Pool(tuple(f"198.51.100.{number}" for number in range(1, count + 1)), 0, 60)
             for key, count in LARGE.items()}
    for make in makes:
        pools[f"{make.key}-order"] = Pool(BACKENDS, 0, 60, order="none")
        for ttl in plan.ttls:
            pools[held_name(make, ttl)] = Pool(BACKENDS, 0, ttl)
            pools |= {phase_name(make, ttl, phase): Pool(BACKENDS, 0, ttl) for phase in range(plan.phases)}
    return pools


def room(cache: Cache, label: str) -> dict[str, int]:
    """The addresses in a reply over UDP to a client with 1232 octets of room, and whether it was cut off (TC)."""
    packet = bytearray(question(owner(label)) + OPT)
    packet[11] = 1      # an additional record
    with socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        udp.connect((cache.endpoint.address, cache.endpoint.port))
        udp.send(packet)
        reply = udp.recv(4096)
    return {"addresses": int.from_bytes(reply[6:8]), "cut": int(bool(reply[2] & TC))}


def inside(lab: Lab) -> dict[str, Any]:
    makes = [make for make in (*MAKES, STUB) if not make.program.missing()]
    missing = sorted({fact for make in MAKES if (fact := make.program.missing())})
    versions = {make.name: caches.version(make) for make in makes}
    return {"missing": missing, "left_out": STUB.program.missing() or "", "versions": versions} | (
        asyncio.run(observe(lab, makes)))


async def observe(lab: Lab, makes: list[Make]) -> dict[str, Any]:
    plan = lab.full_or_quick(Plan(TTLS, PHASES), Plan(QUICK_TTLS, QUICK_PHASES))
    server = dnslb.start(lab, pools(makes, plan))
    with relay.relaying(server.endpoint, AUTHORITY) as tap:
        found = caches.start(lab, makes, "127.0.3", AUTHORITY)
        lost = asyncio.create_task(lose(lab)) if not lab.quick else None
        resolvers = {cache: await Resolver.open(cache.endpoint) for cache in found}
        lives = {}
        for cache, resolver in resolvers.items():
            order = [(await look(resolver, f"{cache.make.key}-order")).addresses for _ in range(ORDERS)]
            lives[cache.make.name] = Life(order, {key: room(cache, f"large-{key}") for key in LARGE})
        drained, clock = await hold_and_drain(lab, server, plan, resolvers, lives)
        note_lag(lab, [sight for life in lives.values() for sights in life.sights.values() for sight in sights], COARSE)
        outcome = {cache.make.name: judge(cache.make, lives[cache.make.name], tap.queries, drained, plan)
                   for cache in found}
        return {"resolvers": outcome, "clock": clock, "lost": await lost if lost else {}, "lags": lab.lags}


async def hold_and_drain(lab: Lab, server: Dnslb, plan: Plan, resolvers: Mapping[Cache, Resolver],
                         lives: Mapping[str, Life]) -> tuple[float, float]:
    """Look all names up at their pace; then take an address out.  When that was, and what the drain clock said."""
    began = time.monotonic() + 0.5
    drains = began + lab.full_or_quick(HOLDING, QUICK_HOLDING)
    end = drains + max(plan.ttls) + 6
    tasks = []
    for cache, resolver in resolvers.items():
        sights = lives[cache.make.name].sights
        for ttl in plan.ttls:
            pace, label = Pace(RATE, began + lab.rng.random() / RATE, end), held_name(cache.make, ttl)
            tasks.append(watch(resolver, label, pace, sights.setdefault(label, [])))
            for phase in range(plan.phases):
                # Their first copies are of any age when the drain comes.
                pace = Pace(PHASE_RATE, drains - 1 - (ttl + 1) * (phase + lab.rng.random()) / plan.phases, end)
                label = phase_name(cache.make, ttl, phase)
                tasks.append(watch(resolver, label, pace, sights.setdefault(label, [])))
    enclosure.say(f"{len(tasks)} names are looked up for {end - began:.0f} s, {VICTIM} is drained after "
                  f"{drains - began:.0f} s")
    looking = asyncio.gather(*tasks)
    await asyncio.sleep(drains - time.monotonic())
    expires = await asyncio.get_running_loop().run_in_executor(None, server.drain, VICTIM)
    drained = time.monotonic()
    await looking
    return drained, expires


def judge(make: Make, life: Life, queries: Sequence[Query], drained: float, plan: Plan) -> dict[str, Any]:
    """What is reported of one resolver."""
    mine = [one for one in queries if one.name.startswith(make.key + "-")]
    parsed = [found for one in mine if (found := query.parse(one.packet))]
    options = set().union(*(found.edns.options for found in parsed if found.edns))
    gaps, reached, last = {}, {}, {}
    for ttl in plan.ttls:
        own = [one.at for one in mine if one.name == owner(held_name(make, ttl)) and one.at < drained]
        gaps[ttl] = [round(after - before, 3) for before, after in pairwise(own)]
        reached[ttl] = len(own)
        labels = [held_name(make, ttl), *(phase_name(make, ttl, phase) for phase in range(plan.phases))]
        last[ttl] = [round(last_sight(life.sights[label], drained), 3) for label in labels]
    return {
        "order": order_of(life.order), "large": life.large, "gaps": gaps, "reached": reached, "last": last,
        "looked_up": {ttl: sum(sight.asked < drained for sight in life.sights[held_name(make, ttl)])
                      for ttl in plan.ttls},
        "mixed_case": any(found.name != name.fold(found.name) for found in parsed),
        "cookies": COOKIE in options, "subnet": SUBNET in options,
    }


def last_sight(seen: Sequence[Sight], drained: float) -> float:
    """The seconds from the drain to the last reply that had the address."""
    return max((sight.at - drained for sight in seen if VICTIM in sight.addresses and sight.at > drained), default=0.0)


def order_of(seen: Sequence[tuple[str, ...]]) -> str:
    """How copies of one answer were ordered: kept, rotated in turn, rotated from any start, or shuffled."""
    # The first was not from the cache.
    seen = [order for order in seen[1:] if order]
    first = seen[0]
    turns = [first[at:] + first[:at] for at in range(len(first))]
    if all(order == first for order in seen):
        return "kept"
    if not all(order in turns for order in seen):
        return "shuffled"
    steps = {(turns.index(after) - turns.index(before)) % len(first) for before, after in pairwise(seen)}
    return "rotated in turn" if len(steps) == 1 else "rotated from any start"


async def lose(lab: Lab) -> dict[str, Any]:
    """The authority goes, without a word, and comes back; resolvers of their own, expired answers served or not."""
    makes = [make for make in (*MAKES, *STALE_MAKES) if not make.program.missing()]
    labels = {make.name: f"{make.key}-away" for make in makes}
    server = dnslb.start(lab, {label: Pool(BACKENDS, 0, AWAY_TTL) for label in labels.values()}, 2)
    with relay.relaying(server.endpoint, LOST_AUTHORITY) as tap:
        found = caches.start(lab, makes, "127.0.4", LOST_AUTHORITY)
        sights: dict[str, list[Sight]] = {make.name: [] for make in makes}
        began = time.monotonic()
        tasks = [watch(await Resolver.open(cache.endpoint), labels[cache.make.name],
                       Pace(1.0, began, began + WATCHED), sights[cache.make.name], PATIENCE) for cache in found]
        looking = asyncio.gather(*tasks)
        await asyncio.sleep(GONE)
        tap.loss = 1.0
        await asyncio.sleep(BACK - GONE)
        tap.loss = 0.0
        await looking
    return {label: told(seen, began) for label, seen in sights.items()}


def told(seen: Sequence[Sight], began: float) -> dict[str, Any]:
    """What clients got from when the last copy had expired until the authority was back, and when all was well."""
    absent = [sight for sight in seen if GONE + AWAY_TTL + 2 <= sight.asked - began < BACK - 1]
    kinds = [SILENCE if sight.at - sight.asked > STUB_PATIENCE else sight.problem or "addresses" for sight in absent]
    waits = [sight.at - sight.asked for sight in absent]
    bad = [sight.asked - began for sight in seen if sight.problem and sight.asked - began >= BACK]
    return {"kinds": {kind: kinds.count(kind) for kind in sorted(set(kinds))}, "wait": round(median(waits), 3),
            "longest": round(max(waits), 3), "well_after": round(max(0.0, max(bad, default=BACK) - BACK), 1)}
