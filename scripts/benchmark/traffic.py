"""Two clients of one server: the others, who ask at a steady rate and are counted, and a hostile one beside them.

Both are C programs (``steady.c``, ``hostile.c``) on the generator's core; the steady one has the higher priority where
we may give it, since clients have machines of their own.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

from benchmark.queries import CLASSES, Question, packet
from benchmark.targets import HERE, RefusedError, compile_c

PRIORITY = -10          # of the steady client
ENDING = 20.0           # seconds for a client to end, beyond its time
MOST_LAG = 0.005        # seconds, 99th percentile: a steady client that is later was itself disturbed
LOST, WRONG = -1.0, -2.0  # instead of seconds, as steady.c prints it
PLAIN, EDNS = CLASSES[:2]


@dataclass(frozen=True, slots=True)
class Others:
    """What the steady client does."""

    port: int
    questions: Path     # as ``write_questions`` leaves them
    seconds: float
    rate: int           # queries a second
    sockets: int = 1    # that they come from in turn


@dataclass(frozen=True, slots=True)
class Asked:
    """One query of the steady client."""

    due: float      # by time.monotonic
    lag: float      # seconds from then until it was sent
    taken: float    # seconds until its reply; LOST or WRONG

    @property
    def is_answered(self) -> bool:
        return self.taken >= 0


@dataclass(frozen=True, slots=True)
class Met:
    """What the steady client met."""

    asked: int
    lost: int
    wrong: int
    median: float       # seconds, of the replies; infinite without any
    late: float         # the 99th percentile
    slowest: float
    lag: float          # the generator's own, 99th percentile

    @property
    def loss(self) -> float:
        """The share of queries without a right reply."""
        return (self.lost + self.wrong) / self.asked if self.asked else 1.0


@dataclass(frozen=True, slots=True)
class Sent:
    """What the hostile client did."""

    queries: int
    replies: int
    opened: int         # connections
    open: int           # of them, at the end
    seconds: float


@dataclass(frozen=True, slots=True)
class Programs:
    steady: Path
    hostile: Path


def compile_clients(directory: Path) -> Programs:
    programs = Programs(directory / "steady", directory / "hostile")
    for program in (programs.steady, programs.hostile):
        compile_c(HERE / f"{program.name}.c", program)
    return programs


def write_questions(questions: Sequence[Question], path: Path) -> Path:
    """Each question twice, without and with EDNS, in random order, as steady.c reads them."""
    rng = Random(0)
    entries = []
    for question in questions:
        for query_class in (PLAIN, EDNS):
            query = packet(question, query_class, rng)
            entries.append(len(query).to_bytes(2) + bytes([question.rcode]) + question.records.to_bytes(2) + query)
    rng.shuffle(entries)
    path.write_bytes(b"".join(entries))
    return path


def write_packets(packets: Iterable[bytes], path: Path) -> Path:
    with path.open("wb") as file:
        file.writelines(len(octets).to_bytes(2) + octets for octets in packets)
    return path


class Client:
    """A program that ends by itself after its time."""

    def __init__(self, command: Sequence[object], seconds: float, log: Path) -> None:
        self._until = time.monotonic() + seconds + ENDING
        self._log = log
        with log.open("wb") as output:
            self.popen = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output,
                                          stderr=subprocess.STDOUT)

    def said(self) -> str:
        """What it printed, once it has ended."""
        try:
            status = self.popen.wait(max(0.0, self._until - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise RefusedError(f"{self._log.name} did not come to an end") from None
        text = self._log.read_text(errors="replace")
        if status:
            raise RefusedError(f"{self._log.name} failed: {text.strip()[-200:]}")
        return text

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()


@contextlib.contextmanager
def steady(program: Path, others: Others) -> Iterator[Client]:
    """The others, on this process's core.  ``seen`` tells afterwards what became of their queries."""
    words = program, others.port, others.questions, others.seconds, others.rate, others.sockets
    client = Client(words, others.seconds, others.questions.with_name("steady.log"))
    try:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, client.popen.pid, PRIORITY)
        yield client
    finally:
        client.end()


@contextlib.contextmanager
def hostile(program: Path, words: Sequence[object], log: Path, seconds: float) -> Iterator[Client]:
    client = Client((program, *words), seconds, log)
    try:
        yield client
    finally:
        client.end()


def seen(client: Client) -> list[Asked]:
    return [Asked(*map(float, line.split())) for line in client.said().splitlines()]


def sent(client: Client) -> Sent:
    text = client.said()
    numbers = {name: float(number) for name, number in re.findall(r"(\w+) ([\d.]+)", text)}
    return Sent(int(numbers["sent"]), int(numbers["replies"]), int(numbers["opened"]), int(numbers["open"]),
                numbers["seconds"])


def summary(queries: Sequence[Asked]) -> Met:
    taken = sorted(query.taken for query in queries if query.is_answered)
    lost = sum(query.taken == LOST for query in queries)
    wrong = sum(query.taken == WRONG for query in queries)
    return Met(len(queries), lost, wrong, quantile(taken, 0.5), quantile(taken, 0.99), quantile(taken, 1.0),
               quantile(sorted(query.lag for query in queries), 0.99))


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest that at least ``share`` of the values do not exceed; infinite when there are none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.inf


def silence(queries: Sequence[Asked]) -> float:
    """Seconds of the longest time without an answered query, from due to due."""
    answered = [query.due for query in queries if query.is_answered]
    if not queries:
        return 0.0
    edges = [queries[0].due, *answered, queries[-1].due]
    return max(after - before for before, after in pairwise(edges))


def last_loss(queries: Sequence[Asked], since: float) -> float | None:
    """Seconds from ``since`` until the last query that was not answered; 0 without one, None if they never cease."""
    missed = [query.due for query in queries if not query.is_answered and query.due >= since]
    if not missed:
        return 0.0
    # The last tenth of a second must be whole, else nobody knows whether it is over.
    return missed[-1] - since if missed[-1] < queries[-1].due - 0.1 else None
