"""What the parent and the process of the transfers say to one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from dnslb.answer.snapshot import RRsetKey
from dnslb.config.secondary import Secondary
from dnslb.dns.name import Name
from dnslb.dns.update import Record
from dnslb.dns.zone import RRset
from dnslb.transfer.content import Laid
from dnslb.transfer.journal import Step
from dnslb.transfer.progress import Progress


@dataclass(frozen=True, slots=True)
class Served:
    """The parent: from now on the pools serve this; of those in ``unknown`` nobody knows yet what they should."""

    rrsets: Mapping[RRsetKey, RRset]
    unknown: frozenset[RRsetKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Published:
    """To the parent: there is a new version of a zone."""

    apex: Name
    soa: RRset
    serial: int
    at: float          # Unix time
    laid: Laid         # what its pools serve in it
    step: Step | None  # from the version before; None: there is none, or it is too large to keep


@dataclass(frozen=True, slots=True)
class Announced:
    """The parent: every worker answers with the serial of that version, so that secondaries may be told."""

    apex: Name
    serial: int


@dataclass(frozen=True, slots=True)
class Followed:
    """To the parent: how far a secondary is with a zone."""

    apex: Name
    secondary: Secondary
    progress: Progress


@dataclass(frozen=True, slots=True)
class Asked:
    """To the parent: somebody wants to change a zone (RFC 2136).  The signature holds; all else is to be seen."""

    number: int                        # by which the reply is known
    apex: Name
    key: str | None                    # who has signed it
    prerequisites: tuple[Record, ...]
    updates: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Replied:
    """The parent: what has come of an update; the reason, if there is one, is for the log."""

    number: int
    rcode: int
    reason: str


class Instruction(Enum):
    LEAVE = "leave"  # take nothing new, finish what is under way, and end
