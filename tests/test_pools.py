"""Pools in the snapshot: what they serve stands in for the zone's records; only what is concerned is packed again."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from dataclasses import replace
from random import Random
from socket import AF_INET, AF_INET6, inet_aton, inet_pton
from sys import byteorder

import dns.edns
import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transcript import ANONYMOUS, TCP, ask, query, wire, zone

from dnslb.answer.responder import UDP, Responder, Transport
from dnslb.answer.snapshot import RRsetKey, Serving, Snapshot
from dnslb.balance.rotation import Rotation, RRsetOrder
from dnslb.dns import rrtype
from dnslb.dns.zone import RRset

ZONE = zone("example.com.", "\n".join([
    "@ 300 SOA ns1 h 1 2 3 4 60",
    "@ 300 NS ns1",
    "@ 300 MX 10 www",
    "ns1 300 A 192.0.2.1",
    *(f"www 300 A 192.0.2.{host}" for host in (11, 12, 13, 14)),
    *(f"www 300 AAAA 2001:db8::{host}" for host in (11, 12)),
    "www 300 TXT still-here",
    "alias 300 CNAME www",
    *(f"*.wild 300 A 192.0.2.{host}" for host in (21, 22)),
    "walias 300 CNAME x.wild",
    *(f"other 300 A 192.0.2.{host}" for host in (31, 32)),
    *(f"big 300 A 198.51.100.{host}" for host in range(100)),
]))  # fmt: skip
WWW_A, WWW_AAAA = (wire("www.example.com."), rrtype.A), (wire("www.example.com."), rrtype.AAAA)
WILD, BIG = (wire("*.wild.example.com."), rrtype.A), (wire("big.example.com."), rrtype.A)


def serving(*hosts: str, ttl: int = 30, rotation: Rotation | None = None, fails_open: bool = False) -> Serving:
    packed = tuple(inet_aton(host) if "." in host else inet_pton(AF_INET6, host) for host in hosts)
    kind = rrtype.AAAA if hosts and ":" in hosts[0] else rrtype.A
    return Serving(RRset(kind, ttl, packed), rotation or Rotation(), fails_open)


def world(servings: dict[RRsetKey, Serving], transport: Transport = UDP) -> tuple[Snapshot, Responder]:
    snapshot = Snapshot({ZONE.apex: ZONE}, RRsetOrder.CYCLIC, Random(1), servings)
    return snapshot, Responder(snapshot, transport, ANONYMOUS)


def addresses(
    server: Responder, name: str = "www", kind: str = "A", client: bytes = b"", size: int = 1232
) -> list[str]:
    reply = dns.message.from_wire(server.respond(query(f"{name}.example.com {kind}", size=size), client) or b"")
    assert not reply.flags & dns.flags.TC
    return [str(rdata) for rrset in reply.answer if dns.rdatatype.to_text(rrset.rdtype) == kind for rdata in rrset]


def test_a_pool_stands_in_for_the_zones_records() -> None:
    _, server = world({WWW_A: serving("192.0.2.12", "192.0.2.14", ttl=7)})
    left = "192.0.2.12 | www.example.com. 7 A 192.0.2.14"
    assert ask(server, "www.example.com A") == f"NOERROR aa | www.example.com. 7 A {left}"
    assert "2001:db8::12" in ask(server, "www.example.com AAAA")
    assert ask(server, "www.example.com TXT") == 'NOERROR aa | www.example.com. 300 TXT "still-here"'


def test_a_change_reaches_every_reply_that_shows_the_pool() -> None:
    snapshot, server = world({WWW_A: serving("192.0.2.11", "192.0.2.12")})
    questions = ["www.example.com A", "alias.example.com A", "example.com MX", "other.example.com A"]
    for question in questions:
        ask(server, question)
    snapshot.update({WWW_A: serving("192.0.2.14", ttl=5)})
    for question in questions[:3]:
        reply = ask(server, question)
        assert "192.0.2.14" in reply and "192.0.2.11" not in reply, question
    assert "192.0.2.31" in ask(server, "other.example.com A")


def test_only_the_replies_concerned_are_packed_again() -> None:
    snapshot, server = world({WWW_A: serving("192.0.2.11")})
    ask(server, "other.example.com A")
    ask(server, "www.example.com A")
    kept = dict(snapshot.over_udp.by_question)
    snapshot.update({WWW_A: serving("192.0.2.12")})
    assert set(kept) - set(snapshot.over_udp.by_question) == {wire("www.example.com.") + b"\0\1\0\1"}


def test_an_empty_pool_is_nodata_and_comes_back() -> None:
    snapshot, server = world({WWW_A: serving()})
    assert ask(server, "www.example.com A") == "NOERROR aa | authority: SOA"
    assert ask(server, "alias.example.com A").endswith("authority: SOA")
    assert "additional: www.example.com. 30 A" not in ask(server, "example.com MX")
    snapshot.update({WWW_A: serving("192.0.2.11")})
    assert ask(server, "www.example.com A") == "NOERROR aa | www.example.com. 30 A 192.0.2.11"
    assert "192.0.2.11" in ask(server, "alias.example.com A")
    assert "192.0.2.11" in ask(server, "example.com MX")


def test_a_pool_under_a_wildcard_serves_all_its_names() -> None:
    snapshot, server = world({WILD: serving("192.0.2.21")})
    for name in ("a", "b.c"):
        assert ask(server, f"{name}.wild.example.com A").endswith("30 A 192.0.2.21")
    assert ask(server, "walias.example.com A").endswith("30 A 192.0.2.21")
    snapshot.update({WILD: serving("192.0.2.22")})
    for name in ("a", "b.c"):
        assert ask(server, f"{name}.wild.example.com A").endswith("30 A 192.0.2.22")
    assert ask(server, "walias.example.com A").endswith("30 A 192.0.2.22")
    snapshot.update({WILD: serving()})
    assert ask(server, "a.wild.example.com A") == "NOERROR aa | authority: SOA"


def test_a_and_aaaa_are_independent() -> None:
    both = {WWW_A: serving("192.0.2.11", "192.0.2.12"), WWW_AAAA: serving("2001:db8::11", "2001:db8::12")}
    snapshot, server = world(both)
    assert [addresses(server)[0], addresses(server, kind="AAAA")[0]] == ["192.0.2.11", "2001:db8::11"]
    assert [addresses(server)[0], addresses(server, kind="AAAA")[0]] == ["192.0.2.12", "2001:db8::12"]
    snapshot.update({WWW_AAAA: serving("2001:db8::12")})
    assert addresses(server)[0] == "192.0.2.11"


def test_answers_limits_the_addresses_in_turn() -> None:
    _, server = world({WWW_A: serving("192.0.2.11", "192.0.2.12", "192.0.2.13", rotation=Rotation(answers=2))})
    shown = [addresses(server) for _ in range(3)]
    assert shown == [["192.0.2.11", "192.0.2.12"], ["192.0.2.12", "192.0.2.13"], ["192.0.2.13", "192.0.2.11"]]


def test_weights_are_exact_over_a_cycle() -> None:
    rotation = Rotation(weights=(3, 1), answers=1)
    _, server = world({WWW_A: serving("192.0.2.11", "192.0.2.12", rotation=rotation)})
    leaders = Counter(addresses(server)[0] for _ in range(40))
    assert leaders == {"192.0.2.11": 30, "192.0.2.12": 10}


def test_a_pool_larger_than_fits_shows_a_window_in_turn_rather_than_tc() -> None:
    hosts = [f"198.51.100.{host}" for host in range(100)]
    _, server = world({BIG: serving(*hosts)})
    for size, most in ((512, 29), (1232, 74)):
        shown = [addresses(server, "big", size=size) for _ in range(100)]
        assert {len(window) for window in shown} == {most}
        assert Counter(window[0] for window in shown) == Counter(hosts)
    _, over_tcp = world({BIG: serving(*hosts)}, TCP)
    assert len(addresses(over_tcp, "big")) == 100


def test_failing_open_is_told_to_clients_that_sent_edns() -> None:
    """RFC 8914."""
    _, server = world({WWW_A: serving("192.0.2.11", "192.0.2.12", fails_open=True)})
    for _ in range(2):
        reply = dns.message.from_wire(server.respond(query("alias.example.com A", size=1232)) or b"")
        [option] = reply.options
        assert isinstance(option, dns.edns.EDEOption)
        assert (option.code, option.text) == (0, "no backend is up; all 2 are handed out")
        plain = dns.message.from_wire(server.respond(query("www.example.com A")) or b"")
        assert plain.edns == -1 and len(plain.answer[0]) == 2


@pytest.mark.parametrize(("name", "key"), [("www", WWW_A), ("alias", WWW_A), ("x.wild", WILD), ("walias", WILD)])
def test_that_a_pool_has_no_address_left_is_told_for_its_type_alone(name: str, key: RRsetKey) -> None:
    """And not for those that the name never had, in whatever order they are asked for: their replies are shared."""
    empty, two = serving(), serving("192.0.2.11", "192.0.2.12")
    snapshot, server = world({key: two})

    def told(kind: str, size: int = 1232) -> list[str]:
        reply = dns.message.from_wire(server.respond(query(f"{name}.example.com {kind}", size=size)) or b"")
        assert reply.rcode() == dns.rcode.NOERROR
        return [option.text or "" for option in reply.options if isinstance(option, dns.edns.EDEOption)]

    for kinds in (("A", "MX", "SRV"), ("SRV", "A", "MX")):
        assert [told(kind) for kind in kinds] == [[], [], []]
        snapshot.update({key: empty})
        for _ in range(2):
            text = "no backend is available; there are addresses otherwise"
            assert {kind: told(kind) for kind in kinds} == {"A": [text], "MX": [], "SRV": []}
            assert len(addresses(server, "www", "AAAA")) == 2
        snapshot.update({key: two})


def test_a_referral_to_a_pool_that_is_empty_or_withheld_is_sent_all_the_same() -> None:
    below = zone("example.com.", "@ 300 SOA ns1 h 1 2 3 4 60\n@ 300 NS ns1\nns1 300 A 192.0.2.1\nsub 300 NS ns1")
    key = wire("ns1.example.com."), rrtype.A
    snapshot = Snapshot({below.apex: below}, RRsetOrder.CYCLIC, Random(1), {key: replace(serving(), withheld=True)})
    server = Responder(snapshot, UDP, ANONYMOUS)
    reply = dns.message.from_wire(server.respond(query("www.sub.example.com A", size=1232)) or b"")
    assert (reply.rcode(), list(reply.options), len(reply.authority)) == (dns.rcode.NOERROR, [], 1)


def test_what_is_empty_and_withheld_gets_no_reply() -> None:
    empty = replace(serving(), withheld=True)
    _, server = world({WWW_A: empty})
    assert server.respond(query("www.example.com MX", size=1232)) is not None
    assert server.respond(query("www.example.com A", size=1232)) is None
    assert server.respond(query("www.example.com MX", size=1232)) is not None


def client(host: str) -> bytes:
    if ":" in host:
        return AF_INET6.to_bytes(2, byteorder) + bytes(6) + inet_pton(AF_INET6, host)
    return AF_INET.to_bytes(2, byteorder) + b"\x30\x39" + inet_aton(host)


STICKY = Rotation(RRsetOrder.STICKY)


def test_sticky_gives_a_network_the_same_leader_always() -> None:
    _, server = world({WWW_A: serving("192.0.2.11", "192.0.2.12", "192.0.2.13", rotation=STICKY)})
    leaders = Counter[str]()
    for network in range(256):
        first = addresses(server, client=client(f"198.51.{network}.1"))
        assert addresses(server, client=client(f"198.51.{network}.200")) == first
        leaders[first[0]] += 1
    assert min(leaders.values()) > 40
    first = addresses(server, client=client("2001:db8:1:1::1"))
    assert addresses(server, client=client("2001:db8:1:1f::9")) == first


def test_sticky_moves_only_the_clients_of_the_address_that_went() -> None:
    hosts = ("192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14")
    snapshot, server = world({WWW_A: serving(*hosts, rotation=STICKY)})
    clients = [client(f"10.{net // 256}.{net % 256}.1") for net in range(600)]
    before = [addresses(server, client=who)[0] for who in clients]
    snapshot.update({WWW_A: serving(*hosts[:2], hosts[3], rotation=STICKY)})
    after = [addresses(server, client=who)[0] for who in clients]
    moved = [was for was, now in zip(before, after, strict=True) if was != now]
    assert set(moved) == {"192.0.2.13"}
    assert len(moved) / len(clients) < 1 / 4 + 0.05


@pytest.mark.parametrize("order", RRsetOrder)
def test_one_address_is_no_rotation(order: RRsetOrder) -> None:
    _, server = world({WWW_A: serving("192.0.2.11", rotation=Rotation(order))})
    assert addresses(server, client=client("192.0.2.200")) == ["192.0.2.11"]


HOSTS = [f"192.0.2.{host}" for host in (11, 12, 13, 14)]


@given(steps=st.lists(st.tuples(
    st.lists(st.sampled_from(HOSTS), unique=True),
    st.integers(0, 300), st.sampled_from(RRsetOrder), st.none() | st.integers(1, 5), st.booleans(),
), min_size=1, max_size=5))  # fmt: skip
def test_whatever_the_pool_serves_is_what_every_reply_shows(
    steps: list[tuple[list[str], int, RRsetOrder, int | None, bool]],
) -> None:
    snapshot, server = world({})
    for hosts, ttl, order, answers, fails_open in steps:
        rotation = Rotation(order, answers=answers)
        snapshot.update({WWW_A: serving(*hosts, ttl=ttl, rotation=rotation, fails_open=fails_open)})
        for name in ("www", "alias"):
            for _ in range(3):
                shown = addresses(server, name)
                assert set(shown) <= set(hosts)
                assert len(shown) == min(len(hosts), answers or len(hosts))
        reply = ask(server, "www.example.com A", size=1232)
        assert reply.count(f"www.example.com. {ttl} A") == min(len(hosts), answers or len(hosts))


@pytest.mark.parametrize("size", [512, 1232])
@pytest.mark.parametrize("n", [28, 29, 71, 74, 100])
def test_the_note_on_failing_open_never_makes_a_reply_too_large(n: int, size: int) -> None:
    _, server = world({BIG: serving(*(f"198.51.100.{host}" for host in range(n)), fails_open=True)})
    reply = server.respond(query("big.example.com A", size=size)) or b""
    assert len(reply) <= size
    assert len(dns.message.from_wire(reply).answer[0]) == min(n, 29 if size == 512 else 74)


def test_a_pool_may_take_over_from_records_that_have_taken_turns() -> None:
    snapshot, server = world({})
    for _ in range(3):
        addresses(server)
    snapshot.update({WWW_A: serving("192.0.2.11", "192.0.2.12")})
    assert Counter(addresses(server)[0] for _ in range(8)) == {"192.0.2.11": 4, "192.0.2.12": 4}


def test_a_pool_larger_than_any_message_shows_a_window() -> None:
    packed = tuple((10 << 24 | host).to_bytes(4) for host in range(5000))
    for transport, answers, shown in ((UDP, 2, 2), (UDP, None, 74), (TCP, 2, 2), (TCP, None, 4093)):
        _, server = world({BIG: Serving(RRset(rrtype.A, 30, packed), Rotation(answers=answers))}, transport)
        assert len(addresses(server, "big")) == shown


@pytest.mark.parametrize("order", RRsetOrder)
def test_a_large_pool_does_not_take_memory_by_the_square_of_its_size(order: RRsetOrder) -> None:
    packed = tuple((10 << 24 | host).to_bytes(4) for host in range(2000))
    _, server = world({BIG: Serving(RRset(rrtype.A, 30, packed), Rotation(order))}, TCP)
    packet = query("big.example.com A")
    tracemalloc.start()
    assert server.respond(packet)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 16 << 20


SOME = st.lists(st.sampled_from([f"192.0.2.{host}" for host in (11, 12, 13, 14)]), unique=True)
MOMENTS = st.tuples(SOME, st.sampled_from(RRsetOrder), st.integers(0, 12), st.booleans())


@given(story=st.lists(MOMENTS, min_size=1, max_size=6))
def test_every_leading_answer_is_credited_to_its_address_whatever_changes(
    story: list[tuple[list[str], RRsetOrder, int, bool]],
) -> None:
    snapshot, server = world({})
    seen, counted = Counter[bytes](), Counter[bytes]()
    for hosts, order, questions, is_told in story:
        rotation = Rotation(order, answers=1 if order is RRsetOrder.SPREAD else None)
        counted.update(snapshot.update({WWW_A: serving(*hosts, rotation=rotation)}).get(WWW_A, {}))
        for number in range(questions):
            client = AF_INET.to_bytes(2, byteorder) + bytes((0, 53, 198, 51, number, 1))
            name, size = ("alias", 512) if number % 2 else ("www", 1232)
            seen.update(inet_aton(host) for host in addresses(server, name, client=client, size=size)[:1])
        if is_told:
            counted.update(snapshot.led([WWW_A]).get(WWW_A, {}))
    counted.update(snapshot.led([WWW_A]).get(WWW_A, {}))
    assert counted == seen
    assert snapshot.led(snapshot.turning) == {}
