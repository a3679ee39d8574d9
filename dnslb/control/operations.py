"""What can be asked of a running server: the values that go in and come out, and who answers.

Only values.  ``serve`` answers, ``admin`` carries it over a socket; neither knows the other.  Times are Unix times.
What may be long is told by iterators that work it out as they go, so that others have their turn in between.  A None
in one stands for nothing: only that the next element may take a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from dnslb.balance.operator_order import Mode


class Rejected(Exception):
    """What was asked cannot be done, and nothing has changed."""

    def __init__(self, fact: str, remedy: str) -> None:
        super().__init__(f"{fact}; {remedy}")
        self.fact = fact
        self.remedy = remedy


class Unknown(Rejected):
    """No pool has that name, or no backend that address."""


class NotReloaded(Rejected):
    """The files cannot be served; the old data go on being served."""

    def __init__(self, fact: str, remedy: str, problems: tuple[str, ...]) -> None:
        super().__init__(fact, remedy)
        self.problems = problems


class Delayed(Exception):
    """The order is given, but a worker has not acknowledged it in time."""


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


@dataclass(frozen=True, slots=True)
class PoolStatus:
    owner: str
    rrsets: Iterable[RRsetStatus]


@dataclass(frozen=True, slots=True)
class ZoneStatus:
    zone: str
    serial: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """The last reload, if it was refused, or is held back."""

    at: float
    fact: str
    problems: tuple[str, ...]
    until: float | None = None  # when it is taken, unless the files change; None: it has mistakes


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
    restart: tuple[str, ...] = ()  # the settings that the files have otherwise, and that wait for a start


def public(status: Status) -> Status:
    """As whoever can connect may see it: mistakes quote the files that they are in, be it a foreign one."""
    if status.refused is None or not status.refused.problems or status.refused.until is not None:
        return status
    number = len(status.refused.problems)
    told = f"{number} mistake{'' if number == 1 else 's'}: see the log, or run dnslb check"
    return replace(status, refused=replace(status.refused, problems=(told,)))


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


@dataclass(frozen=True, slots=True)
class ProbeStatus:
    """The last probes of one address under one name, oldest first."""

    owner: str
    address: str
    took: tuple[float, ...]   # seconds
    passed: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class ZoneChange:
    """What a reload did to a zone."""

    zone: str
    before: int | None  # serial; None: there was no such zone
    after: int | None   # None: it is served no more
    changed: bool
    added: int = 0      # records, the SOA aside; with another TTL it is another record
    gone: int = 0


@dataclass(frozen=True, slots=True)
class Reloaded:
    zones: tuple[ZoneChange, ...]
    pools: int
    pools_changed: bool
    warnings: tuple[str, ...]         # that were not given before
    changes: tuple[str, ...] = ()     # of pools, a line for each
    settings: tuple[str, ...] = ()    # that are other than they were
    restart: tuple[str, ...] = ()     # as in the status


@dataclass(frozen=True, slots=True)
class Wanted:
    """An order as it is given: addresses and names may be patterns of the shell."""

    mode: Mode
    addresses: tuple[str, ...]
    names: tuple[str, ...] = ()   # none: under every name
    at: float | None = None
    until: float | None = None
    reason: str = ""
    by: str = ""                  # who gives it
    now: bool = False             # ready: hand it out before a probe has passed


@dataclass(frozen=True, slots=True)
class Clock:
    """What an order has done to one address in one RRset."""

    owner: str
    type: str
    address: str
    mode: str
    expires: float | None  # when the last cached copy of it does, or did; None: it is handed out
    note: str = ""         # what the operator should know
    since: float | None = None  # when the order was given that stands for it now; None: there is none
    changed: bool = True   # False: it was so already


@dataclass(frozen=True, slots=True)
class Obeyed:
    """What an order has done."""

    clocks: tuple[Clock, ...]
    warnings: tuple[str, ...]  # what the operator should know of the server


@dataclass(frozen=True, slots=True)
class Change:
    """One line of history."""

    at: float
    owner: str | None  # None: under every name
    address: str
    what: str          # up, down, drain, drain planned, maint, maint planned, ready, ready planned, worker hung
    reason: str
    by: str = ""       # who gave the order; empty: it is none, or nobody knows


class Operations(Protocol):
    """A running server."""

    def status(self, pattern: str | None) -> Status:
        """All pools, or those whose names match.  Its ``pools`` raise Unknown when none does."""

    async def reload(self) -> Reloaded:
        """Read everything again, and return when every worker serves it.  Raises NotReloaded."""

    async def order(self, wanted: Wanted) -> Obeyed:
        """Give the order, and return when every worker acts by it.  Raises Rejected, Unknown, Delayed."""

    def history(self) -> tuple[Change, ...]:
        """The last changes, oldest first; also those of earlier lives of the server."""

    def probes(self, pattern: str | None) -> Iterable[ProbeStatus | None]:
        """The last probes of all pools, or of those whose names match.  Raises Unknown when none does."""

    def metrics(self) -> Iterator[str]:
        """All that is measured, in Prometheus' text format: in pieces, between which the server may go on."""

    def silent(self) -> tuple[int, ...]:
        """The numbers of the workers that are not known to answer."""
