"""What a reload changes, from one catalog to the next; and what it cannot change while the server runs.

Pure: no I/O, no clock.  What may be long is told by iterators; they yield None where others may have their turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import chain
from typing import TypeVar

from dnslb.balance.pool import Pool
from dnslb.config.catalog import Catalog
from dnslb.config.settings import Settings
from dnslb.control.reload import ZoneChange
from dnslb.dns import name, rrtype
from dnslb.dns.name import Name
from dnslb.dns.zone import Node, Zone

_FIXED = (
    "listen", "workers", "user", "watch", "state", "control", "admin", "admin_hosts", "admin_token_file", "admin_tls",
    "log_format", "log_level",
)  # fmt: skip
# Of a pool, what no key of its policy is called.
_CALLED = {
    "zone_ttls": "the zone's TTLs", "negative_ttl": "the zone's negative TTL", "near": "who is near",
    "delay": "whether it travels to secondaries",
}  # fmt: skip
_OFTEN = 50   # names looked at between two pauses
_NAMED = 10   # zones and pools, in a line

_Made = TypeVar("_Made")


def zones(was: Catalog, now: Catalog) -> Iterator[ZoneChange | None]:
    """Every zone that there was or is."""
    for apex in sorted(was.zones.keys() | now.zones.keys()):
        old, new = was.zones.get(apex), now.zones.get(apex)
        before, after = (zone.serial if zone is not None else None for zone in (old, new))
        added, gone, is_other = yield from _compare(old, new)
        is_same = old is not None and new is not None and not is_other
        yield ZoneChange(name.text(apex), before, after, not is_same, added, gone)


def pools(was: Catalog, now: Catalog) -> Iterator[str | None]:
    """A line for every pool that is new, gone, or other than it was."""
    for number, owner in enumerate(chain(now.pools, was.pools.keys() - now.pools.keys())):
        old, new = was.pools.get(owner), now.pools.get(owner)
        if old != new:
            yield _pool(old, new)
        elif number % _OFTEN == 0:
            yield None


def settings(was: Settings, now: Settings) -> tuple[str, ...]:
    """What is taken over at once."""
    return tuple(key for key in _changed(was, now) if key not in _FIXED)


def waiting(running: Settings, now: Settings) -> tuple[str, ...]:
    """What the files say otherwise than the server was started with, and cannot change while it runs."""
    return tuple(key for key in _changed(running, now) if key in _FIXED)


def text(zones: Iterable[ZoneChange], pools: Sequence[str], settings: Sequence[str]) -> str:
    """One line of it."""
    changes = _some([f"{zone.zone} {zone_text(zone)}" for zone in zones if zone.changed], "zones")
    changes += _some([f"pool {pool}" for pool in pools], "pools")
    if settings:
        changes.append(f"settings: {', '.join(settings)}")
    return "; ".join(changes) or "nothing has changed"


def _some(changes: list[str], what: str) -> list[str]:
    return [*changes[:_NAMED], f"{len(changes) - _NAMED} more {what}"] if len(changes) > _NAMED else changes


def _compare(old: Zone | None, new: Zone | None) -> Generator[None, None, tuple[int, int, bool]]:
    """How many records are new and gone, the SOA aside; and whether anything at all is other than it was."""
    before: Mapping[Name, Node] = {} if old is None else old.nodes
    after: Mapping[Name, Node] = {} if new is None else new.nodes
    added = gone = 0
    is_other = False
    for number, owner in enumerate(chain(after, (owner for owner in before if owner not in after))):
        first, then = _records(before.get(owner)), _records(after.get(owner))
        if first != then or (owner in before) != (owner in after):
            is_other = True
            added += (Counter(then) - Counter(first)).total()
            gone += (Counter(first) - Counter(then)).total()
        if number % _OFTEN == 0:
            yield
    return added, gone, is_other or (None not in (old, new) and _soa(old) != _soa(new))


def _records(node: Node | None) -> list[tuple[int, int, bytes]]:
    return [
        (rrset.rrtype, rrset.ttl, rdata)
        for rrset in node or ()
        if rrset.rrtype != rrtype.SOA
        for rdata in rrset.rdatas
    ]


def _soa(zone: Zone | None) -> tuple[int, tuple[bytes, ...]] | None:
    return None if zone is None else (zone.soa.ttl, zone.soa.rdatas)


def _pool(old: Pool | None, new: Pool | None) -> str:
    if old is None or new is None:
        owner = new.owner if new is not None else old.owner if old is not None else ""
        return f"{owner} {'added' if old is None else 'removed'}"
    return f"{new.owner} changed ({', '.join(_CALLED.get(key, key) for key in _changed(old, new))})"


def _changed(was: _Made, now: _Made) -> list[str]:
    """The fields of a noun that differ."""
    names = (field.name for field in fields(was))  # type: ignore[arg-type]  # only nouns come here
    return [key for key in names if getattr(was, key) != getattr(now, key)]


def zone_text(change: ZoneChange) -> str:
    """What has become of one zone, without its name."""
    if change.after is None:
        return "removed"
    if change.before is None:
        return f"added, serial {change.after}"
    if change.before == change.after:
        return f"changed, serial not raised, {_counts(change)}"
    return f"serial {change.before} → {change.after}, {_counts(change)}"


def _counts(change: ZoneChange) -> str:
    """Of the records that came and went."""
    if not change.added and not change.gone:
        return "no record added or gone"
    return f"{change.added:,} record{'' if change.added == 1 else 's'} added, {change.gone:,} gone"
