"""What a worker and its parent say to one another, over a ``Channel``.

The parent sends updates and instructions.  The worker answers the first with their numbers, and those that ask for a
report with one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from dnslb.answer.hidden_loads import Asked
from dnslb.answer.snapshot import Led, Question, RRsetKey, Serving
from dnslb.balance.rotation import Stand
from dnslb.dns.name import Name
from dnslb.dns.zone import RRset
from dnslb.worker.rate_limit import NONE_HELD, Held
from dnslb.worker.record_counts import Written

Classes: TypeAlias = Mapping[bytes, int]  # of hidden load, by network

READY = 0  # what a worker says once it answers; later, the number of each update that is in force


@dataclass(frozen=True, slots=True)
class Update:
    """From now on the pools serve this, and zones have these SOAs."""

    number: int  # from 1
    servings: Mapping[RRsetKey, Serving]
    soas: Mapping[Name, RRset] = field(default_factory=dict)  # by apex
    classes: Classes | None = None  # of all resolvers; None: as before


class Instruction(Enum):
    """What the parent tells a worker to do."""

    REPORT_COUNTS = "report counts"
    REPORT_STATE = "report state"
    REPORT_TOP = "report top"  # what is asked most; it is counted for a while from then on
    LEAVE = "leave"          # end; a parent that only falls silent does not end its workers
    HAND_OVER = "hand over"  # end, and leave the TCP connections to another worker


@dataclass(frozen=True, slots=True)
class Counts:
    """What a worker has counted since it last told."""

    udp: Mapping[bytes, int]  # replies by their head
    tcp: Mapping[bytes, int]
    packed: int               # replies that were not found ready
    accepted: int             # TCP connections
    evicted: int              # TCP connections closed to make room
    open: int                 # TCP connections, now
    bugs: int
    records: Mapping[str, Written] = field(default_factory=dict)  # of queries, by where they go
    held: Held = NONE_HELD    # queries held up by the rate limit


@dataclass(frozen=True, slots=True)
class LeadCounts:
    """For some pools: how many answers each address has led since the worker last told."""

    led: Mapping[RRsetKey, Led]


@dataclass(frozen=True, slots=True)
class ZoneCounts:
    """For some zones: how many replies were given from each since the worker last told."""

    replies: Mapping[Name, int]


@dataclass(frozen=True, slots=True)
class AskedCounts:
    """For some RRsets and networks: how often they were asked for since the worker last told."""

    asked: Mapping[tuple[RRsetKey, bytes], Asked]


@dataclass(frozen=True, slots=True)
class WorkerState:
    """Some of the questions that a worker is asked, and where its turns stand: its successor begins with them."""

    questions: Sequence[Question] = ()
    stands: Mapping[RRsetKey, Stand] = field(default_factory=dict)
    is_all: bool = False  # whether nothing comes after it
