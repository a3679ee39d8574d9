"""A relay in front of dnslb that notes every query: exactly what reaches the authority, whoever counts inside."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

from comparison.stub import Endpoint
from dnslb.dns import name, query

TICK = 0.2          # seconds until the thread looks whether it shall end
LARGEST = 4096      # octets: unbound offers 1232


@dataclass(frozen=True, slots=True)
class Query:
    at: float           # on the monotonic clock
    resolver: str       # its address
    name: str           # in lower case, with the dot
    packet: bytes = b""


@dataclass
class Relay:
    """UDP only: no answer here is so long that it would need TCP."""

    endpoint: Endpoint
    queries: list[Query] = field(default_factory=list)
    delay: float = 0.0          # seconds that a reply comes later
    loss: float = 0.0           # share of the queries that are noted, and lost; 1: the authority is gone


@contextmanager
def relaying(authority: Endpoint, at: Endpoint | None = None) -> Iterator[Relay]:
    """Pass queries on to the authority, and replies back, in a thread, until the block ends.

    Without ``at``, on any port of the authority's address.
    """
    with socket.socket(type=socket.SOCK_DGRAM) as front, socket.socket(type=socket.SOCK_DGRAM) as back:
        front.bind((at.address, at.port) if at else (authority.address, 0))
        back.connect((authority.address, authority.port))
        relay = Relay(Endpoint(*front.getsockname()))
        ended = threading.Event()
        thread = threading.Thread(target=_pass_on, args=(relay, front, back, ended), daemon=True)
        thread.start()
        try:
            yield relay
        finally:
            ended.set()
            thread.join()


def _pass_on(relay: Relay, front: socket.socket, back: socket.socket, ended: threading.Event) -> None:
    waiting: dict[int, tuple[bytes, tuple[str, int]]] = {}      # by our id: theirs, and who asked
    later: list[tuple[float, bytes, tuple[str, int]]] = []      # replies that wait, in the order of their time
    number, rng = 0, Random(1)
    with selectors.DefaultSelector() as selector:
        selector.register(front, selectors.EVENT_READ)
        selector.register(back, selectors.EVENT_READ)
        while not ended.is_set():
            wait = max(0.0, later[0][0] - time.monotonic()) if later else TICK
            for key, _ in selector.select(min(TICK, wait)):
                with suppress(OSError):     # the authority is not there: the resolver asks again
                    if key.fileobj is front:
                        packet, asker = front.recvfrom(LARGEST)
                        relay.queries.append(Query(time.monotonic(), asker[0], _asked(packet), packet))
                        if rng.random() < relay.loss:
                            continue
                        number = (number + 1) % 0x10000
                        waiting[number] = packet[:2], asker
                        back.send(number.to_bytes(2) + packet[2:])
                    else:
                        packet = back.recv(LARGEST)
                        its_id, asker = waiting.pop(int.from_bytes(packet[:2]))
                        heappush(later, (time.monotonic() + relay.delay, its_id + packet[2:], asker))
            while later and later[0][0] <= time.monotonic():
                _, packet, asker = heappop(later)
                with suppress(OSError):
                    front.sendto(packet, asker)


def _asked(packet: bytes) -> str:
    question = query.parse(packet)
    return name.text(name.fold(question.name)) if question else ""
