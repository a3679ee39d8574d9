"""Zones that come from a primary: where from, and where what came last is kept.  Pure: no I/O.

What came last is a master file in the state directory.  What has just come lies beside it until it was read without
error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dnslb.config.nameserver import Nameserver
from dnslb.dns import soa
from dnslb.dns.zone import Zone

_DIRECTORY = "secondary"


@dataclass(frozen=True, slots=True)
class Replica:
    """A zone that comes from a primary."""

    primaries: tuple[Nameserver, ...]  # to be tried in this order
    path: str                          # of what came last
    policy: str                        # the file that says so,
    octets: bytes                      # and what it said when it was read
    refreshed: float | None = None     # Unix time at which a primary said last that it was current; None: nothing came

    @property
    def candidate(self) -> str:
        """The path of what has just come."""
        return f"{self.path}.new"

    def expires(self, zone: Zone) -> float:
        """The Unix time from which on it must not be answered from, unless a primary is heard before."""
        numbers = soa.read(zone.soa.rdatas[0])
        # A zone that expires before it was asked for a second time would come and go.
        return (self.refreshed or 0.0) + max(numbers.expire, numbers.refresh + numbers.retry)


def path(state: Path, stem: str) -> str:
    """Of what came last of the zone whose policy file has this stem."""
    return str(state / _DIRECTORY / f"{stem}.zone")
