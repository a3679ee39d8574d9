"""Caching resolvers of all makes, as their packages bring them: how each is told whom to ask, and started.

Only inside an enclosure: each has port 53 of an address of its own.  Nothing is changed but what a network without an
internet needs: whom to ask for the zone, no DNSSEC (there is no root), and that the authority's address may be asked.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from comparison.dnslb import ZONE, answers
from comparison.enclosure import ip, mount
from comparison.experiment import Lab
from comparison.processes import Process, Program, await_ready
from comparison.stub import Endpoint
from comparison.unbound import UNBOUND

BIND = Program("BIND", "named", "bind9")
KNOT = Program("Knot Resolver", "kresd", "knot-resolver")
POWERDNS = Program("PowerDNS Recursor", "pdns_recursor", "pdns-recursor")
DNSMASQ = Program("dnsmasq", "dnsmasq", "dnsmasq-base")
Command = list[object]


@dataclass(frozen=True, slots=True)
class Unpacked(Program):
    """A program whose package had better not be installed: it would take /etc/resolv.conf over."""

    def path(self) -> str | None:
        found = os.environ.get("RESOLVED", self.command)
        return found if os.access(found, os.X_OK) else None

    def missing(self) -> str | None:
        return None if self.path() else (
            f"{self.name} is missing: apt-get download {self.package}; dpkg -x; RESOLVED=.../systemd-resolved")


RESOLVED = Unpacked("systemd-resolved", "/lib/systemd/systemd-resolved", "systemd-resolved")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one listens, whom it asks, and where its files are."""

    address: str
    authority: str
    directory: Path


@dataclass(frozen=True, slots=True)
class Make:
    """One resolver with one configuration."""

    name: str
    program: Program
    configure: Callable[[Place], Command]
    option: str             # that prints its version
    is_stale: bool = False  # expired answers are served: switched on
    is_default: bool = True

    @property
    def key(self) -> str:
        """Part of a host name."""
        return re.sub(r"[^a-z]+", "-", self.name.lower()).strip("-")


@dataclass(frozen=True, slots=True)
class Cache:
    """A running one."""

    make: Make
    endpoint: Endpoint
    process: Process


def unbound(place: Place, *, stale: bool = False) -> Command:
    file = place.directory / "unbound.conf"
    file.write_text(f"""\
server:
  interface: {place.address}
  do-daemonize: no
  chroot: ""
  username: ""
  directory: "{place.directory}"
  pidfile: ""
  use-syslog: no
  do-ip6: no
  do-not-query-localhost: no
  access-control: 127.0.0.0/8 allow
  module-config: "iterator"
  local-zone: "test." nodefault
  serve-expired: {"yes" if stale else "no"}
stub-zone:
  name: "{ZONE}"
  stub-addr: {place.authority}
remote-control:
  control-enable: no
""")
    return [UNBOUND, "-d", "-c", file]


def bind(place: Place, *, stale: bool = False) -> Command:
    file = place.directory / "named.conf"
    served = "stale-answer-enable yes; stale-cache-enable yes;" if stale else ""
    file.write_text(f"""\
options {{
  directory "{place.directory}"; pid-file none; session-keyfile none;
  listen-on {{ {place.address}; }}; listen-on-v6 {{ none; }};
  recursion yes; allow-query {{ any; }}; dnssec-validation no; empty-zones-enable no; {served}
}};
controls {{ }};
zone "{ZONE}" {{ type static-stub; server-addresses {{ {place.authority}; }}; }};
""")
    return [BIND, "-f", "-4", "-c", file]


def knot(place: Place, modules: str) -> Command:
    # Not STUB: with that it keeps whole packets, for 5 s at most whatever their TTL.
    file = place.directory / "kresd.conf"
    file.write_text(f"""\
net.listen('{place.address}', 53, {{ kind = 'dns' }})
modules = {{ {modules} }}
cache.size = 100 * MB
trust_anchors.remove('.')
policy.add(policy.suffix(policy.FORWARD('{place.authority}'), policy.todnames({{ '{ZONE}' }})))
""")
    return [KNOT, "-n", "-c", file, place.directory]


def powerdns(place: Place, *words: str) -> Command:
    return [POWERDNS, f"--config-dir={place.directory}", f"--socket-dir={place.directory}", "--daemon=no",
            "--write-pid=no", "--disable-syslog", f"--local-address={place.address}", "--dnssec=off",
            "--security-poll-suffix=", "--dont-query=", f"--forward-zones={ZONE}={place.authority}", "--setuid=",
            "--setgid=", "--loglevel=3", *words]


