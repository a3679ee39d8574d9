"""Clients near a pool: who they are, and that they take turns with all others, but get other numbers of addresses."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from random import Random
from socket import AF_INET, AF_INET6
from sys import byteorder

import dns.message
import dns.query
import pytest
from dnslb_server import eventually, started
from hypothesis import example, given
from hypothesis import strategies as st
from peers import free_port
from transcript import ANONYMOUS, TCP, query, wire, zone

from dnslb.answer.ready import Ready
from dnslb.answer.responder import UDP, Responder, Transport
from dnslb.answer.snapshot import Serving, Snapshot
from dnslb.balance.near import Near, Networks, are_sorted, around, merged
from dnslb.balance.rotation import Rotation, RRsetOrder
from dnslb.dns import rrtype
from dnslb.dns.zone import RRset

ZONE = zone("example.com.", "\n".join([
    "@ 300 SOA ns1 h 1 2 3 4 60",
    "@ 300 NS ns1",
    "ns1 300 A 192.0.2.1",
    *(f"www 300 A 192.0.2.{host}" for host in (11, 12, 13, 14)),
    *(f"www 300 TXT text-{number}" for number in range(3)),
    "alias 300 CNAME www",
    *(f"*.wild 300 A 192.0.2.{host}" for host in (21, 22)),
    *(f"other 300 A 192.0.2.{host}" for host in (31, 32)),
    *(f"big 300 A 198.51.100.{host}" for host in range(100)),
]))  # fmt: skip
SERVED = "\n".join([
    "$TTL 300",
    "@ SOA ns1 h 1 3600 900 1209600 60",
    "@ NS ns1",
    "ns1 A 127.0.0.1",
    *(f"www A 127.0.1.{host}" for host in (11, 12, 13, 14)),
    "",
])
HOSTS = [f"192.0.2.{host}" for host in (11, 12, 13, 14)]
NEIGHBOUR, STRANGER = "192.0.2.200", "203.0.113.7"


def packed(*hosts: str) -> tuple[bytes, ...]:
    return tuple(ip_address(host).packed for host in hosts)


def client(host: str) -> bytes:
    """A struct sockaddr_in or sockaddr_in6, with what else may stand in a slot of UDP."""
    address = ip_address(host).packed
    if len(address) == 16:
        return AF_INET6.to_bytes(2, byteorder) + b"\x30\x39" + bytes(4) + address + bytes(4)
    return (AF_INET.to_bytes(2, byteorder) + b"\x30\x39" + address).ljust(28, b"\xc0")


def world(
    hosts: list[str],
    near: int | None = 1,
    rotation: Rotation | None = None,
    owner: str = "www",
    transport: Transport = UDP,
    *,
    fails_open: bool = False,
    withheld: bool = False,
) -> tuple[Snapshot, Responder]:
    """A pool, and near clients that get so many of its addresses."""
    key = wire(f"{owner}.example.com."), rrtype.A
    rrset = RRset(rrtype.A, 30, packed(*hosts))
    served = Serving(rrset, rotation or Rotation(), fails_open, withheld=withheld)
    clients = Near(near, around([ip_address(host) for host in hosts]))
    snapshot = Snapshot({ZONE.apex: ZONE}, RRsetOrder.CYCLIC, Random(1), {key: served}, {key[0]: clients})
    return snapshot, Responder(snapshot, transport, ANONYMOUS)


def told(server: Responder, who: str, name: str = "www", kind: str = "A", size: int | None = 1232) -> list[str]:
    """The records that the client gets, in their order."""
    reply = server.respond(query(f"{name}.example.com {kind}", size=size), client(who))
    assert reply is not None and len(reply) <= (size or 512)
    message = dns.message.from_wire(reply, one_rr_per_rrset=True)
    assert not message.flags & dns.flags.TC
    return [str(rrset[0]) for rrset in message.answer if dns.rdatatype.to_text(rrset.rdtype) == kind]


# Who is near.


@pytest.mark.parametrize(("pool", "near", "far"), [
    ("192.0.2.11 192.0.2.12", "192.0.2.0 192.0.2.255", "192.0.1.255 192.0.3.0 10.0.0.1 2001:db8::1"),
    ("192.0.2.11 198.51.100.1", "192.0.2.1 198.51.100.2", "192.0.3.1"),
    ("2001:db8::11", "2001:db8::1 2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1:: fd00::1 192.0.2.1"),
    # Of A and AAAA: who asks by IPv6 may want either.
    ("192.0.2.11 2001:db8::11", "192.0.2.1 2001:db8::1", "203.0.113.1"),
    ("10.1.2.3", "10.1.2.9 10.255.255.255 172.16.0.0 172.31.255.255 192.168.7.7 fd00::1",
     "9.255.255.255 11.0.0.0 172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0 fe00:: 127.0.0.1"),
    ("fd00::1", "fdff::1 fc00:: 10.0.0.1", "fbff:ffff:: fe80::1"),
    ("0.0.0.1 255.255.255.254", "0.0.0.0 0.0.0.255 255.255.255.0 255.255.255.255", "0.0.1.0 255.255.254.255"),
    ("ffff:ffff:ffff:ffff::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:fffe::"),
])  # fmt: skip
def test_near_is_who_has_the_same_network_or_a_private_address_as_well(pool: str, near: str, far: str) -> None:
    found = Near(1, around([ip_address(host) for host in pool.split()]))
    assert [who for who in near.split() if not found.include(ip_address(who).packed)] == []
    assert [who for who in far.split() if found.include(ip_address(who).packed)] == []
    assert not found.include(b"")


NETWORKS = st.builds(
    lambda number, bits, is_ipv4: ip_network((number >> 96 if is_ipv4 else number, min(bits, 32 if is_ipv4 else 128)),
                                             strict=False),
    st.integers(0, (1 << 128) - 1) | st.sampled_from([0, (1 << 128) - 1, 1 << 127]), st.integers(0, 128), st.booleans(),
)


@given(networks=st.lists(NETWORKS, max_size=8))
@example(networks=[ip_network("0.0.0.0/0"), ip_network("::/0")])
@example(networks=[ip_network("10.0.0.0/8"), ip_network("10.1.0.0/16"), ip_network("11.0.0.0/8")])
def test_a_client_is_in_merged_networks_when_it_is_in_one_of_them(networks: list[IPv4Network | IPv6Network]) -> None:
    found = merged(networks)
    edges = {
        number % (1 << network.max_prefixlen)
        for network in networks
        for edge in (int(network.network_address), int(network.broadcast_address))
        for number in (edge - 1, edge, edge + 1)
    }
    for version, length in ((4, 4), (6, 16)):
        kind = IPv4Address if version == 4 else IPv6Address
        for address in (kind(number) for number in edges | {0, (1 << 8 * length) - 1} if number < 1 << 8 * length):
            expected = any(address in network for network in networks if network.version == version)
            assert found.include(address.packed) == expected, address


def test_ten_thousand_networks_are_a_bisection_away() -> None:
    networks = [ip_network((number << 17, 16)) for number in range(10_000)]
    networks += [ip_network(((0x20010DB8 << 96) + (number << 65), 64)) for number in range(10_000)]
    found = merged(networks)
    who = packed("2.0.2.1", "2.1.2.1", "2001:db8:0:2::1", "2001:db8:0:1::1", "203.0.113.9")
    assert [found.include(one) for one in who] == [True, False, True, False, False]
    few = merged(networks[:1])
    assert took(found, who) < 10 * took(few, who)


def took(networks: Networks, clients: tuple[bytes, ...]) -> float:
    """Seconds for some look-ups: the shortest of several runs."""
    runs = []
    for _ in range(9):
        begin = time.perf_counter()
        for _ in range(200):
            for one in clients:
                networks.include(one)
        runs.append(time.perf_counter() - begin)
    return min(runs)


@pytest.mark.parametrize(("pool", "expected"), [
    ("192.0.2.11 192.0.2.12", True),
    ("192.0.2.11 198.51.100.12", False),
    ("2001:db8::11 2001:db8::12", True),
    ("2001:db8:1::11 2001:db8:2::12", False),
    ("10.0.0.1 192.168.0.1", True),
    ("fd00::1 fd01::1", True),
    ("10.0.0.1 192.0.2.1", False),
    ("10.0.0.1 fd00::1", False),
    ("10.0.0.1", False),
    # From loopback all of these look alike.
    ("127.0.1.11 127.0.1.12", False),
])
def test_addresses_that_some_client_has_a_subnet_with_are_sorted(pool: str, expected: bool) -> None:
    assert are_sorted([ip_address(host) for host in pool.split()]) == expected


# What they get.


def test_near_clients_get_one_address_and_others_all() -> None:
    _, server = world(HOSTS)
    assert told(server, NEIGHBOUR) == HOSTS[:1]
    assert told(server, STRANGER) == [*HOSTS[1:], HOSTS[0]]
    assert told(server, "2001:db8::1") == [*HOSTS[2:], *HOSTS[:2]]
    assert told(server, "192.0.2.11") == HOSTS[3:]


@pytest.mark.parametrize("transport", [UDP, TCP])
@pytest.mark.parametrize("name", ["www", "alias"])
def test_near_and_far_share_their_turns(transport: Transport, name: str) -> None:
    snapshot, server = world(HOSTS, transport=transport)
    rng = Random(2)
    leaders = [told(server, rng.choice([NEIGHBOUR, STRANGER]), name, size=None)[0] for _ in range(40)]
    assert leaders == HOSTS * 10
    [led] = snapshot.led(snapshot.turning).values()
    assert led == dict.fromkeys(packed(*HOSTS), 10)


def test_all_names_of_a_wildcard_know_who_is_near() -> None:
    _, server = world(["192.0.2.21", "192.0.2.22"], owner="*.wild")
    assert told(server, NEIGHBOUR, "a.wild") == ["192.0.2.21"]
    assert told(server, STRANGER, "b.c.wild") == ["192.0.2.22", "192.0.2.21"]
    assert told(server, NEIGHBOUR, "a.wild") == ["192.0.2.21"]


def test_other_records_are_the_same_for_all() -> None:
    _, server = world(HOSTS)
    for who in (NEIGHBOUR, STRANGER):
        assert len(told(server, who, kind="TXT")) == 3
        assert len(told(server, who, "other")) == 2


ANSWERS = st.none() | st.integers(1, 6)


@given(
    n=st.integers(0, 5), near=ANSWERS, far=ANSWERS, order=st.sampled_from(RRsetOrder), fails_open=st.booleans(),
    asked=st.lists(st.tuples(st.booleans(), st.sampled_from([None, 512, 1232])), max_size=12),
)  # fmt: skip
@example(n=5, near=None, far=1, order=RRsetOrder.STICKY, fails_open=True, asked=[(True, 512), (False, 512)])
def test_each_gets_what_a_pool_with_its_answers_would_tell_it(  # noqa: PLR0917 - hypothesis gives them by position
    n: int, near: int | None, far: int | None, order: RRsetOrder, fails_open: bool, asked: list[tuple[bool, int | None]]
) -> None:
    """And as it would: the ready reply, from the octets of the header to the note."""
    hosts = [f"192.0.2.{host}" for host in range(11, 11 + n)]
    _, server = world(hosts, near, Rotation(order, answers=far), fails_open=fails_open)
    plain = {
        is_near: world(hosts, most, Rotation(order, answers=most), fails_open=fails_open)[1]
        for is_near, most in ((True, near), (False, far))
    }
    for is_near, size in asked:
        packet = query("www.example.com A", size=size)
        # Who asks of the others, so that the turns go on there as well.
        replies = {whom: one.respond(packet, client(NEIGHBOUR if is_near else STRANGER)) for whom, one in plain.items()}
        assert server.respond(packet, client(NEIGHBOUR if is_near else STRANGER)) == replies[is_near]


@pytest.mark.parametrize(("near", "far"), [(1, None), (None, 1), (40, None), (200, None), (90, 80), (80, 90)])
@pytest.mark.parametrize("order", RRsetOrder)
def test_a_large_pool_shows_each_as_much_as_fits(near: int | None, far: int | None, order: RRsetOrder) -> None:
    hosts = [f"198.51.100.{host}" for host in range(100)]
    snapshot, server = world(hosts, near, Rotation(order, answers=far), "big")
    for size, room in ((1232, 74), (512, 29), (600, 34), (1232, 74)):
        assert len(told(server, "198.51.100.200", "big", size=size)) == min(near or 100, room)
        assert len(told(server, STRANGER, "big", size=size)) == min(far or 100, room)
    assert snapshot.packed == 1


def test_failing_open_is_told_to_both() -> None:
    _, server = world(HOSTS, fails_open=True)
    for who, most in ((NEIGHBOUR, 1), (STRANGER, 4)):
        reply = dns.message.from_wire(server.respond(query("www.example.com A", size=1232), client(who)) or b"")
        assert [str(option) for option in reply.options] == ["EDE 0 (Other): no backend is up; all 4 are handed out"]
        assert len(reply.answer[0]) == most


def test_a_pool_of_which_nothing_is_known_keeps_silent_to_both() -> None:
    _, server = world(HOSTS, withheld=True)
    for _ in range(2):
        assert server.respond(query("www.example.com A"), client(NEIGHBOUR)) is None
        assert server.respond(query("www.example.com A"), client(STRANGER)) is None


def test_a_near_client_of_a_sticky_pool_keeps_its_leader() -> None:
    _, server = world(HOSTS, rotation=Rotation(RRsetOrder.STICKY))
    leader = {told(server, NEIGHBOUR)[0] for _ in range(5)}
    assert len(leader) == 1
    assert {tuple(told(server, NEIGHBOUR)) for _ in range(5)} == {tuple(leader)}
    assert len({tuple(told(server, STRANGER)) for _ in range(5)}) == 1
    assert len(told(server, STRANGER)) == 4


def test_near_clients_follow_the_pool() -> None:
    snapshot, server = world(HOSTS)
    key = wire("www.example.com."), rrtype.A
    assert told(server, NEIGHBOUR) == HOSTS[:1]
    for left in (HOSTS[2:], HOSTS[3:], [], HOSTS):
        snapshot.update({key: Serving(RRset(rrtype.A, 5, packed(*left)), Rotation())})
        shown = Counter(host for _ in range(2 * len(left) or 1) for host in told(server, NEIGHBOUR))
        assert shown == dict.fromkeys(left, 2)


def test_only_who_must_is_looked_at() -> None:
    """Names without near clients, and pools whose addresses all get, go by the quick path."""
    snapshot, _ = world(HOSTS)
    assert ready(snapshot, "www").special
    assert not ready(snapshot, "other").special
    assert not ready(snapshot, "www", rrtype.TXT).special
    for hosts, near, far in ((HOSTS, 4, None), (HOSTS, None, 4), (HOSTS, 5, 9), (HOSTS, 2, 2), (HOSTS[:1], 1, None)):
        assert not ready(world(hosts, near, Rotation(answers=far))[0], "www").special


def ready(snapshot: Snapshot, name: str, kind: int = rrtype.A) -> Ready:
    return snapshot.ready(wire(f"{name}.example.com."), kind.to_bytes(2) + b"\0\1", snapshot.over_udp)


# A server.


def test_a_server_knows_who_is_near_over_udp_and_tcp_and_learns_it_anew_from_a_reload(tmp_path: Path) -> None:
    port = free_port()
    zones = tmp_path / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text(SERVED)
    policy = zones / "example.test.yaml"
    policy.write_text("pools: {www: {answers: {near: 1}, near_networks: [127.0.0.0/25]}}\n")

    def shown(source: str, ask: Callable[..., dns.message.Message] = dns.query.udp) -> int:
        question = dns.message.make_query("www.example.test.", "A")
        reply = ask(question, "::1" if ":" in source else "127.0.0.1", 5.0, port, source)
        return len(reply.answer[0])

    listen = ("--listen", f"127.0.0.1:{port}", "--listen", f"[::1]:{port}", "--workers", "2")
    with started(tmp_path, *listen) as server:
        for ask in (dns.query.udp, dns.query.tcp):
            # In near_networks, in the /24 of the pool, and in neither.
            assert [shown(source, ask) for source in ("127.0.0.2", "127.0.1.99", "127.0.2.1", "::1")] == [1, 1, 4, 4]
        policy.write_text("pools: {www: {answers: {near: 2, far: 3}, near_networks: ['::/64']}}\n")
        eventually(lambda: " reloaded " in server.log, "nothing was logged")
        for ask in (dns.query.udp, dns.query.tcp):
            assert [shown(source, ask) for source in ("127.0.0.2", "127.0.1.99", "127.0.2.1", "::1")] == [3, 2, 3, 2]
