"""JSON in pieces: the very text that ``json.dumps`` makes, but a little at a time; and the slots of a crowd."""

from __future__ import annotations

import json
import time
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, get_type_hints

from hypothesis import given
from hypothesis import strategies as st
from made_up import QUIET, backend, rrset

from dnslb.admin.admission import MOST, MOST_OF_ONE, Admission, Slot, Work
from dnslb.admin.json_stream import fields, pieces
from dnslb.admin.throttle import Throttle
from dnslb.control.change import Change
from dnslb.control.order import DrainClock
from dnslb.control.reload import ZoneChange
from dnslb.control.status import BackendStatus, Lease, OrderStatus, PoolStatus, RRsetStatus, ZoneStatus
from dnslb.text.spelling import closest, similarity

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(VALUES)
def test_the_text_is_that_of_json(value: Any) -> None:
    assert "".join(pieces(value)) == json.dumps(value)


def test_nouns_and_iterators_are_objects_and_arrays() -> None:
    pool = PoolStatus("www.example.net.", (rrset(backend("192.0.2.1", share=1.0)),))
    told = "".join(pieces({"status": QUIET, "pools": iter([None, pool, None, pool, None]), "none": iter([None])}))
    assert json.loads(told) == json.loads(
        json.dumps({"status": QUIET, "pools": [pool, pool], "none": []}, default=fields)
    )


def test_no_noun_that_is_told_at_once_holds_a_sequence() -> None:
    """Also not in a noun within it."""
    for sort in (BackendStatus, Lease, OrderStatus, ZoneStatus, ZoneChange, Change, DrainClock):
        assert set(get_type_hints(sort).values()) <= {
            str, int, float, bool, str | None, int | None, float | None, bool | None, Lease | None, OrderStatus | None,
        }  # fmt: skip


def test_no_piece_of_a_large_pool_takes_long() -> None:
    def backends() -> Iterator[Any]:
        for _ in range(10_000):
            yield one

    one = backend("192.0.2.1", share=0.5)
    steps, before = [], time.process_time()
    for _ in pieces(PoolStatus("www.example.net.", (RRsetStatus("A", 30, "", False, False, backends()),))):
        steps.append(time.process_time() - before)
        before = time.process_time()
    assert max(steps) < 0.01


# Places.


@dataclass
class Visitors:
    """Who came to the crowd, and who had to leave it."""

    admission: Admission
    left: list[int]
    slots: list[Slot]

    def come(self, client: Hashable) -> int:
        number = len(self.slots)
        self.slots.append(self.admission.admit(client, lambda: self.left.append(number), number))
        return number


def visitors() -> Visitors:
    return Visitors(Admission(), [], [])


def test_beyond_its_share_a_client_gives_up_its_own_slots() -> None:
    all_of_them = visitors()
    other = all_of_them.come("other")
    for _ in range(MOST_OF_ONE + 3):
        all_of_them.come("greedy")
    assert all_of_them.left == [1, 2, 3]
    assert other not in all_of_them.left


def test_when_all_places_are_taken_who_has_most_gives_one_up() -> None:
    all_of_them = visitors()
    for client in (*range(MOST - 2), "two", "two"):
        all_of_them.come(client)
    all_of_them.come("late")
    assert all_of_them.left == [MOST - 2]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([None, *Work])), max_size=300))
def test_there_is_always_a_place(comers: list[tuple[str, Work | None]]) -> None:
    all_of_them = visitors()
    for client, work in comers:
        slot = all_of_them.slots[all_of_them.come(client)]
        if work is not None:
            all_of_them.admission.at_work(slot, work).__enter__()  # and stays at it
    present = set(all_of_them.admission._slots)
    assert len(present) <= MOST
    assert all(sum(slot.client == client for slot in present) <= MOST_OF_ONE for client in "abcdef")
    assert all(all_of_them.slots[number].work is None for number in all_of_them.left)


# Wrong tokens.


def test_wrong_tokens_wait_longer_and_longer_and_are_told_once_a_minute() -> None:
    throttle = Throttle()
    found = [throttle.record_failure("192.0.2.7", float(second)) for second in range(70)]
    assert [delay for delay, _ in found][:8] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert [(second, told) for second, (_, told) in enumerate(found) if told] == [(0, 1), (60, 60)]
    assert throttle.record_failure("192.0.2.8", 70.0) == (0.1, 1)
    assert throttle.record_failure("192.0.2.7", 70.0 + 600) == (0.1, 10)


def test_a_thousand_clients_are_a_hundred_lines_and_little_memory() -> None:
    throttle = Throttle()
    told = sum(throttle.record_failure(client, 1.0)[1] > 0 for client in range(1000))
    assert told == 101
    assert len(throttle._clients) == 100


# Likeness.


@given(st.text(), st.text())
def test_likeness_is_a_share(word: str, other: str) -> None:
    assert 0 <= similarity(word, other) <= 1
    assert similarity(word, other) == similarity(other, word)
    assert similarity(word, word) == (1 if len(word) > 0 else 0)


def test_the_likest_word() -> None:
    words = ("addresses", "mode", "names", "reason", "until")
    for slip in ("adresses", "addreses", "adderesses", "address", "addrsesse"):
        assert closest(slip, words) == "addresses"
    assert closest("x", ()) is None