def dnsmasq(place: Place, *words: str) -> Command:
    return [DNSMASQ, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
            "--pid-file=", f"--listen-address={place.address}", "--bind-interfaces", "--log-facility=-",
            f"--server=/{ZONE.rstrip('.')}/{place.authority}", *words]


def resolved(place: Place) -> Command:
    """It has one place for its files, a user of its own, and answers only where there is a network."""
    user = "systemd-resolve"
    for name, line in (("passwd", f"{user}:x:995:995::/:/usr/sbin/nologin"), ("group", f"{user}:x:995:")):
        file = place.directory / name
        file.write_text(f"{Path('/etc', name).read_text()}{line}\n")
        mount("--bind", file, f"/etc/{name}")
    mount("-t", "tmpfs", "tmpfs", "/run")
    runtime = Path("/run/systemd/resolve")
    runtime.mkdir(parents=True)
    os.chown(runtime, 995, 995)
    settings = Path("/run/systemd/resolved.conf.d")
    settings.mkdir()
    (settings / "comparison.conf").write_text(f"""\
[Resolve]
DNS={place.authority}
Domains=~.
FallbackDNS=
DNSSEC=no
LLMNR=no
MulticastDNS=no
CacheFromLocalhost=yes
DNSStubListener=no
DNSStubListenerExtra={place.address}
""")
    ip("link", "add", "network", "type", "veth", "peer", "name", "nobody")
    ip("address", "add", "192.0.2.1/24", "dev", "network")
    for end in ("network", "nobody"):
        ip("link", "set", end, "up")
    ip("route", "add", "default", "via", "192.0.2.2")
    return [RESOLVED]


DEBIAN_MODULES = "'hints > iterate', 'stats', 'predict'"    # of /etc/knot-resolver/kresd.conf
MAKES = (
    Make("unbound", UNBOUND, unbound, "-V"),
    Make("BIND", BIND, bind, "-v"),
    Make("Knot Resolver", KNOT, partial(knot, modules=DEBIAN_MODULES), "--version"),
    Make("Knot Resolver without predict", KNOT, partial(knot, modules="'hints > iterate', 'stats'"), "--version",
         is_default=False),
    Make("PowerDNS Recursor", POWERDNS, powerdns, "--version"),
    Make("dnsmasq", DNSMASQ, dnsmasq, "--version"),
)
STUB = Make("systemd-resolved", RESOLVED, resolved, "--version")    # with CacheFromLocalhost=yes; one of it only
STALE_MAKES = (
    Make("unbound, serve-expired", UNBOUND, partial(unbound, stale=True), "-V", True, False),
    Make("BIND, stale-answer-enable", BIND, partial(bind, stale=True), "-v", True, False),
    Make("Knot Resolver, serve_stale", KNOT,
         partial(knot, modules="'hints > iterate', 'stats', 'serve_stale < cache'"), "--version", True, False),
    Make("PowerDNS Recursor, serve-stale-extensions", POWERDNS, lambda place: powerdns(
        place, "--serve-stale-extensions=120"), "--version", True, False),
    Make("dnsmasq, use-stale-cache", DNSMASQ, lambda place: dnsmasq(place, "--use-stale-cache=3600"), "--version",
         True, False),
)


def start(lab: Lab, makes: list[Make], network: str, authority: Endpoint) -> list[Cache]:
    """All of them, on .1 and up of a network of the loopback, as in "127.0.3"."""
    caches = []
    for number, make in enumerate(makes, 1):
        address = f"{network}.{number}"
        # named listens on the addresses of interfaces only.
        ip("address", "add", f"{address}/32", "dev", "lo")
        directory = lab.directory / address     # short: a Unix socket's path has 107 octets
        directory.mkdir()
        place = Place(address, authority.address, directory)
        process = lab.spawn(f"{address}-{make.key}", *make.configure(place))
        caches.append(Cache(make, Endpoint(address, 53), process))
    for cache in caches:
        await_ready(cache.process, partial(answers, cache.endpoint.address, 53, f"ns.{ZONE}"))
    return caches


def version(make: Make) -> str:
    done = subprocess.run([str(make.program), make.option], capture_output=True, text=True, check=False, timeout=30)
    number = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return number[0] if number else "unknown"
