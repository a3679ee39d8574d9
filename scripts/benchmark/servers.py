"""Which servers are compared, and how each is set up.

Data only: a server is its configuration files and its command, both templates in ``$directory`` (its own), ``$zones``
(the directory with the zone file), ``$zone`` (that file), ``$port`` and ``$python``.  One worker or thread each, rate
limits and query logs off, rotation on where a server has it, everything else as it comes.

Where pools are measured, ``$zone`` lists their addresses as plain records and dnslb's policy file is in ``$zones``;
other servers that have pools get ``pool_files``, with ``$probe_port`` where the backends accept.  ``$records`` is the
zone file without what not all servers can read: the pools' names, and the DNAME.  Backends are probed every second, by
gdnsd every two: it can no faster.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from string import Template

from benchmark.queries import BACKENDS, POOLS, WEIGHTS, Question, echo_fault, fault

Verdict = Callable[[Question, bytes, bytes], str | None]


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    program: str                                    # a command that must be there, or ""
    package: str                                    # of Debian
    command: tuple[str, ...]
    version: tuple[str, ...] = ()                   # the command that prints it
    files: tuple[tuple[str, str], ...] = ()         # path below $directory, content
    pool_files: tuple[tuple[str, str], ...] = ()    # more of them, or others of the same paths, for the pool classes
    source: str = ""                                # a C file beside scripts/bench: compiled to $directory/NAME
    lacks: tuple[tuple[str, str], ...] = ()         # query class, why it is not measured
    unprobed: tuple[str, ...] = ()                  # query classes that it answers without regard to health
    fault: Verdict = fault

    @property
    def is_floor(self) -> bool:
        return self.fault is echo_fault

    def is_able(self, query_class: str) -> bool:
        return query_class not in dict(self.lacks)


NO_POOLS = tuple((name, "has no pools") for name in POOLS)

NSD = Server(
    "nsd", "nsd", "nsd",
    ("nsd", "-d", "-c", "$directory/nsd.conf"),
    ("nsd", "-v"),
    (("nsd.conf", """\
server:
  server-count: 1
  ip-address: 127.0.0.1@$port
  username: ""
  zonesdir: "$directory"
  database: ""
  pidfile: ""
  zonelistfile: "$directory/zone.list"
  xfrdfile: "$directory/xfrd.state"
  xfrdir: "$directory"
  tcp-count: 200
  rrl-ratelimit: 0
  round-robin: yes
remote-control:
  control-enable: no
zone:
  name: "example.com"
  zonefile: "$zone"
"""),),
    lacks=NO_POOLS,
)

KNOT = Server(
    "knot", "knotd", "knot",
    ("knotd", "-c", "$directory/knot.conf"),
    ("knotd", "--version"),
    (("knot.conf", """\
server:
  listen: 127.0.0.1@$port
  rundir: "$directory"
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
  answer-rotation: on
control:
  listen: "$directory/knot.sock"
log:
  - target: stderr
    any: error
database:
  storage: "$directory"
zone:
  - domain: example.com
    file: "$zone"
    zonefile-sync: -1
    journal-content: none
"""),),
    lacks=NO_POOLS,
)

BIND = Server(
    "bind", "named", "bind9",
    ("named", "-g", "-4", "-n", "1", "-c", "$directory/named.conf"),
    ("named", "-v"),
    # Nothing of it may send a packet: no notifies, no root priming, no trust anchor refresh.
    (("named.conf", """\
options {
  directory "$directory";
  pid-file none;
  lock-file none;
  session-keyfile "$directory/session.key";
  managed-keys-directory "$directory";
  listen-on port $port { 127.0.0.1; };
  listen-on-v6 { none; };
  recursion no;
  notify no;
  dnssec-validation no;
  empty-zones-enable no;
  querylog no;
  tcp-clients 200;
  rrset-order { order cyclic; };
};
controls { };
zone "example.com" { type primary; file "$zone"; };
"""),),
    lacks=NO_POOLS,
)

GDNSD_WEIGHTS = "".join(
    f"      b{number} => [ {address}, {weight} ]\n" for number, (address, weight) in enumerate(WEIGHTS.items(), 1))
GDNSD_CONFIG = """\
options => {
  listen => [ 127.0.0.1:$port ]
  udp_threads => 1
  tcp_threads => 1
  run_dir => $directory/run
  state_dir => $directory/state
}
"""

GDNSD = Server(
    "gdnsd", "gdnsd", "gdnsd",
    ("gdnsd", "-c", "$directory", "start"),
    ("gdnsd", "version"),
    (("config", GDNSD_CONFIG),
     ("zones/example.com", "$$INCLUDE $records\n")),
    # Its shortest timeout is 1 s, and the interval must be longer.
    (("config", GDNSD_CONFIG + f"""\
