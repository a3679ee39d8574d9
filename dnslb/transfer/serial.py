"""Serial numbers of zones (RFC 1982), and which comes next.  Pure."""

from __future__ import annotations

_HALF = 1 << 31
_ALL = 1 << 32
_BEGINNING = 1_767_225_600  # Unix time of 2026-01-01T00:00Z


def is_newer(serial: int, than: int) -> bool:
    """Whether a secondary that has ``than`` would take ``serial``: not an equal one, nor one half around the circle."""
    return 0 < (serial - than) % _ALL < _HALF


def following(last: int | None, written: int, now: float) -> int:
    """The serial of the next version: the Unix time, where that is newer than what the zone file says.

    Else, as with dates (2026112101), it is the file's and the seconds since 2026 began.  Either way it follows the
    clock, so that several primaries of the same file never run backwards for a secondary that has them all.
    """
    serial = int(now) % _ALL
    if not is_newer(serial, written):
        serial = (written + 1 + max(0, int(now) - _BEGINNING)) % _ALL
    if last is not None and not is_newer(serial, last):
        serial = (last + 1) % _ALL
    return serial
