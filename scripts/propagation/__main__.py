"""Kill a backend behind a fleet of secondaries, and print when everybody knew.

Three backends on 127.0.1.11 and up, a dnslb that probes them, an NSD, a Knot, a BIND and a PowerDNS that follow it, and
before each of these an unbound that asks it alone.  All of it is on loopback, on free ports, in a temporary directory,
and ends with us.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

import dns.exception
import dns.message
import dns.query
from comparison.processes import NotStartedError, Process, Program, accepts, await_ready, free_port, spawn
from comparison.stub import Endpoint
from comparison.unbound import UNBOUND, configuration
from comparison.unbound import Setting as Caching

from dnslb.config import keys
from dnslb.config.keys import TsigKey
from dnslb.config.policy.travel import DELAY
from propagation.servers import BIND, KNOT, NSD, POWERDNS, Secondary, Setting, write

_ZONE, _NAME = "example.com", "www.example.com."
_BACKENDS = ("127.0.1.11", "127.0.1.12", "127.0.1.13")
_DNSLB = "127.0.0.1"
# named takes an interface's own address only.
_SECONDARIES = {NSD: "127.0.2.1", KNOT: "127.0.2.2", POWERDNS: "127.0.2.3", BIND: "127.0.0.1"}
_RESOLVERS = {peer: f"127.0.3.{number}" for number, peer in enumerate(_SECONDARIES, 1)}
_FAILOVER = 10.0    # seconds, of the policy
_LOOK = 0.005       # seconds from one look at everybody to the next
_PATIENCE = 60.0    # seconds for all of them

_ZONE_FILE = f"""\
$TTL 300
@    SOA  ns1 hostmaster 1 3600 900 1209600 60
     NS   ns1
ns1  A    127.0.2.1
{"".join(f"www  A    {address}{chr(10)}" for address in _BACKENDS)}"""
_POLICY = """\
pools:
  www:
    probe: {{http: /healthz, port: {port}, interval: 500ms, timeout: 200ms, fall: 3, rise: 2}}
    ttl: {{min: 2s, failover: {failover:g}s}}
secondaries:
{secondaries}"""


@dataclass(slots=True)
class Fleet:
    """All that runs."""

    directory: Path
    stack: ExitStack
    backends: list[Process] = field(default_factory=list)
    places: dict[Secondary, Endpoint] = field(default_factory=dict)
    resolvers: dict[Secondary, Endpoint] = field(default_factory=dict)  # who asks that secondary alone
    dnslb: Endpoint = field(init=False)

    @property
    def control(self) -> Path:
        return self.directory / "control"

    def start(self) -> None:
        port, other = (free_port([_DNSLB, *_RESOLVERS.values(), *_SECONDARIES.values()]) for _ in range(2))
        backend_port = free_port(_BACKENDS)
        self.dnslb = Endpoint(_DNSLB, port)
        self.resolvers = {peer: Endpoint(host, port) for peer, host in _RESOLVERS.items()}
        self.places = {peer: Endpoint(host, other if host == _DNSLB else port) for peer, host in _SECONDARIES.items()}
        for number, address in enumerate(_BACKENDS, 1):
            command = (sys.executable, "-m", "comparison.clone", f"b{number}", address, backend_port)
            self.backends.append(spawn(f"b{number}", command, self.directory, self.stack))
        for process, address in zip(self.backends, _BACKENDS, strict=True):
            await_ready(process, partial(accepts, address, backend_port))
        key = TsigKey("fleet.", "hmac-sha256", os.urandom(32))
        self._start_dnslb(key, backend_port)
        for peer, place in self.places.items():
            self._follow(peer, place, key)
            self._resolve(self.resolvers[peer], place)

    def _start_dnslb(self, key: TsigKey, backend_port: int) -> None:
        zones = self.directory / "zones"
        zones.mkdir()
        key_file = self.directory / "fleet.key"
        key_file.touch(0o600)
        key_file.write_text(keys.text(key))
        (zones / "dnslb.yaml").write_text(f"keys: {{fleet: {key_file}}}\n")
        rows = "".join(f"  - {{address: {at.address}, port: {at.port}, key: fleet}}\n" for at in self.places.values())
        (zones / f"{_ZONE}.zone").write_text(_ZONE_FILE)
        (zones / f"{_ZONE}.yaml").write_text(
            _POLICY.format(port=backend_port, failover=_FAILOVER, secondaries=rows))
        command = (
            *(sys.executable, "-m", "dnslb", "serve", zones, "--workers", "1", "--control", self.control),
            *("--listen", f"{_DNSLB}:{self.dnslb.port}", "--state", self.directory / "state"),
        )
        process = spawn("dnslb", command, self.directory, self.stack)
        await_ready(process, lambda: len(served(self.dnslb)) == len(_BACKENDS) and serial(self.dnslb) > 1)

    def _follow(self, peer: Secondary, place: Endpoint, key: TsigKey) -> None:
        here = self.directory / peer.program
        here.mkdir()
        setting = Setting(here, place.port, [self.dnslb.port], [_ZONE], key, place.address)
        file = write(peer, setting)
        for preparation in peer.prepare(setting):
            subprocess.run(preparation, check=True, capture_output=True)
        command = (Program(peer.name, peer.program, peer.package), *peer.options(file))
        process = spawn(peer.program, command, here, self.stack)
        await_ready(process, lambda: bool(served(place)))

    def _resolve(self, resolver: Endpoint, place: Endpoint) -> None:
        """Start an unbound there that asks this secondary."""
        file = self.directory / f"unbound-{resolver.address}.conf"
        file.write_text(configuration(Caching(), resolver, [place], str(self.directory), _ZONE))
        process = spawn(f"unbound-{resolver.address}", (UNBOUND, "-d", "-c", file), self.directory, self.stack)
        await_ready(process, lambda: bool(served(resolver)))


def asked(place: Endpoint, name: str, kind: str) -> dns.message.Message | None:
    try:
        return dns.query.udp(dns.message.make_query(name, kind), place.address, 0.5, place.port)
    except (dns.exception.DNSException, OSError):
        return None


def served(place: Endpoint) -> dict[str, int]:
    """The addresses that are handed out, with their TTL; none when nothing is answered."""
    reply = asked(place, _NAME, "A")
    rrsets = [] if reply is None else reply.answer
    return {str(rdata): rrset.ttl for rrset in rrsets for rdata in rrset}


def serial(place: Endpoint) -> int:
    """The zone's; 0 when nothing is answered."""
    reply = asked(place, _ZONE, "SOA")
    return 0 if reply is None or not reply.answer else int(reply.answer[0][0].serial)


