"""What workers tell of who asks becomes hidden load, in bounded memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from math import floor
from random import Random
from typing import TYPE_CHECKING, cast

import pytest
import virtual_time
from hypothesis import given
from hypothesis import strategies as st

from dnslb.answer.hidden_loads import HEAVIEST, MOST, Asked, HiddenLoads
from dnslb.answer.snapshot import RRsetKey, Serving
from dnslb.balance.hidden_load import CLASSES, HOTTEST, class_of
from dnslb.balance.pool import Backend, Pool, TtlPolicy
from dnslb.dns import rrtype
from dnslb.parent.balancer import Balancer
from dnslb.parent.tuning import INTERVAL, Tuning

if TYPE_CHECKING:
    from dnslb.parent.workers import Workers

WWW: RRsetKey = (b"\x03www\x07example\x03com\0", rrtype.A)
API: RRsetKey = (b"\x03api\x07example\x03com\0", rrtype.A)


def network(number: int) -> bytes:
    return number.to_bytes(3)


def asking(load: float, ttl: int, rng: Random) -> Iterator[float]:
    """When a cache asks that has so much behind it."""
    now = rng.random() * ttl
    while True:
        yield now
        now = floor(now) + ttl + 1 + rng.expovariate(load)


def watched(loads: dict[tuple[RRsetKey, bytes], float], ttl: int, seconds: int) -> HiddenLoads:
    """What is known after so many seconds, told each second."""
    found, rng = HiddenLoads(), Random(3)
    waiting = {pair: (times := asking(load, ttl, rng), next(times)) for pair, load in loads.items()}
    for now in range(1, seconds):
        asked = {}
        for pair, (times, at) in waiting.items():
            if at < now:
                asked[pair] = Asked(1, ttl)
                waiting[pair] = times, next(times)
        found.add(asked, now)
    for _ in found.work_out(seconds):
        pass
    return found


def test_the_loads_behind_resolvers_are_told_by_what_workers_count() -> None:
    loads = {network(number): 8.0 / number for number in range(1, 21)}
    found = watched({(WWW, each): load for each, load in loads.items()}, 20, 3000)
    assert found[WWW].networks == 20
    for each, load in loads.items():
        assert abs(found.classes[each] - class_of(load)) <= 1
    assert found[WWW].requests == pytest.approx(sum(loads.values()), rel=0.3)
    heaviest = [each for each, _ in found[WWW].heaviest]
    assert len(heaviest) == HEAVIEST
    assert set(heaviest) <= {network(number) for number in range(1, 13)}


def test_who_has_asked_too_seldom_is_of_no_class() -> None:
    found = watched({(WWW, network(1)): 5.0, (WWW, network(2)): 0.0005}, 20, 600)
    assert found.classes.keys() == {network(1)}
    assert found[WWW].networks == 1


def test_who_asks_no_more_loses_its_load() -> None:
    found = watched({(WWW, network(1)): 5.0}, 20, 600)
    heavy = found[WWW].requests
    for _ in found.work_out(1800):
        pass
    assert found[WWW].requests < heavy / 50
    for _ in found.work_out(40_000):
        pass
    assert not found.classes
    assert found[WWW].networks == 0


def test_one_resolver_is_of_one_class_by_the_rrset_that_it_asks_for_most() -> None:
    found = watched({(WWW, network(1)): 5.0, (API, network(1)): 0.02}, 20, 3000)
    assert found.classes == {network(1): pytest.approx(class_of(5.0), abs=1)}
    assert found[API].crowds.keys() == found[WWW].crowds.keys()
    assert found[API].requests == pytest.approx(0.02, rel=0.3)


def test_networks_that_ask_once_do_not_crowd_out_those_that_come_again() -> None:
    loads = {network(number): 1.0 for number in range(1, 51)}
    found, rng = HiddenLoads(), Random(1)
    for now in range(20, 1220, 20):
        found.add({(WWW, each): Asked(1, 20) for each in loads}, now)
        found.add({(WWW, rng.randbytes(7)): Asked(1, 20) for _ in range(1000)}, now)
        assert len(found._seen) <= 2 * MOST + 1000
    for _ in found.work_out(1220):
        pass
    assert found.classes.keys() == loads.keys()
    assert found[WWW].rest == pytest.approx(50, rel=0.1)


def test_pools_that_are_gone_are_forgotten() -> None:
    found = watched({(WWW, network(1)): 5.0}, 20, 600)
    found.keep_only([API])
    for _ in found.work_out(600):
        pass
    assert not found
    assert not found.classes


def test_a_pool_may_go_while_its_load_is_worked_out() -> None:
    found = watched({(WWW, network(1)): 5.0}, 20, 600)
    steps = found.work_out(600)
    next(steps)
    found.keep_only([])
    for _ in steps:
        pass
    assert not found


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 1 << 40), st.integers(0, 1 << 60), st.integers(0, 90))))
def test_whatever_is_told_makes_loads_within_their_limits(told: list[tuple[int, int, int, int]]) -> None:
    found, now = HiddenLoads(), 0
    for each, times, covered, later in told:
        now += later
        found.add({(WWW, network(each)): Asked(times, covered)}, now)
    for _ in found.work_out(now):
        pass
    assert all(1 <= number <= CLASSES for number in found.classes.values())
    for load in found.values():
        assert load.rest >= 0
        assert all(0 < crowd.load <= HOTTEST and crowd.caches >= 1 for crowd in load.crowds.values())


class _Told:
    """What workers are told."""

    def __init__(self) -> None:
        self.classes: Mapping[bytes, int] = {}

    def publish(self, servings: Mapping[RRsetKey, Serving], *, classes: Mapping[bytes, int]) -> None:
        self.classes = classes


def test_what_is_known_goes_to_the_pools_that_go_by_it_and_to_the_workers() -> None:
    backends = tuple(Backend(ip_address(f"192.0.2.{number}")) for number in (1, 2))
    pool = Pool("www.example.com.", backends, {4: 120}, answers=1, ttl=TtlPolicy(is_adaptive=True))
    loads = HiddenLoads()
    for ago in range(900, 0, -31):
        loads.add({(WWW, network(1)): Asked(1, 30)}, time.monotonic() - ago)
    for ago in range(900, 0, -90):
        loads.add({(WWW, network(2)): Asked(1, 30)}, time.monotonic() - ago)

    async def story() -> None:
        balancer, published, told = Balancer({WWW[0]: pool}), list[Serving](), _Told()
        await balancer.prepare()
        balancer.start(lambda servings: published.extend(servings.values()))
        tuning = Tuning(loads, cast("Workers", told))
        tuning.start(balancer)
        await asyncio.sleep(2 * INTERVAL)
        tuning.stop()
        heavy, light = (told.classes[network(number)] for number in (1, 2))
        assert heavy < light
        assert published[-1].terms[heavy].ttls[0] < 30 < published[-1].terms[light].ttls[0]

    virtual_time.run(story())
