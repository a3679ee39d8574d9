"""Real secondaries follow what dnslb answers: NSD, Knot, BIND and PowerDNS, over NOTIFY, IXFR and TSIG."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.xfr
import dns.zone
import pytest
from dnslb_server import Server, eventually, started
from peers import Address, Process, free_port
from programs import program
from propagation.servers import BIND, KNOT, NSD, SECONDARIES, Secondary
from secondaries import KEY, ZONE, following, serial, served
from world import World, kill

from dnslb.config import keys
from dnslb.transfer import tsig

_PROPAGATION = 2.0  # seconds that README promises from a change here to the change there


class Fleet:
    """A world with secondaries."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.world = World(directory)
        self.stack = stack
        self.life = stack.enter_context(ExitStack())  # of the server
        self.port = free_port()
        self.here = Address("127.0.0.1", self.port)
        self.places: dict[str, Address] = {}
        self.processes: dict[str, Process] = {}
        key = directory / "fleet.key"
        key.write_text(keys.text(KEY))
        key.chmod(0o600)
        self.world.configure(f"keys: {{fleet: {key}}}\n")

    def serve(self, *peers: Secondary, policy: str = "") -> Server:
        """dnslb, and then these secondaries."""
        self.places = {peer.name: Address("127.0.0.1", free_port()) for peer in peers}
        path = self.world.directory / "zones/example.test.yaml"
        rows = "".join(f"  - {{address: 127.0.0.1, port: {at.port}, key: fleet}}\n" for at in self.places.values())
        path.write_text(path.read_text() + (f"secondaries:\n{rows}" if rows else "") + policy)
        server = self.life.enter_context(self.server())
        for peer in peers:
            self.processes[peer.name] = self.stack.enter_context(
                following(peer, self.world.directory, self.places[peer.name].port, [self.port])
            )
        return server

    @contextmanager
    def server(self) -> Iterator[Server]:
        with started(self.world.directory, "--listen", f"127.0.0.1:{self.port}", "--workers", "2") as server:
            yield server

    def follow_us(self) -> bool:
        """Whether every secondary has our last version."""
        return {serial(place) for place in self.places.values()} == {serial(self.here)}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(tmp_path, stack)


def all_of(world: World) -> frozenset[str]:
    return frozenset(path.name for path in world.up.iterdir())


