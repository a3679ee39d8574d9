"""Sockets towards a target, without blocking."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from ipaddress import IPv6Address
from typing import TypeAlias

from dnslb.balance.pool import Address
from dnslb.probe.outcome import NotMade, ours

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; Python names it from 3.12 on

_CHUNK = 8192  # octets read at once

_SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]


async def connect_tcp(address: Address, port: int, source: Address | None) -> socket.socket:
    """A connection to the target; the caller closes it.  Raises OSError and Failed."""
    sock = _create(socket.SOCK_STREAM, address, source)
    try:
        with ours():
            where = _socket_address(address, port)
            begun = _begin_to_connect(sock, where)
        if not begun:
            await asyncio.get_running_loop().sock_connect(sock, where)  # waits for what has begun
        _refuse_itself(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _begin_to_connect(sock: socket.socket, where: _SocketAddress) -> bool:
    """Whether it is connected already.  What is refused here, the machine itself refuses.  Raises OSError."""
    try:
        sock.connect(where)
    except BlockingIOError:
        return False
    return True


def _refuse_itself(sock: socket.socket) -> None:
    # A port of this machine's ephemeral range, with nobody listening, can be connected to from itself
    # (RFC 9293 §3.5, simultaneous open): then we would talk to ourselves.
    if sock.getsockname() == sock.getpeername():
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


async def receive(sock: socket.socket) -> bytes:
    """The next octets on a connection; none at its end.  Raises OSError."""
    octets = await asyncio.get_running_loop().sock_recv(sock, _CHUNK)
    # A target that sends without a pause must not keep the loop, and the timeout with it, from turning.
    await asyncio.sleep(0)
    return octets


def connect_udp(address: Address, port: int, source: Address | None) -> socket.socket:
    """A socket that receives from the target only, on a random port.  Raises OSError and Failed."""
    sock = _create(socket.SOCK_DGRAM, address, source)
    try:
        with ours():
            sock.connect(_socket_address(address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _create(kind: socket.SocketKind, address: Address, source: Address | None) -> socket.socket:
    if source is not None and source.version != address.version:
        reason = f"the source {source} is IPv{source.version}, the target is IPv{address.version}"
        raise NotMade("setting", reason)
    with ours():
        sock = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, kind)
        sock.setblocking(False)
        if source is None:
            return sock
        try:
            # A bound port would be taken for all targets at once; so the kernel chooses it only when it connects.
            if kind is socket.SOCK_STREAM:
                sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind(_socket_address(source, 0))
        except BaseException:
            sock.close()
            raise
        return sock


def _socket_address(address: Address, port: int) -> _SocketAddress:
    """The address as the socket module takes it, without a look-up."""
    if isinstance(address, IPv6Address) and address.scope_id:
        return str(address).partition("%")[0], port, 0, socket.if_nametoindex(address.scope_id)
    return str(address), port
