"""Behind a real caching resolver: unbound hands out a drained or dead backend no longer than dnslb says."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import dns.message
import pytest
from comparison import unbound
from comparison.stub import Endpoint
from comparison.unbound import Setting
from dnslb_server import DNSLB, eventually, question, started
from peers import STARTING, Address, free_port, running
from programs import program

HOSTS = ("127.0.1.11", "127.0.1.12", "127.0.1.13")
TTL = 3
LATER = 3.0  # seconds after its end for which an address must stay away: longer than the TTL
ZONE = "\n".join([
    "$TTL 300",
    "@ SOA ns1 hostmaster 1 3600 900 1209600 1",
    "@ NS ns1",
    "ns1 A 127.0.0.1",
    *(f"www {TTL} A {host}" for host in HOSTS),
    "",
])  # fmt: skip
POLICY = """\
pools:
  www:
    probe: {{tcp: {port}, interval: 500ms, timeout: 400ms, fall: 2, rise: 1}}
    ttl: {{min: 1s, failover: 6s}}
"""


@dataclass
class Client:
    """Asks the resolver a hundred times a second, and notes when it last was given each address."""

    resolver: Address
    last: dict[str, float] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        for number in count():
            if self.done.wait(0.01):
                return
            for host in self.ask(number):
                self.last[host] = time.time()

    def ask(self, number: int) -> list[str]:
        """The addresses; none when no answer comes, as while the resolver starts."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            packet = bytearray(question("www", number=number % 65536))
            packet[2] |= 1  # RD
            sock.sendto(packet, self.resolver)
            with suppress(TimeoutError):
                answer = dns.message.from_wire(sock.recv(4096)).answer
                return [str(rdata) for rrset in answer for rdata in rrset]
        return []


@dataclass
class Scene:
    directory: Path
    backends: dict[str, socket.socket]
    client: Client


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Backends, dnslb over them, unbound before it, and a client that asks all the time."""
    resolving = program("unbound", "unbound")
    probed, port, asked = free_port(), free_port(), free_port()
    (tmp_path / "zones").mkdir()
    (tmp_path / "zones" / "example.test.zone").write_text(ZONE)
    (tmp_path / "zones" / "example.test.yaml").write_text(POLICY.format(port=probed))
    configuration = tmp_path / "unbound.conf"
    ours, theirs = Endpoint("127.0.0.1", asked), [Endpoint("127.0.0.1", port)]
    configuration.write_text(unbound.configuration(Setting(), ours, theirs, str(tmp_path), "example.test."))
    resolver = Address(ours.address, ours.port)
    with ExitStack() as stack:
        backends = {
            host: stack.enter_context(socket.create_server((host, probed), backlog=4096)) for host in HOSTS
        }
        stack.enter_context(started(tmp_path, "--listen", f"127.0.0.1:{port}", "--workers", "2"))
        stack.enter_context(running([resolving, "-d", "-c", str(configuration)], tmp_path / "unbound.log"))
        client = Client(resolver)
        stack.enter_context(_asking(client))
        eventually(lambda: client.last.keys() == {*HOSTS}, "the resolver does not hand out all of them", STARTING)
        yield Scene(tmp_path, backends, client)


@contextmanager
def _asking(client: Client) -> Iterator[None]:
    thread = threading.Thread(target=client.run)
    thread.start()
    try:
        yield
    finally:
        client.done.set()
        thread.join()


def test_after_drain_wait_the_resolver_hands_the_address_out_no_more(scene: Scene) -> None:
    begin = time.time()
    words = [*DNSLB, "drain", HOSTS[0], "--wait", "--control", str(scene.directory / "control")]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    returned = time.time()
    assert "no cache holds it any more" in done.stdout
    assert returned - begin < TTL + 1 + 2  # the second that resolvers add, and the start of a process
    time.sleep(LATER)
    assert scene.client.last[HOSTS[0]] < returned
    assert all(time.time() - scene.client.last[host] < 1 for host in HOSTS[1:])


def test_a_dead_backend_is_gone_from_the_resolver_when_the_promise_says(scene: Scene) -> None:
    died = time.time()
    scene.backends[HOSTS[1]].close()
    time.sleep(6 + LATER)
    assert scene.client.last[HOSTS[1]] - died < 6
    assert all(time.time() - scene.client.last[host] < 1 for host in (HOSTS[0], HOSTS[2]))
