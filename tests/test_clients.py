"""Who is answered, and whose a query is: lists of clients for the server and for zones, and proxies in front."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import pytest
from dnslb_server import Server, eventually, question, started
from hypothesis import given
from hypothesis import strategies as st
from peers import Address, free_port, running
from programs import program

from dnslb.config import settings
from dnslb.config.clients import Clients
from dnslb.system.usage import usage
from dnslb.worker.proxy import LONGEST, SIGNATURE, NotProxied, read, unwrapped

OPEN = "$TTL 300\n@ SOA ns1 h 1 2 3 4 60\n@ NS ns1\nns1 A 192.0.2.53\nwww A 192.0.2.1\n"
STICKY = OPEN + "".join(f"shard A 192.0.2.{number}\n" for number in range(10, 30))
FROM = "127.0.0.9"
MOST = 65_535


def header(source: str, *, command: int = 0x21, about: int = 0x12, more: bytes = b"") -> bytes:
    """A PROXY header of version 2, of a client at that address."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    packed = socket.inet_pton(family, source)
    about = about + 0x10 if ":" in source else about
    addresses = packed + packed + (4321).to_bytes(2) + (53).to_bytes(2) + more
    return SIGNATURE + bytes((command, about)) + len(addresses).to_bytes(2) + addresses


@pytest.mark.parametrize(("text", "address", "is_admitted"), [
    ("", "192.0.2.1", True),
    ("deny: 192.0.2.0/24", "192.0.2.1", False),
    ("deny: 192.0.2.0/24", "192.0.3.1", True),
    ("deny: 192.0.2.0/24", "2001:db8::1", True),
    ("allow: 192.0.2.0/24", "192.0.2.1", True),
    ("allow: 192.0.2.0/24", "192.0.3.1", False),
    ("allow: 192.0.2.0/24", "2001:db8::1", False),
    ("allow: [192.0.2.0/24, '2001:db8::/32']\ndeny: 192.0.2.7", "2001:db8::1", True),
    ("allow: [192.0.2.0/24, '2001:db8::/32']\ndeny: 192.0.2.7", "192.0.2.7", False),
    ("allow: []", "192.0.2.7", False),
])  # fmt: skip
def test_who_is_admitted(text: str, address: str, is_admitted: bool) -> None:
    found, problems = settings.read(text.encode(), "dnslb.yaml")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    assert found.clients.admit(socket.inet_pton(family, address)) is is_admitted
    assert not problems
    assert found.clients == Clients() or text


@pytest.mark.parametrize(("octets", "end", "client"), [
    (header("198.51.100.7"), 28, b"\2\0\x10\xe1\xc6\x33\x64\x07" + bytes(8)),
    (header("198.51.100.7", more=b"\x03\0\4abcd"), 35, b"\2\0\x10\xe1\xc6\x33\x64\x07" + bytes(8)),
    (header("2001:db8::7"), 52, b"\x0a\0\x10\xe1" + bytes(4) + b"\x20\1\x0d\xb8" + bytes(11) + b"\7" + bytes(4)),
    (header("198.51.100.7", command=0x20), 28, b""),
    (SIGNATURE + b"\x21\0\0\0", 16, b""),
])  # fmt: skip
def test_what_a_header_says(octets: bytes, end: int, client: bytes) -> None:
    assert read(octets + b"more") == (end, client)
    for length in range(end):
        assert read(octets[:length]) is None


@pytest.mark.parametrize("octets", [
    b"\0\x1d" + bytes(29), SIGNATURE[:-1] + b"x", SIGNATURE + b"\x11\x12\0\x0c", SIGNATURE + b"\x22\x12\0\x0c",
    SIGNATURE + b"\x21\x12\0\x0b" + bytes(11), SIGNATURE + b"\x21\x22\0\x0c" + bytes(12),
    SIGNATURE + b"\x21\x12" + LONGEST.to_bytes(2),
])  # fmt: skip
def test_what_is_no_header(octets: bytes) -> None:
    with pytest.raises(NotProxied):
        read(octets)
    assert unwrapped(octets, bytes(16))[0] == b""


