"""The last hour, as the server tells it: values only.  Times are Unix times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Led:
    """How often one address led."""

    address: str
    answers: tuple[int, ...]  # in each stretch of ``Timeline.stretch`` seconds, oldest first


@dataclass(frozen=True, slots=True)
class RRsetTimeline:
    """The last hour of a pool's A or AAAA records; runs are pairs of a value and how many samples it lasted."""

    owner: str
    type: str
    ttl: tuple[tuple[int, int], ...]
    up: tuple[tuple[int, int], ...]  # addresses that are not known to be down
    of: int
    available: float                 # part of the samples since the start in which an answer held an address that is up
    led: Iterable[Led]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Samples, the last one taken at ``at`` and the others ``every`` so many seconds before."""

    at: float
    every: float
    stretch: float
    queries: tuple[int, ...]  # in the time up to each sample, oldest first
    rrsets: Iterable[RRsetTimeline | None]
    left_off: int             # pools that are not sampled, for there are too many
