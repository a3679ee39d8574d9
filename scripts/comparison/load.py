"""The generator: open loop, real connections, real look-ups; a latency counts from the moment that was scheduled.

    python -m comparison.load <plan.json >outcome.json

A closed-loop generator waits for a slow server and so forgets to measure what happens meanwhile (coordinated
omission).  This one sends at its scheduled times, whatever has become of earlier requests, and counts from there.  It
measures its own lag, from a scheduled moment until its request's own code runs: when that is large beside the effect
that an experiment measures, the run says more about the generator than about the servers, and is void.

Its clients are modelled on those that were measured (experiment ``clients``): one like Java uses the first address
alone; one like curl, and like wget, Python, Node, Go and Chromium, takes the next one when an address refuses, and only
then: from one that is silent, resets, or answers 500, it does not move on before its deadline.

It is one Python process: good for 1,000 to 2,000 requests a second on one core, no more.  For what a server can take at
most there is wrk.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import select
import selectors
import socket
import subprocess
import sys
import time
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import accumulate
from math import inf
from pathlib import Path
from random import Random
from typing import TypeVar

from comparison.experiment import Lab
from comparison.processes import NotStartedError, Process
from comparison.statistics import percentile
from comparison.stub import Endpoint, LookupFailedError, Resolver, Stub

T = TypeVar("T")

COARSE, FINE = 0.05, 0.005      # seconds of lag, 99th percentile: where requests are counted, where latencies are
TRIES = 3               # of a run that is void
DEADLINE = 1.0          # seconds that clients wait: the same for all ways to balance
HEAD_START = 0.7        # seconds between the start of the process and its first request: Python has to start
CHUNK = 64 << 10        # octets read at once
LONGEST_WAIT = 30.0     # seconds for the last replies, and for writing them down


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests of one kind: who asks whom, how often, and how."""

    label: str                              # of the condition; streams may share one
    rate: float                             # requests per second
    seconds: float
    port: int
    addresses: tuple[str, ...] = ()         # whom to ask, in this order; empty: look up ``name``
    name: str = ""
    resolvers: tuple[Endpoint, ...] = ()    # client c asks resolver c mod n
    hold: str | float = "none"              # what a client holds itself: "none", "ttl", or seconds
    clients: int = 0                        # 0: one for each resolver, or one
    skew: float = 0.0                       # Zipf's exponent over the clients
    poisson: bool = True                    # else at a constant pace
    begin: float = 0.0                      # seconds after the plan's start
    deadline: float = DEADLINE              # seconds for everything: look-up, connecting, all tries, the reply
    like_curl: bool = False                 # take the next address when one refuses; else, like Java, none
    connection_age: float = 0.0             # 0: a connection for each request; else kept that long, in seconds
    path: str = "/"
    host: str = ""                          # header; default: the name, or the address
    cookies: bool = False                   # clients send ``user=LABEL-CLIENT``, and cookies that they were given


