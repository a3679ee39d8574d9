"""The order of records, turn by turn: RFC 1794 §2, and what BIND's ``rrset-order`` promises."""

from __future__ import annotations

from random import Random

import dns.message
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transcript import ANONYMOUS, TCP, query, responder, zone

from dnslb.answer.responder import UDP, Responder
from dnslb.answer.snapshot import Serving, Snapshot
from dnslb.balance.rotation import SLOTS, Rotation, RRsetOrder, Stand, Turns, arrangements, period, slots, smooth
from dnslb.dns import rrtype
from dnslb.dns.zone import RRset

POOL = zone("example.com.", "\n".join([
    "@ 300 SOA ns h 1 2 3 4 5",
    "@ 300 NS ns1",
    "@ 300 NS ns2",
    "@ 300 MX 10 mail1",
    "@ 300 MX 10 mail2",
    "@ 300 MX 10 mail3",
    *(f"{host} 300 A 192.0.2.9" for host in ("ns1", "ns2", "mail1", "mail2", "mail3")),
    *(f"www 30 A 192.0.2.{host}" for host in (1, 2, 3, 4)),
    *(f"www 30 AAAA 2001:db8::{host}" for host in (1, 2, 3)),
    *(f"*.wild 30 A 192.0.2.{host}" for host in (1, 2, 3)),
    "alias 30 CNAME www",
    "see 30 MX 10 www",
    *(f"big 30 A 198.51.100.{host}" for host in range(60)),
    *(f"huge 30 A 203.0.{host // 250}.{host % 250}" for host in range(700)),
]))  # fmt: skip


def order(server: Responder, question: str, size: int | None = None) -> list[str]:
    reply = dns.message.from_wire(server.respond(query(question, size=size)) or b"", one_rr_per_rrset=True)
    kind = dns.rdatatype.from_text(question.split()[1])
    return [str(rrset[0]).split()[-1] for rrset in reply.answer if rrset.rdtype == kind]


@pytest.mark.parametrize(("question", "n"), [
    ("www.example.com A", 4),
    ("www.example.com AAAA", 3),
    ("alias.example.com A", 4),
    ("x.wild.example.com A", 3),
    ("example.com MX", 3),
    ("example.com NS", 2),
])  # fmt: skip
def test_each_record_leads_once_in_n_turns_and_the_rest_follow_in_ring_order(question: str, n: int) -> None:
    server = responder(POOL)
    orders = [order(server, question) for _ in range(2 * n)]
    assert orders[0] == order(responder(POOL), question)
    for turn in range(2 * n):
        assert orders[turn] == orders[0][turn % n :] + orders[0][: turn % n]


def test_a_and_aaaa_take_turns_independently() -> None:
    server = responder(POOL)
    leaders = []
    for _ in range(4):
        leaders.append(order(server, "www.example.com A")[0])
        order(server, "www.example.com AAAA")
    assert leaders == ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]


def test_spelling_edns_and_aliases_share_one_counter() -> None:
    server = responder(POOL)
    leaders = [
        order(server, "www.example.com A")[0],
        order(server, "wWw.ExAmple.com A")[0],
        order(server, "www.example.com A", size=1232)[0],
        order(server, "alias.example.com A")[0],
    ]
    assert leaders == ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]


def test_all_names_of_a_wildcard_share_one_counter() -> None:
    server = responder(POOL)
    leaders = [order(server, f"{label}.wild.example.com A")[0] for label in ("a", "bb", "a.b", "c")]
    assert leaders == ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.1"]


def test_additional_data_do_not_advance_the_turn() -> None:
    server = responder(POOL)
    first = order(server, "www.example.com A")[0]
    for _ in range(3):
        order(server, "see.example.com MX")
    assert (first, order(server, "www.example.com A")[0]) == ("192.0.2.1", "192.0.2.2")


@pytest.mark.parametrize("question", ["big.example.com A", "huge.example.com A"])
def test_large_sets_rotate_as_well(question: str) -> None:
    server = responder(POOL, transport=TCP)
    first, second, third = (order(server, question) for _ in range(3))
    assert second == first[1:] + first[:1]
    assert third == first[2:] + first[:2]


