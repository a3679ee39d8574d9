"""Orders, and the drain clock: worked out from values, with a clock that is a number."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address

import pytest

from dnslb.balance.operator_order import Mode, Order, Scope
from dnslb.balance.pool import Backend, Pool, TtlPolicy
from dnslb.control.errors import Rejected, Unknown
from dnslb.control.order import OrderRequest
from dnslb.dns import name
from dnslb.parent import amendment, concerned
from dnslb.parent.balancer import Balancer, linger
from dnslb.parent.telling import drain_clock
from dnslb.text import timestamp

NOW = 1_000_000.0
OWNER = name.parse("www.example.test.", name.ROOT)
HOSTS = [ip_address(f"192.0.2.{number}") for number in (1, 2)]
OWN, GENERAL = Scope("www.example.test.", HOSTS[0]), Scope(None, HOSTS[0])


def pool(ttl: int = 30, least: int = 2, hosts: int = 2) -> Pool:
    backends = tuple(Backend(host) for host in HOSTS[:hosts])
    return Pool("www.example.test.", backends, {4: ttl}, ttl=TtlPolicy(min=least))


def amended(orders: Mapping[Scope, Order], mode: Mode, *, named: bool, at: float | None = None) -> dict[Scope, Order]:
    wanted = OrderRequest(mode, (str(HOSTS[0]),), ("www.*",) if named else (), at)
    about = [one for one in concerned.concerned(Balancer({OWNER: pool()}), wanted) if one is not None]
    return amendment.amended(orders, wanted, about, NOW)


STANDING = Order(Mode.DRAIN, NOW - 10)
READY = Order(Mode.READY, NOW)


@pytest.mark.parametrize(("orders", "named", "left"), [
    ({}, False, {}),
    ({GENERAL: STANDING}, False, {}),
    ({OWN: STANDING}, True, {}),
    ({OWN: STANDING, GENERAL: STANDING}, False, {}),
    ({OWN: STANDING, GENERAL: STANDING}, True, {OWN: READY, GENERAL: STANDING}),
    ({GENERAL: STANDING}, True, {OWN: READY, GENERAL: STANDING}),
    ({OWN: READY, GENERAL: STANDING}, False, {}),
])  # fmt: skip
def test_ready_leaves(orders: dict[Scope, Order], named: bool, left: dict[Scope, Order]) -> None:
    assert amended(orders, Mode.READY, named=named) == left


def test_ready_at_a_time_ends_what_stands_then_and_not_later() -> None:
    assert amended({GENERAL: STANDING}, Mode.READY, named=False, at=NOW + 60) == {
        GENERAL: Order(Mode.DRAIN, NOW - 10, until=NOW + 60),
    }  # fmt: skip
    short = Order(Mode.DRAIN, NOW - 10, until=NOW + 5)
    assert amended({GENERAL: short}, Mode.READY, named=False, at=NOW + 60) == {GENERAL: short}


HERS = Order(Mode.DRAIN, NOW - 10, by="alice")


@pytest.mark.parametrize(("standing", "at", "until", "reason", "is_news"), [
    (HERS, None, None, "", False),
    (replace(HERS, reason="disk"), None, None, "", False),
    (replace(HERS, reason="disk"), None, None, "disk", False),
    (replace(HERS, reason="disk"), None, None, "kernel", True),
    (replace(HERS, at=NOW - 5), None, None, "", False),      # it was planned, and has begun
    (replace(HERS, at=NOW + 5), None, None, "", True),
    (replace(HERS, at=NOW + 5), NOW + 5, None, "", False),
    (replace(HERS, until=NOW + 9), None, None, "", True),
    (replace(HERS, until=NOW + 9), None, NOW + 9, "", False),
    (replace(HERS, mode=Mode.MAINT), None, None, "", True),
])  # fmt: skip
def test_what_stands_already_is_not_given_again(
    standing: Order, at: float | None, until: float | None, reason: str, is_news: bool
) -> None:
    orders = {GENERAL: standing}
    wanted = OrderRequest(Mode.DRAIN, (str(HOSTS[0]),), (), at, until, reason, "bob")
    about = [one for one in concerned.concerned(Balancer({OWNER: pool()}), wanted) if one is not None]
    after = amendment.amended(orders, wanted, about, NOW)
    assert after[GENERAL].by == ("bob" if is_news else "alice")
    assert amendment.is_altered(orders, after, about[0]) == is_news


def test_an_exception_that_stands_already_is_not_made_again() -> None:
    orders = {OWN: Order(Mode.READY, NOW - 10, by="alice"), GENERAL: STANDING}
    assert amended(orders, Mode.READY, named=True) == orders


def test_orders_that_are_over_are_dropped() -> None:
    over = Order(Mode.MAINT, NOW - 10, until=NOW)
    assert amended({OWN: over}, Mode.DRAIN, named=False) == {GENERAL: Order(Mode.DRAIN, NOW)}


def test_a_planned_order_may_not_end_one_that_stands() -> None:
    with pytest.raises(Rejected, match=r"192\.0\.2\.1 is in drain now"):
        amended({GENERAL: STANDING}, Mode.MAINT, named=False, at=NOW + 60)


class Clock:
    """Unix time, as the test has it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def expiry(balancer: Balancer, clock: Clock) -> float:
    """Of the first address, counted from now."""
    return balancer.copies.expires(OWNER, HOSTS[0], clock.now) - clock.now


