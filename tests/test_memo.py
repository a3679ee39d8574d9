"""Queries that come again: answered by one look-up, as they are without it, in the same turns."""

from __future__ import annotations

import socket
from collections import Counter
from ipaddress import ip_address
from random import Random

import dns.edns
import dns.message
import pytest
from hypothesis import given, settings
from test_near import client, packed
from test_responder import IDENTITY, ZONE, canonical, queries
from transcript import ANONYMOUS, TCP, query, responder, snapshot, wire, zone

from dnslb.answer.memo import Memo, Remembered
from dnslb.answer.ready import ReplyTurns
from dnslb.answer.responder import UDP, Responder
from dnslb.answer.snapshot import Serving, Snapshot
from dnslb.balance.near import Near, around
from dnslb.balance.rotation import Rotation, RRsetOrder
from dnslb.dns import rrtype
from dnslb.dns.zone import RRset
from dnslb.worker.bugs import Bugs
from dnslb.worker.reply_counter import ReplyCounter
from dnslb.worker.udp import Batches

WWW = wire("www.example.com."), rrtype.A
HOSTS = ["192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14"]


def remembered(server: Responder, packet: bytes) -> ReplyTurns | None:
    """What is remembered of a query that has come often."""
    server.memo.miss(1 << 20, packet[2:])
    return server.memo.get(packet[2:])


Servings = dict[tuple[bytes, int], Serving]


def serving(*hosts: str, order: RRsetOrder = RRsetOrder.CYCLIC, withheld: bool = False) -> Servings:
    return {WWW: Serving(RRset(rrtype.A, 30, packed(*hosts)), Rotation(order), withheld=withheld)}


def world(servings: Servings) -> tuple[Snapshot, Responder]:
    made = Snapshot({ZONE.apex: ZONE}, RRsetOrder.CYCLIC, Random(1), servings)
    return made, Responder(made, UDP, ANONYMOUS)


def leader(reply: bytes | None) -> str:
    return str(dns.message.from_wire(b"\0\0" + (reply or b"")).answer[0][0])


@given(packet=queries())
@settings(max_examples=300)
def test_a_remembered_reply_is_the_plain_one(packet: bytes) -> None:
    for transport in (UDP, TCP):
        turns = remembered(responder(ZONE, transport=transport, identity=IDENTITY), packet)
        if turns is not None:
            plain = responder(ZONE, transport=transport, identity=IDENTITY).respond(packet) or b""
            assert canonical(packet[:2] + next(turns)) == canonical(plain)


def test_common_queries_are_remembered() -> None:
    for question in ("www.example.com A", "alias.example.com A", "www.example.com TXT", "none.example.com A"):
        for size in (None, 512, 1232):
            assert remembered(responder(ZONE), query(question, size=size)) is not None


ODD = [b"", b"\0", bytes(12), query("www.example.com A")[:-1], query("www.example.com AXFR")]


@pytest.mark.parametrize("packet", ODD, ids=["empty", "one octet", "a header", "cut", "a transfer"])
def test_odd_packets_are_not_remembered(packet: bytes) -> None:
    assert remembered(responder(ZONE), packet) is None


def test_all_spellings_take_turns_together_whether_remembered_or_not() -> None:
    _, server = world(serving(*HOSTS))
    known = [query("www.example.com A"), query("WWW.example.com A"), query("www.example.com A", size=1232)]
    turns = [remembered(server, packet) for packet in known]
    fresh = query("wwW.example.com A")[2:]
    leaders = []
    for _ in range(5):
        leaders += [leader(next(each)) for each in turns if each is not None]
        leaders.append(leader(server.reply(fresh, b"")))
    assert leaders == HOSTS * 5


@pytest.mark.parametrize("name", ["www", "wWw", "none", "many"])
@pytest.mark.parametrize("options", [1, 2, 32])
def test_options_that_nobody_knows_find_what_is_remembered_without_them(name: str, options: int) -> None:
    """Those that are known do not: they are answered."""
    server = responder(ZONE, identity=IDENTITY)
    assert remembered(server, query(f"{name}.example.com A", size=1232)) is not None
    rng = Random(4)
    for known in ((), (dns.edns.NSID,)):
        codes = [*known, *(rng.randrange(30_000, 60_000) for _ in range(options - len(known)))]
        made = tuple(dns.edns.GenericOption(code, b"" if code in known else rng.randbytes(3)) for code in codes)
        packet = query(f"{name}.example.com A", size=1232, options=made)
        alone = responder(ZONE, identity=IDENTITY).respond(packet)
        assert canonical(server.respond(packet) or b"") == canonical(alone or b"")
        assert len(dns.message.from_wire(alone or b"").options) == len(known)


