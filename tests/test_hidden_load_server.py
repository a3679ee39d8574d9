"""A server that counts who asks, as people run it: TTLs by class, status and metrics."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import dns.message
import pytest
from click.testing import CliRunner
from dnslb_server import ZONE, question, started
from peers import free_port
from scrape import fetch, value

from dnslb.admin import client
from dnslb.cli import main

LOADS = {"127.1.1.1": 20.0, "127.1.2.1": 0.5, "127.1.3.1": 0.4}  # requests a second behind resolvers
LEARNED = 150.0  # seconds in which they must be known, on a busy machine; it takes 40
POLICY = """\
pools:
  www: {answers: 1, ttl: {min: 1s, mean: 3s, adaptive: load}}
"""


class Cache:
    """A resolver with clients that ask for one name; it keeps an answer for its TTL, and counts in whole seconds."""

    def __init__(self, host: str, port: int, load: float) -> None:
        self.ttls: list[int] = []
        self._load, self._rng, self._due = load, Random(host), 0.0
        self.sock = socket.socket(type=socket.SOCK_DGRAM)
        self.sock.bind((host, 0))
        self.sock.connect(("127.0.0.1", port))
        self.sock.settimeout(5)

    def look(self, name: str, now: float) -> None:
        if now >= self._due:
            self.sock.send(question(name))
            (rrset,) = dns.message.from_wire(self.sock.recv(4096)).answer
            self.ttls.append(rrset.ttl)
            self._due = int(now) + rrset.ttl + 1 + self._rng.expovariate(self._load)


def look(caches: Sequence[Cache], seconds: float) -> None:
    """For so long they ask when they must."""
    end = time.time() + seconds
    while (now := time.time()) < end:
        for cache in caches:
            cache.look("www", now)
        time.sleep(0.02)


def rrset(directory: Path, name: str) -> dict[str, Any]:
    _, found = client.ask(directory / "control", "GET", f"/status/{name}.example.test")
    told: dict[str, Any] = found["pools"][0]["rrsets"][0]
    return told


@pytest.mark.long
def test_resolvers_get_ttls_by_the_clients_that_they_hide(tmp_path: Path) -> None:
    zones = tmp_path / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text(ZONE)
    (zones / "example.test.yaml").write_text(POLICY)
    port = free_port()
    control = "--control", str(tmp_path / "control")
    with started(tmp_path, "--listen", f"127.0.0.1:{port}", "--workers", "2"):
        caches = [Cache(host, port, load) for host, load in LOADS.items()]
        heavy, *light = (cache.ttls for cache in caches)
        end = time.monotonic() + LEARNED
        while not heavy or not heavy[-1] < 3 < min(ttls[-1] for ttls in light):
            assert time.monotonic() < end, (heavy, light)
            look(caches, 1)
        assert heavy[0] == light[0][0] == 3
        told = rrset(tmp_path, "www")["hidden_load"]
        assert told["networks"] == len(LOADS)
        assert told["heaviest"][0]["network"] == "127.1.1.0/24"
        status = CliRunner().invoke(main, ["status", "www.example.test", *control]).output
        assert "hidden load: 3 of 3 resolver networks carry 100% of the clients; most are behind 127.1.1.0/24" in status
        _, _, metrics = fetch(tmp_path / "control", "/metrics")
        assert value(metrics, "dnslb_pool_resolvers", pool="www.example.test.", type="A") == len(LOADS)
        assert value(metrics, "dnslb_pool_hidden_load_requests", pool="www.example.test.") > 5
        # A reload knows what was known.
        (zones / "example.test.yaml").write_text(POLICY + "# again\n")
        assert CliRunner().invoke(main, ["reload", *control]).exit_code == 0
        shortest = heavy[-1]
        look(caches, 3)
        assert heavy[-1] == shortest
        for cache in caches:
            cache.sock.close()
