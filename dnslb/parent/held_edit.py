"""What an edit would take away, so that it is held: just as much as a half-written or a missing file would.

A file that is cut off in the middle of a line is no less suspect: of 192.0.2.12 it may have left 192.0.2.1.

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
    """A line for each zone or policy that vanishes, or shrinks to less than half; and for each file that is cut off."""
    sizes = ((name.text(apex), size, now.sizes.get(apex)) for apex, size in was.sizes.items())
    gone = [line for each in sizes for line in _lines(*each)]
    # Some editors end no file with a newline: what has begun so, or is so already, is meant.
    known = {path for path, *_ in was.fingerprint} - was.unfinished
    return (*gone, *(f"{path} ends in the middle of a line" for path in sorted(now.unfinished & known)))


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