def test_what_is_remembered_is_forgotten_when_a_pool_changes() -> None:
    made, server = world(serving(*HOSTS))
    packet = query("www.example.com A")
    assert remembered(server, packet) is not None
    made.update(serving(HOSTS[0]))
    assert server.memo.get(packet[2:]) is None
    turns = remembered(server, packet)
    assert turns is not None
    assert {leader(next(turns)) for _ in range(8)} == {HOSTS[0]}


def test_replies_that_differ_by_the_client_are_not_remembered() -> None:
    packet = query("www.example.com A")
    assert remembered(world(serving(*HOSTS, order=RRsetOrder.STICKY))[1], packet) is None
    assert remembered(world(serving(*HOSTS, withheld=True))[1], packet) is None
    near = {WWW[0]: Near(1, around([ip_address(host) for host in HOSTS]))}
    nearby = Snapshot({ZONE.apex: ZONE}, RRsetOrder.CYCLIC, Random(1), serving(*HOSTS), near)
    assert remembered(Responder(nearby, UDP, ANONYMOUS), packet) is None


def test_what_is_remembered_is_bounded() -> None:
    """By its octets: a set of a thousand addresses has a thousand replies."""
    text = "@ 300 SOA ns1 h 1 2 3 4 60\n@ 300 NS ns1\nns1 300 A 192.0.2.1\n"
    large = zone("example.com.", text + "\n".join(f"set 30 A 10.0.{n // 250}.{n % 250}" for n in range(1000)))
    server = Responder(snapshot(large), UDP, ANONYMOUS)
    most = 0
    for number in range(3000):
        name = "".join(letter.upper() if number >> at & 1 else letter for at, letter in enumerate("set.example.com"))
        remembered(server, query(f"{name} A", size=1232))
        most = max(most, len(server.memo))
    assert 1 <= most < 200


def test_one_of_many_that_are_not_found_is_remembered() -> None:
    """So fresh spellings cost what they cost without it."""
    composed: list[bytes] = []

    def compose(query: bytes, client: bytes) -> list[Remembered]:
        composed.append(query)
        return []

    memo = Memo(compose)
    for number in range(10_000):
        memo.miss(1, b"%d" % number)
    assert 10 <= len(composed) <= 100


def test_a_batch_of_known_and_unknown_queries_is_answered_in_order_and_counted() -> None:
    server, counter = responder(ZONE), ReplyCounter()
    known = [query("www.example.com A"), query("none.example.com A")]
    for packet in known:
        remembered(server, packet)
    packets = [*known, query("WwW.example.com A"), b"\0\0\x80\0", query("a.b.c.example.com A", size=1232)]
    with socket.socket(type=socket.SOCK_DGRAM) as ours, socket.socket(type=socket.SOCK_DGRAM) as theirs:
        ours.bind(("127.0.0.1", 0))
        theirs.connect(ours.getsockname())
        theirs.settimeout(5)
        batches = Batches(ours, server.reply, Bugs(), counter, memo=server.memo)
        heads: Counter[bytes] = Counter()
        for mixture in ([0], [2], [0, 0, 1, 1], [0, 1, 2, 3, 4, 0, 1, 2, 3, 4], [3] * 10, [3], list(range(5)) * 12):
            sent = []
            for number, which in enumerate(mixture):
                sent.append(number.to_bytes(2) + packets[which][2:])
                theirs.send(sent[-1])
            batches.answer()
            for packet in sent:
                expected = responder(ZONE).respond(packet)
                if expected is None:
                    heads[bytes(8)] += 1
                    continue
                reply = theirs.recv(4096)
                assert canonical(reply) == canonical(expected)
                heads[reply[2:10]] += 1
        assert counter.take() == heads


def test_a_client_is_told_apart_in_every_place_of_a_batch() -> None:
    """A sticky order goes by the network that asks."""
    _, server = world(serving(*HOSTS, order=RRsetOrder.STICKY))
    one = leader(server.reply(query("www.example.com A")[2:], client("127.0.0.1")))
    with socket.socket(type=socket.SOCK_DGRAM) as ours, socket.socket(type=socket.SOCK_DGRAM) as theirs:
        ours.bind(("127.0.0.1", 0))
        theirs.connect(ours.getsockname())
        theirs.settimeout(5)
        batches = Batches(ours, server.reply, Bugs(), ReplyCounter(), memo=server.memo)
        for count in (1, 40):
            for _ in range(count):
                theirs.send(query("www.example.com A"))
            batches.answer()
            assert {leader(theirs.recv(4096)[2:]) for _ in range(count)} == {one}
