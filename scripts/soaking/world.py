"""The server that is soaked, its zones, and the backends that it probes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from math import inf
from pathlib import Path
from typing import Any

from benchmark.backends import Backends
from benchmark.processes import census

from dnslb.admin import client
from soaking.model import Backend, Timeline

POOLS = 12
ADDRESSES = 4
RECORDS = 3000        # of a zone beside
NOTICED = 6.0         # seconds within which a backend that changes is noticed: 2 probes of 0.5 s, and a busy machine
START = 60.0          # seconds for a server to come up
END = 15.0            # seconds for it to end
WORKERS = 2
SETTINGS = "orphan_grace: 120s\ntcp_connections: 200\n"
POLICY = "defaults: {{probe: {{tcp: {port}, interval: 500ms, timeout: 400ms, fall: 2, rise: 2}}}}\npools:\n{pools}"
KINDS = ("{}", "{order: spread}", "{order: sticky}", "{answers: 1}")  # of pools, in turn
ZONE = """\
$TTL 60
@ SOA ns1 h 1 3600 900 1209600 60
@ NS ns1
ns1 A 127.0.0.1
version TXT "{version}"
alias CNAME p0
*.wild A 192.0.2.1
$GENERATE 1-60 large TXT "$ {filling}"
{pools}"""


class World:
    """One server after the other, on the same port, over the same directory."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory, self.port = directory, port
        addresses = {f"p{pool}": [f"127.9.{pool}.{host + 1}" for host in range(ADDRESSES)] for pool in range(POOLS)}
        self.pools = {name: {address: Backend() for address in each} for name, each in addresses.items()}
        self.most = {f"p{pool}": 1 if pool % len(KINDS) == 3 else None for pool in range(POOLS)}
        self.version = Timeline(1)
        self.backends = Backends([address for each in addresses.values() for address in each])
        self._is_blind = False  # nobody probes
        self.log = directory / "log"
        zones = directory / "zones"
        zones.mkdir()
        (zones / "dnslb.yaml").write_text(SETTINGS)
        beside = "".join(f"n{number} A 192.0.2.{number % 250}\n" for number in range(RECORDS))
        (zones / "beside.test.zone").write_text(ZONE.format(version=0, filling="", pools=beside))
        self._zone = zones / "soak.test.zone"
        self.write_zone(1)
        pools = "".join(f"  p{pool}: {KINDS[pool % len(KINDS)]}\n" for pool in range(POOLS))
        (zones / "soak.test.yaml").write_text(POLICY.format(port=self.backends.port, pools=pools))
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def parent(self) -> int:
        return self._popen.pid if self._popen is not None and self._popen.poll() is None else 0

    def write_zone(self, version: int, more: str = "") -> None:
        """As an editor does: whole, or not at all."""
        pools = "".join(f"{name} A {address}\n" for name, each in self.pools.items() for address in each)
        new = self._zone.with_suffix(".new")
        new.write_text(ZONE.format(version=version, filling="x" * 100, pools=pools + more))
        new.replace(self._zone)

    async def ask(self, method: str, target: str, value: object = None) -> tuple[int, Any]:
        """Raises client.Unreachable."""
        return await asyncio.to_thread(client.ask, self.directory / "control", method, target, value)

    async def start(self, *options: str) -> None:
        """Start a server, and wait until it can be asked."""
        command = [
            *(sys.executable, "-m", "dnslb", "serve", str(self.directory / "zones"), "--workers", str(WORKERS)),
            *("--listen", f"127.0.0.1:{self.port}", "--state", str(self.directory / "state")),
            *("--control", str(self.directory / "control"), *options),
        ]
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
            )
        await self._come_up(self._popen, time.time())

    async def take_over(self) -> None:
        """Start a server that takes over from the living one, which ends."""
        old = self._popen
        await self.start("--takeover")
        if old is not None:
            await asyncio.to_thread(old.wait, END)

    async def _come_up(self, popen: subprocess.Popen[bytes], began: float) -> None:
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            with contextlib.suppress(client.Unreachable):
                status, found = await self.ask("GET", "/status")
                if status == 200 and found["server"]["started"] >= began:
                    return
            if popen.poll() is not None:
                break
            await asyncio.sleep(0.1)
        raise RuntimeError(f"the server has not come up; the end of its log:\n{self.log.read_text()[-2000:]}")

    def begin_blindness(self) -> None:
        """Nobody probes from now on: what is not certain yet stays so."""
        self._is_blind, since = True, time.monotonic()
        for backend in self.all_backends():
            backend.lives.delay(since, inf)

    def end_blindness(self) -> None:
        """Somebody probes again: what has changed meanwhile, or just before, is noticed soon."""
        self._is_blind = False
        for backend in self.all_backends():
            backend.lives.confirm(time.monotonic() + NOTICED)

    def flip(self, address: str, lives: Timeline[bool]) -> None:
        """A backend dies, or comes back."""
        now = time.monotonic()
        lives.change(not lives.last, now, inf if self._is_blind else now + NOTICED)
        (self.backends.revive if lives.last else self.backends.kill)(address)

    def all_backends(self) -> list[Backend]:
        return [backend for pool in self.pools.values() for backend in pool.values()]

    def kill(self) -> None:
        """The parent, by SIGKILL."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()

    def end(self) -> int | None:
        """The exit status of the last server."""
        if self._popen is None:
            return None
        self._popen.terminate()
        try:
            return self._popen.wait(END)
        except subprocess.TimeoutExpired:
            for pid in [*self.children(), self._popen.pid]:
                os.kill(pid, signal.SIGKILL)
            return self._popen.wait()

    def children(self) -> dict[int, bool]:
        """Processes of the server, without the parent, and whether each of them is a worker."""
        parent = self.parent
        # Those that read, watch and write begin a session of their own.
        return {pid: session == parent for pid, (above, session) in census().items() if parent and above == parent}
