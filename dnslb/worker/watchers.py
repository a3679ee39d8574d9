"""Who looks at queries besides: dnstap, the query log, and who wants to know what is asked most."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from dnslb import __version__
from dnslb.config.recording import Dnstap, QueryLog
from dnslb.dns.dnstap import Encoder
from dnslb.worker import query_line
from dnslb.worker.dnstap_stream import DnstapStream
from dnslb.worker.record_counts import RecordCount
from dnslb.worker.sampling import Sampling
from dnslb.worker.space_saving import Estimate, SpaceSaving, merged
from dnslb.worker.transaction import TransactionBatch

_ATOMIC = 4096   # octets that one write puts into a pipe whole, or not at all (pipe(7) PIPE_BUF)
_COUNTERS = 400  # of names, and of clients
_WINDOW = 10.0   # seconds of queries, at least, that are told of; up to twice as many
_QUESTION = 12   # where it begins


class DnstapWatcher:
    """Sends a share of queries, and the replies to them."""

    def __init__(self, wanted: Dnstap, identity: str, stream: DnstapStream, rng: Random) -> None:
        self._sampling = Sampling(wanted.sample, rng)
        self._encoder = Encoder(identity, f"dnslb {__version__}")
        self._stream = stream

    def __call__(self, seen: TransactionBatch) -> None:
        messages = []
        for index in self._sampling.chosen(len(seen)):
            at, ends, query, reply = seen.transaction(index)
            messages.append(self._encoder.query(ends, at, query))
            if reply is not None:
                messages.append(self._encoder.response(ends, at, reply))
        if messages:
            self._stream.send(messages)


class QueryLogWatcher:
    """Writes a line for each of a share of queries into the pipe of who writes the file.

    What does not fit into it is dropped, and counted.
    """

    def __init__(self, wanted: QueryLog, pipe: int, counted: RecordCount, rng: Random) -> None:
        self._sampling = Sampling(wanted.sample, rng)
        self._line = query_line.as_json if wanted.format == "json" else query_line.text
        self._pipe = pipe
        self._counted = counted

    def __call__(self, seen: TransactionBatch) -> None:
        lines: list[bytes] = []
        octets = 0
        for index in self._sampling.chosen(len(seen)):
            line = self._line(seen.transaction(index))
            if octets + len(line) > _ATOMIC:
                self._write(lines)
                lines, octets = [], 0
            lines.append(line)
            octets += len(line)
        if lines:
            self._write(lines)

    def _write(self, lines: list[bytes]) -> None:
        try:
            os.write(self._pipe, b"".join(lines))
        except OSError:  # it is full, or nobody reads it just now
            self._counted.dropped += len(lines)
        else:
            self._counted.written += len(lines)


@dataclass(frozen=True, slots=True)
class TopCounts:
    """What was asked most, and by whom, as one worker has counted it."""

    seconds: float = 0.0  # in which that was
    queries: int = 0
    questions: Mapping[bytes, Estimate] = field(default_factory=dict)  # by folded name, type and class; b"": none
    clients: Mapping[bytes, Estimate] = field(default_factory=dict)    # by IPv4 address or IPv6 /64


class TopWatcher:
    """Counts all queries of the last seconds."""

    def __init__(self) -> None:
        self._since = self._before = time.monotonic()
        self._now = _Window()
        self._last = _Window()

    def __call__(self, seen: TransactionBatch) -> None:
        self._turn_over()
        indices = range(len(seen))
        self._now.questions.add([_question(seen.query(index)) for index in indices])
        self._now.clients.add([_network(seen.client(index)) for index in indices])

    def report(self) -> TopCounts:
        self._turn_over()
        now, last = self._now, self._last
        return TopCounts(
            seconds=time.monotonic() - self._before,
            queries=now.questions.total + last.questions.total,
            questions=merged([now.questions.estimates(), last.questions.estimates()]),
            clients=merged([now.clients.estimates(), last.clients.estimates()]),
        )

    def _turn_over(self) -> None:
        """Forget what is too old."""
        now = time.monotonic()
        if now - self._since > _WINDOW:
            self._last, self._now = self._now, _Window()
            self._before, self._since = self._since, now


class _Window:
    """What was counted in some seconds."""

    def __init__(self) -> None:
        self.questions = SpaceSaving(_COUNTERS)
        self.clients = SpaceSaving(_COUNTERS)


def _question(packet: bytes) -> bytes:
    """Of a query.  It need not be one: what is in it is looked at when it is told."""
    end = packet.find(b"\0", _QUESTION) + 5
    return packet[_QUESTION:end].lower() if _QUESTION + 5 <= end <= len(packet) else b""


def _network(client: bytes) -> bytes:
    """What counts as one client: an IPv4 address or an IPv6 /64."""
    return client if len(client) == 4 else client[:8]
