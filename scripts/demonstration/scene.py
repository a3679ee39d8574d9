"""Who is on stage: the clones of zones/example.net.yaml, and dnslb over zones/, each a process of its own."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comparison.processes import ROOT, NotStartedError, Process, accepts, await_ready, free_port, is_free, spawn

from dnslb.admin import client
from dnslb.admin.client import Unreachable

NAME = "www.example.net"
ADDRESSES = ("127.0.1.11", "127.0.1.12", "127.0.1.13")  # as in zones/example.net.zone
PORT = 8080                                             # as in zones/example.net.yaml
HOST, USUAL_PORT = "127.0.0.1", 5300
OK = 200


@dataclass
class Scene:
    """Everything that runs; the stack ends it."""

    stack: ExitStack
    clones: dict[str, Process] = field(default_factory=dict)    # by address, dead ones too
    port: int = 0                                               # of dnslb
    directory: Path = Path()

    @classmethod
    def start(cls, stack: ExitStack) -> Scene:
        """Start all, and return when dnslb answers.  Raises NotStartedError."""
        require_free_ports()
        scene = cls(stack, directory=Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dnslb-demo-"))))
        for address in ADDRESSES:
            scene.revive(address)
        scene.serve()
        return scene

    def serve(self) -> None:
        self.port = USUAL_PORT if is_free(HOST, USUAL_PORT) else free_port([HOST])
        # One worker: with two, each would take turns for itself.
        server = spawn("dnslb", [
            *(sys.executable, "-m", "dnslb", "serve", ROOT / "zones", "--workers", 1),
            *("--listen", f"{HOST}:{self.port}"),
            *("--state", self.directory / "state", "--control", self.control),
        ], self.directory, self.stack)
        await_ready(server, lambda: "try: dig" in server.log.read_text())

    @property
    def control(self) -> Path:
        return self.directory / "control"

    def is_alive(self, address: str) -> bool:
        return not self.clones[address].has_ended

    def kill(self, address: str) -> None:
        self.clones[address].kill()

    def revive(self, address: str) -> None:
        """Start a clone there, and return when it accepts connections.  Raises NotStartedError."""
        command = (sys.executable, "-m", "comparison.clone", address, address, PORT)
        self.clones[address] = spawn(f"clone-{address}", command, self.directory, self.stack)
        await_ready(self.clones[address], lambda: accepts(address, PORT))

    def order(self, mode: str, address: str) -> None:
        """drain or ready; returns when every worker follows.  Raises Unreachable."""
        self._ask("POST", "/orders", {"mode": mode, "addresses": [address], "names": [NAME]})

    def status(self) -> dict[str, Any]:
        """Of the pool: TTL, why, backends.  Raises Unreachable."""
        rrset: dict[str, Any] = self._ask("GET", f"/status/{NAME}")["pools"][0]["rrsets"][0]
        return rrset

    def history(self) -> list[dict[str, Any]]:
        """The changes of verdicts and orders so far.  Raises Unreachable."""
        changes: list[dict[str, Any]] = self._ask("GET", "/history")["changes"]
        return changes

    def _ask(self, method: str, target: str, value: object = None) -> Any:
        status, reply = client.ask(self.control, method, target, value)
        if status != OK:
            raise Unreachable(f"{reply['error']}; {reply['remedy']}")
        return reply


def require_free_ports() -> None:
    """Raises NotStartedError when something else listens where the clones will."""
    for address in ADDRESSES:
        try:
            # It may take over from connections that are still closing, as the clone will.
            socket.create_server((address, PORT)).close()
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise NotStartedError(
                f"{address}:{PORT}: {reason}; the sample zone has its web servers there: end what listens on port "
                f"{PORT} (ss -ltnp 'sport = :{PORT}')") from None
