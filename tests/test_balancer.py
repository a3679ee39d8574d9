"""The balancer: what changes is published, once, and nothing else is worked out.  Its time passes only by waiting."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from random import Random
from typing import Any

import pytest
import virtual_time
from transcript import wire, zone

from dnslb.answer.snapshot import RRsetKey, Serving, Snapshot
from dnslb.balance.health import Health, Outcome, ProbeKey, first, observe
from dnslb.balance.operator_order import Mode, Order, Scope
from dnslb.balance.pool import AllDown, Backend, HttpCheck, Pool, Probe, TcpCheck, TtlPolicy
from dnslb.balance.rotation import Rotation, RRsetOrder
from dnslb.dns import rrtype
from dnslb.dns.zone import RRset
from dnslb.parent.balancer import Balancer

EPOCH = 1_800_000_000.0  # Unix time at which the loop's clock begins
PROBE = Probe(TcpCheck(80), interval=5.0, timeout=2.0, fall=3, rise=2)
PASSED = Outcome(True, "connected", 0.01)
REFUSED = Outcome(False, "connection refused", 0.01)
ROTATION = Rotation()
HOSTS = ("192.0.2.11", "192.0.2.12", "192.0.2.13")


def pool(owner: str = "www.example.com.", hosts: Iterable[str] = HOSTS, probe: Probe | None = PROBE) -> Pool:
    """Of IPv4 and IPv6 addresses, with a TTL of 30 s in the zone file and 5 s at least."""
    backends = tuple(Backend(ip_address(host)) for host in hosts)
    return Pool(owner, backends, {backend.address.version: 30 for backend in backends}, probe)


def unix_time() -> float:
    return EPOCH + asyncio.get_running_loop().time()


def record(balancer: Balancer, key: ProbeKey, before: Health | None, after: Health) -> None:
    """As the schedule does, which keeps the verdicts and says so."""
    assert isinstance(balancer.verdicts.healths, dict)
    balancer.verdicts.healths[key] = after
    balancer.record(key, before, after)


class Desk:
    """A balancer, the probes that it hears of, and the publications that it makes, each with its time."""

    def __init__(self, *pools: Pool, orders: Mapping[Scope, Order] | None = None) -> None:
        self.balancer = Balancer({wire(pool.owner): pool for pool in pools}, unix_time)
        self.balancer.orders = dict(orders or {})
        self.published: list[tuple[float, Mapping[RRsetKey, Serving]]] = []
        for key in self.balancer.keys:
            self.hear(key, PASSED)

    def start(self) -> Desk:
        self.balancer.start(lambda servings: self.published.append((unix_time() - EPOCH, servings)))
        return self

    def hear(self, key: ProbeKey, *outcomes: Outcome) -> None:
        for outcome in outcomes:
            before = self.balancer.verdicts.healths.get(key)
            after = first(outcome, unix_time()) if before is None else observe(before, outcome, key[0], unix_time())
            record(self.balancer, key, before, after)

    def probe(self, host: str, *outcomes: Outcome, by: Probe = PROBE) -> None:
        self.hear((by, ip_address(host)), *outcomes)

    @property
    def said(self) -> list[str]:
        """The publications as text: ``3.0 www.example.com. A 5: 192.0.2.11 192.0.2.12``."""
        return [f"{at:.1f} {' | '.join(map(text, servings.items()))}" for at, servings in self.published]


def text(item: tuple[RRsetKey, Serving]) -> str:
    (owner, kind), serving = item
    called = {wire(name): name for name in ("www.example.com.", "api.example.com.")}[owner]
    hosts = " ".join(str(ip_address(rdata)) for rdata in serving.rrset.rdatas)
    open_ = " (fails open)" if serving.fails_open else ""
    return f"{called} {rrtype.text(kind)} {serving.rrset.ttl}: {hosts}{open_}"


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    virtual_time.run(story())


# What is published


def test_the_first_change_goes_out_at_once_and_what_follows_closely_goes_together() -> None:
    """4,800 verdicts in a moment were 4,800 messages to each worker."""

    async def story() -> None:
        pools = [pool(f"p{number}.example.com.", [f"10.0.{number}.1", f"10.0.{number}.2"]) for number in range(200)]
        balancer = Balancer({wire(pool.owner): pool for pool in pools}, unix_time)
        for key in balancer.keys:
            record(balancer, key, None, first(PASSED, EPOCH))
        published: list[tuple[float, int]] = []
        balancer.start(lambda servings: published.append((unix_time() - EPOCH, len(servings))))
        for number in range(200):
            key = PROBE, ip_address(f"10.0.{number}.1")
            record(balancer, key, Health(), Health(up=False, since=unix_time()))
            await asyncio.sleep(0)
            if number in (80, 150):
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        assert published == [(0.0, 1), (pytest.approx(0.05), 199)]

    play(story)


def test_working_out_many_pools_gives_way() -> None:
    """Probes and requests have their turn, and those pools whose backends have died come first."""

    async def story() -> tuple[float, list[bytes]]:
        pools = [pool(f"p{number}.example.com.", [f"10.0.{number}.1", f"10.0.{number}.2"]) for number in range(250)]
        pools += [pool(f"q{number}.example.com.", ["10.1.0.1", "10.1.0.2"]) for number in range(1750)]
        balancer = Balancer({wire(pool.owner): pool for pool in pools})
        for key in balancer.keys:
            record(balancer, key, None, first(PASSED, time.time()))
        published: list[bytes] = []
        balancer.start(lambda servings: published.extend(owner for owner, _ in servings))
        for number in (0, *range(1, 250)):
            address = "10.1.0.1" if number == 0 else f"10.0.{number}.1"
            record(balancer, (PROBE, ip_address(address)), Health(), Health(up=False, since=time.time()))
        longest, last = 0.0, time.process_time()
        while len(published) < 1999:
            await asyncio.sleep(0)
            longest, last = max(longest, time.process_time() - last), time.process_time()
        balancer.stop()
        return longest, published

    longest, published = asyncio.run(story())
    assert len(set(published)) == 1999
    assert longest < 0.05, "in one piece it takes a quarter of a second of CPU time"


def test_at_the_start_everything_is_worked_out_and_nothing_is_published() -> None:
    async def story() -> None:
        desk = Desk(pool(hosts=(*HOSTS, "2001:db8::1")), pool("api.example.com."))
        assert desk.balancer.served.servings() == {}
        desk.start()
        await asyncio.sleep(3600)
        assert [*map(text, desk.balancer.served.servings().items())] == [
            "www.example.com. A 30: 192.0.2.11 192.0.2.12 192.0.2.13",
            "www.example.com. AAAA 30: 2001:db8::1",
            "api.example.com. A 30: 192.0.2.11 192.0.2.12 192.0.2.13",
        ]
        assert desk.said == []

    play(story)


def test_a_verdict_that_very_many_pools_share_is_told_for_some_of_them(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        pools = [pool(f"p{number}.example.com.", ["10.0.0.1", f"10.0.{number}.2"]) for number in range(250)]
        balancer = Balancer({wire(pool.owner): pool for pool in pools}, unix_time)
        for key in balancer.keys:
            record(balancer, key, None, first(PASSED, EPOCH))
        balancer.start(lambda servings: None)
        for up in (False, True):
            record(balancer, (PROBE, ip_address("10.0.0.1")), Health(not up), Health(up, since=unix_time()))
            await balancer.settled()

    with caplog.at_level(logging.INFO, "dnslb"):
        play(story)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 202
    assert [told[100], told[201]] == ["10.0.0.1 is down for 150 more pools", "10.0.0.1 is up for 150 more pools"]


@pytest.mark.parametrize(
    ("when_all_down", "begin", "end"),
    [
        (AllDown.NONE, "150 more answers are empty (NODATA): no backend is available", "150 more are back to normal"),
        (AllDown.ALL, "150 more fail open: none or too few of their backends are up", "150 more are back to normal"),
    ],
)
def test_trouble_of_very_many_pools_at_once_is_told_for_some_of_them(
    caplog: pytest.LogCaptureFixture, when_all_down: AllDown, begin: str, end: str
) -> None:
    """An outage of a site with ten thousand pools was ten thousand lines at ERROR."""

    async def story() -> None:
        pools = [
            replace(pool(f"p{number}.example.com.", ["10.0.0.1"]), when_all_down=when_all_down) for number in range(250)
        ]
        balancer = Balancer({wire(pool.owner): pool for pool in pools}, unix_time)
        for key in balancer.keys:
            record(balancer, key, None, first(PASSED, EPOCH))
        balancer.start(lambda servings: None)
        for up in (False, True):
            record(balancer, (PROBE, ip_address("10.0.0.1")), Health(not up), Health(up, since=unix_time()))
            await balancer.settled()

    with caplog.at_level(logging.INFO, "dnslb"):
        play(story)
    told = [record.getMessage() for record in caplog.records if record.getMessage().find("10.0.0.1") == -1]
    assert len(told) == 202
    assert [told[100], told[201]] == [begin, end]
    assert [record.levelname for record in caplog.records if record.getMessage() in {begin, end}] == ["ERROR", "INFO"]


def test_trouble_of_very_many_pools_at_the_start_is_told_for_some_of_them(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        pools = [pool(f"p{number}.example.com.", ["10.0.0.1"]) for number in range(250)]
        balancer = Balancer({wire(pool.owner): pool for pool in pools}, unix_time)
        for key in balancer.keys:
            record(balancer, key, None, first(REFUSED, EPOCH))
        balancer.start(lambda servings: None)

    with caplog.at_level(logging.INFO, "dnslb"):
        play(story)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 202
    assert told[200:] == [
        "150 more begin with backends that are down",
        "150 more fail open: none or too few of their backends are up",
    ]


def test_what_changes_nothing_is_not_published() -> None:
    async def story() -> None:
        desk = Desk(pool()).start()
        for _ in range(100):
            desk.probe(HOSTS[0], PASSED)
            await asyncio.sleep(5)
        assert desk.said == []

    play(story)


def test_doubt_death_and_return_are_published_with_the_ttls_that_they_allow() -> None:
    async def story() -> None:
        desk = Desk(pool()).start()
        for outcome in (REFUSED, REFUSED, REFUSED, PASSED, PASSED):
            await asyncio.sleep(4)
            desk.probe(HOSTS[0], outcome)
        await asyncio.sleep(3600)
        both, all_three = "192.0.2.12 192.0.2.13", "192.0.2.11 192.0.2.12 192.0.2.13"
        assert desk.said == [
            f"4.0 www.example.com. A 10: {all_three}",   # two more failures would take two intervals
            f"8.0 www.example.com. A 5: {all_three}",
            f"12.0 www.example.com. A 5: {both}",
            f"20.0 www.example.com. A 5: {all_three}",
            f"30.0 www.example.com. A 10: {all_three}",  # it has held for 10 s
            f"40.0 www.example.com. A 20: {all_three}",
            f"50.0 www.example.com. A 30: {all_three}",
        ]

    play(story)


def test_a_burst_becomes_one_publication() -> None:
    async def story() -> None:
        hosts = [f"192.0.2.{host}" for host in range(1, 101)]
        desk = Desk(pool(hosts=hosts), pool("api.example.com.", hosts)).start()
        for host in hosts[:99]:
            desk.probe(host, REFUSED, REFUSED, REFUSED)
        await asyncio.sleep(1)
        assert desk.said == ["0.0 www.example.com. A 5: 192.0.2.100 | api.example.com. A 5: 192.0.2.100"]

    play(story)


def test_what_is_as_before_when_the_moment_ends_is_not_published(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        desk = Desk(replace(pool(), ttl=TtlPolicy(max=5))).start()
        desk.probe(HOSTS[0], REFUSED, REFUSED, REFUSED, PASSED, PASSED)
        await asyncio.sleep(3600)
        assert desk.said == []

    with caplog.at_level(logging.INFO, "dnslb"):
        play(story)
    assert [record.getMessage().split()[2] for record in caplog.records] == ["down", "up"]


def test_only_the_pools_concerned_are_worked_out() -> None:
    """The clock is read once for each pool that is."""

    async def story() -> None:
        readings = []

        def clock() -> float:
            readings.append(unix_time())
            return readings[-1]

        pools = [pool(), pool("api.example.com.", ["192.0.2.11", "192.0.2.21"]), pool("x.example.com.", ["192.0.2.22"])]
        balancer = Balancer({wire(pool.owner): pool for pool in pools}, clock)
        balancer.verdicts.healths = dict.fromkeys(balancer.keys, Health())
        published: list[Mapping[RRsetKey, Serving]] = []
        balancer.start(published.append)
        readings.clear()
        for host, worked_out in (("192.0.2.12", 1), ("192.0.2.11", 2), ("192.0.2.99", 0)):
            record(balancer, (PROBE, ip_address(host)), Health(), Health(up=False, since=unix_time()))
            await asyncio.sleep(0.06)
            assert len(readings) == worked_out
            readings.clear()
        assert [sorted(servings) for servings in published] == [
            [(wire("www.example.com."), rrtype.A)],
            [(wire("api.example.com."), rrtype.A), (wire("www.example.com."), rrtype.A)],
        ]

    play(story)


def test_the_versions_of_a_pool_change_apart() -> None:
    async def story() -> None:
        desk = Desk(pool(hosts=(*HOSTS, "2001:db8::1", "2001:db8::2"))).start()
        desk.probe("2001:db8::2", REFUSED, REFUSED, REFUSED)
        await asyncio.sleep(1)
        assert desk.said == ["0.0 www.example.com. AAAA 5: 2001:db8::1"]

    play(story)


@pytest.mark.parametrize(("when_all_down", "said"), [
    (AllDown.ALL, "A 10: 192.0.2.11 192.0.2.12 192.0.2.13 (fails open)"),  # one may be up in two intervals
    (AllDown.NONE, "A 5: "),
])  # fmt: skip
def test_when_all_are_down_the_policy_decides(when_all_down: AllDown, said: str) -> None:
    async def story() -> None:
        desk = Desk(replace(pool(), when_all_down=when_all_down)).start()
        for host in HOSTS:
            desk.probe(host, REFUSED, REFUSED, REFUSED)
        await asyncio.sleep(1)
        assert desk.said == [f"0.0 www.example.com. {said}"]

    play(story)


# What time changes


def drain(host: str, at: float | None = None, until: float | None = None) -> dict[Scope, Order]:
    """An order under every name, at so many seconds after the beginning."""
    begin, end = (None if seconds is None else EPOCH + seconds for seconds in (at, until))
    return {Scope(None, ip_address(host)): Order(Mode.DRAIN, EPOCH, begin, end)}


def test_ahead_of_a_planned_drain_the_ttl_descends_and_after_it_climbs() -> None:
    async def story() -> None:
        desk = Desk(pool(), orders=drain(HOSTS[0], at=100, until=200)).start()
        await asyncio.sleep(3600)
        before, after = "192.0.2.11 192.0.2.12 192.0.2.13", "192.0.2.12 192.0.2.13"
        assert desk.said == [
            # A copy of each is gone a second before the drain, kept one second too long.
            f"69.0 www.example.com. A 20: {before}",
            f"79.0 www.example.com. A 10: {before}",
            f"89.0 www.example.com. A 5: {before}",
            f"100.0 www.example.com. A 5: {after}",
            f"110.0 www.example.com. A 10: {after}",
            f"120.0 www.example.com. A 20: {after}",
            f"130.0 www.example.com. A 30: {after}",
            f"200.0 www.example.com. A 5: {before}",
            f"210.0 www.example.com. A 10: {before}",
            f"220.0 www.example.com. A 20: {before}",
            f"230.0 www.example.com. A 30: {before}",
        ]

    play(story)


def test_a_pool_without_a_probe_drains_too() -> None:
    async def story() -> None:
        desk = Desk(pool(probe=None), orders=drain(HOSTS[0], at=100)).start()
        await asyncio.sleep(101)
        assert desk.said[-1] == "100.0 www.example.com. A 5: 192.0.2.12 192.0.2.13"

    play(story)


def test_slowstart_raises_the_weight_in_nine_steps() -> None:
    async def story() -> None:
        desk = Desk(replace(pool(), slowstart=90.0)).start()
        desk.probe(HOSTS[0], REFUSED, REFUSED, REFUSED, PASSED, PASSED)
        await asyncio.sleep(3600)
        weights = [(at, next(iter(servings.values())).rotation.weights) for at, servings in desk.published]
        steps = [(round(at), share) for at, share in weights if share != (2, 5, 5)]
        assert steps == [
            (0, (1, 10, 10)), (10, (1, 5, 5)), (20, (3, 10, 10)), (40, (1, 2, 2)),
            (50, (3, 5, 5)), (60, (7, 10, 10)), (70, (4, 5, 5)), (80, (9, 10, 10)), (90, None),
        ]  # fmt: skip
        assert (30, (2, 5, 5)) in [(round(at), share) for at, share in weights]

    play(story)


def test_after_the_end_nothing_is_published() -> None:
    async def story() -> None:
        desk = Desk(pool(), orders=drain(HOSTS[0], at=100)).start()
        desk.probe(HOSTS[1], REFUSED)  # to be published in this moment
        desk.balancer.stop()
        desk.probe(HOSTS[1], REFUSED, REFUSED)
        await asyncio.sleep(3600)
        assert desk.said == []

    play(story)


def test_a_clock_that_is_set_back_does_not_keep_the_balancer_busy() -> None:
    async def story() -> None:
        asked = 0
        ahead = 0.0

        def clock() -> float:
            nonlocal asked
            asked += 1
            return unix_time() + ahead

        balancer = Balancer({wire("www.example.com."): pool()}, clock)
        balancer.verdicts.healths = dict.fromkeys(balancer.keys, Health())
        balancer.start(lambda servings: None)
        record(balancer, (PROBE, ip_address(HOSTS[0])), Health(), Health(up=False, since=unix_time()))
        ahead = -1800.0
        await asyncio.sleep(3600)
        assert asked < 20
        [serving] = balancer.served.servings().values()
        assert serving.rrset.ttl == 30

    play(story)


# What is logged


TOLD = [
    ([(HOSTS[0], 3, False)],
     "WARNING www.example.com: 192.0.2.11 down (3 of 3 probes failed: connection refused); serving 2 of 3, ttl 5"),
    ([(HOSTS[0], 3, False), (HOSTS[0], 2, True)],
     "INFO www.example.com: 192.0.2.11 up (2 of 2 probes passed); serving 3 of 3, ttl 5"),
    ([(host, 3, False) for host in HOSTS],
     "WARNING www.example.com: 192.0.2.13 down (3 of 3 probes failed: connection refused);"
     " serving 3 of 3 though none is up, ttl 5"),
    ([("2001:db8::1", 3, False)],
     "WARNING www.example.com: 2001:db8::1 down (3 of 3 probes failed: connection refused);"
     " serving 1 of 2, ttl 5"),
]  # fmt: skip


@pytest.mark.parametrize(("probes", "line"), TOLD)
def test_a_changed_verdict_is_one_line(
    probes: list[tuple[str, int, bool]], line: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        desk = Desk(pool(hosts=(*HOSTS, "2001:db8::1", "2001:db8::2"))).start()
        for host, times, passed in probes:
            desk.probe(host, *[PASSED if passed else REFUSED] * times)
            await asyncio.sleep(0.06)

    with caplog.at_level(logging.INFO, "dnslb"):
        play(story)
    verdicts = [record for record in caplog.records if record.levelno < logging.ERROR]
    assert len(verdicts) == len(probes)
    assert f"{verdicts[-1].levelname} {verdicts[-1].getMessage()}" == line


def test_that_a_pool_fails_open_or_is_empty_is_told_when_it_begins_and_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        empty = replace(pool("api.example.com.", HOSTS[:2]), when_all_down=AllDown.NONE)
        desk = Desk(pool(hosts=HOSTS[:2]), empty).start()
        for outcome in (REFUSED, PASSED):
            for _ in range(5):
                desk.probe(HOSTS[0], outcome)
                desk.probe(HOSTS[1], REFUSED)
                await asyncio.sleep(5)

    with caplog.at_level(logging.INFO, "dnslb"):
        play(story)
    said = [f"{one.levelname} {one.getMessage()}" for one in caplog.records if " down " not in one.getMessage()]
    assert [line for line in said if " up (2 of 2" not in line] == [
        "ERROR www.example.com A: no backend is up: all 2 are handed out (fail open)",
        "ERROR api.example.com A: no backend is available: the answer is empty (NODATA)",
        "INFO www.example.com A: back to normal: serving 1 of 2",
        "INFO api.example.com A: back to normal: serving 1 of 2",
    ]


def test_every_backend_behind_one_probed_address_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        behind = tuple(Backend(ip_address(host), probe_address=IPv4Address("10.0.0.1")) for host in HOSTS)
        desk = Desk(replace(pool(), backends=behind)).start()
        desk.probe("10.0.0.1", REFUSED, REFUSED, REFUSED)
        await asyncio.sleep(0)

    play(story)
    verdicts = (record for record in caplog.records if record.levelno < logging.ERROR)
    assert [record.getMessage().split()[1] for record in verdicts] == [*HOSTS]


# The house's numbers


POOLS, SIZE, SMALL = 10_000, 64, 2
KEPT = 6_000  # replies, about as many as a table holds
MOST = 0.05   # seconds; the house wants 5 ms, but the machine may be busy


def owner(number: int) -> str:
    return f"p{number}.example.com."


def hosts_of(number: int) -> list[str]:
    """The first pool is large."""
    begin = int(IPv4Address("10.0.0.0")) + number * SIZE
    return [str(IPv4Address(begin + host)) for host in range(SIZE if number == 0 else SMALL)]


def told(capsys: pytest.CaptureFixture[str], what: str, times: list[float]) -> float:
    """The middle one of the times that something took, printed."""
    middle = sorted(times)[len(times) // 2]
    with capsys.disabled():
        sys.stdout.write(f"\n{what}: {1000 * middle:.2f} ms of CPU time, at most {1000 * max(times):.2f} ms\n")
    return middle


def test_a_verdict_among_10_000_pools_costs_the_parent_little(capsys: pytest.CaptureFixture[str]) -> None:
    probe = Probe(HttpCheck(80, "/healthz", host="www.example.com"))

    async def measure() -> list[float]:
        pools = [pool(owner(number), hosts_of(number), probe) for number in range(POOLS)]
        balancer = Balancer({wire(pool.owner): pool for pool in pools}, unix_time)
        for key in balancer.keys:
            record(balancer, key, None, first(PASSED, EPOCH))
        published: list[Mapping[RRsetKey, Serving]] = []
        balancer.start(published.append)
        key = probe, ip_address(hosts_of(0)[7])
        times = []
        for turn in range(21):
            before, after = Health(turn % 2 == 0, since=EPOCH), Health(turn % 2 == 1, since=EPOCH)
            begin = time.process_time()
            record(balancer, key, before, after)
            await asyncio.sleep(0)
            times.append(time.process_time() - begin)
            assert len(published) == turn + 1
            await asyncio.sleep(0.06)
            published[turn + 1 :] = []  # the TTL's
        return times

    assert told(capsys, "a verdict on one of 64, in the parent", virtual_time.run(measure())) < MOST


def test_a_change_among_10_000_pools_costs_a_worker_little(capsys: pytest.CaptureFixture[str]) -> None:
    """With a table full of ready replies; and packing the first reply after it."""
    lines = [f"{owner(number)} 30 A {host}" for number in range(POOLS) for host in hosts_of(number)]
    loaded = zone("example.com.", "\n".join(["@ 300 SOA ns1 h 1 2 3 4 60", "@ 300 NS ns1.example.net.", *lines]))
    keys = [(wire(owner(number)), rrtype.A) for number in range(POOLS)]
    servings = {(name, kind): Serving(loaded.nodes[name][0], ROTATION) for name, kind in keys}
    snapshot = Snapshot({loaded.apex: loaded}, RRsetOrder.CYCLIC, Random(1), servings)
    question = b"\0\1\0\1"
    for name, _ in keys[:KEPT]:
        snapshot.ready(name, question, snapshot.over_udp)
    kept = len(snapshot.over_udp.by_question)
    assert kept == KEPT
    full = servings[keys[0]].rrset
    updates, packings = [], []
    for turn in range(21):
        rdatas = full.rdatas if turn % 2 else full.rdatas[1:]
        update = {keys[0]: Serving(RRset(rrtype.A, 30, rdatas), ROTATION)}
        begin = time.process_time()
        snapshot.update(update)
        middle = time.process_time()
        snapshot.ready(keys[0][0], question, snapshot.over_udp)
        updates.append(middle - begin)
        packings.append(time.process_time() - middle)
    assert told(capsys, f"a change of one of 64, in a worker that keeps {kept:,} replies", updates) < MOST
    assert told(capsys, "packing all turns of the reply of 64 after it", packings) < MOST


# Trust in an answer


def test_after_a_restart_the_ttl_climbs_on() -> None:
    """A restart with a change of 1 s ago gave the whole TTL."""

    async def story() -> None:
        desk = Desk(pool())
        desk.balancer.changed_at = {"www.example.com. A": EPOCH - 1, "gone.example.com. A": EPOCH - 1}
        desk.start()
        first = [serving.rrset.ttl for serving in desk.balancer.served.servings().values()]
        await asyncio.sleep(30)
        assert (first, desk.said) == ([5], [
            f"9.0 www.example.com. A 10: {' '.join(HOSTS)}",
            f"19.0 www.example.com. A 20: {' '.join(HOSTS)}",
            f"29.0 www.example.com. A 30: {' '.join(HOSTS)}",
        ])  # fmt: skip

    play(story)


def test_a_change_is_told_until_the_ttl_has_climbed() -> None:
    async def story() -> None:
        desk = Desk(pool(), pool("api.example.com.", ["192.0.2.21", "2001:db8::21"])).start()
        desk.probe(HOSTS[0], REFUSED, REFUSED, REFUSED)
        await asyncio.sleep(29)
        assert desk.balancer.served.last_changes(unix_time()) == {"www.example.com. A": EPOCH}
        await asyncio.sleep(2)
        assert desk.balancer.served.last_changes(unix_time()) == {}

    play(story)


@pytest.mark.parametrize(("before", "ttl"), [
    (["192.0.2.11", "192.0.2.12", "192.0.2.13"], 30),
    (["192.0.2.13", "192.0.2.12", "192.0.2.11"], 30),
    (["192.0.2.11", "192.0.2.12"], 5),
    (["192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14"], 5),
    (["192.0.2.11", "192.0.2.12", "192.0.2.13", "2001:db8::11"], 30),
])  # fmt: skip
@pytest.mark.parametrize("was", ["plain records", "a pool"])
def test_a_reload_that_changes_an_answer_is_a_change(was: str, before: list[str], ttl: int) -> None:
    async def story() -> None:
        old = Desk(*[] if was == "plain records" else [pool(hosts=before)]).start()
        new = Desk(pool())
        plain = {wire("www.example.com."): [ip_address(host) for host in before]} if was == "plain records" else {}
        new.balancer.follow(old.balancer, plain)
        new.start()
        (serving,) = new.balancer.served.servings().values()
        assert serving.rrset.ttl == ttl

    play(story)