def watch(fleet: Fleet, dead: str, say: Callable[[float, str], None]) -> None:
    """Kill the backend, and say when everybody has let go of it, the resolvers last."""
    known = serial(fleet.dnslb)
    left: dict[str, Callable[[], bool]] = {
        "dnslb has noticed, and answers without it": lambda: dead not in served(fleet.dnslb),
    }
    for peer, place in fleet.places.items():
        left[f"{peer.name} answers without it"] = lambda place=place: dead not in served(place)  # type: ignore[misc]
    copies = [served(resolver).get(dead, 0) for resolver in fleet.resolvers.values()]
    fleet.backends[_BACKENDS.index(dead)].kill()
    began = time.monotonic()
    last = dict.fromkeys(fleet.resolvers, began)
    say(0.0, f"{dead} is killed; copies in resolvers last {max(copies)} s more")
    while left or time.monotonic() - max(last.values()) < 1.0:
        if time.monotonic() - began > _PATIENCE:
            raise NotStartedError(f"after {_PATIENCE:g} s still not: {', '.join(left) or 'unbound'}")
        for what in [what for what, holds in left.items() if holds()]:
            del left[what]
            say(time.monotonic() - began, what)
        if left and (now := serial(fleet.dnslb)) != known:
            known = now
            ttl = min(served(fleet.dnslb).values())
            say(time.monotonic() - began, f"dnslb has published serial {now}, TTL {ttl} s")
        for peer, resolver in fleet.resolvers.items():
            if dead in served(resolver):
                last[peer] = time.monotonic()
        time.sleep(_LOOK)
    for peer in sorted(last, key=last.__getitem__):
        say(last[peer] - began, f"the last client got it from unbound behind {peer.name}")
    print(f"promised: {_FAILOVER + DELAY:g} s, of which {DELAY:g} s are for the way to the secondaries")


def interrupt(signum: int, frame: FrameType | None) -> None:
    # Whoever presses Ctrl-C twice must not stop the stopping.
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, signal.SIG_IGN)
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/fleet", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="go on until Ctrl-C, for a look with dig")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="dnslb-fleet-") as directory, ExitStack() as stack:
            fleet = Fleet(Path(directory), stack)
            fleet.start()
            port = fleet.dnslb.port
            followers = ", ".join(f"{peer.name} {place.address}:{place.port}" for peer, place in fleet.places.items())
            print(f"dnslb {_DNSLB}:{port}; {followers}; unbounds {', '.join(_RESOLVERS.values())}", flush=True)
            watch(fleet, _BACKENDS[1], lambda at, what: print(f"{at:7.2f} s  {what}", flush=True))
            while options.keep:
                time.sleep(1)
    except NotStartedError as error:
        print(f"scripts/fleet: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
