"""The server's own settings: ``dnslb.yaml``, or the options of ``dnslb serve``, which override it.

Pure: no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

from dnslb.balance.rotation import PLAIN_ORDERS, RRsetOrder
from dnslb.config import clients, hook, named_zone, rate_limit, recording, transfers
from dnslb.config.clients import EVERYBODY, Clients, Network
from dnslb.config.hook import Hook
from dnslb.config.named_zone import NamedZone
from dnslb.config.nameserver import NOBODY, TransferPolicy
from dnslb.config.rate_limit import LIMIT, RateLimit
from dnslb.config.recording import Dnstap, QueryLog
from dnslb.dns import name
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.text import document
from dnslb.text.document import Document
from dnslb.text.problem import Problem
from dnslb.text.yaml_tree import MappingNode, Node, ScalarNode, SequenceNode

MOST_WORKERS = 64
MOST_CONNECTIONS = 100_000
ADMIN_PORT = 5380
LEAST_IDLE, MOST_IDLE = 0.1, 3600.0  # seconds; the keepalive option counts tenths in 16 bits (RFC 7828 §3.1)
LEAST_TIMEOUT, MOST_TIMEOUT = 1.0, 300.0  # seconds; a worker is asked every second whether it lives
MOST_GRACE = 3600.0                  # seconds
LEAST_SETTLE, MOST_SETTLE = 0.1, 60.0  # seconds
MOST_CONFIRM = 86400.0               # seconds
COOKIES = ("yes", "no", "required")
LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("debug", "info", "warning", "error")
_MOST_TEXT = 255                     # octets of a character-string (RFC 1035 §3.3)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and port to answer on."""

    address: IPv4Address | IPv6Address
    port: int  # 1 to 65535

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The files of a certificate, with its chain, and of its key."""

    certificate: Path
    key: Path

    def __str__(self) -> str:
        return f"{self.certificate}, {self.key}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything about the server that is not a zone or a pool."""

    listen: tuple[Endpoint, ...] = (Endpoint(IPv4Address("127.0.0.1"), 5300),)
    workers: int | None = None           # None: one for each CPU, at most 4
    user: str | None = None              # to become after the sockets are open
    order: RRsetOrder = RRsetOrder.CYCLIC  # of the records in an RRset that is in no pool
    server_id: str | None = None         # NSID, CH TXT id.server; None: refused
    server_version: str | None = None    # CH TXT version.bind; None: refused
    tcp_connections: int = 1000          # open at once, in all
    tcp_per_client: int = 100            # of these, from one IPv4 address or IPv6 /64
    tcp_idle: float = 10.0               # seconds until a silent connection is closed
    cookies: str = "yes"                 # or no, or required: who has cookies shows one of ours before it gets answers
    cookie_secret_file: Path | None = None  # None: a secret of this life of the server
    rate_limit: RateLimit = LIMIT   # of replies over UDP
    clients: Clients = EVERYBODY         # who is answered
    proxies: tuple[Network, ...] = ()    # who tells in front of a query whose it is
    worker_timeout: float = 5.0          # seconds of silence after which a worker is replaced
    orphan_grace: float = 60.0           # seconds that workers go on answering without a parent
    watch: bool = True                   # whether an edited file is read at once
    settle: float = 0.5                  # seconds without a change until it is
    confirm: float = 60.0                # seconds without a change until what may be half of an edit is taken
    zones: tuple[NamedZone, ...] = ()    # whose files have other names
    include_from: tuple[Path, ...] = ()  # directories out of which zones may include, beside their own
    state: Path | None = None            # directory for verdicts and orders; None: state_directory.default_directory
    control: Path | None = None          # the control socket; None: admin.place.default_path
    admin: Endpoint | None = None        # for the API and the status page over TCP; None: nowhere
    admin_hosts: tuple[str, ...] = ()    # names by which it may be asked there, in lower case
    admin_token_file: Path | None = None  # holds what is needed for more than reading; None: reading only
    admin_tls: KeyPair | None = None     # None: over TCP it is plain HTTP
    peers: Mapping[str, str] = field(default_factory=dict)  # URLs of other nodes' status pages, by their names
    on_change: tuple[Hook, ...] = ()     # who is told of every change
    dnstap: Dnstap | None = None         # who gets queries and replies as they come
    query_log: QueryLog | None = None    # where queries are written down
    log_format: str = "text"             # or json
    log_level: str = "info"              # the least that is logged, until it is changed while running
    keys: Mapping[str, Path] = field(default_factory=dict)  # files of TSIG keys, by the keys' names
    catalog_zone: Name | None = None     # lists all zones that secondaries get; None: there is none
    transfers: TransferPolicy = NOBODY   # of zones whose own policy says nothing else


