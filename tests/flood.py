"""TCP clients that take all they can, in a process of their own: ``python flood.py KIND PORT CONNECTIONS ADDRESSES``.

Says ``on`` once it has begun, and ends when its input does.  Connections that are closed are opened anew.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen

from peers import Address

LONGEST = 60.0      # seconds: a flood that nobody ends, ends
PIPELINE = 1 << 16  # octets written at once


def question(name: bytes, kind: int, opt: bytes = b"") -> bytes:
    packet = b"\0\0\0\0\0\1\0\0\0\0\0" + bytes((bool(opt),))
    packet += bytes((len(name),)) + name + b"\7example\4test\0" + kind.to_bytes(2) + b"\0\1" + opt
    return len(packet).to_bytes(2) + packet


# Of each kind: what is written, in pieces of how many octets, and whether the replies are read.
OPTIONS = b"".join((65001 + number).to_bytes(2) + bytes(2) for number in range(500))
LARGE_OPT = b"\0\0\x29\4\xd0" + bytes(4) + len(OPTIONS).to_bytes(2) + OPTIONS
KINDS: dict[str, tuple[bytes, int, bool]] = {
    "pipelines that are read": (question(b"www", 1) * 2000, PIPELINE, True),
    "pipelines that are not read": (question(b"www", 1) * 2000, PIPELINE, False),
    "large replies": (question(b"large", 16) * 2000, PIPELINE, True),
    "queries full of options": (question(b"www", 1, LARGE_OPT) * 30, PIPELINE, True),
    "tiny segments": (question(b"www", 1) * 100, 1, True),
}


def say_on() -> None:
    sys.stdout.write("on\n")
    sys.stdout.flush()


def connect(port: int, source: str) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT: ports are not used up
    sock.bind((source, 0))
    sock.setblocking(False)
    sock.connect_ex(("127.0.0.1", port))
    return sock


def flood(kind: str, port: int, connections: int, addresses: int, goes_on: Callable[[], bool]) -> None:
    octets, piece, reads = KINDS[kind]
    sources = [f"127.0.7.{number % addresses + 1}" for number in range(connections)]
    epoll = select.epoll()
    events = select.EPOLLOUT | (select.EPOLLIN if reads else 0)
    open_: dict[int, tuple[socket.socket, str, int]] = {}

    def begin(source: str) -> None:
        sock = connect(port, source)
        open_[sock.fileno()] = sock, source, 0
        epoll.register(sock, events)

    for source in sources:
        begin(source)
    say_on()
    while goes_on():
        for descriptor, event in epoll.poll(0.2, 64):
            sock, source, at = open_[descriptor]
            try:
                if event & select.EPOLLIN and not sock.recv(1 << 18):
                    raise ConnectionResetError
                if event & (select.EPOLLERR | select.EPOLLHUP):
                    raise ConnectionResetError
                if event & select.EPOLLOUT:
                    at = (at + sock.send(octets[at : at + piece])) % len(octets)
                    open_[descriptor] = sock, source, at
            except BlockingIOError:
                pass
            except OSError:
                del open_[descriptor]
                sock.close()
                begin(source)


def connects(port: int, addresses: int, goes_on: Callable[[], bool]) -> None:
    """Connections that say nothing, as many as can be had, a thousand kept open."""
    open_: list[socket.socket] = []
    say_on()
    while goes_on():
        open_ += [connect(port, f"127.0.7.{number % addresses + 1}") for number in range(64)]
        for sock in open_[:-1000]:
            sock.close()
        del open_[:-1000]


@contextmanager
def flooding(kind: str, address: Address, connections: int, addresses: int) -> Iterator[None]:
    command = [sys.executable, __file__, kind, str(address.port), str(connections), str(addresses)]
    with Popen(command, stdin=PIPE, stdout=PIPE, env=os.environ | {"PYTHONPATH": os.path.dirname(__file__)}) as popen:
        assert popen.stdin
        assert popen.stdout
        try:
            assert popen.stdout.readline() == b"on\n"
            yield
            assert popen.poll() is None, "the flood has ended too early"
        finally:
            popen.stdin.close()
            popen.wait(10.0)


def main(kind: str, port: str, connections: str, addresses: str) -> None:
    end = time.monotonic() + LONGEST
    poll = select.poll()
    poll.register(sys.stdin, select.POLLIN | select.POLLHUP)

    def goes_on() -> bool:
        return time.monotonic() < end and not poll.poll(0)

    if kind == "connects":
        connects(int(port), int(addresses), goes_on)
    else:
        flood(kind, int(port), int(connections), int(addresses), goes_on)


if __name__ == "__main__":
    main(*sys.argv[1:])
