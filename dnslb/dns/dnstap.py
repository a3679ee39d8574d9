"""dnstap: queries and replies as other programs read them (https://dnstap.info), in Protocol Buffers.

Written by hand, since it is little: a field is its number and wire type, and a number or octets.  Pure: no I/O.
"""

from __future__ import annotations

from typing import NamedTuple

CONTENT_TYPE = b"protobuf:dnstap.Dnstap"
LONGEST = 0xFFFF + 1000  # octets of a message, about: a reply over TCP, and what is told of it

_NUMBER, _OCTETS, _FOUR = 0, 2, 5  # wire types: varint, length-delimited, 32 bits
# Of dnstap.proto.  Dnstap: identity = 1, version = 2, message = 14, type = 15.
_MESSAGE = 1
_QUERY, _RESPONSE = 1, 2  # Message.Type AUTH_QUERY, AUTH_RESPONSE
_FAMILIES = {4: 1, 16: 2}  # SocketFamily INET, INET6: by the octets of an address
_PROTOCOLS = {"udp": 1, "tcp": 2}  # SocketProtocol
_BILLION = 1_000_000_000


class Endpoints(NamedTuple):
    """Who asked whom.  Addresses are packed."""

    protocol: str  # udp or tcp
    client: bytes
    client_port: int
    server: bytes
    server_port: int


class Encoder:
    """Encodes what one server sees."""

    def __init__(self, identity: str, version: str) -> None:
        self._tail = _octets(1, identity.encode()) + _octets(2, version.encode()) + _number(15, _MESSAGE)

    def query(self, ends: Endpoints, at: int, packet: bytes) -> bytes:
        """A query, which came at that time: nanoseconds of Unix time."""
        return self._framed(_QUERY, ends, _time(8, at) + _octets(10, packet))

    def response(self, ends: Endpoints, at: int, packet: bytes) -> bytes:
        """The reply to a query of that time, which went out at once."""
        return self._framed(_RESPONSE, ends, _time(8, at) + _time(12, at) + _octets(14, packet))

    def _framed(self, kind: int, ends: Endpoints, rest: bytes) -> bytes:
        protocol, client, client_port, server, server_port = ends
        message = b"".join((
            _number(1, kind),
            _number(2, _FAMILIES[len(client)]),
            _number(3, _PROTOCOLS[protocol]),
            _octets(4, client),
            _octets(5, server),
            _number(6, client_port),
            _number(7, server_port),
            rest,
        ))
        return _octets(14, message) + self._tail


def _time(field: int, at: int) -> bytes:
    """Seconds in that field, and nanoseconds in the next."""
    seconds, nanoseconds = divmod(at, _BILLION)
    return _number(field, seconds) + _varint((field + 1) << 3 | _FOUR) + nanoseconds.to_bytes(4, "little")


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _NUMBER) + _varint(value)


def _octets(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | _OCTETS) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Seven bits an octet, the lowest first; all but the last octet have the highest bit set."""
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)
