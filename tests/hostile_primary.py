"""A primary that sends whatever a test wants it to, unsigned."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import dns.flags
import dns.message
import dns.name
import dns.rrset
from peers import free_port

Reply = Callable[[dns.message.Message], Sequence[bytes]]  # the messages that a question gets over TCP; then it closes


class HostilePrimary:
    """Answers SOA over UDP with ``serial``, and all else over TCP with ``reply``."""

    def __init__(self) -> None:
        self.port = free_port()
        self.serial: int | None = 1  # None: UDP gets no answer
        self.reply: Reply = lambda query: ()
        self.asked = 0               # over TCP
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._tcp = socket.socket()
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for sock in (self._udp, self._tcp):
            sock.bind(("127.0.0.1", self.port))
        self._tcp.listen()

    def serve(self) -> None:
        for work in (self._answer_udp, self._answer_tcp):
            threading.Thread(target=work, daemon=True).start()

    def close(self) -> None:
        for sock in (self._udp, self._tcp):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _answer_udp(self) -> None:
        with suppress(OSError):
            while True:
                packet, client = self._udp.recvfrom(65535)
                if not packet:  # it was shut down
                    return
                query = dns.message.from_wire(packet)
                if self.serial is not None:
                    self._udp.sendto(message(query, [soa(self.serial)]), client)

    def _answer_tcp(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._tcp.accept()
                self.asked += 1
                with suppress(OSError), sock, sock.makefile("rb") as stream:
                    sock.settimeout(10)
                    query = dns.message.from_wire(stream.read(int.from_bytes(stream.read(2))))
                    for octets in self.reply(query):
                        sock.sendall(octets)


@contextmanager
def hostile_primary() -> Iterator[HostilePrimary]:
    primary = HostilePrimary()
    primary.serve()
    try:
        yield primary
    finally:
        primary.close()


def soa(serial: int, *, refresh: int = 3600, retry: int = 1, expire: int = 86400) -> str:
    return f"example.test. 60 IN SOA ns1.example.test. h.example.test. {serial} {refresh} {retry} {expire} 60"


def message(query: dns.message.Message, records: Sequence[str]) -> bytes:
    """One message with these records as its answer, in this order."""
    reply = dns.message.make_response(query)
    reply.flags |= dns.flags.AA
    for text in records:
        owner, ttl, *rest = text.split()
        reply.answer.append(dns.rrset.from_text(owner, int(ttl), *rest[:2], " ".join(rest[2:])))
    return reply.to_wire(max_size=65535)


def framed(*messages: bytes) -> list[bytes]:
    return [len(each).to_bytes(2) + each for each in messages]


def transfer(*records: str) -> Reply:
    """These records in one message."""
    return lambda query: framed(message(query, records))
