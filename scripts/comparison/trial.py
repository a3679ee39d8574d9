"""What clients do, inside an enclosure: they are run there, and their queries and requests are noted."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

from comparison import dnslb, enclosure, fetchers, relay, street
from comparison.dnslb import Pool, owner
from comparison.experiment import Lab
from comparison.fetchers import Command, Fetcher
from comparison.relay import Query
from comparison.street import CLOSING, FAR, FAULTS, GOOD, KEEPING, NEAR, Street, Visit
from dnslb.dns import query

T = TypeVar("T")

PATIENT = ("loses SYNs", "stays silent")    # faults that clients wait for; watched by all of them at once
LIMIT = 150.0           # seconds that a client is watched under these: Linux gives a connection up after 134
QUICK_LIMIT = 40.0      # of a refusal, on a busy machine
SHORT_LIMIT = 15.0      # of the others
RESTING = 5.0           # seconds without a request after which a browser is done
RUNS, BROWSER_RUNS = 24, 8      # from scratch, to see whom they begin with
TTLS = (1, 10, 60)
HOLDING = 130.0         # seconds that their caches are watched: two minutes, and a bit
REQUESTS = 1000         # to see over how many addresses they spread
MANY_LIMIT = 60.0       # seconds for all of these
AT_ONCE = 3             # programs that run side by side where time is short
TYPES = {1: "A", 28: "AAAA", 65: "HTTPS"}
PLACES = {"far": FAR, "near": NEAR}



@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one client whose first address has a fault.  Seconds count from its first query."""

    reached: float | None       # when the second address had its request; None: never
    ended: float | None         # when the client gave up, or was served; None: it was stopped at the limit
    limit: float


def host(fetcher: Fetcher, what: str) -> str:
    return f"{fetcher.key}-{what.lower().replace(' ', '-')}"


def url(fetcher: Fetcher, what: str, path: str, port: int = KEEPING) -> str:
    return f"http://{owner(host(fetcher, what)).rstrip('.')}{'' if port == KEEPING else f':{port}'}/{path}"


def pools(found: Sequence[Fetcher]) -> dict[str, Pool]:
    """Each client has names of its own: what is asked for says who asks."""
    pools = {}
    for fetcher in found:
        for fault, address in FAULTS.items():
            pools[host(fetcher, fault)] = Pool((address, GOOD), 0, 60, order="none")
        for place, addresses in PLACES.items():
            pools[host(fetcher, place)] = Pool(addresses, 0)
        for ttl in TTLS:
            pools[host(fetcher, f"ttl-{ttl}")] = Pool((GOOD,), 0, ttl)
        pools[host(fetcher, "many")] = Pool(FAR, 0)
    return pools


@dataclass
class Trial:
    """The place, and what is seen there."""

    lab: Lab
    street: Street
    queries: list[Query]

    def asked(self, fetcher: Fetcher, what: str) -> list[Query]:
        wanted = owner(host(fetcher, what))
        return [one for one in self.queries if one.name == wanted]

    def visited(self, fetcher: Fetcher, what: str, path: str) -> list[Visit]:
        wanted = owner(host(fetcher, what)).rstrip(".")
        return [visit for visit in self.street.visits if (visit.host, visit.path) == (wanted, f"/{path}")]

    async def run(
        self, fetcher: Fetcher, command: Command, limit: float, until: Callable[[], object] = bool
    ) -> float | None:
        """Run a client.  When it ended, on the monotonic clock; None when it had to be stopped.

        A browser never ends: it is stopped when ``until()`` is true.
        """
        profile = self.lab.directory / f"profile-{time.monotonic_ns()}"
        extra = [f"--user-data-dir={profile}"] if fetcher.is_browser else []
        with (self.lab.directory / f"{fetcher.key}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self.street.at_home([command[0], *extra, *command[1:]]), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True, cwd=self.lab.directory, env=self._environment(fetcher))
        deadline = time.monotonic() + limit
        waiter = asyncio.create_task(process.wait())
        while not waiter.done() and time.monotonic() < deadline and not (fetcher.is_browser and until()):
            await asyncio.wait([waiter], timeout=0.05)
        ended = time.monotonic() if waiter.done() else None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await waiter
        return ended

    def _environment(self, fetcher: Fetcher) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.lab.directory), "LANG": "C.UTF-8"} | fetcher.environment

    async def suffer(self, fault: str, limit: float, fetcher: Fetcher) -> Fate:
        """Fetch from a name whose first address has the fault."""
        def settled() -> bool:
            visits = self.visited(fetcher, fault, "once")
            if any(visit.address == GOOD for visit in visits):
                return True
            return fault not in PATIENT and bool(visits) and time.monotonic() - visits[-1].at > RESTING

        ended = await self.run(fetcher, fetcher.once(url(fetcher, fault, "once")), limit, until=settled)
        began = min((one.at for one in self.asked(fetcher, fault)), default=None)
        if began is None:
            raise RuntimeError(f"{fetcher.name} did not ask for {host(fetcher, fault)}")
        visits = self.visited(fetcher, fault, "once")
        reached = [visit.at for visit in visits if visit.address == GOOD]
        if fetcher.is_browser and fault not in PATIENT and visits:
            ended = visits[-1].at   # it shows what it has got, an error perhaps, and rests
        return Fate(reached[0] - began if reached else None, ended - began if ended else None, limit)

    async def begin(self, place: str, fetcher: Fetcher) -> list[int]:
        """From scratch, many times: how often each address was the one."""
        addresses = PLACES[place]
        for turn in range(BROWSER_RUNS if fetcher.is_browser else RUNS):
            path = f"run-{turn}"
            await self.run(fetcher, fetcher.once(url(fetcher, place, path)), SHORT_LIMIT,
                           partial(self.visited, fetcher, place, path))
        counts = Counter(visit.address for turn in range(RUNS)
                         for visit in self.visited(fetcher, place, f"run-{turn}")[:1])
        return [counts[address] for address in addresses]

    async def hold(self, fetcher: Fetcher) -> dict[int, list[float]]:
        """The seconds from query to query for names that are fetched every half second, by their TTL."""
        if fetcher.loop is None:
            return {}
        urls = [url(fetcher, f"ttl-{ttl}", "loop", CLOSING) for ttl in TTLS]
        await self.run(fetcher, fetcher.loop(HOLDING, urls), HOLDING + 5)
        return {ttl: gaps([one for one in self.asked(fetcher, f"ttl-{ttl}") if wanted(one) == 1]) for ttl in TTLS}

    async def spread(self, fetcher: Fetcher) -> list[int]:
        """Many requests of one process: how many each address gets."""
        command = fetcher.many(REQUESTS, url(fetcher, "many", "many"))
        await self.run(fetcher, command, MANY_LIMIT,
                       until=lambda: len(self.visited(fetcher, "many", "many")) >= REQUESTS)
        counts = Counter(visit.address for visit in self.visited(fetcher, "many", "many"))
        return [counts[address] for address in FAR]

    def families(self, fetcher: Fetcher) -> list[str]:
        """The types that it asks for."""
        return sorted({TYPES.get(kind, str(kind)) for kind in map(wanted, self.asked(fetcher, "refuses"))})


