"""dnslb as an operator runs it: a directory of zone and policy files, one process tree, its control socket."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comparison import probing
from comparison.experiment import Lab
from comparison.processes import NotStartedError, Process, await_ready, free_port
from comparison.stub import Endpoint, LookupFailedError, question, read
from dnslb.admin import client

ZONE = "lb.test."
HOME = "127.0.2.1"      # and up, for more than one


@dataclass(frozen=True, slots=True)
class Pool:
    """A name with the addresses of clones, and how they are handed out."""

    addresses: tuple[str, ...]
    port: int                           # that is probed; 0: no probe
    ttl: int = 5                        # seconds, constant; with ``policy`` it is the zone file's
    policy: str = ""                    # of the TTL, as YAML: "{min: 1s, failover: 20s}"
    answers: int | None = None          # addresses in a reply; None: all
    order: str = "cyclic"
    weights: Mapping[str, int] = field(default_factory=dict)
    slowstart: float = 0.0              # seconds
    register: str = ""                  # the network from which clones may join
    load: str = ""                      # who tells it, as YAML: "{header: X-Load}"


@dataclass(frozen=True, slots=True)
class Dnslb:
    """A running server."""

    process: Process
    endpoint: Endpoint
    control: Path

    def order(self, mode: str, *addresses: str) -> list[dict[str, Any]]:
        """drain, maint or ready; when the last cached copies ``expire``, in Unix time, for each name and address."""
        clocks = self._ask("POST", "/orders", {"mode": mode, "addresses": list(addresses)})["clocks"]
        assert isinstance(clocks, list)
        return clocks

    def drain(self, *addresses: str) -> float:
        """The seconds until the last cached copy has expired."""
        expiries = [clock["expires"] for clock in self.order("drain", *addresses) if clock["expires"] is not None]
        return max(0.0, max(expiries) - time.time()) if expiries else 0.0

    def ready(self, *addresses: str) -> None:
        self.order("ready", *addresses)

    def join(self, name: str, address: str) -> None:
        """As the clone itself would."""
        self._ask("POST", "/backends", {"name": name, "address": address})

    def status(self, name: str = "") -> dict[str, Any]:
        """As ``dnslb status --json``; of one pool, or of all."""
        status = self._ask("GET", f"/status/{name}" if name else "/status", None)
        assert isinstance(status, dict)
        return status

    def _ask(self, method: str, target: str, value: object) -> Any:
        try:
            status, reply = client.ask(self.control, method, target, value)
        except client.Unreachable as error:
            raise NotStartedError(str(error)) from None
        if status != 200:
            raise NotStartedError(f"dnslb: {json.dumps(reply)}")
        return reply


def owner(name: str) -> str:
    """The whole name of a pool."""
    return f"{name}.{ZONE}"


def start(
    lab: Lab, pools: Mapping[str, Pool], number: int = 1, port: int | None = None, module: str = "dnslb"
) -> Dnslb:
    """Serve the pools, by the first label of their names, on 127.0.2.NUMBER with one worker."""
    home = f"127.0.2.{number}"
    port = port or free_port([home])
    directory = lab.directory / f"dnslb-{number}-{port}"
    zones = directory / "zones"
    zones.mkdir(parents=True, exist_ok=True)
    zone = ZONE.rstrip(".")
    (zones / f"{zone}.zone").write_text(zone_file(pools))
    (zones / f"{zone}.yaml").write_text(policy_file(pools))
    control = directory / "control"
    process = lab.spawn(f"dnslb-{number}", sys.executable, "-m", module, "serve", zones, "--workers", 1, "--no-watch",
                        "--listen", f"{home}:{port}", "--state", directory / "state", "--control", control)
    await_ready(process, lambda: answers(home, port, owner(next(iter(pools)))))
    return Dnslb(process, Endpoint(home, port), control)


def zone_file(pools: Mapping[str, Pool]) -> str:
    lines = ["@ 300 SOA ns hostmaster 1 3600 900 1209600 5", "  300 NS ns", f"ns 300 A {HOME}"]
    lines += [f"{name} {pool.ttl} A {address}" for name, pool in pools.items() for address in pool.addresses]
    return "\n".join(lines) + "\n"


def policy_file(pools: Mapping[str, Pool]) -> str:
    return "pools:\n" + "\n".join(policy(name, pool) for name, pool in pools.items()) + "\n"


def policy(name: str, pool: Pool) -> str:
    load = f", load: {pool.load}" if pool.load else ""
    probe = f"{{http: {probing.PATH}, port: {pool.port}, interval: {probing.INTERVAL * 1000:g}ms, " \
            f"timeout: {probing.TIMEOUT * 1000:g}ms, fall: {probing.FALL}, rise: {probing.RISE}{load}}}"
    lines = [f"  {name}:", f"    order: {pool.order}", f"    ttl: {pool.policy or f'{pool.ttl}s'}"]
    lines += [f"    probe: {probe}"] if pool.port else []
    lines += [f"    answers: {pool.answers}"] if pool.answers else []
    lines += [f"    slowstart: {pool.slowstart:g}s"] if pool.slowstart else []
    lines += [f"    register: {{networks: [{pool.register}], lease: 1h}}"] if pool.register else []
    if pool.weights:
        lines.append("    backends:")
        lines += [f"      {address}: {{weight: {weight}}}" for address, weight in pool.weights.items()]
    return "\n".join(lines)


def answers(address: str, port: int, name: str) -> bool:
    """Whether a nameserver, or a resolver, answers with an address."""
    with socket.socket(type=socket.SOCK_DGRAM) as udp, suppress(OSError):
        udp.settimeout(0.5)
        udp.connect((address, port))
        udp.send(question(name))
        with suppress(LookupFailedError):
            return bool(read(udp.recv(4096)).addresses)
    return False
