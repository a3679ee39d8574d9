"""What probing costs dnslb: the CPU time of its parent process under some numbers of backends and intervals.

A real ``dnslb serve`` probes real sockets; nobody asks it anything, so its workers are idle.  The probes are counted
where they arrive.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmark.backends import Backends
from benchmark.processes import usage
from benchmark.queries import NOERROR, ZONE_NAME, A, QueryClass, Question
from benchmark.report import MEGABYTE, grid
from benchmark.servers import DNSLB
from benchmark.targets import RefusedError, Site, find_fault, start

POOL_SIZE = 4               # backends of a pool
SETTLING = 2.0              # seconds from the first answer until we count


@dataclass(frozen=True, slots=True)
class Load:
    """So many backends, each with an address of its own, probed so often."""

    name: str
    backends: int
    interval: str           # as in a policy file
    seconds: float          # measured


@dataclass(frozen=True, slots=True)
class Cost:
    load: Load
    per_second: float       # probes that arrived
    share: float            # of a core, the parent alone
    microseconds: float     # of the parent per probe
    workers: float          # share of a core, all other processes of the server
    resident: int           # octets, of the parent
    down: int               # backends that were wrongly taken for dead


LOADS = (
    Load("target", 2000, "1s", 10.0),
    Load("as fast as it can", 6000, "500ms", 8.0),
    Load("at rest", 100, "5s", 15.0),
)

COLUMNS = ("backends", "interval", "probes/s", "parent's core", "µs per probe", "workers' core", "parent's MB")


def addresses(count: int) -> list[str]:
    """From 127.0.1.1 on, 250 in each /24."""
    return [f"127.0.{1 + number // 250}.{1 + number % 250}" for number in range(count)]


def lay_out(directory: Path, load: Load, python: str, core: int, port: int) -> tuple[Site, QueryClass]:
    """A zone of pools, and the class of questions about the first and the last of them."""
    pools = {f"p{start // POOL_SIZE}": addresses(load.backends)[start : start + POOL_SIZE]
             for start in range(0, load.backends, POOL_SIZE)}
    zone = directory / "zones" / f"{ZONE_NAME}.zone"
    zone.parent.mkdir()
    zone.write_text("$TTL 60\n@ SOA ns1 hostmaster 1 3600 600 604800 5\n@ NS ns1\nns1 A 192.0.2.1\n" + "".join(
        f"{owner} A {address}\n" for owner, backends in pools.items() for address in backends))
    zone.with_suffix(".yaml").write_text(
        f"defaults:\n  probe: {{tcp: {port}, interval: {load.interval}}}\npools:\n"
        + "".join(f"  {owner}: {{}}\n" for owner in pools))
    questions = tuple((50, Question(f"{owner}.{ZONE_NAME}", A, NOERROR, POOL_SIZE, tuple(pools[owner])))
                      for owner in (min(pools), max(pools)))
    return Site(directory, zone, zone, port, python, core), QueryClass("probed", "pools", questions)


def measure(load: Load, python: str, core: int) -> Cost:
    """Start dnslb, wait until it answers and has settled, count.  RefusedError when its answers are wrong."""
    with tempfile.TemporaryDirectory(prefix="dnslb-probes-") as name, ExitStack() as stack:
        backends = stack.enter_context(Backends(addresses(load.backends)))
        backends.revive(*addresses(load.backends))
        site, query_class = lay_out(Path(name), load, python, core, backends.port)
        target = start(DNSLB, site, query_class, stack)
        time.sleep(SETTLING)
        before, accepted, began = usage(target.pid), backends.accepted, time.monotonic()
        time.sleep(load.seconds)
        after, probes, wall = usage(target.pid), backends.accepted - accepted, time.monotonic() - began
        if fault := find_fault(target, query_class, Random(0)):
            raise RefusedError(f"{load.name}: {fault}")
        cpu, parent = after.cpu_since(before), after.cpu[target.pid] - before.cpu[target.pid]
        log = (Path(name) / DNSLB.name / "log").read_text(errors="replace")
        return Cost(load, probes / wall, parent / wall, 1e6 * parent / max(1, probes), max(0.0, cpu - parent) / wall,
                    after.resident[target.pid], log.count(" down ("))


def describe(cost: Cost) -> str:
    down = f", {cost.down} WRONGLY DOWN" if cost.down else ""
    return f"{cost.load.name}: {cost.per_second:,.0f} probes/s, {cost.share:.1%} of a core{down}"


def cells(cost: Cost) -> dict[str, str]:
    values = (f"{cost.load.backends:,}", cost.load.interval, f"{cost.per_second:,.0f}", f"{cost.share:.1%}",
              f"{cost.microseconds:.0f}", f"{cost.workers:.1%}", f"{cost.resident / MEGABYTE:.1f}")
    return dict(zip(COLUMNS, values, strict=True))


def table(costs: Sequence[Cost]) -> str:
    shown = {cost.load.name: cells(cost) for cost in costs}
    return grid("What tcp probes cost dnslb's parent, nobody asking", list(shown), COLUMNS,
                lambda row, column: shown[row][column])


def write(path: Path, machine: str, costs: Sequence[Cost]) -> None:
    content: dict[str, Any] = {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": machine,
                               "costs": [asdict(cost) for cost in costs]}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    print(f"JSON:  {path}")
