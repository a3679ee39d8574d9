"""A query, and what became of it: for those who look at queries besides answering them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from sys import byteorder
from typing import NamedTuple, Protocol

from dnslb.dns.dnstap import Endpoints

_IPV4 = socket.AF_INET.to_bytes(2, byteorder)  # how a struct sockaddr_in begins


class Transaction(NamedTuple):
    """Packets are whole."""

    at: int               # Unix time in nanoseconds
    ends: Endpoints
    query: bytes
    reply: bytes | None   # None: there was none, or the system did not take it


class TransactionBatch(Protocol):
    """Some transactions.  What is asked of one is only then put together."""

    def __len__(self) -> int: ...

    def query(self, index: int) -> bytes:
        """The packet."""

    def client(self, index: int) -> bytes:
        """The address, packed."""

    def of_reply(self, index: int, start: int, end: int) -> bytes:
        """These octets of the packet, as far as there are so many; if there was none, they mean nothing."""

    def transaction(self, index: int) -> Transaction:
        """All of it."""


Watcher = Callable[[TransactionBatch], None]  # must not wait


def host_and_port(address: bytes) -> tuple[bytes, int]:
    """Of a struct sockaddr_in or sockaddr_in6, the address packed."""
    return address[4:8] if address[:2] == _IPV4 else address[8:24], int.from_bytes(address[2:4])


def own_address(sock: socket.socket) -> tuple[bytes, int]:
    """Of our end of the socket, the address packed."""
    host, port = sock.getsockname()[:2]
    return socket.inet_pton(sock.family, host.partition("%")[0]), port
