"""What the parent and the process of the transfers say to one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

from dnslb.answer.snapshot import RRsetKey
from dnslb.config.keys import TsigKey
from dnslb.config.nameserver import Nameserver
from dnslb.dns.name import Name
from dnslb.dns.update import Record
from dnslb.dns.zone import RRset
from dnslb.transfer.content import Laid
from dnslb.transfer.journal import Step
from dnslb.transfer.progress import Progress
from dnslb.transfer.standing import Standing


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
    secondary: Nameserver
    progress: Progress


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    """To the parent: somebody wants to change a zone (RFC 2136).  The signature holds; all else is to be seen."""

    number: int                        # by which the reply is known
    apex: Name
    key: str | None                    # who has signed it
    prerequisites: tuple[Record, ...]
    updates: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class UpdateReply:
    """The parent: what has come of an update; the reason, if there is one, is for the log."""

    number: int
    rcode: int
    reason: str


@dataclass(frozen=True, slots=True)
class Notified:
    """To the parent: a primary says that a zone has changed.  From the parent: the same, to who fetches it."""

    apex: Name
    by: IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Following:
    """A zone that comes from primaries, and whether its last copy is what is answered from."""

    primaries: tuple[Nameserver, ...]
    path: str       # of the copy
    candidate: str  # of what comes
    is_held: bool


@dataclass(frozen=True, slots=True)
class Follow:
    """The parent: from now on these zones are to be kept up to date, and no others."""

    zones: Mapping[Name, Following]
    keys: Mapping[str, TsigKey]


@dataclass(frozen=True, slots=True)
class Arrived:
    """To the parent: there is another version of the zone, in the file for it; nothing is written there until Taken."""

    apex: Name
    primary: Nameserver


@dataclass(frozen=True, slots=True)
class Taken:
    """The parent: what has come is answered from; or why not."""

    apex: Name
    error: str = ""


@dataclass(frozen=True, slots=True)
class Expired:
    """To the parent: no primary was heard for so long that the zone must not be answered from any more."""

    apex: Name


@dataclass(frozen=True, slots=True)
class Asked:
    """To the parent: how the last attempt went to keep a zone up to date."""

    apex: Name
    standing: Standing


class Instruction(Enum):
    LEAVE = "leave"  # take nothing new, finish what is under way, and end
