"""NSD, Knot, BIND and PowerDNS as secondaries: the samples of scripts/secondary, with what is here put in.

Each runs in the foreground, without privileges, in a directory of its own; whoever is on 127.0.0.1
may look at all that it has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dnslb.config import keys
from dnslb.config.keys import TsigKey

_SAMPLES = Path(__file__).resolve().parent.parent / "secondary"
_PRIMARY, _ZONE = "192.0.2.1", "example.com"  # in the samples


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a secondary runs, and what it follows."""

    directory: Path
    port: int
    primaries: Sequence[int]            # ports on 127.0.0.1
    zones: Sequence[str]                # without the final dot
    key: TsigKey
    host: str = "127.0.0.1"             # on which it answers
    extra: str = ""                     # lines for each zone, as the server's configuration wants them

    @property
    def secret(self) -> str:
        match = re.search(r'secret "(.*)"', keys.text(self.key))
        if match is None:
            raise ValueError("a key without a secret")
        return match[1]


@dataclass(frozen=True, slots=True)
class Secondary:
    """A nameserver that can be one: how it is called, configured, prepared and started."""

    name: str
    program: str
    package: str                                            # Debian's
    configure: Callable[[Setting], Mapping[str, str]]       # its files by name, the one that it is given first
    options: Callable[[Path], Sequence[str]]                # given that file
    prepare: Callable[[Setting], Sequence[Sequence[str]]] = lambda _: ()  # commands, before it is started


def write(peer: Secondary, setting: Setting) -> Path:
    """Write its files; the one that it is given."""
    files = peer.configure(setting)
    for name, text in files.items():
        (setting.directory / name).write_text(text)
    return setting.directory / next(iter(files))


def _sample(name: str, changes: Mapping[str, str]) -> str:
    """A sample with these changes.  Raises ValueError for one that does not apply: the sample is not what it was."""
    text = (_SAMPLES / name).read_text()
    for old, new in changes.items():
        if old not in text:
            raise ValueError(f"{name} has no {old!r}")
        text = text.replace(old, new)
    return text.replace(_PRIMARY, "127.0.0.1")


def _for_each_zone(text: str, begin: str, zones: Sequence[str]) -> str:
    """The part from ``begin`` on, once for each zone."""
    head, found, block = text.partition(begin)
    return head + "".join((found + block).replace(_ZONE, zone) for zone in zones)


def _nsd(setting: Setting) -> Mapping[str, str]:
    here = setting.directory
    requests = "".join(f"  request-xfr: 127.0.0.1@{port} fleet\n" for port in setting.primaries)
    server = f"""\
  ip-address: {setting.host}@{setting.port}
  zonesdir: "{here}"
  database: ""
  xfrdfile: "{here}/xfrd.state"
  zonelistfile: "{here}/zone.list"
  xfrdir: "{here}"
  pidfile: ""
  username: ""
  server-count: 1
"""
    text = _sample("nsd.conf", {
        '  zonesdir: "/var/lib/nsd"\n': server,
        "SECRET": setting.secret,
        f"  request-xfr: {_PRIMARY} fleet\n": f"{requests}  provide-xfr: 127.0.0.1 NOKEY\n{setting.extra}",
    })
    return {"nsd.conf": "remote-control:\n  control-enable: no\n" + _for_each_zone(text, "zone:\n", setting.zones)}


def _knot(setting: Setting) -> Mapping[str, str]:
    here = setting.directory
    addresses = ", ".join(f"127.0.0.1@{port}" for port in setting.primaries)
    text = _sample("knot.conf", {
        "  listen: 0.0.0.0@53\n": f"  listen: {setting.host}@{setting.port}\n  rundir: {here}\n",
        "SECRET": setting.secret,
        f"{_PRIMARY}@53": f"[{addresses}]",
        "    acl: dnslb\n": f"    acl: [dnslb, look]\n    storage: {here}\n{setting.extra}",
        "acl:\n  - id": "acl:\n  - id: look\n    address: 127.0.0.1\n    action: transfer\n  - id",
    })
    log = f"log:\n  - target: stderr\n    any: info\ndatabase:\n  storage: {here}\n"
    return {"knot.conf": log + _for_each_zone(text, "zone:\n", setting.zones)}


def _bind(setting: Setting) -> Mapping[str, str]:
    primaries = " ".join(f"127.0.0.1 port {port} key fleet;" for port in setting.primaries)
    key = setting.directory / "fleet.key"
    listen = f"listen-on port {setting.port} {{ {setting.host}; }};\n  listen-on-v6 {{ none; }};"
    text = _sample("named.conf", {
        'directory "/var/cache/bind";':
            f'directory "{setting.directory}";\n  {listen}\n  pid-file none;\n  session-keyfile none;',
        "/etc/dnslb/fleet.key": str(key),
        f"{_PRIMARY} key fleet;": primaries,
        '  file "example.com.zone";\n': f'  file "example.com.zone";\n{setting.extra}',
    })
    parts = _for_each_zone(text, 'zone "', setting.zones)
    return {"named.conf": "controls { };\n" + parts, key.name: keys.text(setting.key)}


def _powerdns(setting: Setting) -> Mapping[str, str]:
    here = setting.directory
    text = _sample("pdns.conf", {
        "bind-config=/etc/powerdns/named.conf": f"bind-config={here}/named.conf",
        "bind-dnssec-db=/var/lib/powerdns/keys.db": f"bind-dnssec-db={here}/keys.db",
        "launch=bind": f"launch=bind\nlocal-address={setting.host}:{setting.port}\nsocket-dir={here}\nsetuid=\nsetgid=",
    })
    primaries = " ".join(f"127.0.0.1:{port};" for port in setting.primaries)
    zones = _sample("pdns-named.conf", {"/var/lib/powerdns/": f"{here}/", f"{_PRIMARY};": primaries})
    files = {f"{zone}.zone": "" for zone in setting.zones}
    return {"pdns.conf": text, "named.conf": _for_each_zone(zones, 'zone "', setting.zones)} | files


def _prepare_powerdns(setting: Setting) -> Sequence[Sequence[str]]:
    tool = ("pdnsutil", f"--config-dir={setting.directory}")
    return [
        (*tool, "create-bind-db", str(setting.directory / "keys.db")),
        (*tool, "import-tsig-key", "fleet", setting.key.algorithm, setting.secret),
        *((*tool, "activate-tsig-key", zone, "fleet", "secondary") for zone in setting.zones),
    ]


NSD = Secondary("NSD", "nsd", "nsd", _nsd, lambda file: ("-d", "-c", str(file)))
KNOT = Secondary("Knot", "knotd", "knot", _knot, lambda file: ("-c", str(file)))
BIND = Secondary("BIND", "named", "bind9", _bind, lambda file: ("-g", "-n", "1", "-c", str(file)))
POWERDNS = Secondary(
    "PowerDNS", "pdns_server", "pdns-server pdns-backend-bind", _powerdns,
    lambda file: (f"--config-dir={file.parent}", "--daemon=no", "--guardian=no"), _prepare_powerdns,
)
SECONDARIES = (NSD, KNOT, BIND, POWERDNS)
