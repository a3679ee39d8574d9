"""A pool: the addresses of one owner name, how they are probed, and how they are handed out.

Values only, as the operator wrote them.  Durations are seconds.  Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

from dnslb.balance.near import Near
from dnslb.balance.rotation import RRsetOrder
from dnslb.balance.unsteady import Unsteady

MOST_WEIGHT = 256

Address: TypeAlias = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """A connection is accepted."""

    port: int


@dataclass(frozen=True, slots=True)
class Gauge:
    """Where an answer over HTTP tells how busy its server is."""

    kind: str          # header, json or prometheus
    name: str          # of the header, the path in the JSON, or the metric
    full: float = 1.0  # the number of a full load


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """A request is answered with an expected status and, if wanted, body."""

    port: int
    path: str = "/"
    tls: bool = False
    host: str | None = None                      # Host header and SNI; None: the address, and no SNI
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    expect: tuple[tuple[int, int], ...] = ((200, 299),)  # ranges of statuses, both ends included
    body: str | None = None                      # a substring of the first 64 kB
    body_matches: str | None = None              # a regular expression found in them
    verify: bool = True                          # the certificate, for `host`
    ca_file: str | None = None                   # None: the system's authorities
    gauge: Gauge | None = None                   # read too; what is wrong with it fails no probe


@dataclass(frozen=True, slots=True)
class DnsCheck:
    """A question is answered with an expected response code."""

    name: str            # absolute
    rrtype: str = "SOA"
    port: int = 53
    expect: tuple[str, ...] = ("NOERROR",)


@dataclass(frozen=True, slots=True)
class ExecCheck:
    """A program exits with 0.  ``{address}`` in an argument stands for the probed address."""

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AgentCheck:
    """An agent says in one line what its backend can take (HAProxy's agent-check)."""

    port: int


Check: TypeAlias = TcpCheck | HttpCheck | DnsCheck | ExecCheck | AgentCheck


@dataclass(frozen=True, slots=True)
class Probe:
    """What is checked, how often, and how many outcomes make a verdict (HAProxy's words)."""

    check: Check
    interval: float = 5.0               # from start to start, while the backend is up
    fast_interval: float | None = None  # while outcomes stand against the verdict; None: as interval
    down_interval: float | None = None  # while the backend is down; None: as interval
    timeout: float = 2.0
    fall: int = 3                       # failures in a row to go down
    rise: int = 2                       # successes in a row to come back
    source: Address | None = None       # to probe from
    unsteady: Unsteady | None = None    # failures not in a row that take it down as well; None: none do

    @property
    def hurried(self) -> float:
        """The interval of an up backend in doubt."""
        return self.interval if self.fast_interval is None else self.fast_interval

    @property
    def detection(self) -> float:
        """Seconds from a backend's death to its verdict, at worst: it dies just after a probe has passed, and hangs.

        A probe begins when the one before has ended, however short the interval.
        """
        hurried = max(self.hurried, self.timeout)
        return max(self.interval, self.timeout) + (self.fall - 1) * hurried + self.timeout


@dataclass(frozen=True, slots=True)
class Load:
    """Who says how busy the backends are, and from when on that is too much."""

    told_by: Probe               # the pool's own, or one that asks for nothing else
    overload: int | None = None  # percent of what a backend can take: from there on it leads no more


@dataclass(frozen=True, slots=True)
class Backend:
    """One address of the pool."""

    address: Address
    weight: int = 1                       # 0 to 256; 0: handed out only when nothing else is up
    backup: bool = False                  # handed out only when no other is up
    probe_address: Address | None = None  # probed instead of the address
    joined: float | None = None           # Unix time at which it registered; None: the zone file lists it

    @property
    def target(self) -> Address:
        return self.probe_address or self.address


class AllDown(Enum):
    """What is answered when no backend is up."""

    ALL = "all"    # every address: fail open
    NONE = "none"  # no address: NODATA


class OnReturn(Enum):
    """What becomes of a backend that was down, when it is up again."""

    AUTOMATIC = "automatic"  # it is handed out
    MANUAL = "manual"        # it is not, until the operator says ``ready``


@dataclass(frozen=True, slots=True)
class Least:
    """What an order has to leave of each RRset, unless it is forced: backends, or a share of the weight."""

    backends: int = 0
    percent: int = 0

    def __str__(self) -> str:
        return f"{self.percent}%" if self.percent else str(self.backends)


@dataclass(frozen=True, slots=True)
class TtlPolicy:
    """The bounds of a pool's TTL."""

    min: int = 5                    # seconds; never above the zone file's TTL
    max: int | None = None          # seconds; None: the zone file's TTL
    failover: float | None = None   # the promise: so long after it died, a backend gets no new client
    is_adaptive: bool = False       # a resolver gets a TTL by its hidden load
    mean: int | None = None         # then, seconds of the constant TTL that brings as many queries; None: a quarter


@dataclass(frozen=True, slots=True)
class JoinPolicy:
    """Who may join the pool without being written in the zone file."""

    networks: tuple[IPv4Network | IPv6Network, ...]
    limit: int = 20        # addresses that have joined, at most
    lease: float = 60.0    # seconds for which they stay unless they say so again
    others: bool = False   # whether an address may be registered from another


@dataclass(frozen=True, slots=True)
class Pool:
    """Everything that a policy file says of one owner name, with the addresses that the zone file lists."""

    owner: str                                  # absolute name, as a master file writes it
    backends: tuple[Backend, ...]               # in the zone file's order, A before AAAA
    zone_ttls: Mapping[int, int] = field(default_factory=dict)  # seconds, by IP version
    probe: Probe | None = None                  # None: every backend counts as up
    order: RRsetOrder = RRsetOrder.CYCLIC
    answers: int | None = None                  # addresses in a reply, at most; to clients that are not near
    ttl: TtlPolicy = TtlPolicy()
    when_all_down: AllDown = AllDown.ALL
    slowstart: float = 0.0                      # seconds over which the weight of a recovered backend ramps up
    negative_ttl: int = 0                       # seconds that resolvers keep the zone's NODATA (RFC 2308 §5)
    near: Near | None = None                    # None: nobody is; all get as many
    min_ready: Least = Least()                  # what orders have to leave
    fail_open_below: int = 0                    # percent of the weight: with less of it up, all are handed out
    on_return: OnReturn = OnReturn.AUTOMATIC
    hidden_load: bool = False                   # whether it is counted, also where no answer goes by it
    register: JoinPolicy | None = None          # None: nobody joins
    delay: float = 0.0                          # seconds until all nameservers of the zone have a change of it
    load: Load | None = None                    # None: nobody asks how busy the backends are

    @property
    def goes_by_load(self) -> bool:
        """Whether answers differ by the hidden load of who asks."""
        return self.ttl.is_adaptive or self.order is RRsetOrder.LEAST_ASSIGNED

    @property
    def counts_load(self) -> bool:
        return self.hidden_load or self.goes_by_load

    @property
    def is_single(self) -> bool:
        """Whether every reply has one address."""
        return self.answers == 1 and (self.near is None or self.near.answers == 1)
