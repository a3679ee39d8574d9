"""Replies that go by the hidden load of who asks: found by the same look-up as others, and never mixed up."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_memo import HOSTS, WWW, leader
from test_near import client, packed
from test_responder import ZONE
from transcript import ANONYMOUS, TCP, query

from dnslb.answer.hidden_loads import Asked
from dnslb.answer.resolver_classes import ResolverClasses
from dnslb.answer.responder import UDP, Responder, Transport
from dnslb.answer.snapshot import Serving, Snapshot
from dnslb.balance.hidden_load import CLASSES, REST, Crowd, Limits, adapted_terms
from dnslb.balance.rotation import Rotation, RRsetOrder
from dnslb.dns import rrtype
from dnslb.dns.zone import RRset
from dnslb.worker.arrivals import Arrivals
from dnslb.worker.bugs import Bugs
from dnslb.worker.reply_counter import ReplyCounter
from dnslb.worker.watched_batches import WatchedBatches

_LIMITS = Limits(5, 30, 120)
_CROWDS = {1: Crowd(1, 10.0), 5: Crowd(2, 0.6), 9: Crowd(9, 0.04)}
_HEAVY, _LIGHT, _ELSEWHERE = "127.0.0.1", "127.0.1.1", "127.0.2.1"
_CLASSES = {bytes([127, 0, 0]): 1, bytes([127, 0, 1]): 9}


def serving(*hosts: str, order: RRsetOrder = RRsetOrder.CYCLIC, weights: tuple[int, ...] | None = None) -> Serving:
    rotation = Rotation(order, weights, 1)
    terms = adapted_terms(rotation, len(hosts), _LIMITS, _CROWDS)
    return Serving(RRset(rrtype.A, _LIMITS.ceiling, packed(*hosts)), rotation, terms=terms)


def world(served: Serving, transport: Transport = UDP) -> tuple[Snapshot, Responder]:
    made = Snapshot({ZONE.apex: ZONE}, RRsetOrder.CYCLIC, Random(1), {WWW: served})
    made.classes.tell(_CLASSES)
    made.over_udp.marks = made.classes
    return made, Responder(made, transport, ANONYMOUS)


def ttls(reply: bytes | None) -> list[int]:
    message = dns.message.from_wire(b"\0\0" + (reply or b""))
    return [rrset.ttl for rrset in message.answer if rrset.rdtype == rrtype.A for _ in rrset]


@pytest.mark.parametrize("transport", [UDP, TCP])
@pytest.mark.parametrize("question", ["www.example.com A", "WWW.example.com A", "alias.example.com A"])
def test_a_resolver_gets_the_ttl_of_its_class(transport: Transport, question: str) -> None:
    served = serving(*HOSTS)
    _, server = world(served, transport)
    for host, number in ((_HEAVY, 1), (_LIGHT, 9), (_ELSEWHERE, REST)):
        assert ttls(server.recall(query(question)[2:], client(host))) == [served.terms[number].ttls[0]]
    assert served.terms[1].ttls < served.terms[REST].ttls < served.terms[9].ttls


def test_every_class_goes_round_all_addresses_by_itself() -> None:
    _, server = world(serving(*HOSTS))
    packet = query("www.example.com A")[2:]
    for host in (_HEAVY, _LIGHT, _ELSEWHERE):
        assert sorted(leader(server.reply(packet, client(host))) for _ in HOSTS) == HOSTS


def test_a_change_of_ttls_alone_does_not_disturb_the_turns() -> None:
    served = serving(*HOSTS)
    made, server = world(served)
    packet = query("www.example.com A")[2:]
    seen = [leader(server.reply(packet, client(_HEAVY))) for _ in range(2)]
    shorter = tuple(replace(terms, ttls=(7,) * 4) for terms in served.terms)
    made.update({WWW: replace(served, terms=shorter)})
    assert ttls(server.reply(packet, client(_HEAVY))) == [7]
    seen.append(leader(server.reply(packet, client(_HEAVY))))
    assert len(set(seen)) == 3


@pytest.mark.parametrize("order", [RRsetOrder.CYCLIC, RRsetOrder.RANDOM, RRsetOrder.LEAST_ASSIGNED])
def test_what_led_is_told_whatever_the_class(order: RRsetOrder) -> None:
    made, server = world(serving(*HOSTS, order=order))
    seen = Counter[str]()
    for host in (_HEAVY, _LIGHT, _ELSEWHERE) * 7:
        seen[leader(server.reply(query("www.example.com A")[2:], client(host)))] += 1
    assert made.led([WWW])[WWW] == {packed(host)[0]: count for host, count in seen.items()}


def remember(server: Responder, packet: bytes, number: int) -> bytes:
    """Have a class's replies remembered: by this key."""
    key = bytes([number]) + packet[2:]
    server.memo.miss(1 << 20, key)
    return key


def test_what_is_remembered_of_one_class_is_not_told_to_another() -> None:
    served = serving(*HOSTS)
    _, server = world(served)
    keys = {number: remember(server, query("www.example.com A", size=1232), number) for number in range(CLASSES + 1)}
    for number, key in keys.items():
        for _ in HOSTS:
            assert ttls(next(server.memo[key])) == [served.terms[number].ttls[0]]


