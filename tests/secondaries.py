"""Real nameservers as secondaries of a dnslb: they fetch example.test from it, signed, and answer for it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rcode
from peers import STARTING, Address, Process, running
from programs import program

from dnslb.config import keys
from dnslb.config.keys import TsigKey

KEY = TsigKey("fleet.", "hmac-sha256", b"0123456789abcdef0123456789abcdef")
ZONE = "example.test"


@dataclass(frozen=True, slots=True)
class Setting:
    directory: Path
    port: int
    primaries: Sequence[int]  # ports on 127.0.0.1

    @property
    def secret(self) -> str:
        match = re.search(r'secret "(.*)"', keys.text(KEY))
        assert match is not None
        return match[1]


@dataclass(frozen=True, slots=True)
class Secondary:
    name: str
    program: str
    package: str
    configure: Callable[[Setting], str]
    options: Callable[[Path], Sequence[str]]


def _nsd(setting: Setting) -> str:
    here = setting.directory
    requests = "".join(f"  request-xfr: 127.0.0.1@{port} fleet\n" for port in setting.primaries)
    return f"""server:
  ip-address: 127.0.0.1@{setting.port}
  zonesdir: "{here}"
  database: ""
  xfrdfile: "{here}/xfrd.state"
  zonelistfile: "{here}/zone.list"
  xfrdir: "{here}"
  pidfile: ""
  username: ""
  server-count: 1
  xfrd-reload-timeout: 0
remote-control:
  control-enable: no
key:
  name: "fleet"
  algorithm: {KEY.algorithm}
  secret: "{setting.secret}"
zone:
  name: {ZONE}
  zonefile: {ZONE}
  allow-notify: 127.0.0.1 fleet
{requests}"""


def _knot(setting: Setting) -> str:
    here = setting.directory
    remotes = "".join(
        f"  - id: dnslb{port}\n    address: 127.0.0.1@{port}\n    key: fleet\n" for port in setting.primaries
    )
    return f"""server:
  listen: 127.0.0.1@{setting.port}
  rundir: {here}
log:
  - target: stderr
    any: info
database:
  storage: {here}
key:
  - id: fleet
    algorithm: {KEY.algorithm}
    secret: {setting.secret}
remote:
{remotes}acl:
  - id: notify
    address: 127.0.0.1
    key: fleet
    action: notify
zone:
  - domain: {ZONE}
    storage: {here}
    master: [{", ".join(f"dnslb{port}" for port in setting.primaries)}]
    acl: notify
"""


def _bind(setting: Setting) -> str:
    primaries = "".join(f"127.0.0.1 port {port} key fleet; " for port in setting.primaries)
    return f"""options {{
  directory "{setting.directory}";
  listen-on port {setting.port} {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
  recursion no;
  pid-file none;
  session-keyfile none;
  notify no;
  rrset-order {{ order none; }};
}};
controls {{ }};
{keys.text(KEY)}
zone "{ZONE}" {{
  type secondary;
  primaries {{ {primaries}}};
  file "{ZONE}.db";
  allow-notify {{ key fleet; }};
}};
"""


NSD = Secondary("NSD", "nsd", "nsd", _nsd, lambda file: ("-d", "-c", str(file)))
KNOT = Secondary("Knot", "knotd", "knot", _knot, lambda file: ("-c", str(file)))
BIND = Secondary("BIND", "named", "bind9", _bind, lambda file: ("-g", "-n", "1", "-c", str(file)))
SECONDARIES = (NSD, KNOT, BIND)


@contextmanager
def following(peer: Secondary, directory: Path, port: int, primaries: Sequence[int]) -> Iterator[Process]:
    """The peer, from when it serves the zone.  Skips the test when its program is missing."""
    path = program(peer.program, peer.package)
    here = directory / peer.program
    here.mkdir(exist_ok=True)
    file = here / f"{peer.program}.conf"
    file.write_text(peer.configure(Setting(here, port, primaries)))
    with running([path, *peer.options(file)], here / "log") as process:
        deadline = time.monotonic() + STARTING
        while serial(Address("127.0.0.1", port)) is None:
            assert time.monotonic() < deadline, f"{peer.name} does not get the zone:\n{(here / 'log').read_text()}"
            time.sleep(0.05)
        yield process


def asked(address: Address, name: str, kind: str) -> Any:
    """What is answered, or None when nothing is."""
    try:
        reply = dns.query.udp(dns.message.make_query(name, kind), address.host, 1.0, address.port)
    except (dns.exception.DNSException, OSError):
        return None
    return reply.answer[0] if reply.rcode() == dns.rcode.NOERROR and reply.answer else None


def serial(address: Address) -> int | None:
    found = asked(address, ZONE, "SOA")
    return None if found is None else int(found[0].serial)


def served(address: Address, name: str = f"www.{ZONE}", kind: str = "A") -> tuple[int, frozenset[str]]:
    """The TTL and the addresses."""
    found = asked(address, name, kind)
    return (0, frozenset()) if found is None else (found.ttl, frozenset(map(str, found)))