def test_the_drain_clock_counts_the_highest_ttl_that_is_still_cached() -> None:
    async def story() -> None:
        clock = Clock()
        balancer = Balancer({OWNER: pool()}, clock)
        balancer.start(lambda servings: None)
        clock.now += 100
        balancer.obey({Scope(None, HOSTS[1]): Order(Mode.DRAIN, clock.now)})  # so that the TTL falls to 2
        clock.now += 3
        assert balancer.served[OWNER].rrsets[4].ttl.seconds == 2
        balancer.obey({GENERAL: Order(Mode.DRAIN, clock.now)})
        assert expiry(balancer, clock) == 30 - 3 + 1
        clock.now += 20
        assert expiry(balancer, clock) == 30 - 23 + 1
        clock.now += 20
        assert expiry(balancer, clock) == 0
        balancer.stop()

    asyncio.run(story())


def test_a_new_server_knows_that_caches_may_hold_what_an_older_one_said() -> None:
    async def story() -> None:
        clock = Clock()
        balancer = Balancer({OWNER: pool()}, clock)
        balancer.orders = {GENERAL: Order(Mode.DRAIN, NOW)}
        balancer.start(lambda servings: None)
        clock.now += 5
        assert expiry(balancer, clock) == 30 - 5 + 1
        balancer.stop()

    asyncio.run(story())


@pytest.mark.parametrize("was_a_pool", [True, False])
def test_the_drain_clock_goes_on_over_a_reload_that_lowers_the_ttl(was_a_pool: bool) -> None:
    async def story() -> None:
        clock = Clock()
        old = Balancer({OWNER: pool()} if was_a_pool else {}, clock)
        old.start(lambda servings: None)
        clock.now += 100
        new = Balancer({OWNER: Pool("www.example.test.", pool().backends, {4: 30}, ttl=TtlPolicy(max=4))}, clock)
        new.follow(old)
        new.start(lambda servings: None)
        old.stop()
        clock.now += 10
        new.obey({GENERAL: Order(Mode.DRAIN, clock.now)})
        assert expiry(new, clock) == 30 - 10 + 1
        new.stop()

    asyncio.run(story())


def test_the_clocks_of_what_is_in_no_pool_any_more_are_forgotten() -> None:
    async def story() -> None:
        clock = Clock()
        old = Balancer({OWNER: pool()}, clock)
        old.start(lambda servings: None)
        copies = old.copies
        for hosts in (1, 1, 1):
            clock.now += 100
            new = Balancer({OWNER: pool(hosts=hosts)}, clock)
            new.follow(old)
            new.start(lambda servings: None)
            old.stop()
            old = new
        assert {address for known in copies.values() for address in known} == {HOSTS[0]}
        clock.now += 100
        for _ in range(3):
            new = Balancer({}, clock)
            new.follow(old)
            new.start(lambda servings: None)
            old.stop()
            old, clock.now = new, clock.now + 100
        assert not any(copies.values())

    asyncio.run(story())


def test_what_a_slow_worker_went_on_handing_out_is_in_the_clock() -> None:
    async def story() -> None:
        clock = Clock()
        balancer = Balancer({OWNER: pool()}, clock)
        balancer.start(lambda servings: None)
        clock.now += 100
        for _ in range(2):  # the second order takes nothing out
            given = clock.now
            balancer.obey({GENERAL: Order(Mode.DRAIN, given)})
            clock.now += 4
            list(linger(balancer, [(OWNER, HOSTS[0])], given, clock.now))
        assert expiry(balancer, clock) == 30 + 4 + 1 - 8
        balancer.stop()

    asyncio.run(story())


def test_a_reload_makes_no_answer_more_trusted() -> None:
    async def story() -> None:
        clock = Clock()
        old = Balancer({OWNER: pool()}, clock)
        old.start(lambda servings: None)
        clock.now += 100
        old.obey({GENERAL: Order(Mode.DRAIN, clock.now)})
        new = Balancer({OWNER: pool()}, clock)
        new.follow(old)
        new.orders = old.orders
        clock.now += 5
        new.start(lambda servings: None)
        assert new.served[OWNER].rrsets[4].ttl.seconds == 4
        old.stop()
        new.stop()

    asyncio.run(story())


