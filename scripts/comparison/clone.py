"""A backend: one HTTP server, one process, told apart from its clones by its name.

    python -m comparison.clone NAME ADDRESS PORT [REDIS_PORT]

Every reply has a ``Backend`` header with its name.  PUT /control?delay=0.2&status=500 changes it while it runs: a
status holds for all paths, a delay (seconds) for all but /healthz; ?healthy=no breaks /healthz alone.  /session finds
or begins the session of the ``Cookie`` ``user=NAME``, in its own memory or in Redis, and says which in a ``Session``
header: found or new.

HTTP/1.1 as far as balancers, wrk and our generator speak it: keep-alive, no chunks, bodies are read and dropped.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import parse_qs

BACKLOG = 1024
LARGEST_HEAD = 16 << 10
REASONS = {200: b"OK", 500: b"Internal Server Error", 503: b"Service Unavailable"}


@dataclass(slots=True)
class Clone:
    """What it is, and how it behaves at the moment."""

    name: str
    delay: float = 0.0          # seconds before every reply but those to probes
    status: int = 200
    healthy: bool = True
    sessions: Sessions | None = None
    ready: bytes = b""          # the reply to /, packed

    def __post_init__(self) -> None:
        self.pack()

    def pack(self) -> None:
        self.ready = self.reply(self.status, self.name.encode() + b"\n")

    def reply(self, status: int, body: bytes, *headers: bytes) -> bytes:
        lines = (b"HTTP/1.1 %d %s" % (status, REASONS.get(status, b"Other")), b"Backend: " + self.name.encode(),
                 b"Content-Type: text/plain", b"Content-Length: %d" % len(body), *headers, b"", body)
        return b"\r\n".join(lines)

    def change(self, query: str) -> None:
        for key, (value, *_) in parse_qs(query).items():
            match key:
                case "delay":
                    self.delay = float(value)
                case "status":
                    self.status = int(value)
                case "healthy":
                    self.healthy = value != "no"
        self.pack()


@dataclass(slots=True)
class Sessions:
    """Who has been here before: in this process, or in Redis for all clones."""

    redis: int | None = None    # its port on 127.0.0.1
    known: set[bytes] = field(default_factory=set)
    _stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def find(self, user: bytes) -> bool:
        """Whether the user's session was there; it is afterwards."""
        if self.redis is None:
            found = user in self.known
            self.known.add(user)
            return found
        async with self._turn:
            if self._stream is None:
                self._stream = await asyncio.open_connection("127.0.0.1", self.redis)
            reader, writer = self._stream
            key = b"session:" + user
            # SET returns the old value with GET: nil ($-1) for a new session (Redis 6.2).
            writer.write(b"*4\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$1\r\n1\r\n$3\r\nGET\r\n" % (len(key), key))
            head = await reader.readline()
            if head.startswith(b"$-1"):
                return False
            await reader.readline()
            return True


class Connection(asyncio.Protocol):
    """One client.  Requests that are pipelined are answered in order, as far as none is delayed."""

    def __init__(self, clone: Clone) -> None:
        self.clone = clone
        self.buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, octets: bytes) -> None:
        self.buffer += octets
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head, rest = self.buffer[:end], self.buffer[end + 4:]
            length = int(header(head, b"content-length") or 0)
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            self.answer(head)
        if len(self.buffer) > LARGEST_HEAD:
            self.transport.abort()

    def answer(self, head: bytes) -> None:
        method, target, version = head[:head.find(b"\r\n") if b"\r\n" in head else None].split(b" ", 2)
        path, _, query = target.partition(b"?")
        closes = version == b"HTTP/1.0" or (header(head, b"connection") or b"").lower() == b"close"
        clone = self.clone
        if path == b"/healthz":
            status = clone.status if clone.healthy else 503
            self.send(clone.reply(status, b"well\n" if status == 200 else b"ill\n"), closes)
        elif path == b"/control" and method == b"PUT":
            clone.change(query.decode())
            self.send(clone.reply(200, b"done\n"), closes)
        elif path == b"/session":
            asyncio.get_running_loop().create_task(self.find_session(head, closes))
        elif clone.delay:
            asyncio.get_running_loop().call_later(clone.delay, self.send, clone.ready, closes)
        else:
            self.send(clone.ready, closes)

    async def find_session(self, head: bytes, closes: bool) -> None:
        user = (header(head, b"cookie") or b"").partition(b"user=")[2].partition(b";")[0]
        clone = self.clone
        assert clone.sessions is not None
        found = await clone.sessions.find(user)
        self.send(clone.reply(clone.status, clone.name.encode() + b"\n",
                              b"Session: found" if found else b"Session: new"), closes)

    def send(self, reply: bytes, closes: bool) -> None:
        self.transport.write(reply)
        if closes:
            self.transport.close()


def header(head: bytes, name: bytes) -> bytes | None:
    """The value of the header, whose name is given in lower case."""
    at = head.lower().find(b"\r\n" + name + b":")
    if at < 0:
        return None
    begin = at + len(name) + 3
    end = head.find(b"\r\n", begin)
    return head[begin:end if end >= 0 else None].strip()


async def serve(clone: Clone, address: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, ended.set)
    server = await loop.create_server(lambda: Connection(clone), address, port, backlog=BACKLOG, reuse_address=True)
    await ended.wait()
    server.close()


def main() -> None:
    name, address, port, *redis = sys.argv[1:]
    sessions = Sessions(int(redis[0]) if redis else None)
    try:
        asyncio.run(serve(Clone(name, sessions=sessions), address, int(port)))
    except OSError as error:
        sys.exit(f"{address}:{port}: {(error.strerror or str(error)).lower()}")


if __name__ == "__main__":
    main()
