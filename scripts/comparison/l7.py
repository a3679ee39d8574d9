"""What the L7 balancers have in common: fronts that listen, farms of servers behind them."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from comparison.backends import Backend
from comparison.processes import Process, await_ready

HOME = "127.0.2.10"         # where all of them listen, on ports of their own
PER_TRY = 0.4               # seconds until a tuned balancer tries another server; clients wait for a second
RETRIES = 2


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    address: str
    port: int
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Front:
    """One port, and where its requests go."""

    port: int
    servers: tuple[Server, ...]
    algorithm: str = "roundrobin"       # or "leastconn"
    sticky: bool = False                # a cookie keeps a client with its server
    routes: tuple[tuple[str, tuple[Server, ...]], ...] = ()     # by the path's beginning, before ``servers``
    home: str = HOME                    # the address
    agents: bool = False                # servers are asked what they can take (HAProxy's agent-check)


@dataclass(frozen=True, slots=True)
class Balancer:
    """A running one."""

    process: Process
    fronts: tuple[Front, ...]

    @property
    def port(self) -> int:
        """Of the first front."""
        return self.fronts[0].port


def servers(backends: Sequence[Backend], weights: Sequence[int] = ()) -> tuple[Server, ...]:
    """The clones as a farm."""
    return tuple(Server(backend.name, backend.address, backend.port, weight)
                 for backend, weight in zip(backends, weights or [1] * len(backends), strict=True))


def farms(fronts: Sequence[Front]) -> list[tuple[str, Front, tuple[Server, ...]]]:
    """Every farm with its name: ``farm0`` behind the first front, ``farm0r0`` behind its first route."""
    found = []
    for number, front in enumerate(fronts):
        found.append((f"farm{number}", front, front.servers))
        found += [(f"farm{number}r{route}", front, behind) for route, (_, behind) in enumerate(front.routes)]
    return found


def wait(process: Process, fronts: Sequence[Front]) -> Balancer:
    """Return when every front passes a request on."""
    for front in fronts:
        await_ready(process, partial(serves, front))
    return Balancer(process, tuple(fronts))


def serves(front: Front) -> bool:
    try:
        with urllib.request.urlopen(f"http://{front.home}:{front.port}/", timeout=0.5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
