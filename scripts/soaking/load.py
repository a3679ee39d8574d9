"""The clients: over UDP and TCP, at an even rate, each answer held against the model; and a few who send rubbish."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
from fuzzing.packets import mutated

from soaking.model import fault
from soaking.world import World

PATIENCE = 3.0     # seconds after which a query is lost
SOCKETS = 8        # of clients over UDP: the system spreads them over the workers
TCP_CLIENTS = 4
TCP_PAUSE = 0.05   # seconds between the queries of one
RUBBISH = 0.05     # packets that make no sense, for each query
NEW_PORTS = 20.0   # seconds that clients keep their ports


Stream: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and what is wrong with an answer to it, sent and taken at these times; None: nothing."""

    name: str
    rrtype: str
    check: Callable[[dns.message.Message, float, float], str | None]


@dataclass(slots=True)
class Tally:
    """What the clients have seen."""

    answered: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lost: list[tuple[float, str]] = field(default_factory=list)  # when it was asked, and what
    took: list[tuple[float, float]] = field(default_factory=list)  # when, and how many seconds

    def judge(self, question: Question, reply: bytes, start: float, transport: str) -> None:
        end = time.monotonic()
        self.answered += 1
        self.asked[f"{question.rrtype} over {transport}"] += 1
        self.took.append((start, end - start))
        try:
            message = dns.message.from_wire(reply)
            found = question.check(message, start, end)
            if str(message.question[0].name) != f"{question.name}.":
                found = f"another question: {message.question[0]}"
        except dns.exception.DNSException as error:
            found = f"no DNS message: {error}"
        if found is not None:
            self.wrong.append(f"{start:.2f} to {end:.2f}: {question.name} {question.rrtype} over {transport}: {found}")


def questions(world: World) -> list[Question]:
    """Pools are asked for most."""
    def of_pool(name: str) -> Question:
        def check(reply: dns.message.Message, start: float, end: float) -> str | None:
            answer = [rdata.address for rrset in reply.answer for rdata in rrset]
            most = max((rrset.ttl for rrset in reply.answer), default=0)
            wrong = fault(answer, world.pools[name], world.most[name], start, end)
            return wrong or (f"TTL {most}" if most > 60 else None)
        return Question(f"{name}.soak.test", "A", check)

    def version(reply: dns.message.Message, start: float, end: float) -> str | None:
        told = int(reply.answer[0][0].strings[0])
        possible = world.version.possible(start, end)
        return None if told in possible else f"version {told} in place of {sorted(possible)}"

    def whole(rcode: dns.rcode.Rcode, records: int) -> Callable[[dns.message.Message, float, float], str | None]:
        def check(reply: dns.message.Message, start: float, end: float) -> str | None:
            got = reply.rcode(), sum(len(rrset) for rrset in reply.answer)
            is_cut = bool(reply.flags & dns.flags.TC)
            return None if is_cut or got == (rcode, records) else f"{got[0].name} with {got[1]} records"
        return check

    fixed = [
        Question("none.soak.test", "A", whole(dns.rcode.NXDOMAIN, 0)),
        Question("p0.soak.test", "MX", whole(dns.rcode.NOERROR, 0)),
        Question("any.wild.soak.test", "A", whole(dns.rcode.NOERROR, 1)),
        Question("n77.beside.test", "A", whole(dns.rcode.NOERROR, 1)),
        Question("large.soak.test", "TXT", whole(dns.rcode.NOERROR, 60)),
        Question("other.test", "A", whole(dns.rcode.REFUSED, 0)),
        Question("version.soak.test", "TXT", version),
    ]
    return [of_pool(name) for name in world.pools] * 2 + fixed