def wanted(one: Query) -> int:
    parsed = query.parse(one.packet)
    return parsed.wanted if parsed else 0


def gaps(queries: Sequence[Query]) -> list[float]:
    return [after.at - before.at for before, after in pairwise(queries)]


def inside(lab: Lab) -> dict[str, Any]:
    """Everything that happens in the enclosure."""
    return asyncio.run(experience(lab))


async def experience(lab: Lab) -> dict[str, Any]:
    found = fetchers.find(lab.directory)
    enclosure.resolve_by(lab.directory, street.RESOLVER.address)
    async with street.open_street(lab) as place:
        server = dnslb.start(lab, pools(found.fetchers))
        with relay.relaying(server.endpoint, street.RESOLVER) as tap:
            trial = Trial(lab, place, tap.queries)
            return await (short if lab.quick else whole)(trial, found.fetchers) | {
                "versions": {fetcher.name: fetcher.version for fetcher in found.fetchers},
                "missing": list(found.missing)}


async def short(trial: Trial, found: Sequence[Fetcher]) -> dict[str, Any]:
    """The refusal only."""
    fates = await side_by_side(AT_ONCE, found, partial(trial.suffer, "refuses", QUICK_LIMIT))
    return {"fates": {name: {"refuses": asdict(fate)} for name, fate in fates.items()},
            "families": {fetcher.name: trial.families(fetcher) for fetcher in found}}


async def whole(trial: Trial, found: Sequence[Fetcher]) -> dict[str, Any]:
    fates: dict[str, dict[str, Any]] = {fetcher.name: {} for fetcher in found}
    for fault in FAULTS:
        if fault not in PATIENT:
            enclosure.say(f"the first address {fault}")
            for name, fate in (await side_by_side(
                    AT_ONCE, found, partial(trial.suffer, fault, SHORT_LIMIT))).items():
                fates[name][fault] = asdict(fate)
    begun = {}
    for at in PLACES:
        enclosure.say(f"whom they begin with, {at} servers")
        begun[at] = await side_by_side(AT_ONCE, found, partial(trial.begin, at))
    enclosure.say(f"{REQUESTS} requests each")
    spread = await side_by_side(AT_ONCE, found, trial.spread)
    enclosure.say(f"patience and caches, {LIMIT:.0f} s")
    holding = asyncio.create_task(side_by_side(len(found), found, trial.hold))
    for fault, outcome in zip(PATIENT, await asyncio.gather(*(
            side_by_side(len(found), found, partial(trial.suffer, fault, LIMIT))
            for fault in PATIENT)), strict=True):
        for name, fate in outcome.items():
            fates[name][fault] = asdict(fate)
    return {"fates": fates, "families": {fetcher.name: trial.families(fetcher) for fetcher in found},
            "begun": {name: {at: begun[at][name] for at in PLACES} for name in fates},
            "held": await holding, "spread": spread}


async def side_by_side(
    most: int, found: Sequence[Fetcher], act: Callable[[Fetcher], Awaitable[T]]
) -> dict[str, T]:
    """What each client's act gives back; so many at a time."""
    turn = asyncio.Semaphore(most)

    async def one(fetcher: Fetcher) -> T:
        async with turn:
            return await act(fetcher)

    return dict(zip((fetcher.name for fetcher in found), await asyncio.gather(*map(one, found)), strict=True))
