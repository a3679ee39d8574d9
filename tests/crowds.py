"""A server with thousands of pools that do not exist, behind the real API; and how long its loop is busy meanwhile."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from made_up import QUIET, MadeUp, backend, rrset

from dnslb.admin import server
from dnslb.admin.guard import Guard, Token
from dnslb.admin.server import Listener
from dnslb.control.status import PoolStatus, ProbeStatus, Status

TOKEN = "a-token-for-tests"


@dataclass(slots=True)
class Many(MadeUp):
    """So many pools, of which a status takes as long to work out as a real one."""

    count: int = 2000
    asked: int = 0

    def status(self, pattern: str | None) -> Status:
        self.asked += 1
        owners = (f"{pattern or 'www'}{number}.example.net." for number in range(self.count))
        return replace(QUIET, now=time.time(), pools=tuple(self._pool(owner) for owner in owners))

    def probes(self, pattern: str | None) -> tuple[ProbeStatus, ...]:
        return tuple(ProbeStatus(f"www{n}.example.net.", "192.0.2.1", (0.1,) * 30, (True,) * 30) for n in range(2000))

    def metrics(self) -> Iterator[str]:
        for number in range(self.count // 20):
            yield f'dnslb_made_up{{number="{number}"}} 1\n' * 200

    def silent(self) -> tuple[int, ...]:
        return ()

    def _pool(self, owner: str) -> PoolStatus:
        return PoolStatus(owner, (rrset(*(backend(f"192.0.2.{number}", share=0.25) for number in range(1, 5))),))


class Lazy(Many):
    """It works the status out as it is told."""

    def status(self, pattern: str | None) -> Status:
        self.asked += 1
        owners = (f"{pattern or 'www'}{number}.example.net." for number in range(self.count))
        return replace(QUIET, now=time.time(), pools=(self._pool(owner) for owner in owners))


@dataclass(slots=True)
class Scene:
    """The loop in which the API runs, and the clients too."""

    port: int
    spent: list[float] = field(default_factory=list)  # seconds of CPU time from one look of the loop to the next

    async def ask(self, target: str, patience: float = 20.0, **headers: str) -> tuple[int, bytes]:
        """Status and body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(patience):
                more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                method = "POST" if headers else "GET"
                writer.write(f"{method} {target} HTTP/1.0\r\n{more}\r\n".encode())
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        return int(head.split()[1]), body

    async def hold(self, octets: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which nothing is read."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1)
        writer.write(octets)
        return reader, writer


@asynccontextmanager
async def serving(operations: MadeUp, token: bytes | None = None) -> AsyncIterator[Scene]:
    sock = socket.create_server(("127.0.0.1", 0), backlog=64)
    sock.setblocking(False)
    scene = Scene(sock.getsockname()[1])
    guard = Guard(() if token is None else (Token(token),))
    tasks = [
        asyncio.create_task(server.serve([Listener(sock, guard)], operations)),
        asyncio.create_task(look(scene.spent)),
    ]
    # As the server does: else what is measured is a walk over all that the tests have left in memory.
    gc.collect()
    gc.freeze()
    try:
        yield scene
    finally:
        gc.unfreeze()
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)


async def look(spent: list[float]) -> None:
    """How long the loop works before it looks at what has become due: in CPU time, since the machine has others too."""
    while True:
        began = time.process_time()
        await asyncio.sleep(0.005)
        spent.append(time.process_time() - began)