class Client(asyncio.DatagramProtocol):
    """One socket, from which many ask."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._waiting: dict[int, tuple[Question, float]] = {}
        self._number = 0
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # of datagrams, though Python 3.11 does not say so

    def send(self, octets: bytes) -> None:
        if self.transport is not None:
            self.transport.sendto(octets)

    def ask(self, question: Question) -> None:
        self._number = (self._number + 1) % (1 << 15)
        query = packet(question, self._number)
        self._waiting[self._number] = question, time.monotonic()
        self.send(query)

    def datagram_received(self, data: bytes, addr: object) -> None:
        waiting = self._waiting.pop(int.from_bytes(data[:2]), None)
        if waiting is not None:
            self._tally.judge(waiting[0], data, waiting[1], "UDP")

    def give_up(self, before: float) -> None:
        """What was asked before that, and is not answered, is lost."""
        for number, (question, start) in list(self._waiting.items()):
            if start < before:
                del self._waiting[number]
                self._tally.lost.append((start, f"{question.name} {question.rrtype} over UDP"))


def packet(question: Question, number: int) -> bytes:
    query = dns.message.make_query(question.name, question.rrtype, use_edns=0, payload=1232)
    query.id = number
    return query.to_wire()


async def over_udp(world: World, tally: Tally, rate: float, rng: Random) -> None:
    """Ask at that rate, with some rubbish between, until cancelled."""
    asked, loop = questions(world), asyncio.get_running_loop()
    clients: list[Client] = []
    try:
        clients = [await _client(world, tally) for _ in range(SOCKETS)]
        due = loop.time()
        renewed = due
        while True:
            rng.choice(clients).ask(rng.choice(asked))
            if rng.random() < RUBBISH:
                # Ids that no question of ours has.
                rng.choice(clients).send(b"\xff" + mutated(rng)[1:])
            due = max(due + rng.expovariate(rate), loop.time() - 1.0)
            await asyncio.sleep(max(0.0, due - loop.time()))
            now = time.monotonic()
            for client in clients:
                client.give_up(now - PATIENCE)
            if now - renewed > NEW_PORTS:
                renewed = now
                loop.call_later(PATIENCE + 1, _close, clients[0])
                clients = [*clients[1:], await _client(world, tally)]
    finally:
        for client in clients:
            client.give_up(time.monotonic() - PATIENCE)
            _close(client)


def _close(client: Client) -> None:
    client.give_up(time.monotonic() - PATIENCE)
    if client.transport is not None:
        client.transport.close()


async def _client(world: World, tally: Tally) -> Client:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_datagram_endpoint(lambda: Client(tally), remote_addr=("127.0.0.1", world.port))
    return client


async def over_tcp(world: World, tally: Tally, rng: Random) -> None:
    """One client that keeps its connection as long as it can, until cancelled."""
    asked = questions(world)
    stream: Stream | None = None
    while True:
        question, start = rng.choice(asked), time.monotonic()
        # A server may close a connection at any time between queries: then it is asked again (RFC 7766 §6.2.4).
        for is_last in (stream is None, True):
            try:
                async with asyncio.timeout(PATIENCE):
                    stream = stream or await asyncio.open_connection("127.0.0.1", world.port)
                    reply = await _exchange(stream, packet(question, rng.randrange(1 << 16)))
            except (OSError, asyncio.IncompleteReadError) as error:
                if stream is not None:
                    stream[1].close()
                stream = None
                if is_last or isinstance(error, TimeoutError):
                    tally.lost.append((start, f"{question.name} {question.rrtype} over TCP: {error!r}"))
                    await asyncio.sleep(0.2)
                    break
            else:
                tally.judge(question, reply, start, "TCP")
                break
        await asyncio.sleep(TCP_PAUSE)


async def _exchange(stream: Stream, query: bytes) -> bytes:
    """Raises OSError and asyncio.IncompleteReadError."""
    reader, writer = stream
    writer.write(len(query).to_bytes(2) + query)
    return await reader.readexactly(int.from_bytes(await reader.readexactly(2)))


async def idle(world: World, rng: Random) -> None:
    """Connections that say nothing, or half of something, until cancelled."""
    socks: list[socket.socket] = []
    try:
        while True:
            sock = socket.socket()
            sock.setblocking(False)
            with suppress(OSError):
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", world.port))
                sock.send(rng.randbytes(rng.randrange(3)))
            socks.append(sock)
            if len(socks) > 30:
                socks.pop(0).close()
            await asyncio.sleep(0.5)
    finally:
        for sock in socks:
            sock.close()
