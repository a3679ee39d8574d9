"""The PROXY protocol, version 2: a proxy tells in front of a query, or of a connection, whose it is.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt §2.2.  Pure: no I/O.
"""

from __future__ import annotations

import socket
from sys import byteorder
from typing import NamedTuple

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LONGEST = 1024  # octets of a header: addresses, and what a proxy tells besides
_FIXED = 16     # octets up to the addresses
_LOCAL, _PROXY = 0x20, 0x21  # version 2, and whether the proxy itself asks
_ADDRESSES = {0x1: (socket.AF_INET, 4), 0x2: (socket.AF_INET6, 16)}  # by the upper half of the octet about families


class Told(NamedTuple):
    """What a header says."""

    end: int       # where it ends
    client: bytes  # a struct sockaddr_in or sockaddr_in6; none: it is the proxy itself


class NotProxied(Exception):
    """What comes from a proxy has no right header."""


def read(octets: bytes) -> Told | None:
    """The header that the octets begin with; None when it is not whole.  Raises NotProxied when it never will be."""
    if not SIGNATURE.startswith(octets[: len(SIGNATURE)]):
        raise NotProxied
    if len(octets) < _FIXED:
        return None
    command, about, end = octets[12], octets[13], _FIXED + int.from_bytes(octets[14:16])
    if command not in (_LOCAL, _PROXY) or end > LONGEST:
        raise NotProxied
    if len(octets) < end:
        return None
    known = _ADDRESSES.get(about >> 4)
    if command == _LOCAL or known is None:
        return Told(end, b"")
    family, size = known
    if end < _FIXED + 2 * size + 4:
        raise NotProxied
    start = family.to_bytes(2, byteorder) + octets[_FIXED + 2 * size : _FIXED + 2 * size + 2]
    address = octets[_FIXED : _FIXED + size]
    return Told(end, start + address + bytes(8) if size == 4 else start + bytes(4) + address + bytes(4))


def unwrapped(packet: bytes, proxy: bytes) -> tuple[bytes, bytes]:
    """The query in a packet, and the socket address of its client, of the proxy's length; no octets if it is broken."""
    try:
        told = read(packet)
    except NotProxied:
        told = None
    if told is None:
        return b"", proxy
    return packet[told.end :], told.client.ljust(len(proxy), b"\0") if told.client else proxy
