"""How a zone stands that comes from primaries.  A value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """Times are Unix times."""

    primary: str = ""                # which was heard last; empty: none yet
    refreshed: float | None = None   # when a primary said last that we have its last version; None: never
    expires: float | None = None     # when the zone is not answered from any more, unless one is heard before
    error: str = ""                  # what went wrong in the last attempt
