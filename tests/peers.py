"""NSD, Knot and BIND on loopback, over the same zone files as dnslb.

Each runs in the foreground from a temporary directory, without privileges, rate limits, rotation or optional
records, so that what is left to differ is the answer itself.  Ended by process id, never by name.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import pytest
from programs import program

STARTING = 20.0  # seconds a server may take to load the test zones on a busy machine
STOPPING = 10.0  # seconds from SIGTERM to SIGKILL


class Address(NamedTuple):
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a peer is to run: what its configuration file is written from."""

    directory: Path              # its own, temporary
    port: int
    zones: Mapping[str, Path]    # absolute names without the final dot ("." for the root), and their files


@dataclass(frozen=True, slots=True)
class Peer:
    """A nameserver to compare with: how it is called, configured and started."""

    name: str
    program: str
    package: str                                    # Debian's
    configure: Callable[[Setting], str]
    options: Callable[[Path], tuple[str, ...]]      # given the configuration file


def zone_files(directory: Path) -> dict[str, Path]:
    """The zones of a directory by name: the file name is the zone name, so ``..zone`` is the root's."""
    return {file.stem: file for file in sorted(directory.glob("*.zone"))}


def _configure_nsd(setting: Setting) -> str:
    directory, port = setting.directory, setting.port
    zones = "".join(
        f'zone:\n  name: "{name}"\n  zonefile: "{file}"\n' for name, file in setting.zones.items()
    )
    return f"""server:
  ip-address: 127.0.0.1@{port}
  server-count: 1
  username: ""
  chroot: ""
  database: ""
  zonesdir: "{directory}"
  pidfile: ""
  xfrdfile: "{directory}/xfrd.state"
  zonelistfile: "{directory}/zone.list"
  xfrdir: "{directory}"
  identity: "nsd"
  nsid: "ascii_nsd"
  minimal-responses: yes
  refuse-any: no
  round-robin: no
  rrl-ratelimit: 0
  tcp-count: 100
  tcp-timeout: 30
remote-control:
  control-enable: no
{zones}"""


def _configure_knot(setting: Setting) -> str:
    directory, port = setting.directory, setting.port
    zones = "".join(f'  - domain: "{name}"\n    file: "{file}"\n' for name, file in setting.zones.items())
    return f"""server:
  rundir: "{directory}"
  listen: 127.0.0.1@{port}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
  tcp-idle-timeout: 30
  answer-rotation: off
  identity: "knot"
  nsid: "knot"
control:
  listen: "{directory}/control.sock"
log:
  - target: stderr
    any: warning
database:
  storage: "{directory}"
template:
  - id: default
    storage: "{directory}"
    semantic-checks: off
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
zone:
{zones}"""


def _configure_bind(setting: Setting) -> str:
    directory, port = setting.directory, setting.port
    zones = "".join(f'zone "{name}" {{ type primary; file "{file}"; }};\n' for name, file in setting.zones.items())
    return f"""options {{
  directory "{directory}";
  listen-on port {port} {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
  pid-file none;
  session-keyfile none;
  recursion no;
  dnssec-validation no;
  empty-zones-enable no;
  notify no;
  allow-transfer {{ none; }};
  server-id "bind";
  answer-cookie no;
  minimal-responses yes;
  rrset-order {{ order none; }};
  zero-no-soa-ttl no;
  edns-udp-size 1232;
  max-udp-size 1232;
  max-records-per-type 0;
  max-types-per-name 0;
  check-names primary ignore;
  check-integrity no;
  check-mx ignore;
  check-mx-cname ignore;
  check-srv-cname ignore;
  check-sibling no;
  check-spf ignore;
  check-wildcard no;
}};
controls {{ }};
{zones}"""


NSD = Peer("NSD", "nsd", "nsd", _configure_nsd, lambda file: ("-d", "-c", str(file)))
KNOT = Peer("Knot", "knotd", "knot", _configure_knot, lambda file: ("-c", str(file)))
BIND = Peer("BIND", "named", "bind9", _configure_bind, lambda file: ("-g", "-n", "1", "-c", str(file)))
PEERS = (NSD, KNOT, BIND)


@contextmanager
def serving(peer: Peer, zones: Path, directory: Path) -> Iterator[Address]:
    """The peer, answering for every zone of ``zones``.  Skips the test when its program is missing."""
    path = program(peer.program, peer.package)
    named = zone_files(zones)
    address = Address("127.0.0.1", free_port())
    configuration = directory / f"{peer.program}.conf"
    configuration.write_text(peer.configure(Setting(directory, address.port, named)))
    with running([path, *peer.options(configuration)], directory / f"{peer.program}.log") as process:
        wait_until_serving(process, address, list(named))
        yield address


def free_port() -> int:
    """A port that is free on loopback for UDP and TCP, IPv4 and IPv6, at this moment."""
    for _ in range(100):
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp4,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp4,
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp6,
            socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as tcp6,
        ):
            udp4.bind(("127.0.0.1", 0))
            port = int(udp4.getsockname()[1])
            try:
                tcp4.bind(("127.0.0.1", port))
                udp6.bind(("::1", port))
                tcp6.bind(("::1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port on loopback")


@dataclass(frozen=True, slots=True)
class Process:
    """A server that was started, and what it has said."""

    popen: subprocess.Popen[bytes]
    log: Path

    def fail(self, fact: str) -> None:
        """End the test with the server's last words."""
        words = self.log.read_text(errors="replace")[-4000:]
        pytest.fail(f"{self.popen.args!r} {fact}\n{words}")


@contextmanager
def running(command: list[str], log: Path) -> Iterator[Process]:
    """The command as a process of its own, ended by id on the way out."""
    with log.open("wb") as sink:
        popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT)
    try:
        yield Process(popen, log)
    finally:
        popen.terminate()
        try:
            popen.wait(STOPPING)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait(STOPPING)


def wait_until_serving(process: Process, address: Address, zones: list[str]) -> None:
    """Return when every zone is answered with authority; fail the test when the server ends or takes too long."""
    deadline = time.monotonic() + STARTING
    left = list(zones)
    while left:
        if process.popen.poll() is not None:
            process.fail(f"ended with status {process.popen.returncode}")
        if time.monotonic() > deadline:
            process.fail(f"did not serve {', '.join(left)} within {STARTING:.0f} s")
        if is_served(left[-1], address):
            left.pop()
        else:
            time.sleep(0.05)


def is_served(zone: str, address: Address) -> bool:
    query = dns.message.make_query(dns.name.from_text(zone), "SOA")
    query.flags = dns.flags.Flag(0)
    try:
        reply = dns.query.udp(query, address.host, timeout=0.25, port=address.port)
    except (dns.exception.DNSException, OSError):
        return False
    return reply.rcode() == dns.rcode.NOERROR and bool(reply.flags & dns.flags.AA)
