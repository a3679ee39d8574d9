"""Real nameservers as primaries of a dnslb: they serve a file, and notify it, signed, when that has changed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peers import Address, Process, free_port, running, wait_until_serving
from programs import program
from secondaries import KEY, ZONE

from dnslb.config import keys

_SECRET = keys.text(KEY).split('secret "')[1].partition('"')[0]


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a primary runs, and whom it notifies."""

    directory: Path
    port: int
    secondary: int  # port on 127.0.0.1


@dataclass(frozen=True, slots=True)
class PrimaryKind:
    """A nameserver that can be one: how it is called, configured, started, and told to read its file anew."""

    name: str
    program: str
    package: str
    configure: Callable[[Setting], dict[str, str]]  # its files by name, the one that it is given first
    options: Callable[[Path], tuple[str, ...]]      # given that file
    prepare: tuple[tuple[str, ...], ...] = ()       # commands before it starts; {here} is its directory
    reload: tuple[str, ...] = ()                    # the command for that; none: SIGHUP


@dataclass(frozen=True, slots=True)
class Primary:
    """One that runs."""

    kind: PrimaryKind
    directory: Path
    address: Address
    process: Process

    def write(self, text: str) -> None:
        """Serve this zone from now on."""
        new = self.directory / "new"
        new.write_text(text)
        new.replace(self.directory / f"{ZONE}.zone")
        if self.kind.reload:
            _run(self.kind, self.kind.reload, self.directory)
        else:
            os.kill(self.process.popen.pid, signal.SIGHUP)


@contextmanager
def leading(
    kind: PrimaryKind, directory: Path, secondary: int, text: str, port: int | None = None
) -> Iterator[Primary]:
    """The primary, from when it serves the zone.  Skips the test when its program is missing."""
    path = program(kind.program, kind.package)
    here = directory / "primary"  # PowerDNS has a socket there, whose path must be short
    here.mkdir(exist_ok=True)
    setting = Setting(here, port or free_port(), secondary)
    for journal in here.glob("*.jnl"):  # of another life of BIND, when the file was another
        journal.unlink()
    (here / f"{ZONE}.zone").write_text(text)
    files = kind.configure(setting)
    for name, content in files.items():
        (here / name).write_text(content)
    for command in kind.prepare:
        _run(kind, command, here)
    address = Address("127.0.0.1", setting.port)
    with running([path, *kind.options(here / next(iter(files)))], here / "log") as process:
        wait_until_serving(process, address, [ZONE])
        yield Primary(kind, here, address, process)


def _run(kind: PrimaryKind, command: tuple[str, ...], here: Path) -> None:
    words = [word.format(here=here) for word in command[1:]]
    subprocess.run([program(command[0], kind.package), *words], check=True, capture_output=True)


def _nsd(setting: Setting) -> dict[str, str]:
    here = setting.directory
    return {"nsd.conf": f"""\
server:
  ip-address: 127.0.0.1@{setting.port}
  server-count: 1
  username: ""
  zonesdir: "{here}"
  database: ""
  xfrdfile: "{here}/xfrd.state"
  zonelistfile: "{here}/zone.list"
  xfrdir: "{here}"
  pidfile: ""
  xfrd-reload-timeout: 0
remote-control:
  control-enable: no
key:
  name: "fleet"
  algorithm: hmac-sha256
  secret: "{_SECRET}"
zone:
  name: {ZONE}
  zonefile: {ZONE}.zone
  notify: 127.0.0.1@{setting.secondary} fleet
  provide-xfr: 127.0.0.1 fleet
  create-ixfr: yes
  store-ixfr: yes
"""}


def _knot(setting: Setting) -> dict[str, str]:
    here = setting.directory
    return {"knot.conf": f"""\
server:
  listen: 127.0.0.1@{setting.port}
  rundir: {here}
log:
  - target: stderr
    any: info
database:
  storage: {here}
key:
  - id: fleet
    algorithm: hmac-sha256
    secret: {_SECRET}
remote:
  - id: dnslb
    address: 127.0.0.1@{setting.secondary}
    key: fleet
acl:
  - id: dnslb
    key: fleet
    action: transfer
zone:
  - domain: {ZONE}
    storage: {here}
    file: {ZONE}.zone
    zonefile-load: difference
    zonefile-sync: -1
    notify: dnslb
    acl: dnslb
"""}


def _bind(setting: Setting) -> dict[str, str]:
    here = setting.directory
    return {"named.conf": f"""\
options {{
  directory "{here}";
  listen-on port {setting.port} {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
  pid-file none;
  session-keyfile none;
  recursion no;
  notify-delay 0;
  notify-rate 100;
  startup-notify-rate 100;
}};
controls {{ }};
include "{here}/fleet.key";
zone "{ZONE}" {{
  type primary;
  file "{ZONE}.zone";
  ixfr-from-differences yes;
  notify explicit;
  also-notify {{ 127.0.0.1 port {setting.secondary} key fleet; }};
  allow-transfer {{ key fleet; }};
}};
""", "fleet.key": keys.text(KEY)}


def _powerdns(setting: Setting) -> dict[str, str]:
    here = setting.directory
    return {"pdns.conf": f"""\
launch=bind
bind-config={here}/named.conf
bind-dnssec-db={here}/keys.db
local-address=127.0.0.1:{setting.port}
socket-dir={here}
setuid=
setgid=
primary=yes
only-notify=
also-notify=127.0.0.1:{setting.secondary}
xfr-cycle-interval=1
""", "named.conf": f'zone "{ZONE}" {{ type master; file "{here}/{ZONE}.zone"; }};\n'}


_PDNSUTIL = ("pdnsutil", "--config-dir={here}")
NSD = PrimaryKind("NSD", "nsd", "nsd", _nsd, lambda file: ("-d", "-c", str(file)))
KNOT = PrimaryKind("Knot", "knotd", "knot", _knot, lambda file: ("-c", str(file)))
BIND = PrimaryKind("BIND", "named", "bind9", _bind, lambda file: ("-g", "-n", "1", "-c", str(file)))
POWERDNS = PrimaryKind(
    "PowerDNS", "pdns_server", "pdns-server pdns-backend-bind", _powerdns,
    lambda file: (f"--config-dir={file.parent}", "--daemon=no", "--guardian=no"),
    (
        (*_PDNSUTIL, "create-bind-db", "{here}/keys.db"),
        (*_PDNSUTIL, "import-tsig-key", "fleet", KEY.algorithm, _SECRET),
        (*_PDNSUTIL, "activate-tsig-key", ZONE, "fleet", "primary"),
    ),
    ("pdns_control", "--config-dir={here}", "bind-reload-now", ZONE),
)
PRIMARIES = (NSD, KNOT, BIND, POWERDNS)