def test_order_none_keeps_the_files() -> None:
    server = responder(POOL, order=RRsetOrder.NONE)
    assert {tuple(order(server, "www.example.com A")) for _ in range(10)} == {
        ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")
    }


def test_order_random_is_even_and_has_no_pattern() -> None:
    server = responder(POOL, order=RRsetOrder.RANDOM)
    orders = [tuple(order(server, "www.example.com A")) for _ in range(2000)]
    leaders = [first for first, *_ in orders]
    for host in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"):
        assert 400 < leaders.count(host) < 600
    # The tail is shuffled too: a dead leader's clients spread over the others.
    followers = [second for first, second, *_ in orders if first == "192.0.2.1"]
    for host in ("192.0.2.2", "192.0.2.3", "192.0.2.4"):
        assert followers.count(host) > len(followers) / 6


WEIGHTS = st.lists(st.integers(1, 12), min_size=1, max_size=12).map(tuple)


@given(order=st.sampled_from(RRsetOrder), n=st.integers(1, 40), answers=st.none() | st.integers(1, 50))
def test_an_arrangement_permutes_and_is_cut_to_the_answers_wanted(
    order: RRsetOrder, n: int, answers: int | None
) -> None:
    for arrangement in arrangements(Rotation(order, answers=answers), n):
        assert len(arrangement) == len(set(arrangement)) == min(n, answers or n)
        assert set(arrangement) <= set(range(n))


@given(order=st.sampled_from([RRsetOrder.CYCLIC, RRsetOrder.SPREAD, RRsetOrder.RANDOM]), n=st.integers(1, 40))
def test_in_each_lap_every_record_leads_once(order: RRsetOrder, n: int) -> None:
    leaders = [arrangement[0] for arrangement in arrangements(Rotation(order), n)]
    assert len(leaders) == period(Rotation(order), n)
    for lap in range(0, len(leaders), n):
        assert sorted(leaders[lap : lap + n]) == list(range(n))


@pytest.mark.parametrize("n", range(2, 9))
def test_spread_sends_a_dead_leaders_clients_to_all_others_alike(n: int) -> None:
    seconds = [arrangement[1] for arrangement in arrangements(Rotation(RRsetOrder.SPREAD), n) if arrangement[0] == 0]
    assert sorted(seconds) == list(range(1, n))


@given(order=st.sampled_from([RRsetOrder.CYCLIC, RRsetOrder.SPREAD, RRsetOrder.RANDOM]), weights=WEIGHTS)
def test_over_a_lap_each_record_leads_as_often_as_it_weighs(order: RRsetOrder, weights: tuple[int, ...]) -> None:
    table = list(arrangements(Rotation(order, weights), len(weights)))
    lap = [arrangement[0] for arrangement in table[: sum(weights)]]
    assert tuple(lap.count(record) for record in range(len(weights))) == weights


@given(weights=WEIGHTS)
def test_smooth_weights_are_spaced_evenly(weights: tuple[int, ...]) -> None:
    """After any number of turns a record has led its share, give or take one turn for each other record."""
    leaders = smooth(weights)
    for record, weight in enumerate(weights):
        led = 0
        for turn, leader in enumerate(leaders, start=1):
            led += leader == record
            assert abs(led - turn * weight / sum(weights)) < len(weights)


def test_smooth_weights_do_not_come_in_bursts() -> None:
    assert smooth((5, 1, 1)) == (0, 0, 1, 0, 2, 0, 0)
    assert smooth((1, 1, 1)) == (0, 1, 2)


@given(order=st.sampled_from(RRsetOrder), n=st.integers(1, 40), data=st.data())
def test_turns_stay_within_the_period(order: RRsetOrder, n: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, period(Rotation(order), n) - 1))
    taken = iter(Turns(Rotation(order), n, Random(1), start))
    assert all(0 <= next(taken) < period(Rotation(order), n) for _ in range(100))


NAMES = st.lists(st.binary(min_size=4, max_size=4), min_size=2, max_size=12, unique=True).map(tuple)


