"""The listening sockets: opened by the parent, before privileges are dropped; used by the workers."""

from __future__ import annotations

import errno
import resource
import socket
import struct
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from dnslb.config.settings import Endpoint
from dnslb.ipc.handover import Handover

_BACKLOG = 1024                # connections that wait to be accepted
_UDP_BUFFER = 4 << 20          # octets wished for; the system may give less
_DESCRIPTORS = 65536           # open files wished for
_IP_PKTINFO = 8                # which the socket module does not name before Python 3.12
_IP_MTU_DISCOVER = 10          # of <linux/in.h>, which the socket module does not name
_IP_PMTUDISC_OMIT = 5
_TCP_INFO_HEAD = 28            # octets of struct tcp_info up to and with what is read here
_TCP_INFO_UNACKED = 24         # where tcpi_unacked stands: of a listening socket, the connections that wait


class CannotListen(Exception):
    """An address that cannot be listened on; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Sockets:
    """One worker's own pair of sockets for one endpoint."""

    endpoint: Endpoint
    udp: socket.socket
    tcp: socket.socket


@dataclass(frozen=True, slots=True)
class Share:
    """The sockets of one worker."""

    number: int  # from 0
    of: int      # how many shares there are
    sockets: list[Sockets]
    handover: Handover  # of connections: from the worker before, and to the one after

    @property
    def endpoints(self) -> list[Endpoint]:
        """Every one once, in an order that is the same for all shares."""
        return sorted({pair.endpoint for pair in self.sockets}, key=str)

    def udp_by_endpoint(self) -> list[socket.socket]:
        """One for each endpoint, in their order."""
        found = {pair.endpoint: pair.udp for pair in self.sockets}
        return [found[endpoint] for endpoint in self.endpoints]


def open_all(
    endpoints: tuple[Endpoint, ...], workers: int, inherited: Iterable[Sockets] = ()
) -> list[list[Sockets]]:
    """Open the sockets of each worker.  Inherited ones are used as far as there are any.

    Raises CannotListen, with every socket that was opened closed again.
    """
    _allow_descriptors()
    shares = _arranged(inherited, endpoints, workers)
    known = {pair.endpoint for share in shares for pair in share}
    with ExitStack() as undo:
        for endpoint in endpoints:
            if endpoint not in known:
                _refuse_if_taken(endpoint)
        for share in shares:
            served = {pair.endpoint for pair in share}
            share += [_open_pair(endpoint, undo) for endpoint in endpoints if endpoint not in served]
        undo.pop_all()
    return shares


def _arranged(pairs: Iterable[Sockets], endpoints: tuple[Endpoint, ...], workers: int) -> list[list[Sockets]]:
    """Which worker gets which.  One may get several of an endpoint: what waits in them is to be answered.

    Those of endpoints that are not wanted are closed.
    """
    shares: list[list[Sockets]] = [[] for _ in range(workers)]
    next_share = dict.fromkeys(endpoints, 0)
    for pair in pairs:
        if pair.endpoint in next_share:
            shares[next_share[pair.endpoint] % workers].append(pair)
            next_share[pair.endpoint] += 1
        else:
            pair.udp.close()
            pair.tcp.close()
    return shares


def waiting(tcp: socket.socket) -> int:
    """How many connections to this socket wait to be accepted."""
    told = tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_HEAD)
    found: int = struct.unpack_from("=I", told, _TCP_INFO_UNACKED)[0]
    return found


def _open_pair(endpoint: Endpoint, undo: ExitStack) -> Sockets:
    pair = []
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        sock = undo.enter_context(_socket(endpoint, kind))
        # Every worker has sockets of its own; the kernel spreads clients over them.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if kind == socket.SOCK_DGRAM and endpoint.address.is_unspecified:
            _ask_for_destination(sock)
        _bind(sock, endpoint)
        pair.append(sock)
    udp, tcp = pair
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _UDP_BUFFER)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UDP_BUFFER)
    if udp.family == socket.AF_INET:
        with suppress(OSError):
            # Forged ICMP must not make us fragment (RFC 9715 §3.1).
            udp.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_OMIT)
    # Inherited by every connection: the end of a reply must not wait for its beginning to be acknowledged.
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tcp.listen(_BACKLOG)
    return Sockets(endpoint, udp, tcp)


def _refuse_if_taken(endpoint: Endpoint) -> None:
    """SO_REUSEPORT would let a second server of the same user in unnoticed: look first, without it."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with _socket(endpoint, kind) as sock:
            _bind(sock, endpoint)
            if kind == socket.SOCK_STREAM:
                _listen(sock, endpoint)


def _socket(endpoint: Endpoint, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if endpoint.address.version == 6 else socket.AF_INET
    try:
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise _explained(error, endpoint) from None
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if kind == socket.SOCK_STREAM:
        # Connections of an earlier server that are still winding down do not matter.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock


def _bind(sock: socket.socket, endpoint: Endpoint) -> None:
    try:
        sock.bind((str(endpoint.address), endpoint.port))
    except OSError as error:
        sock.close()
        raise _explained(error, endpoint) from None


def _listen(sock: socket.socket, endpoint: Endpoint) -> None:
    try:
        sock.listen(1)
    except OSError as error:
        raise _explained(error, endpoint) from None


def _explained(error: OSError, endpoint: Endpoint) -> CannotListen:
    port, high = endpoint.port, Endpoint(endpoint.address, 5300)
    remedy = {
        errno.EADDRINUSE: f"stop the server that has the port (ss -lnptu 'sport = {port}' names it) or choose another",
        errno.EACCES: f"ports below 1024 need privileges: start as root with --user, or choose --listen {high}",
        errno.EADDRNOTAVAIL: "this machine has no such address: see ip address",
        errno.EAFNOSUPPORT: "this machine has no IPv6",
    }.get(error.errno or 0, "choose another address with --listen")
    return CannotListen(f"cannot listen on {endpoint}: {(error.strerror or str(error)).lower()}; {remedy}")


def _allow_descriptors() -> None:
    """As many open files as the system lets us have, for TCP connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))

def _ask_for_destination(sock: socket.socket) -> None:
    """Have the system say which of our addresses was asked; before the bind, or the first queries lack it."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
