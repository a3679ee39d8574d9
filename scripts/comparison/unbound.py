"""Caching resolvers: unbound, one process on each of 127.0.3.1 and up, all of whose questions go to dnslb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from comparison.dnslb import ZONE, answers
from comparison.experiment import Lab
from comparison.processes import Process, Program, await_ready, free_port
from comparison.stub import Endpoint

UNBOUND = Program("unbound", "unbound", "unbound")


@dataclass(frozen=True, slots=True)
class Setting:
    """What differs between resolvers; the rest is unbound's default, but for what a loopback needs."""

    cache_min_ttl: int = 0              # seconds
    cache_max_ttl: int = 86400          # seconds
    roundrobin: bool = True             # whole RRsets are shuffled
    serve_expired: bool = False
    prefetch: bool = False


@dataclass(frozen=True, slots=True)
class Resolver:
    process: Process
    endpoint: Endpoint


def configuration(
    setting: Setting, endpoint: Endpoint, authorities: Sequence[Endpoint], directory: str, zone: str = ZONE
) -> str:
    def yes(wanted: bool) -> str:
        return "yes" if wanted else "no"

    stubs = "\n".join(f"  stub-addr: {authority.address}@{authority.port}" for authority in authorities)
    return f"""\
server:
  interface: {endpoint.address}@{endpoint.port}
  outgoing-interface: {endpoint.address}
  do-daemonize: no
  chroot: ""
  username: ""
  directory: "{directory}"
  pidfile: ""
  use-syslog: no
  num-threads: 1
  do-ip6: no
  do-not-query-localhost: no
  access-control: 127.0.0.0/8 allow
  module-config: "iterator"
  local-zone: "test." nodefault
  msg-cache-size: 256k
  rrset-cache-size: 256k
  so-rcvbuf: 0
  cache-min-ttl: {setting.cache_min_ttl}
  cache-max-ttl: {setting.cache_max_ttl}
  rrset-roundrobin: {yes(setting.roundrobin)}
  serve-expired: {yes(setting.serve_expired)}
  prefetch: {yes(setting.prefetch)}
stub-zone:
  name: "{zone}"
{stubs}
remote-control:
  control-enable: no
"""


def start(lab: Lab, settings: Sequence[Setting], *authorities: Endpoint, ready: str = "", spread: bool = False,
          network: str = "127.0.3") -> list[Resolver]:
    """One resolver for each setting.  ``ready``: a name that they must be able to resolve first, with the dot.

    The authority sees them under their own addresses; with ``spread``, in networks (/24) of their own.
    """
    homes = [f"127.0.{3 + number}.1" if spread else f"{network}.{1 + number}" for number in range(len(settings))]
    port = free_port(homes)
    resolvers = []
    for home, setting in zip(homes, settings, strict=True):
        endpoint = Endpoint(home, port)
        file = lab.directory / f"unbound-{home}-{port}.conf"
        file.write_text(configuration(setting, endpoint, authorities, str(lab.directory)))
        resolvers.append(Resolver(lab.spawn(f"unbound-{home}-{port}", UNBOUND, "-d", "-c", file), endpoint))
    for resolver in resolvers:
        at = resolver.endpoint
        await_ready(resolver.process, partial(answers, at.address, at.port, ready or f"ns.{ZONE}"))
    return resolvers


@dataclass(frozen=True, slots=True)
class Layer:
    """Whom clients ask, and how long they hold the answer: as a stream takes it."""

    endpoints: tuple[Endpoint, ...]
    hold: str
    processes: tuple[Process, ...] = ()


def start_if_there(lab: Lab, count: int, authority: Endpoint) -> Layer:
    """So many plain resolvers.  Without unbound clients ask dnslb themselves, and hold an answer for its TTL."""
    if not lab.has(UNBOUND):
        lab.notes.append("without resolvers clients ask dnslb themselves, and hold its answers for their TTL")
        return Layer((authority,) * count, "ttl")
    resolvers = start(lab, [Setting()] * count, authority)
    return Layer(tuple(resolver.endpoint for resolver in resolvers), "none",
                 tuple(resolver.process for resolver in resolvers))