def follower(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.ask("GET", "/status")["secondaries"][0]
    return found


def lags(world: World) -> dict[Address, float]:
    """How far each secondary is behind, by the metrics; of those that have told at all."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(world.directory / "control"))
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = sock.makefile("rb").read().decode()
    found = re.findall(r'^dnslb_secondary_(serial|lag_seconds){.*secondary="(.*):(\d+)"} (\S+)', text, re.MULTILINE)
    told = {(host, port) for what, host, port, _ in found if what == "serial"}
    return {
        Address(host, int(port)): float(value)
        for what, host, port, value in found if what == "lag_seconds" and (host, port) in told
    }  # fmt: skip


def transferred(fleet: Fleet, **wanted: Any) -> dns.zone.Zone:
    """The zone as dnspython fetches it."""
    zone = dns.zone.Zone(ZONE, relativize=False)
    query, _ = dns.xfr.make_query(zone, keyring=tsig.keyring({KEY.name: KEY}), **wanted)
    dns.query.inbound_xfr("127.0.0.1", zone, query, port=fleet.port, timeout=5)
    return zone


def test_all_secondaries_follow_verdicts_edits_and_restarts(fleet: Fleet) -> None:
    world, zone = fleet.world, fleet.world.directory / "zones/example.test.zone"
    server = fleet.serve(*SECONDARIES)
    places = fleet.places.values()
    assert {served(place) for place in places} == {(served(fleet.here)[0], all_of(world))}
    # A verdict: the address is gone everywhere, and the TTL is low.
    (world.up / "192.0.2.2").unlink()
    eventually(lambda: not world.backends()["192.0.2.2"]["handed_out"], "it is noticed")
    noticed = time.monotonic()
    eventually(lambda: all("192.0.2.2" not in served(place)[1] for place in places), "they follow")
    assert time.monotonic() - noticed < _PROPAGATION + 1  # the machine is busy
    assert {served(place)[0] for place in places} == {5}
    eventually(lambda: lags(world) == dict.fromkeys(places, 0.0), "all of them have told that they have it", 10.0)
    # An edit.
    zone.write_text(zone.read_text() + "new A 192.0.2.99\n")
    eventually(lambda: all(served(place, f"new.{ZONE}")[1] for place in places), "they have the edit", 10.0)
    # Another process.
    before = serial(fleet.here)
    kill(server)
    with fleet.server():
        eventually(lambda: serial(fleet.here) not in (None, before), "there is a version", 20.0)
        eventually(fleet.follow_us, "they follow the new process", 20.0)
        (world.up / "192.0.2.2").touch()
        eventually(lambda: all("192.0.2.2" in served(place)[1] for place in places), "they follow its verdicts", 20.0)


def test_dig_transfers_with_the_key_and_not_without(fleet: Fleet, tmp_path: Path) -> None:
    server = fleet.serve(policy="transfer_to: [fleet]\n")
    dig = program("dig", "bind9-dnsutils")
    command = [dig, "@127.0.0.1", "-p", str(fleet.port), ZONE, "AXFR", "+noidnin", "+noidnout"]
    eventually(lambda: serial(fleet.here) != 1, "there is a version", 20.0)
    signed = subprocess.run([*command, "-k", str(tmp_path / "fleet.key")], capture_output=True, text=True, check=False)
    assert "www.example.test." in signed.stdout
    assert "NOERROR" in signed.stdout
    for _ in range(3):
        unsigned = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "Transfer failed" in unsigned.stdout
    assert server.log.count("a transfer is refused to 127.0.0.1: who does not sign may not have example.test.") == 1
    assert len(transferred(fleet).nodes) >= 3


def test_who_is_refused_holds_no_connection_and_fills_no_log(fleet: Fleet) -> None:
    """The cheapest request: a name and a type that nobody may have, another name each time."""
    server = fleet.serve(policy="transfer_to: [fleet]\n")
    eventually(lambda: serial(fleet.here) != 1, "there is a version", 20.0)
    for number in range(300):
        with socket.create_connection(("127.0.0.1", fleet.port), timeout=10) as sock:
            dns.query.send_tcp(sock, dns.message.make_query(f"n{number}.test", "AXFR"))
            stream = sock.makefile("rb")
            reply = dns.message.from_wire(stream.read(int.from_bytes(stream.read(2))))
            assert reply.rcode() == dns.rcode.NOTAUTH
            assert stream.read(2) == b""  # at once, not after half a minute
    assert server.log.count("a transfer is refused") <= 20
    assert len(transferred(fleet).nodes) >= 3


def test_a_network_may_transfer_unsigned(fleet: Fleet) -> None:
    fleet.serve(policy="transfer_to: [127.0.0.0/8]\n")
    eventually(lambda: serial(fleet.here) != 1, "there is a version", 20.0)
    zone = dns.zone.Zone(ZONE, relativize=False)
    dns.query.inbound_xfr("127.0.0.1", zone, port=fleet.port, timeout=5)
    assert len(zone.nodes) >= 3


def test_without_secondaries_transfers_are_refused_as_ever(fleet: Fleet) -> None:
    fleet.serve()
    reply = dns.query.tcp(dns.message.make_query(ZONE, "AXFR"), "127.0.0.1", 5, fleet.port)
    assert reply.rcode() == dns.rcode.REFUSED
    assert serial(fleet.here) == 1


def test_a_drain_clock_waits_for_the_last_secondary(fleet: Fleet) -> None:
    world = fleet.world
    fleet.serve(KNOT)
    [place] = fleet.places.values()
    secondary = fleet.processes["Knot"].popen
    os.kill(secondary.pid, signal.SIGSTOP)
    try:
        world.ask("POST", "/orders", {"mode": "drain", "addresses": ["192.0.2.3"]})
        time.sleep(1.0)
        first = world.backends()["192.0.2.3"]["expires"]
        time.sleep(2.5)
        later = world.backends()["192.0.2.3"]["expires"]
        assert later > first + 1.5  # it may be handed out there still
        eventually(lambda: follower(world)["error"] == "it does not answer", "it is named", 10.0)
    finally:
        os.kill(secondary.pid, signal.SIGCONT)
    eventually(lambda: "192.0.2.3" not in served(place)[1], "it has let go", 40.0)
    eventually(lambda: not follower(world)["lags"], "we know", 10.0)
    last = world.backends()["192.0.2.3"]["expires"]
    time.sleep(2.0)
    assert world.backends()["192.0.2.3"]["expires"] == last


def asking(fleet: Fleet) -> socket.socket:
    """A connection on which the zone was asked for."""
    query, _ = dns.xfr.make_query(dns.zone.Zone(ZONE), keyring=tsig.keyring({KEY.name: KEY}))
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # little is sent ahead to who does not read
    sock.settimeout(20)
    sock.connect(("127.0.0.1", fleet.port))
    dns.query.send_tcp(sock, query)
    return sock


def count_records(sock: socket.socket, at_least: int) -> int:
    """Of the messages that come, as their heads say."""
    stream, count = sock.makefile("rb"), 0
    while count < at_least and (head := stream.read(2)):
        message = stream.read(int.from_bytes(head))
        count += int.from_bytes(message[6:8])
        if len(message) < 20_000:  # the last one
            break
    return count


def test_who_stops_reading_keeps_nobody_waiting(fleet: Fleet) -> None:
    fleet.serve(policy="transfer_to: [fleet]\n")
    path, many = fleet.world.directory / "zones/example.test.zone", 60_000
    path.write_text(path.read_text() + f"$GENERATE 1-{many} host$ A 192.0.2.1\n")
    with ExitStack() as stack:

        def is_there() -> bool:
            return count_records(stack.enter_context(asking(fleet)), many) >= many

        eventually(is_there, "the zone is there", 60.0)
        lazy = [stack.enter_context(asking(fleet)) for _ in range(10)]
        begun = time.monotonic()
        assert is_there()
        assert time.monotonic() - begun < 15  # it takes a tenth of a second of computing; each of the others lasts 30 s
        assert all(one.fileno() >= 0 for one in lazy)


@pytest.mark.parametrize("peer", [NSD, KNOT, BIND], ids=lambda peer: peer.name)
def test_a_secondary_goes_on_when_one_of_two_primaries_dies(fleet: Fleet, tmp_path: Path, peer: Secondary) -> None:
    ports = [free_port(), free_port()]
    place = Address("127.0.0.1", free_port())
    path = fleet.world.directory / "zones/example.test.yaml"
    path.write_text(path.read_text() + f"secondaries:\n  - {{address: 127.0.0.1, port: {place.port}, key: fleet}}\n")
    with ExitStack() as stack:
        servers = []
        for number, port in enumerate(ports):
            here = tmp_path / f"primary{number}"
            here.mkdir()
            (here / "zones").symlink_to(tmp_path / "zones")
            servers.append(stack.enter_context(started(here, "--listen", f"127.0.0.1:{port}", "--workers", "1")))
        stack.enter_context(following(peer, tmp_path, place.port, ports))
        os.kill(servers[0].parent, signal.SIGTERM)
        (fleet.world.up / "192.0.2.4").unlink()
        eventually(lambda: "192.0.2.4" not in served(place)[1], "it follows the other one", 20.0)


def transferring(server: Server) -> list[int]:
    """The process of the transfers: it alone gives way to all others."""
    usual, found = os.getpriority(os.PRIO_PROCESS, server.parent), []
    for pid in server.processes():
        with suppress(ProcessLookupError):  # it has just ended
            if os.getpriority(os.PRIO_PROCESS, pid) > usual:
                found.append(pid)
    return found


def test_the_process_of_the_transfers_is_replaced_and_goes_on(fleet: Fleet) -> None:
    server = fleet.serve(KNOT)
    [place] = fleet.places.values()
    before = serial(place)
    [pid] = transferring(server)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: transferring(server) not in ([], [pid]), "there is another one", 20.0)
    (fleet.world.up / "192.0.2.1").unlink()
    eventually(lambda: "192.0.2.1" not in served(place)[1], "the secondary follows it", 20.0)
    assert before is not None
    assert (serial(place) or 0) > before
    assert "the process of the transfers ended with status -9; a new one follows in 1 s" in server.log
