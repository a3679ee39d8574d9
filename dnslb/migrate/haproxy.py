"""``haproxy.cfg``: its backends become pools of one zone; what works on requests is listed, and stays with a proxy.

Names follow HAProxy's configuration manual, sections 4 and 5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

import yaml

from dnslb.balance.pool import Address
from dnslb.config import beginning
from dnslb.migrate import haproxy_syntax
from dnslb.migrate.haproxy_syntax import Line, Section
from dnslb.migrate.imported import Imported, Unreadable

_POOLS = {"backend", "listen"}
_PLAIN_CHECKS = {
    "tcp-check", "mysql-check", "pgsql-check", "redis-check", "smtpchk", "ldap-check", "spop-check", "ssl-hello-chk",
}  # fmt: skip
_ORDERS = {
    "roundrobin": ("cyclic", ""), "static-rr": ("cyclic", ""), "random": ("random", ""),
    "source": ("sticky", "; DNS sees the resolver's network, not the client's"),
    "leastconn": ("cyclic", "; DNS does not see connections"), "first": ("none", "; DNS does not see connections"),
}  # fmt: skip
_TIMES = {"inter": "interval", "fastinter": "fast_interval", "downinter": "down_interval"}
_PROBED = {"check", "check-ssl", "ssl"}
_REQUESTS = "works on requests and connections: that stays with a proxy"
_ITSELF = "is about the proxy itself"

@dataclass(frozen=True, slots=True)
class _Server:
    """A server line: address, port of clients, and settings over those of default-server."""

    line: Line
    address: Address | None
    port: int | None
    settings: Mapping[str, str]


def read(text: str, file: str, zone: str) -> Imported:
    """The backends of a haproxy.cfg, as pools of ``zone``.  Raises Unreadable."""
    outcome = Imported()
    defaults: dict[str, list[Line]] = {}
    pools: dict[str, dict[str, object]] = {}
    owners: dict[str, list[Address]] = {}
    latest = ""
    for section in haproxy_syntax.sections(text, file, outcome):
        match section.kind:
            case "defaults":
                latest = section.name
                defaults[latest] = section.lines
            case kind if kind in _POOLS and any(line.words[0] == "server" for line in section.lines):
                base = defaults.get(haproxy_syntax.base(section) or latest, [])
                _Pool(section, base, outcome).lay(pools, owners)
            case _:
                reason = _ITSELF if section.kind == "global" else _REQUESTS
                for line in section.lines:
                    outcome.leave(line.place, f"{section.kind} {section.name}".strip() + f": {line.what}", reason)
    if not owners:
        raise Unreadable(f"{file}: there is no backend with a server; give the haproxy.cfg that has them")
    for line in [line for lines in defaults.values() for line in lines]:
        if not _is_inherited(line):
            reason = _ITSELF if line.words[0] in ("timeout", "log", "maxconn", "retries") else _REQUESTS
            outcome.leave(line.place, f"defaults: {line.what}", reason)
    outcome.files[f"{zone}.zone"] = beginning.zone(zone, IPv4Address("127.0.0.1"), owners, 1).encode()
    policy = yaml.safe_dump({"pools": pools}, sort_keys=False, allow_unicode=True)
    outcome.files[f"{zone}.yaml"] = f"# Pools out of {file.rpartition('/')[2]}.\n{policy}".encode()
    return outcome


def _is_inherited(line: Line) -> bool:
    """Whether backends take it over from defaults, so that it is told of there."""
    about_checks = line.words[:2] in (("option", "httpchk"), ("timeout", "check"))
    return about_checks or line.words[0] in ("balance", "default-server")


class _Pool:
    """One backend on its way to a pool."""

    def __init__(self, section: Section, defaults: list[Line], outcome: Imported) -> None:
        self._section = section
        self._outcome = outcome
        self._inherited = [line for line in defaults if _is_inherited(line)]
        self._owner = _label(section.name)
        self._probe: dict[str, object] = {}
        self._pool: dict[str, object] = {}
        self._http: dict[str, str] | None = None
        self._base: dict[str, str] = {}

    def lay(self, pools: dict[str, dict[str, object]], owners: dict[str, list[Address]]) -> None:
        """Put what became of it among the others."""
        name, number = self._owner, 2
        while self._owner in owners:
            self._owner, number = f"{name}-{number}", number + 1
        for line in self._inherited:
            self._line(line, is_own=False)
        for line in self._section.lines:
            if line.words[0] not in ("server", "from"):
                self._line(line, is_own=True)
        servers = [self._server(line) for line in self._section.lines if line.words[0] == "server"]
        known = [server for server in servers if server is not None and server.address is not None]
        if not known:
            self._leave(Line(self._section.place, (self._section.kind, self._section.name)), "has no address to serve")
            return
        self._build(known)
        addresses = dict.fromkeys(server.address for server in known if server.address is not None)
        owners[self._owner] = list(addresses)
        if len(addresses) > 1 or "probe" in self._pool:
            pools[self._owner] = self._pool
        said = f"the name {self._owner}, addresses: {len(addresses)}; DNS tells clients no port, they know it"
        self._outcome.take(self._section.place, f"{self._section.kind} {self._section.name}", said)

    def _leave(self, line: Line, why: str) -> None:
        self._outcome.leave(line.place, f"{self._section.kind} {self._section.name}: {line.what}", why)

    def _take(self, line: Line, said: str) -> None:
        self._outcome.take(line.place, f"{self._section.kind} {self._section.name}: {line.what}", said)

    def _line(self, line: Line, *, is_own: bool) -> None:
        match line.words:
            case ("balance", algorithm, *_) if algorithm in _ORDERS:
                order, but = _ORDERS[algorithm]
                self._pool["order"] = order
                self._take(line, f"order: {order}{but}")
            case ("balance", *_):
                self._leave(line, "DNS does not see what it hashes; order: sticky keeps a network's leader")
            case ("default-server", *options):
                self._base = {**self._base, **haproxy_syntax.settings(options)}
                self._take(line, "laid under each server")
            case ("option", "httpchk", *request):
                self._http = {**(self._http or {}), **haproxy_syntax.request(request)}
                self._take(line, "an http probe")
            case ("option", check, *_) if check in _PLAIN_CHECKS:
                self._take(line, "a tcp probe: that a connection is accepted; exec: runs a program of yours for more")
            case ("http-check", "send", *options):
                self._http = {**(self._http or {}), **haproxy_syntax.sent(options)}
                self._take(line, "what the http probe asks for")
            case ("http-check", "expect", *expected):
                self._expect(line, expected)
            case ("timeout", "check", time):
                self._probe["timeout"] = haproxy_syntax.duration(time, line.place)
                self._take(line, f"timeout: {haproxy_syntax.duration(time, line.place)}")
            case ("timeout" | "log" | "maxconn" | "retries" | "fullconn", *_):
                self._leave(line, _ITSELF)
            case _ if is_own:
                self._leave(line, _REQUESTS)

    def _expect(self, line: Line, expected: list[str]) -> None:
        match expected:
            case ["status", statuses]:
                ranges = [int(word) if word.isdecimal() else word for word in statuses.split(",")]
                self._probe["expect"] = ranges
                self._take(line, f"expect: {statuses}")
            case ["string", text]:
                self._probe["body"] = text
                self._take(line, f"body: {text}")
            case ["rstring", text]:
                self._probe["body_matches"] = text
                self._take(line, f"body_matches: {text}")
            case _:
                self._leave(line, "write expect, body or body_matches by hand")

    def _server(self, line: Line) -> _Server | None:
        if len(line.words) < 3:
            raise Unreadable(f"{line.place}: a server without an address; write server NAME ADDRESS:PORT")
        address, port = haproxy_syntax.endpoint(line.words[2])
        if address is None:
            self._leave(line, "a name or a path, which is not looked up here: write its address into the zone")
            return None
        settings = {**self._base, **haproxy_syntax.settings(line.words[3:])}
        self._take(line, f"{address} in pool {self._owner}")
        return _Server(line, address, port, settings)

    def _build(self, servers: list[_Server]) -> None:
        """The probe, and what differs between the servers."""
        first = servers[0]
        checked = any("check" in server.settings for server in servers)
        port = first.settings.get("port") or first.port
        for server in servers[1:]:
            if checked and (server.settings.get("port") or server.port) != port:
                self._leave(server.line, f"another port than {port}: all servers of a pool are probed on one")
        if checked and port is not None:
            self._pool["probe"] = self._probe_of(first, haproxy_syntax.number(port, first.line.place))
        elif checked:
            self._leave(first.line, "no port to probe; add a probe by hand")
        elif "agent-check" in first.settings:
            self._leave(first.line, "an agent beside no check; add a probe by hand, and load: to it")
        backends: dict[str, dict[str, object]] = {}
        for server in servers:
            if server.address is not None and (own := self._own(server)):
                backends[str(server.address)] = own
        self._bring_back_lone_backups(servers, backends)
        if backends:
            self._pool["backends"] = backends
        if slow := first.settings.get("slowstart"):
            self._pool["slowstart"] = haproxy_syntax.duration(slow, first.line.place)
        # Weights and networks have a say in who leads; what clients make of the rest is their own affair.
        is_weighted = any("weight" in settings for settings in backends.values()) or "agent-check" in first.settings
        if self._pool.get("order") == "sticky" or is_weighted:
            self._pool["answers"] = 1

    def _bring_back_lone_backups(self, servers: list[_Server], backends: dict[str, dict[str, object]]) -> None:
        """A and AAAA are answered each by itself: where all of one are backups, none is."""
        for version in (4, 6):
            same = [server for server in servers if server.address is not None and server.address.version == version]
            if same and all("backup" in server.settings for server in same):
                for server in same:
                    backends[str(server.address)].pop("backup", None)
                    self._leave(replace(server.line, words=("backup",)), f"no IPv{version} server is in front of it")
        for address in [address for address, own in backends.items() if not own]:
            del backends[address]

    def _probe_of(self, server: _Server, port: int) -> dict[str, object]:
        settings, place = server.settings, server.line.place
        over_tls = "check-ssl" in settings or ("ssl" in settings and "port" not in settings)
        probe: dict[str, object] = {}
        if self._http is not None or over_tls:
            http = self._http or {}
            probe["https" if over_tls else "http"] = http.get("path", "/")
            probe["port"] = port
            if http.get("method", "GET") != "GET" and self._probe.keys().isdisjoint({"body", "body_matches"}):
                probe["method"] = http["method"]
            if host := http.get("host") or settings.get("verifyhost"):
                probe["host"] = host
            if over_tls and ("host" not in probe or settings.get("verify") == "none"):
                probe["verify"] = False
            probe |= {key: value for key, value in self._probe.items() if key != "timeout"}
            probe.setdefault("expect", ["200-399"])  # what HAProxy takes for healthy
        else:
            probe["tcp"] = port
        # HAProxy's own defaults: every 2 s, 3 to go down, 2 to return.
        probe["interval"] = haproxy_syntax.duration(settings.get("inter", "2000"), place)
        for theirs in ("fastinter", "downinter"):
            if theirs in settings:
                probe[_TIMES[theirs]] = haproxy_syntax.duration(settings[theirs], place)
        interval = haproxy_syntax.seconds(settings.get("inter", "2000"), place)
        probe["timeout"] = self._probe.get("timeout", f"{min(interval, 10):g}s")
        probe["fall"] = haproxy_syntax.number(settings.get("fall", "3"), place)
        probe["rise"] = haproxy_syntax.number(settings.get("rise", "2"), place)
        if "agent-check" in settings and "agent-port" in settings:
            asked = haproxy_syntax.duration(settings.get("agent-inter", "2000"), place)
            probe["load"] = {"agent": haproxy_syntax.number(settings["agent-port"], place), "interval": asked}
        return probe

    def _own(self, server: _Server) -> dict[str, object]:
        """What only this server has."""
        own: dict[str, object] = {}
        settings = server.settings
        if "weight" in settings and settings["weight"] != "1":
            own["weight"] = haproxy_syntax.number(settings["weight"], server.line.place)
        if "backup" in settings:
            own["backup"] = True
        if "addr" in settings:
            own["probe_address"] = settings["addr"]
        if "disabled" in settings:
            line = replace(server.line, words=("disabled",))
            self._leave(line, f"dnslb maint {server.address} says so to the server")
        left = [word for word in settings if word not in _TAKEN]
        if left:
            self._leave(replace(server.line, words=("server", server.line.words[1], *left)), _REQUESTS)
        return own


_TAKEN = {
    *_TIMES, *_PROBED, "rise", "fall", "port", "addr", "weight", "backup", "slowstart", "disabled", "verify",
    "verifyhost", "agent-check", "agent-port", "agent-inter",
}  # fmt: skip


def _label(name: str) -> str:
    """The name of a backend as a label: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:63].rstrip("-") or "pool"
