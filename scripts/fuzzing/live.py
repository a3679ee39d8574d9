"""A real server, over its sockets: UDP, TCP, the control socket and the admin address."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmark.processes import free_port, tree

from dnslb.admin import client
from fuzzing import packets, texts
from fuzzing.targets import ZONE, Wrong

START = 30.0         # seconds
PACED = 64           # packets to one that must be answered: so no buffer overflows
PATIENCE = 5.0       # seconds for that
MOST_GROWTH = 16 << 20  # octets of all processes together
LOOK = 20_000        # inputs from one look at the server to the next
REQUESTS = [
    b"GET /status HTTP/1.1\r\nHost: dnslb\r\n\r\n",
    b"GET /lookup/www.fuzz.test/A/192.0.2.1 HTTP/1.1\r\nHost: dnslb\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: dnslb\r\nAccept: */*\r\n\r\n" * 2,
    b"GET /history?since=1 HTTP/1.0\r\nHost: dnslb\r\n\r\n", b"HEAD / HTTP/1.1\r\nHost: dnslb\r\n\r\n",
    b"GET /events HTTP/1.1\r\nHost: dnslb\r\nConnection: close\r\n\r\n",
    b"POST /orders/effect HTTP/1.1\r\nHost: dnslb\r\nContent-Length: 46\r\n\r\n"
    b'{"mode": "drain", "addresses": ["192.0.2.99"]}',
    b'POST /orders HTTP/1.1\r\nHost: dnslb\r\nTransfer-Encoding: chunked\r\n\r\n2e\r\n'
    b'{"mode": "drain", "addresses": ["192.0.2.99"]}\r\n0\r\n\r\n',
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Live:
    """A server that runs."""

    popen: subprocess.Popen[bytes]
    directory: Path
    port: int

    @property
    def control(self) -> Path:
        return self.directory / "control"

    def memory(self) -> int:
        found = 0
        for pid in tree(self.popen.pid):
            with suppress(OSError):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                found += next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
        return found

    def judge(self) -> None:
        """Raises Wrong unless nothing has happened to it."""
        log = (self.directory / "log").read_text(errors="replace")
        for word in ("Traceback", "a bug in dnslb", "SIG", "hangs"):
            if word in log:
                raise Wrong(f"the log has {word!r}:\n{log[-3000:]}")
        if self.popen.poll() is not None:
            raise Wrong(f"the server has ended with status {self.popen.returncode}")
        status, found = client.ask(self.control, "GET", "/status")
        if status != 200 or found["server"]["restarts"]:
            raise Wrong(f"workers were replaced: {found['server']}")


@contextmanager
def served(directory: Path) -> Iterator[Live]:
    """With one worker, ended on the way out."""
    zones, port = directory / "zones", free_port()
    zones.mkdir()
    (zones / "fuzz.test.zone").write_bytes(ZONE)
    (zones / "fuzz.test.yaml").write_text("pools: {www: {probe: {exec: [/bin/true], interval: 10s}, order: sticky}}\n")
    command = [
        *(sys.executable, "-m", "dnslb", "serve", str(zones), "--workers", "1", "--listen", f"127.0.0.1:{port}"),
        *("--state", str(directory / "state"), "--control", str(directory / "control")),
    ]
    with (directory / "log").open("wb") as log:
        popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
    live = Live(popen, directory, port)
    try:
        deadline = time.monotonic() + START
        while True:
            with suppress(client.Unreachable):
                client.ask(live.control, "GET", "/status")
                break
            if time.monotonic() > deadline or popen.poll() is not None:
                raise Wrong(f"no server: {(directory / 'log').read_text()}")
            time.sleep(0.05)
        yield live
    finally:
        popen.terminate()
        popen.wait(START)


def _marked(number: int) -> bytes:
    """A query that must be answered, with an id that none of the others has."""
    return b"\0" + (number & 0xFF).to_bytes() + packets.CORPUS[0][2:]


def _other(packet: bytes) -> bytes:
    return b"\xff" + packet[1:] if packet else packet


class OverUdp:
    """Many packets, and now and then one that must be answered."""

    def __init__(self, live: Live) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.connect(("127.0.0.1", live.port))
        self._sock.settimeout(PATIENCE)
        self._count = 0

    def read(self, packet: bytes) -> None:
        self._sock.send(_other(packet))
        self._count += 1
        if self._count % PACED == 0:
            marked = _marked(self._count)
            self._sock.send(marked)
            try:
                while self._sock.recv(65535)[:2] != marked[:2]:
                    pass
            except TimeoutError:
                raise Wrong(f"no answer within {PATIENCE:g} s") from None


class OverTcp:
    """A connection that is begun anew whenever it is closed."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._count = 0
        self._sock: socket.socket | None = None

    def read(self, packet: bytes) -> None:
        if self._sock is None:
            self._sock = socket.create_connection(("127.0.0.1", self._live.port), PATIENCE)
        self._count += 1
        marked = _marked(self._count)
        try:
            self._sock.sendall(b"".join(len(each).to_bytes(2) + each for each in (_other(packet), marked)))
            while self._message()[:2] != marked[:2]:
                pass
        except (ConnectionError, EOFError):
            self._sock.close()
            self._sock = None
        except TimeoutError:
            raise Wrong(f"no answer within {PATIENCE:g} s") from None

    def _message(self) -> bytes:
        return self._exactly(int.from_bytes(self._exactly(2)))

    def _exactly(self, octets: int) -> bytes:
        found = b""
        while self._sock is not None and len(found) < octets:
            piece = self._sock.recv(octets - len(found))
            if not piece:
                raise EOFError
            found += piece
        return found


class Requests:
    """Octets for the control socket; whoever is not understood must be told so, or let go."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def read(self, octets: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(self._live.control))
            try:
                sock.sendall(octets)
                sock.shutdown(socket.SHUT_WR)
                first = sock.recv(65536)
            except ConnectionError:
                return
            except TimeoutError:
                raise Wrong(f"no reply within {PATIENCE:g} s") from None
        if first and not first.startswith(b"HTTP/1.1 "):
            raise Wrong(f"no reply of HTTP: {first[:100]!r}")
        if first.startswith(b"HTTP/1.1 500"):
            raise Wrong(f"a bug: {first!r}")


def request(rng: random.Random) -> bytes:
    return texts.mutated(REQUESTS, rng)


def reader(name: str, live: Live) -> Callable[[bytes], None]:
    """What has that server read an input."""
    match name:
        case "udp":
            return OverUdp(live).read
        case "tcp":
            return OverTcp(live).read
    return Requests(live).read