def parse_endpoint(text: str, default: int = 53) -> Endpoint | None:
    """``192.0.2.1:53``, ``[2001:db8::1]:53``, or an address alone for the default port; None for anything else."""
    match = re.fullmatch(r"\[([^\]]+)\](?::(\d{1,5}))?|([^:]+)(?::(\d{1,5}))?|(.*:.*:.*)", text, re.ASCII)
    if match is None:
        return None
    host = match[1] or match[3] or match[5]
    port = int(match[2] or match[4] or default)
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return Endpoint(address, port) if 1 <= port <= 65535 else None


def parse_host(text: str) -> str | None:
    """The host name in lower case, without its final dot; None when it is none."""
    host = text.lower().removesuffix(".")
    return host if re.fullmatch(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", host, re.ASCII) else None


def is_short_text(text: str) -> bool:
    """Whether the text can be told in one character-string of a TXT record."""
    try:
        return len(text.encode()) <= _MOST_TEXT
    except UnicodeEncodeError:  # octets on the command line that are no UTF-8
        return False


def read(octets: bytes, file: str) -> tuple[Settings, list[Problem]]:
    """The settings in the file, and everything that is wrong with them."""
    parsed = document.parse(octets, file)
    if parsed.root is None or _is_empty(parsed.root):
        return Settings(), parsed.problems
    found: dict[str, Any] = {}
    values = parsed.mapping(parsed.root, (*_READERS, *transfers.KEYS, *clients.KEYS), "the file")
    for key, node in values.items():
        value = _READERS[key](parsed, node) if key in _READERS else None
        if value is not None:
            found[key] = value
    found["clients"] = clients.read(parsed, values)
    found["transfers"] = transfers.read(parsed, values, found.get("keys", {}))
    return replace(Settings(), **found), parsed.problems


def _is_empty(node: Node) -> bool:
    return isinstance(node, ScalarNode) and not node.value


def _endpoints(parsed: Document, node: Node) -> tuple[Endpoint, ...] | None:
    endpoints: list[Endpoint] = []
    if isinstance(node, SequenceNode) and not node.value:
        parsed.report(node, "the list is empty", "write at least one address and port")
    for word, item in parsed.texts(node):
        endpoint = parse_endpoint(word)
        if endpoint is None:
            parsed.report(item, f"{word} is no address and port", "write 192.0.2.1:53 or [2001:db8::1]:53")
        elif endpoint in endpoints:
            parsed.report(item, f"{word} is given twice", "remove one of the two")
        else:
            endpoints.append(endpoint)
    return tuple(endpoints) or None


def _admin(parsed: Document, node: Node) -> Endpoint | None:
    word = parsed.text(node)
    endpoint = parse_endpoint(word, ADMIN_PORT) if word is not None else None
    if word is not None and endpoint is None:
        parsed.report(node, f"{word} is no address and port", f"write 127.0.0.1:{ADMIN_PORT} or [::1]:{ADMIN_PORT}")
    return endpoint


def _hosts(parsed: Document, node: Node) -> tuple[str, ...]:
    hosts: list[str] = []
    for word, item in parsed.texts(node):
        host = parse_host(word)
        if host is None:
            parsed.report(item, f"{word} is no host name", "write it without port, as in ns1.example.com")
        else:
            hosts.append(host)
    return tuple(hosts)


def _peers(parsed: Document, node: Node) -> dict[str, str]:
    """The URLs of other nodes, by their names."""
    found: dict[str, str] = {}
    for word, key, value in parsed.entries(node, "peers"):
        name, url = parse_host(word), hook.read_url(parsed, value)
        if name is None:
            parsed.report(key, f"{word} is no name of a node", "write it as in ns2: https://ns2.example.com:5380")
        elif url is not None:
            found[name] = url
    return found


def _keys(parsed: Document, node: Node) -> dict[str, Path]:
    """The files of TSIG keys, by the keys' names."""
    found: dict[str, Path] = {}
    for word, key, value in parsed.entries(node, "keys"):
        name, path = transfers.key_name(word), _path(parsed, value)
        if name is None:
            parsed.report(key, f"{word} is no name of a key", "write letters, digits, hyphens and dots")
        elif path is not None:
            found[name] = path
    return found


def _zone_name(parsed: Document, node: Node) -> Name | None:
    word = parsed.text(node)
    if word is None:
        return None
    try:
        return name.fold(name.parse(word.rstrip(".") + ".", name.ROOT))
    except Mistaken as error:
        parsed.report(node, error.mistake.fact, error.mistake.remedy)
        return None


def _order(parsed: Document, node: Node) -> RRsetOrder | None:
    word = parsed.choice(node, PLAIN_ORDERS)
    return RRsetOrder(word) if word is not None else None


def _short_text(parsed: Document, node: Node) -> str | None:
    word = parsed.text(node)
    if word is not None and not is_short_text(word):
        parsed.report(node, f"the text is longer than {_MOST_TEXT} octets", "shorten it")
        return None
    return word


def _yes_or_no(parsed: Document, node: Node) -> bool | None:
    word = parsed.choice(node, ("yes", "no"))
    return None if word is None else word == "yes"


def _path(parsed: Document, node: Node) -> Path | None:
    word = parsed.text(node)
    if word is not None and not word.startswith("/"):
        parsed.report(node, f"{word} is no absolute path", "begin it with /")
        return None
    return Path(word) if word is not None else None


def _key_pair(parsed: Document, node: Node) -> KeyPair | None:
    nodes = parsed.mapping(node, ("certificate", "key"), "admin_tls")
    paths = {key: _path(parsed, found) for key, found in nodes.items()}
    if isinstance(node, MappingNode) and len(paths) < 2:
        parsed.report(node, "admin_tls needs a certificate and a key", "write {certificate: /path, key: /path}")
    certificate, key = paths.get("certificate"), paths.get("key")
    return None if certificate is None or key is None else KeyPair(certificate, key)


def _paths(parsed: Document, node: Node) -> tuple[Path, ...]:
    items = node.value if isinstance(node, SequenceNode) else [node]
    return tuple(path for item in items if (path := _path(parsed, item)) is not None)


_READERS: dict[str, Callable[[Document, Node], Any]] = {
    "listen": _endpoints,
    "workers": lambda parsed, node: parsed.number(node, 1, MOST_WORKERS),
    "user": Document.text,
    "order": _order,
    "server_id": _short_text,
    "server_version": _short_text,
    "tcp_connections": lambda parsed, node: parsed.number(node, 1, MOST_CONNECTIONS),
    "tcp_per_client": lambda parsed, node: parsed.number(node, 1, MOST_CONNECTIONS),
    "tcp_idle": lambda parsed, node: parsed.duration(node, LEAST_IDLE, MOST_IDLE),
    "cookies": lambda parsed, node: parsed.choice(node, COOKIES),
    "cookie_secret_file": _path,
    "rate_limit": rate_limit.read,
    "proxies": clients.networks,
    "zones": named_zone.read,
    "include_from": _paths,
    "worker_timeout": lambda parsed, node: parsed.duration(node, LEAST_TIMEOUT, MOST_TIMEOUT),
    "orphan_grace": lambda parsed, node: parsed.duration(node, 0.0, MOST_GRACE),
    "state": _path,
    "control": _path,
    "admin": _admin,
    "admin_hosts": _hosts,
    "admin_token_file": _path,
    "admin_tls": _key_pair,
    "watch": _yes_or_no,
    "settle": lambda parsed, node: parsed.duration(node, LEAST_SETTLE, MOST_SETTLE),
    "confirm": lambda parsed, node: parsed.duration(node, 0.0, MOST_CONFIRM),
    "peers": _peers,
    "on_change": hook.read,
    "dnstap": recording.read_dnstap,
    "query_log": recording.read_query_log,
    "log_format": lambda parsed, node: parsed.choice(node, LOG_FORMATS),
    "log_level": lambda parsed, node: parsed.choice(node, LOG_LEVELS),
    "keys": _keys,
    "catalog_zone": _zone_name,
}