def test_over_tcp_nothing_is_remembered_that_differs_by_class() -> None:
    _, server = world(serving(*HOSTS), TCP)
    packet = query("www.example.com A")
    server.memo.miss(1 << 20, packet[2:])
    assert packet[2:] not in server.memo


def test_options_that_nobody_knows_find_what_is_remembered_of_the_same_class() -> None:
    served = serving(*HOSTS)
    _, server = world(served)
    plain = query("www.example.com A", size=1232)
    for number in (1, 9):
        remember(server, plain, number)
    option = dns.edns.GenericOption(dns.edns.OptionType.make(40_000), b"x")
    packet = query("www.example.com A", size=1232, options=(option,))
    assert ttls(server.reply(packet[2:], client(_HEAVY))) == [served.terms[1].ttls[0]]
    assert ttls(server.reply(packet[2:], client(_LIGHT))) == [served.terms[9].ttls[0]]


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 5), st.sampled_from(["cyclic", "random", "spread", "least_assigned"]),
    st.lists(st.sampled_from([_HEAVY, _LIGHT, _ELSEWHERE]), min_size=1, max_size=12),
    st.lists(st.integers(1, 20), min_size=5, max_size=5), st.integers(0, 40), st.integers(0, 40), st.integers(0, 400),
)  # fmt: skip
def test_no_answer_is_empty_nor_has_two_ttls_nor_one_out_of_its_limits(  # noqa: PLR0917 - a world
    n: int, order: str, hosts: Sequence[str], weights: list[int], floor: int, mean: int, ceiling: int
) -> None:
    limits = Limits(floor, floor + mean, floor + mean + ceiling)
    shares = tuple(weights[:n])
    rotation = Rotation(RRsetOrder(order), shares if len(set(shares)) > 1 else None, 1)
    terms = adapted_terms(rotation, n, limits, _CROWDS)
    _, server = world(Serving(RRset(rrtype.A, limits.ceiling, packed(*HOSTS, "192.0.2.15")[:n]), rotation, terms=terms))
    for host in hosts:
        found = ttls(server.reply(query("www.example.com A")[2:], client(host)))
        assert len(found) == 1
        assert limits.floor <= found[0] <= limits.ceiling


def test_batches_mark_what_they_look_up_and_count_who_asks() -> None:
    """Known and unknown queries of two classes beside one another, over IPv4."""
    served = serving(*HOSTS)
    made, server = world(served)
    for number in (1, 9):
        remember(server, query("www.example.com A"), number)
    arrivals = Arrivals([WWW], Random(1))
    with socket.socket(type=socket.SOCK_DGRAM) as ours, socket.socket(type=socket.SOCK_DGRAM) as heavy, \
            socket.socket(type=socket.SOCK_DGRAM) as light:  # fmt: skip
        ours.bind(("127.0.0.1", 0))
        heavy.bind((_HEAVY, 0))
        light.bind((_LIGHT, 0))
        batches = WatchedBatches(ours, server.reply, Bugs(), ReplyCounter(), 1, server.memo)
        batches.classes, batches.watchers = made.classes, [arrivals]
        questions = ["www.example.com A", "wWw.example.com A", "none.example.com A", "www.example.com TXT"] * 8
        for question in questions:
            for sock in (heavy, light):
                sock.sendto(query(question), ours.getsockname())
        batches.answer()
        for sock, number in ((heavy, 1), (light, 9)):
            sock.settimeout(5)
            ttl = served.terms[number].ttls[0]
            for question in questions:
                assert ttls(sock.recv(4096)[2:]) == ([ttl] if question.lower() == "www.example.com a" else [])
    told = {pair: asked for piece in arrivals.take() for pair, asked in piece.items()}
    assert told.keys() <= {(WWW, bytes([127, 0, 0])), (WWW, bytes([127, 0, 1]))}
    for (_, network), asked in told.items():
        assert asked.covered == asked.times * served.terms[_CLASSES[network]].ttls[0]
    assert not list(arrivals.take())


def test_all_who_ask_are_counted_when_few_do() -> None:
    _, server = world(serving(*HOSTS))
    arrivals = Arrivals([WWW], Random(1))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as ours, \
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as theirs:  # fmt: skip
        ours.bind(("::1", 0))
        batches = WatchedBatches(ours, server.reply, Bugs(), ReplyCounter(), 1, server.memo)
        batches.watchers = [arrivals]
        for _ in range(5):
            theirs.sendto(query("www.example.com A"), ours.getsockname())
            batches.answer()
    assert list(arrivals.take()) == [{(WWW, bytes(7)): Asked(5, 5 * _LIMITS.mean)}]


def test_the_classes_of_clients_are_remembered_in_bounded_memory() -> None:
    classes = ResolverClasses()
    classes.tell({bytes([10, 0, 0]): 3, bytes([0x20, 1, 0xD, 0xB8, 0, 0, 0]): 4})
    words = int.from_bytes(bytes([10, 0, 0, 9]), "little")
    assert classes[words] == classes.of(client("10.0.0.9")) == 3
    wide = (int.from_bytes(b"\x20\x01\x0d\xb8", "little"), int.from_bytes(b"\0\0\0\xff", "little"))
    assert classes[wide] == classes.of(client("2001:db8:0:ff::1")) == 4
    assert {classes[number] for number in range(1 << 16, (1 << 16) + 40_000)} == {REST}
    assert len(classes) < 20_000
