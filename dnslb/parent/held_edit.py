"""What a reload would take away: more than most edits do, and just what a half-written or missing file does.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Iterator

from dnslb.config.catalog import Catalog, ZoneSize
from dnslb.dns import name

# What is small is written in one piece, and edited by hand: there, to remove most of it is an ordinary edit.
_MANY_RECORDS = 20
_MANY_POOLS = 4


def losses(was: Catalog, now: Catalog) -> tuple[str, ...]:
    """A line for each zone or policy that vanishes, or shrinks to less than half."""
    sizes = ((name.text(apex), size, now.sizes.get(apex)) for apex, size in was.sizes.items())
    return tuple(line for each in sizes for line in _lines(*each))


def _lines(zone: str, was: ZoneSize, now: ZoneSize | None) -> Iterator[str]:
    if now is None:
        yield f"{zone} would be removed, with {_count(was.records, 'record')}"
        return
    if _shrinks(was.records, now.records, _MANY_RECORDS):
        yield f"{zone} would shrink from {_count(was.records, 'record')} to {now.records:,}"
    if not was.pools:
        return
    if now.pools is None:
        yield f"{zone} would lose its policy file, with {_count(was.pools, 'pool')}"
    elif not now.pools or _shrinks(was.pools, now.pools, _MANY_POOLS):
        yield f"{zone} would shrink from {_count(was.pools, 'pool')} to {now.pools:,}"


def _shrinks(was: int, now: int, many: int) -> bool:
    return was > many and 2 * now < was


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