@pytest.mark.parametrize("text", ["", "noon", "24:00", "1:60", "12:00:00:00", "9999-12-31T23:59", "0001-01-01", "²:00"])
def test_what_is_no_time(text: str) -> None:
    assert timestamp.parse(text, NOW) is None


def test_a_time_of_day_is_the_next_one() -> None:
    for text in ("0:00", "00:01", "09:30", "12:00", "23:59"):
        at = timestamp.parse(text, NOW)
        assert at is not None
        assert NOW < at <= NOW + 25 * 3600  # a day with an hour more, where clocks are set back
    assert timestamp.parse("2100-01-01T00:00+00:00", NOW) == 4102444800.0


# Names and patterns, and how long they take.

MANY = {
    name.parse(f"www{number}.example.test.", name.ROOT): Pool(
        f"www{number}.example.test.", (Backend(ip_address(f"198.18.{number // 250}.{number % 250}")),), {4: 30}
    )
    for number in range(2000)
}


def longest_step(work: Iterable[object]) -> float:
    """Seconds of CPU time, since the machine has others to serve too."""
    steps, before = [0.0], time.process_time()
    with suppress(Rejected):
        for _ in work:
            steps.append(time.process_time() - before)
            before = time.process_time()
    return max(*steps, time.process_time() - before)


@pytest.mark.parametrize(("pattern", "found"), [
    ("www7.example.test", ["www7.example.test."]),
    ("WWW7.Example.test.", ["www7.example.test."]),
    (r"www\055.example.test", ["www7.example.test."]),
    ("www7.*", ["www7.example.test."]),
    ("www199?.example.test", [f"www{number}.example.test." for number in range(1990, 2000)]),
    ("*[78]9.example.test.", [f"www{number}.example.test." for number in range(2000) if number % 100 in (79, 89)]),
])  # fmt: skip
def test_a_name_or_a_pattern_means(pattern: str, found: list[str]) -> None:
    assert [name.text(owner) for owner in concerned.matching(MANY, pattern) if owner is not None] == found


@pytest.mark.parametrize(("pattern", "meant"), [
    ("wwww7.example.test", "www7.example.test."),
    ("wwv1234.example.test", "www1234.example.test."),
    ("www8.exmaple.test", "www8.example.test."),
    ("x" * 1004, "www0.example.test."),
    ("..", "www0.example.test."),
    ("\u00fc\u4e2d", "www0.example.test."),
])
def test_a_name_that_is_none_is_likened(pattern: str, meant: str) -> None:
    with pytest.raises(Unknown) as raised:
        list(concerned.matching(MANY, pattern))
    assert raised.value.remedy == f"did you mean {meant}?"


WORK = ["*a" * 16, "www*" * 16, "w" * 1004, "?" * 1004, "*" + "a" * 1000, "[" * 16, "nope"]


@pytest.mark.parametrize("pattern", WORK)
def test_no_pattern_takes_the_loop_for_long(pattern: str) -> None:
    assert longest_step(concerned.matching(MANY, pattern)) < 0.02


def test_a_thousand_addresses_are_found_and_as_many_patterns_refused() -> None:
    balancer = Balancer(MANY)
    addresses = tuple(str(pool.backends[0].address) for pool in MANY.values())[:1000]
    found = [one for one in concerned.concerned(balancer, OrderRequest(Mode.DRAIN, addresses)) if one is not None]
    assert [str(one.address) for one in found] == list(addresses)
    with pytest.raises(Rejected, match="too many"):
        list(concerned.concerned(balancer, OrderRequest(Mode.DRAIN, tuple(f"198.18.*.{n}" for n in range(1, 250)) * 4)))
    wild = OrderRequest(Mode.DRAIN, ("*",), tuple(f"www{number}*" for number in range(1000)))
    with pytest.raises(Rejected, match="too many"):
        list(concerned.concerned(balancer, wild))


def test_a_clock_for_each_address_of_a_large_pool_takes_no_longer_for_each() -> None:
    async def story() -> None:
        backends = tuple(Backend(ip_address(0xC6120000 + number)) for number in range(4000))
        balancer = Balancer({OWNER: Pool("www.example.test.", backends, {4: 30})}, lambda: NOW)
        balancer.start(lambda servings: None)
        wanted = OrderRequest(Mode.DRAIN, ("*",))
        about = [one for one in concerned.concerned(balancer, wanted) if one is not None]
        assert longest_step(drain_clock.clocks(balancer, wanted, about, (), NOW)) < 0.02
        began = time.process_time()
        orders = {Scope(None, backend.address): Order(Mode.MAINT, NOW) for backend in backends}
        amendment.to_pause(balancer.pools.values(), orders, NOW)
        assert time.process_time() - began < 1
        balancer.stop()

    asyncio.run(story())