@dataclass(frozen=True, slots=True)
class Plan:
    streams: tuple[Stream, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Record:
    """One request."""

    scheduled: float    # seconds of the monotonic clock
    latency: float      # from then to the last octet, look-up included
    status: int         # of HTTP; 0: none
    error: str          # refused, reset, timeout, no-answer, servfail, no-address; "" when there was a reply
    backend: str        # the clone's name; "" when no clone replied
    note: str           # the Session header of the reply
    tries: int          # addresses that were tried
    client: int

    @property
    def ok(self) -> bool:
        return self.status == 200

    @property
    def ended(self) -> float:
        return self.scheduled + self.latency


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a plan."""

    began: float                            # the plan's start, on the monotonic clock
    records: dict[str, list[Record]]        # by label, as scheduled
    lag: float                              # seconds, 99th percentile
    cpu: float                              # seconds that the generator used


# In the generator's process.


@dataclass(slots=True)
class Client:
    """One of a stream's clients: its view of names, its connections, its cookies."""

    number: int
    stub: Stub | None
    kept: dict[str, tuple[float, Connection]] = field(default_factory=dict)     # by address: opened at, idle
    cookies: dict[bytes, bytes] = field(default_factory=dict)


class Connection:
    """One HTTP/1.1 connection, one request at a time.  Plain sockets: half the price of asyncio's transports."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setblocking(False)

    async def open(self, address: str, port: int) -> None:
        await asyncio.get_running_loop().sock_connect(self._socket, (address, port))

    async def request(self, octets: bytes) -> bytes:
        """The head of the reply, when all of it is there.  Raises OSError."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, octets)
        reply = b""
        while True:
            more = await loop.sock_recv(self._socket, CHUNK)
            if not more:
                raise ConnectionResetError
            reply += more
            end = reply.find(b"\r\n\r\n")
            # A reply without a length would end with its connection; no server here sends one.
            if end >= 0 and len(reply) >= end + 4 + int(value(reply[:end], b"content-length") or 0):
                return reply[:end]

    @property
    def is_lost(self) -> bool:
        """Whether the server has closed it, or said what nobody asked for."""
        with suppress(BlockingIOError, InterruptedError):
            self._socket.recv(1, socket.MSG_PEEK)
            return True
        return False

    def close(self) -> None:
        self._socket.close()


class PreciseSelector(selectors.EpollSelector):
    """epoll(7) waits for whole milliseconds, rounded up, and every request would be that late.

    select(2) takes microseconds, and can wait for the epoll descriptor.
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


class Generator:
    """Runs one plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.records: list[list[Record]] = [[] for _ in plan.streams]
        self.lags: list[float] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, began: float) -> None:
        endpoints = {endpoint for stream in self.plan.streams for endpoint in stream.resolvers}
        resolvers = {endpoint: await Resolver.open(endpoint) for endpoint in endpoints}
        await asyncio.gather(*(self._drive(number, stream, resolvers, began)
                               for number, stream in enumerate(self.plan.streams)))
        if self._tasks:
            await asyncio.wait(self._tasks)
        for resolver in resolvers.values():
            resolver.close()

    async def _drive(self, number: int, stream: Stream, resolvers: dict[Endpoint, Resolver], began: float) -> None:
        rng = Random(f"{self.plan.seed} {number}")
        clients = make_clients(stream, resolvers)
        pick = picker(stream, clients, rng)
        loop = asyncio.get_running_loop()
        for offset in schedule(stream, rng):
            scheduled = began + stream.begin + offset
            wait = scheduled - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            task = loop.create_task(self._request(number, stream, pick(), scheduled))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _request(self, number: int, stream: Stream, client: Client, scheduled: float) -> None:
        self.lags.append(time.monotonic() - scheduled)
        status, error, head, tries = 0, "", b"", 0
        try:
            async with asyncio.timeout(stream.deadline):
                addresses = stream.addresses or (await client.stub.addresses(stream.name) if client.stub else ())
                for address in addresses if stream.like_curl else addresses[:1]:
                    tries += 1
                    try:
                        head = await fetch(stream, client, address)
                    except ConnectionRefusedError:
                        error = "refused"
                    else:
                        status, error = int(head[9:12]), ""
                        break
        except LookupFailedError as failure:
            error = str(failure)
        except TimeoutError:
            error = "timeout" if tries else "no-answer"
        except OSError:
            error = "reset"
        self.records[number].append(Record(
            scheduled, time.monotonic() - scheduled, status, error, value(head, b"backend"), value(head, b"session"),
            tries, client.number))


def make_clients(stream: Stream, resolvers: dict[Endpoint, Resolver]) -> list[Client]:
    count = stream.clients or len(stream.resolvers) or 1
    return [Client(number, Stub(resolvers[stream.resolvers[number % len(stream.resolvers)]], stream.hold)
                   if stream.resolvers else None) for number in range(count)]


def picker(stream: Stream, clients: Sequence[Client], rng: Random) -> Callable[[], Client]:
    """Who asks next: each client as often as the rest, or by Zipf's law."""
    sums = list(accumulate((rank + 1) ** -stream.skew for rank in range(len(clients))))
    return lambda: clients[min(len(clients) - 1, bisect(sums, rng.random() * sums[-1]))]


