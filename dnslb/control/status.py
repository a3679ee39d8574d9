"""What the server tells of itself: values only.

Times are Unix times.  What may be long is told by iterators that work it out as they go, so that others have their turn
in between.  A None in one stands for nothing: only that the next element may take a while.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dnslb.control.reload import Refusal


@dataclass(frozen=True, slots=True)
class OrderStatus:
    """An order that stands."""

    owner: str | None  # None: under every name
    address: str
    mode: str
    since: float
    at: float | None
    until: float | None
    reason: str
    by: str = ""       # who gave it; empty: nobody knows


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a backend stays that has joined by itself."""

    since: float
    until: float   # unless it is renewed
    by: str        # who has registered it


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """One address under one name."""

    address: str
    up: bool | None        # None: not probed, or not judged yet
    since: float | None    # of the verdict
    reason: str            # of the last probe
    unsure: str            # why nobody knows whether it is up, or still is: "is not judged yet"
    streak: int            # outcomes in a row against the verdict
    mode: str
    order: OrderStatus | None  # that made the mode, or will
    weight: int
    backup: bool
    handed_out: bool
    share: float           # of leading answers, as configured: 0 to 1
    led: int               # answers that it led, since the server started
    achieved: float | None  # its share of those since what is handed out changed last; None: there were none
    expires: float | None = None  # when the last cached copy of it does, or did; None: it is handed out
    joined: Lease | None = None  # None: the zone file lists it
    load: float | None = None     # of what it can take, smoothed, 0 to 1; None: nobody asks, or it does not tell
    left: float | None = None     # of its weight, by its load: 0.05 to 1; None: nobody asks
    load_why: str = ""            # what follows from its load, or from the words of its agent


@dataclass(frozen=True, slots=True)
class ResolverStatus:
    """A network that asks."""

    network: str
    requests: float        # a second, behind its caches


@dataclass(frozen=True, slots=True)
class HiddenLoadStatus:
    """What clients resolvers hide behind their caches."""

    told: str              # one line for a person
    networks: int          # of which that is known
    requests: float        # a second, behind all of these
    rest: float            # queries a second of all others
    heaviest: tuple[ResolverStatus, ...]  # some


@dataclass(frozen=True, slots=True)
class RRsetStatus:
    """A pool's A or AAAA records."""

    type: str
    ttl: int
    why: str               # the TTL is what it is
    fails_open: bool
    withheld: bool         # queries get no reply yet, since nobody knows who is up
    backends: Iterable[BackendStatus]
    empty: bool = False    # queries get an empty answer, since nobody is available
    changed: float | None = None  # when what is handed out did last; None: nobody knows
    hidden_load: HiddenLoadStatus | None = None  # None: it is not counted


@dataclass(frozen=True, slots=True)
class PoolStatus:
    owner: str
    rrsets: Iterable[RRsetStatus]
    rotated: bool = False  # no policy names it: its addresses are rotated, and not probed


@dataclass(frozen=True, slots=True)
class Unlisted:
    """Names of a zone that are rotated, and too many to be listed among the pools."""

    zone: str
    names: int


@dataclass(frozen=True, slots=True)
class ZoneStatus:
    zone: str
    serial: int
    changed: float | None = None  # when its present records were read; None: at the start
    change: str = ""              # what that reload did to it
    updated: int = 0              # RRsets that are as updates say, and not as the file does


@dataclass(frozen=True, slots=True)
class SecondaryStatus:
    """How far a secondary is with a zone."""

    zone: str
    secondary: str         # address and port
    serial: int | None     # that it serves; None: it has not told
    wanted: int            # of the last version
    lags: bool             # whether it lacks that
    since: float           # that it has it, or has lacked it
    error: str             # what went wrong last, while it lags


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """A zone that comes from primaries."""

    zone: str
    primaries: tuple[str, ...]  # addresses and ports
    serial: int | None          # that is answered from; None: SERVFAIL is answered
    primary: str                # that was heard last; empty: none yet
    refreshed: float | None     # when one said last that this is the last version; None: never
    expires: float | None       # from when on SERVFAIL is answered unless one is heard before; None: it is already
    error: str                  # what went wrong in the last attempt


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node, and where its status page is."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """The process rather than what it serves."""

    version: str
    started: float    # Unix time
    generation: int   # catalogs served up to now, the present one included
    workers: int
    restarts: int     # of workers that died
    queries: int      # that came in, since the start
    hung: int = 0     # of the workers that died, those that were killed because they hung
    silent: tuple[int, ...] = ()  # the numbers of the workers that are not known to answer
    name: str = ""    # of this server, so that two are told apart
    peers: tuple[Peer, ...] = ()  # other nodes, as its settings name them
    recorded: int = 0    # records of queries that went to dnstap and the query log, since the start
    unrecorded: int = 0  # those that nobody took in time
    held: int = 0     # queries that the rate limit held up, since the start


@dataclass(frozen=True, slots=True)
class Status:
    now: float
    directory: str
    loaded: float             # when what is served was read
    refused: Refusal | None   # since then
    zones: Iterable[ZoneStatus]
    pools: Iterable[PoolStatus | None]
    orders: Iterable[OrderStatus]
    server: ServerStatus
    unlisted: Iterable[Unlisted | None] = ()  # after ``pools``
    restart: tuple[str, ...] = ()  # the settings that the files have otherwise, and that wait for a start
    secondaries: tuple[SecondaryStatus, ...] = ()
    replicas: tuple[ReplicaStatus, ...] = ()


def public(status: Status) -> Status:
    """As whoever can connect may see it: mistakes quote the files that they are in, be it a foreign one."""
    if status.refused is None or not status.refused.problems or status.refused.until is not None:
        return status
    number = len(status.refused.problems)
    told = f"{number} mistake{'' if number == 1 else 's'}: see the log, or run dnslb check"
    return replace(status, refused=replace(status.refused, problems=(told,)))


@dataclass(frozen=True, slots=True)
class ProbeStatus:
    """The last probes of one address under one name, oldest first."""

    owner: str
    address: str
    took: tuple[float, ...]   # seconds
    passed: tuple[bool, ...]
    at: tuple[float, ...] = ()  # Unix times at which they had ended
