"""What a query's replies are counted for, when one network may only have so many.  Pure: no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from dnslb.dns.name import Name, starts
from dnslb.dns.zone import Zone

_QUESTION = 10   # where it begins in a query after the id
_BELOW = b"\1*"  # before a name: all that do not exist below it


def account(zones: Mapping[Name, Zone], query: bytes) -> bytes:
    """The name asked for, if it exists in one of the zones by apex; else all that are missing below the closest name
    that does; nothing, when it is in no zone.

    So nobody gets more of a wildcard, a delegation or NXDOMAIN by inventing names, nor of a name by inventing types.
    """
    name = query[_QUESTION : query.find(b"\0", _QUESTION) + 1].lower()
    begins = starts(name)
    for at in begins or ():
        zone = zones.get(name[at:])
        if zone is not None:
            if name in zone.nodes:
                return name
            return _BELOW + zone.encloser_at(name, begins or ())
    return b""
