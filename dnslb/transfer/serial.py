"""Serial numbers of zones (RFC 1982), and which comes next.  Pure."""

from __future__ import annotations

_HALF = 1 << 31
_ALL = 1 << 32


def is_newer(serial: int, than: int) -> bool:
    """Whether a secondary that has ``than`` would take ``serial``: not an equal one, nor one half around the circle."""
    return 0 < (serial - than) % _ALL < _HALF


def following(last: int | None, written: int, now: float) -> int:
    """The serial of the next version: the Unix time, or just above the last one and what the zone file says.

    Several primaries that follow the same clock never run backwards for a secondary that goes from one to the other.
    """
    serial = int(now) % _ALL
    for other in (last, written):
        if other is not None and not is_newer(serial, other):
            serial = (other + 1) % _ALL
    return serial
