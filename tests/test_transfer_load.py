"""Many secondaries of one zone: all are told in time, and no probe is late for it."""

from __future__ import annotations

import hashlib
import hmac
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import quantiles

import pytest
from dnslb_server import eventually, status_field
from peers import Address, free_port
from propagation.servers import BIND, KNOT, NSD
from scrape import fetch, value
from secondaries import KEY, ZONE, following, serial, served
from test_transfers import Fleet, asking, count_records, transferring

from dnslb.system.usage import usage

pytestmark = pytest.mark.long

_MANY = 1000
_ZONES = 100
_RECORDS = 1_000_000
_BAR = 2.0     # seconds until all are told
_LATE = 0.05   # seconds by which probes may start late meanwhile
_WAIT = 0.02   # seconds in which 99 of 100 answers come meanwhile
# A query every 2 ms until its input ends; prints the seconds that each answer took.
_CLIENT = """
import select, socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect(("127.0.0.1", int(sys.argv[1])))
sock.settimeout(1)
query = b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\3www\\7example\\4test\\0\\0\\1\\0\\1"
while not select.select([sys.stdin], [], [], 0.002)[0]:
    began = time.monotonic()
    sock.send(query)
    try:
        sock.recv(512)
    except TimeoutError:
        pass
    print(time.monotonic() - began)
"""
_TSIG = b"\x05fleet\x00\x00\xfa\x00\xff\x00\x00\x00\x00"  # owner, type, class, TTL
_ALGORITHM = b"\x0bhmac-sha256\x00"