@given(st.binary(max_size=60), st.booleans())
def test_any_octets_are_a_header_or_none(octets: bytes, is_signed: bool) -> None:
    packet = SIGNATURE + octets if is_signed else octets
    query, client = unwrapped(packet, bytes(28))
    assert len(client) == 28
    assert packet.endswith(query)


# -- a server behind a proxy ------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Address]]:
    directory = tmp_path_factory.mktemp("clients")
    zones = directory / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text(STICKY)
    (zones / "example.test.yaml").write_text("pools: {shard: {order: sticky}}")
    (zones / "inside.test.zone").write_text(OPEN)
    (zones / "inside.test.yaml").write_text("allow: [10.0.0.0/8, 127.0.0.1]\ndeny: 10.9.0.0/16\n")
    (zones / "dnslb.yaml").write_text(
        f"workers: 1\nproxies: {FROM}\ndeny: 203.0.113.0/24\nrate_limit: {{per_second: 20}}\n"
    )
    port = free_port()
    with started(directory, "--listen", f"127.0.0.1:{port}") as server:
        yield server, Address("127.0.0.1", port)


def udp(address: Address, packet: bytes, source: str = FROM, wait: float = 2.0) -> bytes | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.settimeout(wait)
        sock.sendto(packet, address)
        try:
            return sock.recv(MOST)
        except TimeoutError:
            return None


def tcp(address: Address, octets: bytes, source: str = FROM) -> bytes | None:
    """The first reply; None when the connection is closed instead."""
    closed = suppress(BrokenPipeError, ConnectionResetError)
    with socket.create_connection(address, 3.0, (source, 0)) as sock, closed:
        for at in range(0, len(octets), 20):  # in pieces, as a network may
            sock.sendall(octets[at : at + 20])
        return sock.recv(MOST) if sock.recv(2) else None
    return None


def framed(packet: bytes) -> bytes:
    return len(packet).to_bytes(2) + packet


def rcode(reply: bytes | None) -> str | None:
    return None if reply is None else dns.rcode.to_text(dns.message.from_wire(reply).rcode())


@pytest.mark.parametrize(("client", "zone", "expected"), [
    ("192.0.2.1", "example.test", "NOERROR"),
    ("203.0.113.1", "example.test", "REFUSED"),
    ("203.0.113.1", "inside.test", "REFUSED"),
    ("10.1.2.3", "inside.test", "NOERROR"),
    ("10.9.2.3", "inside.test", "REFUSED"),
    ("192.0.2.1", "inside.test", "REFUSED"),
    ("2001:db8::1", "example.test", "NOERROR"),
    ("2001:db8::1", "inside.test", "REFUSED"),
])  # fmt: skip
def test_lists_look_at_the_client_that_a_proxy_tells(
    served: tuple[Server, Address], client: str, zone: str, expected: str
) -> None:
    query = dns.message.make_query(f"www.{zone}", "A").to_wire()
    for _ in range(3):
        reply = udp(served[1], header(client) + query)
        assert (reply or b"")[:2] == query[:2]
        assert rcode(reply) == expected
        assert rcode(tcp(served[1], header(client, about=0x11) + framed(query))) == expected


def test_without_a_proxy_it_is_the_sender(served: tuple[Server, Address]) -> None:
    inside = dns.message.make_query("www.inside.test", "A").to_wire()
    assert rcode(udp(served[1], inside, "127.0.0.1")) == "NOERROR"
    assert rcode(udp(served[1], inside, "127.0.0.2")) == "REFUSED"
    assert rcode(udp(served[1], inside, FROM)) == "REFUSED"       # a proxy may also ask in its own name
    assert rcode(udp(served[1], header("10.1.1.1", command=0x20) + inside)) == "REFUSED"


