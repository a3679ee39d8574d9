"""A server whose backends are files: one is up while its file is there."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dnslb_server import Server, started
from peers import free_port

from dnslb.admin import client

ZONE = """\
$TTL 300
@    SOA  ns1 hostmaster 1 3600 900 1209600 60
     NS   ns1
ns1  A    192.0.2.53
www  A    192.0.2.1
     A    192.0.2.2
     A    192.0.2.3
     A    192.0.2.4
"""
POLICY = """\
pools:
  www:
    probe: {{exec: [/usr/bin/test, -e, "{up}/{{address}}"], interval: 200ms, fall: 2, rise: 2}}
    slowstart: 1h
    answers: 1
"""


class World:
    """A directory with a zone, backends that are up while their file is there, and the state.

    In the policy, ``{up}`` stands for the directory of those files, and braces are doubled.
    """

    def __init__(self, directory: Path, zone: str = ZONE, policy: str = POLICY) -> None:
        self.directory = directory
        self.up = directory / "up"
        self.up.mkdir()
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"):
            (self.up / address).touch()
        zones = directory / "zones"
        zones.mkdir()
        (zones / "example.test.zone").write_text(zone)
        (zones / "example.test.yaml").write_text(policy.format(up=self.up))

    @contextmanager
    def server(self, *options: str) -> Iterator[Server]:
        listen = ("--listen", f"127.0.0.1:{free_port()}", "--workers", "1")
        with started(self.directory, *listen, *options) as server:
            yield server

    def configure(self, text: str) -> None:
        """As an editor does."""
        new = self.directory / "zones" / "dnslb.yaml.new"
        new.write_text(text)
        new.replace(self.directory / "zones" / "dnslb.yaml")

    def ask(self, method: str, target: str, value: object = None) -> Any:
        status, answer = client.ask(self.directory / "control", method, target, value)
        assert status == 200, answer
        return answer

    def backends(self) -> dict[str, dict[str, Any]]:
        rrset = self.ask("GET", "/status")["pools"][0]["rrsets"][0]
        return {backend["address"]: backend for backend in rrset["backends"]}

    def changes(self) -> list[dict[str, Any]]:
        """Those of addresses: not those of the server itself."""
        return [change for change in self.ask("GET", "/history")["changes"] if change["address"]]

    def history(self) -> list[tuple[str, str]]:
        return [(change["address"], change["what"]) for change in self.changes()]

    def saved(self) -> str:
        path = self.directory / "state" / "state.json"
        return path.read_text() if path.exists() else ""


def kill(server: Server) -> None:
    """All of it: workers without a parent would wait for another one."""
    workers = server.workers()
    for pid in (server.parent, *workers):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.ends_within(10)