def schedule(stream: Stream, rng: Random) -> Iterator[float]:
    """When to send, in seconds from the stream's beginning."""
    # A constant pace begins anywhere in its first period, so that many streams do not march in step.
    at = rng.expovariate(stream.rate) if stream.poisson else rng.random() / stream.rate
    while at < stream.seconds:
        yield at
        at += rng.expovariate(stream.rate) if stream.poisson else 1 / stream.rate


async def fetch(stream: Stream, client: Client, address: str) -> bytes:
    """The head of the reply.  Raises OSError."""
    connection, opened = take(stream, client, address)
    try:
        if connection is None:
            connection, opened = Connection(), time.monotonic()
            await connection.open(address, stream.port)
        head = await connection.request(request_octets(stream, client, address))
    except BaseException:
        if connection:
            connection.close()
        raise
    if stream.cookies:
        keep_cookies(client, head)
    if stream.connection_age and value(head, b"connection").lower() != "close":
        keep(client, address, connection, opened)
    else:
        connection.close()
    return head


def take(stream: Stream, client: Client, address: str) -> tuple[Connection | None, float]:
    """A connection of the client's to the address that is idle and young enough, if there is one."""
    opened, connection = client.kept.pop(address, (0.0, None))
    if connection and (time.monotonic() - opened >= stream.connection_age or connection.is_lost):
        connection.close()
        return None, 0.0
    return connection, opened


def keep(client: Client, address: str, connection: Connection, opened: float) -> None:
    """One for each address; a second one, of requests that overlapped, is closed."""
    if address in client.kept:
        connection.close()
    else:
        client.kept[address] = opened, connection


def request_octets(stream: Stream, client: Client, address: str) -> bytes:
    lines = [f"GET {stream.path} HTTP/1.1", f"Host: {stream.host or stream.name or address}"]
    if stream.cookies:
        pairs = [f"user={stream.label}-{client.number}".encode().replace(b" ", b"-"),
                 *(name + b"=" + text for name, text in client.cookies.items())]
        lines.append("Cookie: " + b"; ".join(pairs).decode())
    if not stream.connection_age:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def keep_cookies(client: Client, head: bytes) -> None:
    for line in head.split(b"\r\n"):
        name, _, text = line.partition(b":")
        if name.lower() == b"set-cookie":
            key, _, content = text.strip().partition(b";")[0].partition(b"=")
            client.cookies[key] = content


def value(head: bytes, name: bytes) -> str:
    """A header's value; its name is given in lower case."""
    at = head.lower().find(b"\r\n" + name + b":")
    return head[at + len(name) + 3:].split(b"\r\n", 1)[0].strip().decode() if at >= 0 else ""


def perform(plan: Plan) -> Outcome:
    """Run the plan in this process."""
    generator = Generator(plan)
    used = time.process_time()
    began = time.monotonic()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(PreciseSelector())) as runner:
        runner.run(generator.run(began))
    records: dict[str, list[Record]] = {}
    for stream, found in zip(plan.streams, generator.records, strict=True):
        records.setdefault(stream.label, []).extend(found)
    for found in records.values():
        found.sort(key=lambda record: record.scheduled)
    lag = percentile(generator.lags, 0.99) if generator.lags else 0.0
    return Outcome(began, records, lag, time.process_time() - used)


# Between the two processes: JSON.


def write_plan(plan: Plan) -> str:
    return json.dumps(asdict(plan))


def read_plan(text: str) -> Plan:
    raw = json.loads(text)
    streams = tuple(
        Stream(**stream | {"addresses": tuple(stream["addresses"]),
                           "resolvers": tuple(Endpoint(**endpoint) for endpoint in stream["resolvers"])})
        for stream in raw["streams"])
    return Plan(streams, raw["seed"])