service_types => {{
  accepts => {{
    plugin => tcp_connect
    port => $probe_port
    interval => 2
    timeout => 1
    up_thresh => 2
    down_thresh => 2
  }}
}}
plugins => {{
  multifo => {{
    service_types => accepts
    up_thresh => 0.1
    pool => [ {", ".join(BACKENDS)} ]
  }}
  weighted => {{
    service_types => accepts
    up_thresh => 0.1
    weighted => {{
{GDNSD_WEIGHTS}    }}
  }}
}}
"""),
     ("zones/example.com", """\
$$INCLUDE $records
pool 300 DYNA multifo!pool
weighted 300 DYNA weighted!weighted
""")),
    lacks=(("chain", "gives the CNAME alone; the resolver has to ask again"),
           ("dname", "does not know DNAME"),
           ("sticky", "has no order by client")),
)

LUA_BACKENDS = ", ".join(f"'{address}'" for address in BACKENDS)
LUA_WEIGHTS = ", ".join(f"{{{weight}, '{address}'}}" for address, weight in WEIGHTS.items())
POWERDNS_CONFIG = """\
launch=bind
bind-config=$directory/named.conf
local-address=127.0.0.1
local-port=$port
socket-dir=$directory
daemon=no
guardian=no
receiver-threads=1
distributor-threads=1
signing-threads=1
cache-ttl=60
max-tcp-connections=200
loglevel=3
log-dns-queries=no
security-poll-suffix=
webserver=no
api=no
"""

POWERDNS = Server(
    "powerdns", "pdns_server", "pdns-server pdns-backend-bind",
    ("pdns_server", "--config-dir=$directory"),
    ("pdns_server", "--version"),
    (("named.conf", 'zone "example.com" { type master; file "$zone"; };\n'),
     # An empty security-poll-suffix: it must not ask the network whether it is up to date.
     ("pdns.conf", POWERDNS_CONFIG)),
    (("named.conf", 'zone "example.com" { type master; file "$directory/zone"; };\n'),
     ("pdns.conf", POWERDNS_CONFIG + "enable-lua-records=yes\nlua-health-checks-interval=1\n"),
     ("zone", f"""\
$$INCLUDE $records
pool 300 LUA A "ifportup($probe_port, {{{LUA_BACKENDS}}}, {{selector='all', backupSelector='all', timeout=1}})"
weighted 300 LUA A "pickwrandom({{{LUA_WEIGHTS}}})"
""")),
    lacks=(("dname", "follows DNAME only if told to, and then asks its backend more for all queries"),
           ("sticky", "its hashed selector gives one address, not all in the client's order")),
    unprobed=("weighted",),
)

DNSLB = Server(
    "dnslb", "", "",
    ("$python", "-m", "dnslb", "serve", "$zones", "--listen", "127.0.0.1:$port", "--workers", "1",
     "--state", "$directory/state", "--control", "$directory/control"),
    ("$python", "-m", "dnslb", "--version"),
)

ECHO = Server(
    "echo", "cc", "gcc",
    ("$directory/echo", "$port"),
    source="echo.c", lacks=(("tcp", "echoes UDP only"),), fault=echo_fault,
)

SERVERS = (ECHO, DNSLB, GDNSD, NSD, KNOT, POWERDNS, BIND)


def other(name: str, command: str) -> Server:
    """One more server, from the command line: another version of dnslb, say."""
    return Server(name, "", "", tuple(command.split()))


def find(program: str) -> str | None:
    """The path of a program; nameservers are in sbin, which is not in everybody's PATH."""
    return shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")


def fill(template: str, **values: object) -> str:
    return Template(template).substitute({name: str(value) for name, value in values.items()})
