"""A backend: one HTTP server, one process, told apart from its clones by its name.

    python -m comparison.clone NAME ADDRESS PORT [REDIS_PORT]

Every reply has a ``Backend`` header with its name. PUT /control?delay=0.2&status=500 changes it while it runs: a
status holds for all paths, a delay (seconds) for all but /healthz; ?healthy=no breaks /healthz alone; ?service=0.05
makes requests queue, as each takes so long alone; /healthz then tells in ``X-Load`` which part of the time since it
was asked last it was busy, and /agent tells what is left, as one of HAProxy's agents would. /session finds or begins
the session of the ``Cookie`` ``user=NAME``, in its own memory or in Redis, and says which in a ``Session`` header:
found or new.

HTTP/1.1 as far as balancers, wrk and our generator speak it: keep-alive, no chunks, bodies are read and dropped.  One
epoll loop on plain sockets: asyncio would take four times as long to accept a connection, and this program's time is
in every figure.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from urllib.parse import parse_qs

READY = "ready"         # is printed when connections are accepted
BACKLOG = 1024
CHUNK = 64 << 10
LARGEST = 64 << 10      # octets of a request
REASONS = {200: b"OK", 500: b"Internal Server Error", 503: b"Service Unavailable"}


@dataclass(slots=True)
class Clone:
    """What it is, and how it behaves at the moment."""

    name: str
    find_session: Callable[[bytes], bool]   # whether the user's was there; it is afterwards
    delay: float = 0.0                      # seconds before every reply but those to probes
    service: float = 0.0                    # seconds that every reply but those to probes takes, one after the other
    free_at: float = 0.0                    # when the last of them is done, on the monotonic clock
    status: int = 200
    healthy: bool = True
    worked: float = 0.0                     # seconds of service that were asked for
    looked: tuple[float, float] = (0.0, 0.0)  # when the load was asked for last, and how long it had been busy by then
    ready: bytes = b""                      # the reply to /, packed

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
                case "service":
                    self.service = float(value)
                case "status":
                    self.status = int(value)
                case "healthy":
                    self.healthy = value != "no"
        self.pack()

    def answer(self, head: bytes) -> tuple[bytes, float]:
        """The reply to a request, and the seconds that it takes."""
        method, target, *_ = head.split(b" ", 2)
        path, _, query = target.partition(b"?")
        if path == b"/healthz":
            status = self.status if self.healthy else 503
            told = (b"X-Load: %.3f" % self.load(),) if self.service else ()
            return self.reply(status, b"well\n" if status == 200 else b"ill\n", *told), 0.0
        if path == b"/agent":
            return b"%d%%\n" % max(1, round(100 * (1 - self.load()))), 0.0
        if path == b"/control" and method == b"PUT":
            self.change(query.decode())
            return self.reply(200, b"done\n"), 0.0
        if path == b"/session":
            user = header(head, b"cookie").partition(b"user=")[2].partition(b";")[0]
            found = b"Session: found" if self.find_session(user) else b"Session: new"
            return self.reply(self.status, self.name.encode() + b"\n", found), self.wait()
        return self.ready, self.wait()

    def wait(self) -> float:
        """The seconds until a reply that is asked for now."""
        if not self.service:
            return self.delay
        now = time.monotonic()
        self.free_at = max(now, self.free_at) + self.service
        self.worked += self.service
        return self.delay + self.free_at - now

    def load(self) -> float:
        """The part of the time since this was asked last that it was busy."""
        now = time.monotonic()
        busy = self.worked - max(0.0, self.free_at - now)
        (at, before), self.looked = self.looked, (now, busy)
        return max(0.0, min(1.0, (busy - before) / max(now - at, 0.001)))


def header(head: bytes, name: bytes) -> bytes:
    """The value of the header, whose name is given in lower case; empty when there is none."""
    at = head.lower().find(b"\r\n" + name + b":")
    return head[at + len(name) + 3:].split(b"\r\n", 1)[0].strip() if at >= 0 else b""


def remember() -> Callable[[bytes], bool]:
    """Sessions in this process."""
    known: set[bytes] = set()

    def find(user: bytes) -> bool:
        found = user in known
        known.add(user)
        return found

    return find


def ask_redis(port: int) -> Callable[[bytes], bool]:
    """Sessions that all clones share."""
    redis = socket.create_connection(("127.0.0.1", port), 5)
    replies = redis.makefile("rb")

    def find(user: bytes) -> bool:
        key = b"session:" + user
        # With GET, SET returns the old value: nil ($-1) for a new session (Redis 6.2).
        redis.sendall(b"*4\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$1\r\n1\r\n$3\r\nGET\r\n" % (len(key), key))
        if replies.readline().startswith(b"$-1"):
            return False
        replies.readline()
        return True

    return find


class Server:
    """The loop: connections, and replies that wait for their time."""

    def __init__(self, clone: Clone, address: str, port: int) -> None:
        self._clone = clone
        self._listener = socket.create_server((address, port), backlog=BACKLOG)     # with SO_REUSEADDR
        self._listener.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._clients: dict[int, tuple[socket.socket, bytes]] = {}      # by descriptor; what has come of a request
        self._later: list[tuple[float, int, socket.socket, bytes, bool]] = []
        self._serial = count()      # so that the heap never compares sockets

    def run(self) -> None:
        while True:
            wait = max(0.0, self._later[0][0] - time.monotonic()) if self._later else None
            for descriptor, _ in self._epoll.poll(wait):
                if descriptor == self._listener.fileno():
                    self._accept()
                else:
                    self._read(descriptor)
            while self._later and self._later[0][0] <= time.monotonic():
                _, _, client, reply, closes = heappop(self._later)
                self._send(client, reply, closes)

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            while True:
                client, _ = self._listener.accept()
                client.setblocking(False)
                self._clients[client.fileno()] = client, b""
                self._epoll.register(client, select.EPOLLIN)
                self._read(client.fileno())     # most often the request has come already

    def _read(self, descriptor: int) -> None:
        client, octets = self._clients[descriptor]
        try:
            more = client.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            more = b""
        octets += more
        if not more or len(octets) > LARGEST:
            self._close(client)
            return
        while (end := octets.find(b"\r\n\r\n")) >= 0:
            head = octets[:end]
            length = int(header(head, b"content-length") or 0)
            if len(octets) < end + 4 + length:
                break
            octets = octets[end + 4 + length:]
            self._answer(client, head)
        if descriptor in self._clients:
            self._clients[descriptor] = client, octets

    def _answer(self, client: socket.socket, head: bytes) -> None:
        closes = header(head, b"connection").lower() == b"close" or head.split(b"\r\n", 1)[0].endswith(b"HTTP/1.0")
        reply, delay = self._clone.answer(head)
        if delay:
            heappush(self._later, (time.monotonic() + delay, next(self._serial), client, reply, closes))
        else:
            self._send(client, reply, closes)

    def _send(self, client: socket.socket, reply: bytes, closes: bool) -> None:
        with suppress(OSError):     # the client may have gone
            client.send(reply)
        if closes:
            self._close(client)

    def _close(self, client: socket.socket) -> None:
        if client.fileno() >= 0:
            del self._clients[client.fileno()]
            client.close()      # which also takes it out of epoll


def main() -> None:
    name, address, port, *redis = sys.argv[1:]
    try:
        server = Server(Clone(name, ask_redis(int(redis[0])) if redis else remember()), address, int(port))
    except OSError as error:
        sys.exit(f"{address}:{port}: {(error.strerror or str(error)).lower()}")
    print(READY)
    server.run()


if __name__ == "__main__":
    main()