def write_outcome(outcome: Outcome) -> str:
    return json.dumps({
        "began": outcome.began, "lag": outcome.lag, "cpu": outcome.cpu,
        "records": {label: [[getattr(record, name) for name in Record.__slots__] for record in found]
                    for label, found in outcome.records.items()}})


def read_outcome(text: str) -> Outcome:
    raw = json.loads(text)
    records = {label: [Record(*fields) for fields in found] for label, found in raw["records"].items()}
    return Outcome(raw["began"], records, raw["lag"], raw["cpu"])


class VoidError(NotStartedError):
    """The run says more about the generator than about the servers."""


@dataclass(frozen=True, slots=True)
class Running:
    """A plan that another process carries out."""

    process: Process
    outcome: Path
    seconds: float
    began: float    # about when the first request is sent, on the monotonic clock
    limit: float    # seconds of lag
    lags: list[float]   # of all runs of the experiment; this one's joins them

    def wait(self) -> Outcome:
        """The outcome, when all replies are there.  Raises VoidError."""
        try:
            status = self.process.popen.wait(self.began - time.monotonic() + self.seconds + LONGEST_WAIT)
        except subprocess.TimeoutExpired:
            raise NotStartedError("the generator did not come to an end") from None
        if status:
            raise NotStartedError(f"the generator failed: {self.process.last_words()}")
        outcome = read_outcome(self.outcome.read_text())
        self.lags.append(outcome.lag)
        if outcome.lag > self.limit:
            raise VoidError(f"void: the generator lagged by {outcome.lag * 1000:.1f} ms (99th percentile; "
                            f"{self.limit * 1000:.0f} at most)")
        return outcome


def start(lab: Lab, streams: Sequence[Stream], limit: float = COARSE) -> Running:
    """Carry out a plan in a process of its own, beside whatever the experiment does meanwhile.

    In short nothing is void: such a run is not to be quoted.
    """
    plan = Plan(tuple(streams), lab.rng.randrange(1 << 30))
    serial = len(list(lab.directory.glob("load-*.plan")))
    files = [lab.directory / f"load-{serial}.{kind}" for kind in ("plan", "outcome")]
    files[0].write_text(write_plan(plan))
    began = time.monotonic() + HEAD_START
    process = lab.spawn(f"load-{serial}", sys.executable, "-m", "comparison.load", *files, began)
    seconds = max(stream.begin + stream.seconds for stream in streams)
    return Running(process, files[1], seconds, began, inf if lab.quick else limit, lab.lags)


def measure(lab: Lab, streams: Sequence[Stream], limit: float = COARSE) -> Outcome:
    """Carry out a plan, again when it was void.  Raises VoidError."""
    return unless_void(lab, lambda: start(lab, streams, limit).wait())


def unless_void(lab: Lab, attempt: Callable[[], T]) -> T:
    """What the attempt gives; it is made again when its run was void.  Raises VoidError when all tries were."""
    for _ in range(TRIES - 1):
        try:
            return attempt()
        except VoidError as error:
            lab.progress(f"{error}; again")
    return attempt()


def unvoided(lab: Lab, repeats: int, attempt: Callable[[int], T]) -> list[T]:
    """What the repeats give, but for those that were void; a note says how many.  Raises VoidError when all were."""
    found = []
    for number in range(repeats):
        try:
            found.append(unless_void(lab, partial(attempt, number)))
        except VoidError as error:
            reason = error
    if not found:
        raise reason
    if len(found) < repeats:
        lab.notes.append(f"{repeats - len(found)} of {repeats} repeats are left out: {reason}")
    return found


def main() -> None:
    plan, outcome, began = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    wait = began - time.monotonic()
    if wait > 0:
        time.sleep(wait)
    gc.disable()    # a collection among 100,000 records takes longer than a request
    with suppress(PermissionError):
        os.nice(-10)    # as on a machine of its own: it must not wait for the servers
    with suppress(KeyboardInterrupt):
        outcome.write_text(write_outcome(perform(read_plan(plan.read_text()))))


if __name__ == "__main__":
    main()
