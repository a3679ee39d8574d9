"""A backend that joins a pool by itself, or leaves it: as it is asked for, and what comes of it.  Values only.

Times are Unix times.
"""

from __future__ import annotations

from dataclasses import dataclass

from dnslb.balance.pool import Address


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """Who wants to join or leave which pool."""

    owner: str                    # as people write it
    address: Address
    weight: int = 1
    by: str = ""                  # who asks for it
    source: Address | None = None  # from which it is asked, if that is all that may be registered; None: any may


@dataclass(frozen=True, slots=True)
class Joined:
    """It has joined, or has said so again."""

    owner: str
    address: str
    weight: int
    since: float | None    # None: the zone file lists it, and nothing was registered
    until: float | None    # when it leaves unless it is renewed
    lease: float           # seconds


@dataclass(frozen=True, slots=True)
class Gone:
    """It has left."""

    owner: str
    address: str
    expires: float         # when the last cached copy of it does, or did
    now: float
