"""How far a secondary is.  A value."""

from __future__ import annotations

from dataclasses import dataclass

from dnslb.transfer.serial import is_newer


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a secondary is with a zone."""

    serial: int | None = None       # what it serves; None: not known yet
    wanted: int = 0                 # what it was told of last
    since: float = 0.0              # Unix time from which on it has what it was told of, or, if not, has lacked it
    error: str = ""                 # what went wrong last, while it lags

    @property
    def lags(self) -> bool:
        return self.serial is None or is_newer(self.wanted, self.serial)
