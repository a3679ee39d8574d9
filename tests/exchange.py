"""Many queries to one server, quickly: raw packets out, raw packets (or silence) back, in order.

A query's id is its place in the list, whatever id its octets hold; packets of fewer than two octets keep what they
have, and can only be met with silence.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from peers import Address

WINDOW = 64             # UDP queries under way at once: few enough for any socket buffer
PIPELINE = 40           # TCP queries on one connection
TIMEOUT = 5.0           # seconds without an octet on a TCP connection that owes replies
CONNECTIONS = 8         # TCP connections at once, for packets that are met with silence or a closed connection
PATIENCE = 1.0          # seconds that such a packet is waited for
MAX_BATCH = 65536       # as many ids as there are


def ask_udp(address: Address, packets: Sequence[bytes], tries: int = 6, wait: float = 1.0) -> list[bytes | None]:
    """The reply to each packet; None after ``tries`` times ``wait`` seconds of silence.

    NSD answers no more than about a hundred errors a second, hence the patience.
    """
    if len(packets) > MAX_BATCH:
        raise ValueError("more packets than ids")
    replies: list[bytes | None] = [None] * len(packets)
    waiting = deque((place, tries) for place in range(len(packets)))
    under_way: dict[int, tuple[float, int]] = {}    # place → deadline, tries left; in order of their deadlines
    with socket.socket(_family(address), socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        sock.setblocking(False)
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        while waiting or under_way:
            while waiting and len(under_way) < WINDOW:
                place, left = waiting.popleft()
                sock.send(_with_id(packets[place], place))
                under_way[place] = time.monotonic() + wait, left - 1
            poll.poll(wait * 1000 / 20)
            _receive(sock, replies, under_way)
            now = time.monotonic()
            while under_way:
                place, (deadline, left) = next(iter(under_way.items()))
                if deadline > now:
                    break
                del under_way[place]
                if left:
                    waiting.append((place, left))
    return replies


def _receive(sock: socket.socket, replies: list[bytes | None], under_way: dict[int, tuple[float, int]]) -> None:
    """Take what has arrived; a late reply to an earlier try counts."""
    while True:
        try:
            reply = sock.recv(65535)
        except BlockingIOError:
            return
        place = int.from_bytes(reply[:2])
        if place < len(replies) and replies[place] is None:
            replies[place] = reply
        under_way.pop(place, None)


def ask_tcp(address: Address, packets: Sequence[bytes]) -> list[bytes | None]:
    """The reply to each packet, pipelined on a few connections (RFC 7766 §6.2.1.1); None when the server hung up."""
    replies: list[bytes | None] = []
    for start in range(0, len(packets), PIPELINE):
        replies += _ask_on_connection(address, packets[start : start + PIPELINE])
    return replies


def ask_tcp_singly(address: Address, packets: Sequence[bytes]) -> list[bytes | None]:
    """The reply to each packet on a connection of its own: for packets after which a server may hang up."""
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        return list(threads.map(lambda packet: _ask_on_connection(address, [packet], PATIENCE)[0], packets))


def _ask_on_connection(address: Address, packets: Sequence[bytes], timeout: float = TIMEOUT) -> list[bytes | None]:
    replies: list[bytes | None] = [None] * len(packets)
    framed = [_with_id(packet, place) for place, packet in enumerate(packets)]
    with socket.create_connection(address, timeout) as sock:
        sock.sendall(b"".join([len(packet).to_bytes(2) + packet for packet in framed]))
        stream = sock.makefile("rb")
        try:
            for _ in packets:
                length = stream.read(2)
                if len(length) < 2:
                    break
                reply = stream.read(int.from_bytes(length))
                replies[int.from_bytes(reply[:2]) % len(packets)] = reply
        except (TimeoutError, ConnectionError):
            pass    # silence is an answer too: what has arrived stands
    return replies


def _with_id(packet: bytes, place: int) -> bytes:
    return packet if len(packet) < 2 else place.to_bytes(2) + packet[2:]


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address.host else socket.AF_INET
