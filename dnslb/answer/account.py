"""What a query's replies are counted for, when one network may only have so many.  Pure: no I/O."""

from __future__ import annotations

from collections.abc import Container, Mapping
from socket import AF_INET
from sys import byteorder

from dnslb.dns.name import Name, starts
from dnslb.dns.zone import Zone

_MOST = 10_000      # names remembered that have children which do not exist
_QUESTION = 10      # where it begins in a query after the id
_BELOW = b"\1*"     # before a name: all that are missing below it
_IPV4 = AF_INET.to_bytes(2, byteorder)  # how a struct sockaddr_in begins


class Accounts:
    """Those of the names in some zones, by apex."""

    def __init__(self, zones: Mapping[Name, Zone]) -> None:
        self._zones = zones
        self._parents: dict[Name, Container[Name]] = {}  # the names of the zone, by one that exists in it

    def find(self, query: bytes) -> bytes:
        """The name asked for, if it exists; else all that are missing below the closest name that does; nothing, when
        it is in no zone.

        So nobody gets more of a wildcard, a delegation or NXDOMAIN by inventing names; nor of a name, by types.
        """
        name = query[_QUESTION : query.find(b"\0", _QUESTION) + 1].lower()
        parent = name[1 + name[0] :] if name else name
        nodes = self._parents.get(parent)
        if nodes is None:
            return self._walk(name, parent)
        return name if name in nodes or name in self._zones else _BELOW + parent

    def _walk(self, name: Name, parent: Name) -> bytes:
        """The same over all labels."""
        begins = starts(name) or []
        for at in begins:
            zone = self._zones.get(name[at:])
            if zone is None:
                continue
            if name in zone.nodes:
                return name
            encloser = zone.encloser_at(name, begins)
            if encloser == parent and len(self._parents) < _MOST:
                self._parents[parent] = zone.nodes
            return _BELOW + encloser
        return b""


def network(client: bytes) -> bytes:
    """Of a struct sockaddr_in or sockaddr_in6: the first 24 bits of an IPv4 address, 56 of an IPv6 address."""
    return client[4:7] if client[:2] == _IPV4 else client[8:15]