@given(names=NAMES, data=st.data())
def test_when_one_leaves_only_its_own_clients_move(names: tuple[bytes, ...], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(names))
    left = tuple(name for name in names if name != gone)
    before = [names[leader] for leader in slots(names, None)]
    after = [left[leader] for leader in slots(left, None)]
    assert all(was == gone for was, now in zip(before, after, strict=True) if was != now)
    assert before.count(gone) / SLOTS < 1 / len(names) + 0.1  # six standard deviations, of two names


def test_sticky_leaders_have_their_weights_share() -> None:
    leaders = slots((b"a", b"b", b"c"), (2, 1, 1))
    for record, share in enumerate((0.5, 0.25, 0.25)):
        assert abs(leaders.count(record) / SLOTS - share) < 0.06


@given(
    order=st.sampled_from(RRsetOrder),
    weights=WEIGHTS,
    weighted=st.booleans(),
    start=st.integers(0, 1000),
    asked=st.lists(st.integers(0, 70), max_size=5),
)
def test_leading_answers_are_counted_one_by_one(
    order: RRsetOrder, weights: tuple[int, ...], weighted: bool, start: int, asked: list[int]
) -> None:
    n = len(weights)
    rotation = Rotation(order, weights if weighted else None)
    taken = Turns(rotation, n, Random(1), start % period(rotation, n))
    first, second = iter(taken), map(abs, taken)  # two replies, which share the turns
    leader = [positions[0] for positions in arrangements(rotation, n)]
    for count in asked:
        leaders = [leader[next(second if number % 3 else first)] for number in range(count)]
        assert taken.led() == ([leaders.count(record) for record in range(n)] if count else None)
    assert taken.led() is None


def leader(snapshot: Snapshot, question: str) -> str:
    return order(Responder(snapshot, UDP, ANONYMOUS), question)[0]


@given(seed=st.integers(), gaps=st.lists(st.integers(0, 5), min_size=8, max_size=20))
def test_over_many_reloads_each_record_leads_as_often_as_the_others(seed: int, gaps: list[int]) -> None:
    """However few queries come between two of them; also those that were not asked for between."""
    question = "www.example.com A"
    snapshot, leaders = Snapshot({POOL.apex: POOL}, RRsetOrder.CYCLIC, Random(seed), stands={}), []
    for gap in gaps:
        leaders += [leader(snapshot, question) for _ in range(gap)]
        snapshot = Snapshot({POOL.apex: POOL}, RRsetOrder.CYCLIC, Random(seed), stands=dict(snapshot.stands(100)))
    counts = [leaders.count(f"192.0.2.{host}") for host in (1, 2, 3, 4)]
    assert max(counts) - min(counts) <= 1


def test_turns_of_which_nothing_is_known_begin_anywhere() -> None:
    rng = Random(7)
    question, zones = "www.example.com A", {POOL.apex: POOL}
    leaders = [leader(Snapshot(zones, RRsetOrder.CYCLIC, rng, stands={}), question) for _ in range(400)]
    for host in (1, 2, 3, 4):
        assert 60 < leaders.count(f"192.0.2.{host}") < 140  # of 100: four standard deviations
    other = {((b"\3www\7example\3com\0"), 1): Stand(0, 3)}  # the RRset has had three records
    leaders = [leader(Snapshot(zones, RRsetOrder.CYCLIC, rng, stands=other), question) for _ in range(400)]
    assert 60 < leaders.count("192.0.2.1") < 140


def test_those_of_pools_are_told_before_others() -> None:
    pool = RRset(rrtype.A, 30, tuple(bytes((192, 0, 2, host)) for host in (1, 2, 3, 4)))
    name = b"\3www\7example\3com\0"
    snapshot = Snapshot({POOL.apex: POOL}, RRsetOrder.CYCLIC, Random(1), {(name, 1): Serving(pool, Rotation())})
    for question in ("example.com MX", "example.com NS", "www.example.com A", "www.example.com A"):
        leader(snapshot, question)
    assert dict(snapshot.stands(1)) == {(name, 1): Stand(2, 4)}
    assert [key[1] for key, _ in snapshot.stands(9)] == [rrtype.A, rrtype.MX, rrtype.NS]
