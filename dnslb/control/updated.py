"""What updates (RFC 2136) have changed, as operators are told: values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UpdatedRRset:
    """The records of a name and type that are otherwise than in the zone file."""

    zone: str
    owner: str
    type: str
    ttl: int | None             # seconds; None: as in the file
    added: tuple[str, ...]      # data, as in a zone file
    removed: tuple[str, ...]