class Crowd:
    """Secondaries that have no zone: each acknowledges NOTIFY, and answers SOA with what it was told of."""

    def __init__(self, count: int) -> None:
        self.told: dict[int, tuple[float, int]] = {}  # by port: when last, and of which serial
        self._soas: dict[int, bytes] = {}
        self._selector = selectors.DefaultSelector()
        self.ports = [self._open() for _ in range(count)]
        self._ended = threading.Event()

    def _open(self) -> int:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
        self._selector.register(sock, selectors.EVENT_READ, port)
        return port

    @contextmanager
    def answering(self) -> Iterator[None]:
        thread = threading.Thread(target=self._answer)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()
            for key in list(self._selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]
            self._selector.close()

    def _answer(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(0.1):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                packet, peer = sock.recvfrom(4096)
                sock.sendto(self._reply(packet, key.data), peer)

    def _reply(self, packet: bytes, port: int) -> bytes:
        end = packet.index(b"\x00", 12) + 5
        question, record = packet[12:end], b""
        if packet[2] >> 3 & 15 == 4:
            length = int.from_bytes(packet[end + 10:end + 12])
            soa = packet[end:end + 12 + length]
            self._soas[port] = soa
            self.told[port] = time.monotonic(), int.from_bytes(soa[-20:-16])
        else:
            record = self._soas.get(port, b"")
        head = packet[:2] + bytes([packet[2] | 0x84, 0, 0, 1, 0, int(bool(record)), 0, 0, 0, 0])
        return signed(head + question + record, packet[-38:-6])


def signed(message: bytes, request_mac: bytes) -> bytes:
    """A reply with its signature (RFC 8945 §4.3), by hand: a library would take longer than what is measured."""
    now = int(time.time()).to_bytes(6) + (300).to_bytes(2)
    variables = b"\x05fleet\x00\x00\xff\x00\x00\x00\x00" + _ALGORITHM + now + bytes(4)
    whole = len(request_mac).to_bytes(2) + request_mac + message + variables
    mac = hmac.digest(KEY.secret, whole, hashlib.sha256)
    rdata = _ALGORITHM + now + len(mac).to_bytes(2) + mac + message[:2] + bytes(4)
    return message[:11] + b"\x01" + message[12:] + _TSIG + len(rdata).to_bytes(2) + rdata


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(tmp_path, stack)


def test_a_thousand_secondaries_are_told_at_once(fleet: Fleet) -> None:
    crowd = Crowd(_MANY)
    policy = fleet.world.directory / f"zones/{ZONE}.yaml"
    rows = "".join(f"  - {{address: 127.0.0.1, port: {port}, key: fleet}}\n" for port in crowd.ports)
    policy.write_text(policy.read_text() + f"secondaries:\n{rows}")
    control = fleet.world.directory / "control"

    def have(wanted: int | None) -> bool:
        return sum(known == wanted for _, known in list(crowd.told.values())) == _MANY

    with crowd.answering():
        fleet.serve()
        eventually(lambda: serial(fleet.here) != 1 and have(serial(fleet.here)), "they are told of the zone", 60.0)
        time.sleep(3.0)
        before = serial(fleet.here)
        (fleet.world.up / "192.0.2.2").unlink()
        eventually(lambda: serial(fleet.here) != before, "it is noticed", 10.0)
        begun, late = time.monotonic(), 0.0
        while not have(serial(fleet.here)) and time.monotonic() < begun + 30:
            late = max(late, value(fetch(control, "/metrics")[2], "dnslb_probe_lag_seconds"))
            time.sleep(0.1)
        last = max(at for at, _ in crowd.told.values())
        assert last - begun < _BAR
        assert late < _LATE


def test_a_hundred_zones_that_change_at_once_are_everywhere(fleet: Fleet) -> None:
    """One address is in a pool of each.  What it takes of our processors is measured, since others are busy too."""
    zones, directory = [f"z{number}.test" for number in range(_ZONES)], fleet.world.directory
    places = {peer: Address("127.0.0.1", free_port()) for peer in (NSD, KNOT, BIND)}
    rows = "".join(f"  - {{address: 127.0.0.1, port: {place.port}, key: fleet}}\n" for place in places.values())
    files = directory / "zones"
    for zone in zones:
        for suffix, more in (("zone", ""), ("yaml", f"secondaries:\n{rows}")):
            (files / f"{zone}.{suffix}").write_text((files / f"{ZONE}.{suffix}").read_text() + more)
    server = fleet.serve()
    for peer, place in places.items():
        fleet.stack.enter_context(following(peer, directory, place.port, [fleet.port], zones=zones))
    time.sleep(3.0)
    before = spent(server.processes())
    (fleet.world.up / "192.0.2.2").unlink()
    waiting = [(place, f"www.{zone}") for place in places.values() for zone in zones]

    def have_all() -> bool:
        while waiting and "192.0.2.2" not in served(*waiting[-1])[1]:
            waiting.pop()
        return not waiting

    eventually(have_all, "they lack it", 30.0)
    took = spent(server.processes()) - before
    assert took < _BAR


def test_a_million_records_are_sent_as_fast_as_promised_and_in_little_memory(fleet: Fleet) -> None:
    """What it takes of a processor is measured, since others are busy too; and nobody waits for an answer meanwhile."""
    server = fleet.serve(policy="transfer_to: [fleet]\n")
    eventually(lambda: serial(fleet.here) != 1, "there is a version", 60.0)
    first, old = serial(fleet.here), transferring(server)
    path = fleet.world.directory / f"zones/{ZONE}.zone"
    path.write_text(path.read_text() + f"$GENERATE 1-{_RECORDS} host$ A 192.0.2.1\n")
    eventually(lambda: serial(fleet.here) not in (None, first), "it is read", 300.0)
    eventually(lambda: len(found := transferring(server)) == 1 and found != old, "there is another process", 60.0)
    [process] = transferring(server)
    before, memory = spent([process]), int(status_field(process, "RssAnon").split()[0])
    with asking(fleet) as sock, looking_up(fleet.port) as latencies:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.settimeout(120)
        assert count_records(sock, _RECORDS) >= _RECORDS
    assert len(latencies) > 100
    assert quantiles(latencies, n=100)[98] < _WAIT
    took = spent([process]) - before
    assert took < _RECORDS / 300_000
    assert int(status_field(process, "RssAnon").split()[0]) - memory < 300 << 10  # kB; most is memory that was shared


@contextmanager
def looking_up(port: int) -> Iterator[list[float]]:
    """Another process that asks as long as this lasts; then the list has the seconds that each answer took."""
    latencies: list[float] = []
    with subprocess.Popen([sys.executable, "-c", _CLIENT, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as client:
        yield latencies
        said, _ = client.communicate()
        latencies += map(float, said.split())


def spent(pids: list[int]) -> float:
    """Seconds of processors."""
    return sum(used.cpu for used in map(usage, pids) if used is not None)
