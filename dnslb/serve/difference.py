"""What a reload changes, from one catalog to the next.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from dnslb.catalog import Catalog
from dnslb.dns import name
from dnslb.operations import ZoneChange
from dnslb.settings import Settings

_FIXED = (
    "listen", "workers", "user", "watch", "state", "control", "admin", "admin_hosts", "admin_token_file", "log_format",
    "log_level",
)  # fmt: skip


def zones(was: Catalog, now: Catalog) -> tuple[ZoneChange, ...]:
    """Every zone that there was or is."""
    changes = []
    for apex in sorted(was.zones.keys() | now.zones.keys()):
        old, new = was.zones.get(apex), now.zones.get(apex)
        is_same = old is not None and new is not None and old.serves_as(new)
        before, after = (zone.serial if zone is not None else None for zone in (old, new))
        changes.append(ZoneChange(name.text(apex), before, after, not is_same))
    return tuple(changes)


def text(was: Catalog, now: Catalog) -> str:
    """One line of it."""
    changes = [_text(zone) for zone in zones(was, now) if zone.changed]
    if was.pools != now.pools:
        changes.append(f"{len(now.pools)} pools")
    return "; ".join(changes) or "nothing has changed"


def not_taken(was: Settings, now: Settings) -> str | None:
    """What to tell the operator when a reload cannot do what the files say."""
    if all(getattr(was, key) == getattr(now, key) for key in _FIXED):
        return None
    return f"{', '.join(_FIXED[:-1])} and {_FIXED[-1]} change only when dnslb is started again"


def _text(change: ZoneChange) -> str:
    if change.after is None:
        return f"{change.zone} removed"
    if change.before is None:
        return f"{change.zone} added, serial {change.after}"
    if change.before == change.after:
        return f"{change.zone} changed, serial not raised"
    return f"{change.zone} serial {change.before} → {change.after}"
