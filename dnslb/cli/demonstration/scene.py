"""Who is on stage: the clones of the sample example.net.yaml, and dnslb over the samples, each a process of its own."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dnslb
from dnslb.admin import client
from dnslb.admin.client import Unreachable
from dnslb.cli.demonstration.process import NotStarted, Process, accepts, free_port, running

SAMPLES = Path(dnslb.__file__).parent / "samples"

NAME = "www.example.net"
ADDRESSES = ("127.0.1.11", "127.0.1.12", "127.0.1.13")  # as in the sample example.net.zone
PORT = 8080                                             # as in the sample example.net.yaml
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
        """Start all, and return when dnslb answers.  Raises NotStarted."""
        require_free_ports()
        scene = cls(stack, directory=Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dnslb-demo-"))))
        for address in ADDRESSES:
            scene.revive(address)
        scene.serve()
        return scene

    def serve(self) -> None:
        self.port = free_port(HOST, USUAL_PORT)
        # One worker: with two, each would take turns for itself.
        server = self.start_process("dnslb", [
            *("dnslb", "serve", SAMPLES, "--workers", 1, "--listen", f"{HOST}:{self.port}"),
            *("--state", self.directory / "state", "--control", self.control),
        ])  # fmt: skip
        server.await_ready(lambda: "try: dig" in server.log.read_text())

    def start_process(self, called: str, module: Sequence[object]) -> Process:
        """A module of Python's with its arguments, which the stack ends.  Raises NotStarted."""
        return self.stack.enter_context(running(called, [sys.executable, "-m", *module], self.directory))

    @property
    def control(self) -> Path:
        return self.directory / "control"

    def is_alive(self, address: str) -> bool:
        return not self.clones[address].has_ended

    def kill(self, address: str) -> None:
        self.clones[address].kill()

    def revive(self, address: str) -> None:
        """Start a clone there, and return when it accepts connections.  Raises NotStarted."""
        clone = self.start_process(f"clone-{address}", ["dnslb.cli.demonstration.clone", address, PORT])
        self.clones[address] = clone
        clone.await_ready(lambda: accepts(address, PORT))

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
    """Raises NotStarted when something else listens where the clones will."""
    for address in ADDRESSES:
        try:
            # It may take over from connections that are still closing, as the clone will.
            socket.create_server((address, PORT)).close()
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise NotStarted(
                f"{address}:{PORT}: {reason}; the sample zone has its web servers there: end what listens on port "
                f"{PORT} (ss -ltnp 'sport = :{PORT}')") from None