@pytest.mark.parametrize("length", [0, 60, 100, 900])
def test_a_long_header_before_a_long_query(served: tuple[Server, Address], length: int) -> None:
    more = b"\x04" + length.to_bytes(2) + bytes(length)
    query = dns.message.make_query("www.example.test", "A", use_edns=0, pad=468).to_wire()
    assert rcode(udp(served[1], header("192.0.2.1", more=more) + query)) == "NOERROR"


def test_who_is_no_proxy_is_not_believed(served: tuple[Server, Address]) -> None:
    query = question("www")
    assert rcode(udp(served[1], header("10.1.1.1") + query, "127.0.0.5", 0.5)) != "NOERROR"
    with pytest.raises(TimeoutError):  # it waits for 3,338 octets, which is what the header begins with
        tcp(served[1], header("10.1.1.1", about=0x11) + framed(query), "127.0.0.5")
    assert tcp(served[1], SIGNATURE[:-1] + b"x" + framed(query)) is None


def test_sticky_orders_and_the_rate_limit_see_the_client(served: tuple[Server, Address]) -> None:
    def leader(client: str) -> str:
        reply = udp(served[1], header(client) + question("shard"))
        return str(dns.message.from_wire(reply or b"").answer[0][0])

    assert len({leader(f"198.51.{number}.1") for number in range(20)}) > 5
    assert len({leader("198.51.100.1") for _ in range(5)}) == 1
    packets = [header("198.51.7.1") + question("www", number=number) for number in range(400)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((FROM, 0))
        sock.settimeout(0.5)
        for packet in packets:
            sock.sendto(packet, served[1])
        replies = 0
        try:
            while sock.recv(MOST):
                replies += 1
        except TimeoutError:
            pass
    assert replies < 400
    assert rcode(udp(served[1], header("198.51.8.1") + question("www"))) == "NOERROR"


DNSDIST = """\
setLocal("127.0.0.1:{port}")
setACL({{"127.0.0.0/8"}})
newServer({{
  address="{host}:{behind}", source="{source}", useProxyProtocol=true, useClientSubnet=false, healthCheckMode="up"
}})
setSecurityPollSuffix("")
"""


def test_behind_dnsdist(served: tuple[Server, Address], tmp_path: Path) -> None:
    """The real one: www.inside.test is for 127.0.0.1, and not for dnsdist's own address."""
    port = free_port()
    configuration = tmp_path / "dnsdist.conf"
    configuration.write_text(DNSDIST.format(port=port, host=served[1].host, behind=served[1].port, source=FROM))
    with ExitStack() as stack:
        command = [program("dnsdist", "dnsdist"), "--supervised", "--disable-syslog", "-C", str(configuration)]
        stack.enter_context(running(command, tmp_path / "dnsdist.log"))
        query = dns.message.make_query("www.inside.test", "A")
        front = Address("127.0.0.1", port)
        eventually(lambda: udp(front, query.to_wire(), "127.0.0.1", 0.3) is not None, "dnsdist does not answer", 10)
        for source, expected in (("127.0.0.1", "NOERROR"), ("127.0.0.7", "REFUSED")):
            assert rcode(udp(front, query.to_wire(), source)) == expected
            assert rcode(tcp(front, framed(query.to_wire()), source)) == expected


def test_what_comes_from_port_0_or_from_ourselves_makes_no_loop(served: tuple[Server, Address]) -> None:
    """Forged: as if from our own address and port, or from port 0, to which nothing can be sent."""
    address = served[1]
    try:
        forged = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    except PermissionError:
        pytest.skip("no raw sockets here")
    query = question("www")
    with forged:
        for source in (0, address.port):
            head = b"".join(part.to_bytes(2) for part in (source, address.port, 8 + len(query), 0))
            forged.sendto(head + query, address)
        assert rcode(udp(address, query, "127.0.0.3")) == "NOERROR"
        before = busy(served[0])
        time.sleep(1.0)
        assert busy(served[0]) - before < 0.3


def busy(server: Server) -> float:
    """Seconds of CPU that its workers have used."""
    return sum(used.cpu for pid in server.workers() if (used := usage(pid)) is not None)
