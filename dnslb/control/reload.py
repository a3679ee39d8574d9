"""What has become of a reload: values only.  Times are Unix times."""

from __future__ import annotations

from dataclasses import dataclass


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
class Refusal:
    """The last reload, if it was refused, or is held back."""

    at: float
    fact: str
    problems: tuple[str, ...]
    until: float | None = None  # when it is taken, unless the files change; None: it has mistakes
