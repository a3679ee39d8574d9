"""Which addresses are handed out, and with which weight: by examples, then what holds for all pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from ipaddress import ip_address
from math import gcd

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnslb.balance.health import NOT_YET, Health, Outcome, first, observe
from dnslb.balance.operator_order import Mode, Order, Scope, mode_for
from dnslb.balance.pool import Address, AllDown, Backend, Pool, Probe, TcpCheck
from dnslb.balance.rotation import smooth
from dnslb.balance.selection import MOST_TURNS, Selection, next_change, quantise, select

NOW = 1_800_000_000.0
OWNER = "www.example.com."
PROBE = Probe(TcpCheck(80))
ALL, NONE = AllDown.ALL, AllDown.NONE


@dataclass(frozen=True, slots=True)
class World:
    """A pool with everything that decides what is handed out."""

    pool: Pool
    healths: dict[Address, Health]
    orders: dict[Scope, Order]

    def select(self, version: int = 4, now: float = NOW) -> Selection:
        return select(self.pool, version, self.healths, self.orders, now)

    def next_change(self, now: float = NOW) -> float | None:
        return next_change(self.pool, self.healths, self.orders, now)


def address(host: str) -> Address:
    return ip_address(f"2001:db8{host}" if ":" in host else f"192.0.2.{host}")


def world(text: str, when_all_down: AllDown = ALL, slowstart: float = 0.0, probe: Probe | None = PROBE) -> World:
    """``11 w=3, 12 down backup, ::13 drain, 14 age=6`` (``age``: seconds since its recovery)."""
    backends, healths, orders = [], {}, {}
    for host, *words in map(str.split, text.split(",")):
        backend, health = Backend(address(host)), None
        for word in words:
            name, _, value = word.partition("=")
            match name:
                case "w":
                    backend = replace(backend, weight=int(value))
                case "backup":
                    backend = replace(backend, backup=True)
                case "up" | "down":
                    health = Health(up=name == "up", since=NOW)
                case "age":
                    health = Health(since=NOW - float(value), recovered=True)
                case "drain" | "maint" | "ready":
                    orders[Scope(None, backend.address)] = Order(Mode(name), since=NOW)
        backends.append(backend)
        if health is not None:
            healths[backend.target] = health
    pool = Pool(OWNER, tuple(backends), probe=probe, when_all_down=when_all_down, slowstart=slowstart)
    return World(pool, healths, orders)


def told(selection: Selection) -> str:
    """``11 12*3``, or ``open 11 12`` when it fails open."""
    hosts = [str(share.address).removeprefix("192.0.2.").removeprefix("2001:db8") for share in selection.shares]
    words = [
        host if share.weight == 1 else f"{host}*{share.weight}"
        for host, share in zip(hosts, selection.shares, strict=True)
    ]
    return " ".join(["open", *words] if selection.fails_open else words)


@pytest.mark.parametrize(("backends", "expected"), [
    ("11, 12, 13",                           "11 12 13"),      # no outcome yet: up
    ("11 up, 12 up, 13 up",                  "11 12 13"),
    ("13, 11, 12",                           "13 11 12"),      # the file's order
    ("11, 12 down, 13",                      "11 13"),
    ("11, 12 drain, 13 maint",               "11"),
    ("11 ready, 12",                         "11 12"),
    ("11, ::12",                             "11"),
    # Weights
    ("11 w=3, 12",                           "11*3 12"),
    ("11 w=4, 12 w=4",                       "11 12"),
    ("11 w=6, 12 w=4",                       "11*3 12*2"),
    ("11 w=6, 12 w=4, 13 w=3 down",          "11*3 12*2"),
    ("11 w=7, 12 down",                      "11"),
    # Backups
    ("11, 12 backup, 13 backup",             "11"),
    ("11 down, 12 backup, 13 backup",        "12 13"),
    ("11 drain, 12 backup w=2, 13 backup",   "12*2 13"),
    ("11 down, 12 backup down, 13 backup",   "13"),
    # Weight 0: when there is nothing else
    ("11, 12 w=0",                           "11"),
    ("11 down, 12 w=0, 13 w=0",              "12 13"),
    ("11 down, 12 w=0, 13 backup",           "13"),
    ("11 down, 12 w=0, 13 backup down",      "12"),
    ("11 down, 12 w=0, 13 backup w=0",       "12"),
    ("11 down, 12 w=0 down, 13 backup w=0",  "13"),
    ("11 w=0, 12 w=0 backup",                "11"),
])  # fmt: skip
def test_the_best_rank_that_is_available_is_handed_out(backends: str, expected: str) -> None:
    assert told(world(backends).select()) == expected
    assert told(world(backends, NONE).select()) == expected


@pytest.mark.parametrize(("backends", "expected"), [
    ("11 down",                                 "open 11"),
    ("11 down, 12 down, 13 down",               "open 11 12 13"),
    ("11 down w=3, 12 down, 13 down w=0",       "open 11*3 12 13"),  # weight 0 too, with the smallest share
    ("11 down, 12 down backup",                 "open 11 12"),       # all means all
    ("11 down, 12 down drain",                  "open 11"),
    ("11 down, 12 up drain, 13 up maint",       "open 11"),          # the operator's word beats health
    ("11 drain, 12 backup down",                "open 12"),
    # Nothing but drained ones: health has no part in it …
    ("11 drain, 12 maint",                      "11 12"),
    ("11 drain w=2, 12 drain backup, 13 maint", "11*2 12 13"),
    ("11 drain, 12 drain down",                 "11"),
    # … until none of them is up either.
    ("11 drain down, 12 maint down",            "open 11 12"),
    ("11 drain down, 12 maint down w=0",        "open 11 12"),
])  # fmt: skip
def test_when_none_is_available_the_policy_decides(backends: str, expected: str) -> None:
    assert told(world(backends, ALL).select()) == expected
    assert world(backends, NONE).select() == Selection((), False)


def test_without_a_probe_old_verdicts_do_not_count() -> None:
    assert told(world("11 down, 12", probe=None).select()) == "11 12"
    assert told(world("11 age=1, 12", probe=None, slowstart=60).select()) == "11 12"


def test_health_is_that_of_the_probed_address() -> None:
    backends = (Backend(address("11"), probe_address=ip_address("10.0.0.11")), Backend(address("12")))
    pool = Pool(OWNER, backends, probe=PROBE)
    down = Health(up=False)
    assert told(select(pool, 4, {ip_address("10.0.0.11"): down}, {}, NOW)) == "12"
    assert told(select(pool, 4, {address("11"): down}, {}, NOW)) == "11 12"


def test_a_version_without_addresses_is_empty_and_does_not_fail_open() -> None:
    assert world("11 down").select(6) == Selection((), False)


def test_an_order_for_another_name_does_not_concern_the_pool() -> None:
    order = Order(Mode.DRAIN, since=NOW)
    pool = world("11, 12").pool
    assert told(select(pool, 4, {}, {Scope("db.example.com.", address("11")): order}, NOW)) == "11 12"
    assert told(select(pool, 4, {}, {Scope(OWNER, address("11")): order}, NOW)) == "12"


def test_ready_for_the_name_overrides_a_general_drain() -> None:
    orders = {
        Scope(None, address("11")): Order(Mode.DRAIN, since=NOW),
        Scope(OWNER, address("11")): Order(Mode.READY, since=NOW, until=NOW + 60),
    }
    pool = world("11, 12").pool
    assert told(select(pool, 4, {}, orders, NOW)) == "11 12"
    assert next_change(pool, {}, orders, NOW) == NOW + 60
    assert told(select(pool, 4, {}, orders, NOW + 60)) == "12"


def test_a_planned_drain_with_an_end() -> None:
    there = world("11, 12")
    there.orders[Scope(None, address("11"))] = Order(Mode.DRAIN, since=NOW, at=NOW + 10, until=NOW + 20)
    story, now = [], NOW
    while (change := there.next_change(now)) is not None:
        story.append(f"{now - NOW:g}: {told(there.select(now=now))}")
        now = change
    assert [*story, f"{now - NOW:g}: {told(there.select(now=now))}"] == ["0: 11 12", "10: 12", "20: 11 12"]


# Slowstart


@pytest.mark.parametrize(("backends", "expected"), [
    ("11, 12 age=0",                    "11*10 12"),
    ("11, 12 age=9.9",                  "11*10 12"),
    ("11, 12 age=10",                   "11*5 12"),        # 10:2
    ("11, 12 age=45",                   "11*2 12"),        # 10:5
    ("11, 12 age=89.9",                 "11*10 12*9"),
    ("11, 12 age=90",                   "11 12"),
    ("11, 12 age=1000",                 "11 12"),
    ("11, 12 age=-5",                   "11*10 12"),       # the clock was set back
    ("11 w=3, 12 w=2 age=0",            "11*15 12"),       # 30:2
    ("11, 12 age=0, 13 age=10",         "11*10 12 13*2"),
    ("11, 12 up, 13 down",              "11 12"),          # up from the start: no ramp
    # Nobody could take what the others are spared.
    ("11 age=0",                        "11"),
    ("11 age=0, 12 age=0",              "11 12"),
    ("11 w=3 age=7, 12 age=7",          "11*3 12"),
    ("11 age=0, 12 down, 13 backup",    "11"),
    ("11 age=0, 12 drain, 13 w=0",      "11"),
    # One lags behind the other, by 3 s and by 80 s of 90.
    ("11 age=4, 12 age=1",              "11*10 12*9"),
    ("11 age=80, 12 age=0",             "11*5 12"),
])  # fmt: skip
def test_a_recovered_backend_ramps_up(backends: str, expected: str) -> None:
    assert told(world(backends, slowstart=90).select()) == expected


def test_a_ramp_step_by_step() -> None:
    there, now = world("11, 12 age=0", slowstart=90), NOW
    shares = []
    while True:
        first_share, second_share = (share.weight for share in there.select(now=now).shares)
        shares.append(Fraction(second_share, first_share))
        change = there.next_change(now)
        if change is None:
            break
        assert there.select(now=change - 0.001) == there.select(now=now) != there.select(now=change)
        now = change
    assert shares == [Fraction(tenth, 10) for tenth in range(1, 11)]
    assert now == NOW + 90


def test_while_all_ramp_nothing_changes_until_the_first_is_done() -> None:
    there = world("11 age=80, 12 age=0", slowstart=90)
    assert there.next_change() == NOW + 20  # 11 is done at NOW + 10, with 12 at 20 %, where it is already
    assert told(there.select(now=NOW + 10)) == told(there.select()) == "11*5 12"
    assert told(there.select(now=NOW + 20)) == "11*10 12*3"


def test_who_ramps_is_never_relieved_again() -> None:
    there = world("11 age=70, 12 age=40, 13 age=0", slowstart=90)
    shares = []
    for second in range(91):
        weights = [share.weight for share in there.select(now=NOW + second).shares]
        shares.append(Fraction(weights[2], sum(weights)))
    assert shares == sorted(shares)
    assert shares[-1] == Fraction(1, 3)


def test_each_version_ramps_by_itself() -> None:
    there = world("11 age=100, 12 age=4, ::11 age=200, ::12 age=1", slowstart=90)
    assert [told(there.select(version)) for version in (4, 6)] == ["11*10 12", "::11*10 ::12"]
    assert there.next_change() == NOW + 6
    assert there.next_change(NOW + 6) == NOW + 9
    assert [told(there.select(version, NOW + 9)) for version in (4, 6)] == ["11*5 12", "::11*5 ::12"]


def test_without_slowstart_there_is_no_ramp() -> None:
    there = world("11, 12 age=0")
    assert told(there.select()) == "11 12"
    assert there.next_change() is None


# Whole weights


@pytest.mark.parametrize(("weights", "expected"), [
    ([], ()),
    ([7], (1,)),
    ([0.001], (1,)),
    ([5, 5, 5], (1, 1, 1)),
    ([0.1, 0.1], (1, 1)),
    ([100, 200, 300], (1, 2, 3)),
    ([0.25, 0.75], (1, 3)),
    ([0.1, 0.3], (1, 3)),                         # no exact ratio in binary
    ([Fraction(1, 3), Fraction(1, 2)], (2, 3)),
    ([255, 1], (255, 1)),
    ([256, 1], (255, 1)),                         # 257 is too much
    ([1, 1000], (1, 255)),
    ([1000, 1, 1], (254, 1, 1)),
    ([300, 200, 100.5], (128, 85, 43)),
    ([1] * 256, (1,) * 256),
    ([1] * 300, (1,) * 300),
    ([2, *[1] * 255], (1,) * 256),
    ([2, *[1] * 254], (2, *[1] * 254)),
    ([9, *[1] * 299], (1,) * 300),                # more members than places
])  # fmt: skip
def test_weights_become_small_whole_numbers(weights: Sequence[float], expected: tuple[int, ...]) -> None:
    assert quantise(weights) == expected


WEIGHTS = st.lists(st.integers(1, 2560) | st.floats(1e-3, 1e3) | st.fractions(Fraction(1, 99), 99), min_size=1)
LONG_WEIGHTS = st.integers(1, 256).flatmap(lambda n: st.lists(st.sampled_from([1, 2, 3, 40, 2560]), min_size=n))


@given(weights=WEIGHTS | LONG_WEIGHTS)
def test_whole_weights_are_close_to_the_wanted(weights: list[float | Fraction]) -> None:
    whole = quantise(weights)
    assert len(whole) == len(weights)
    assert min(whole) >= 1
    assert gcd(*whole) == 1
    assert sum(whole) <= max(MOST_TURNS, len(weights))
    if len(weights) > MOST_TURNS:
        return
    total = sum(Fraction(weight) for weight in weights)
    dues = [Fraction(weight) / total for weight in weights]
    small = sum(due < Fraction(1, MOST_TURNS) for due in dues)
    for weight, due in zip(whole, dues, strict=True):
        assert abs(Fraction(weight, sum(whole)) - due) < Fraction(1 + small, MOST_TURNS)
    for one, due_of_one in zip(whole, dues, strict=True):
        assert all(one >= other for other, due in zip(whole, dues, strict=True) if due < due_of_one)


@given(weights=st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_weights_that_fit_are_exact(weights: list[int]) -> None:
    divisor = gcd(*weights)
    assert quantise(weights) == tuple(weight // divisor for weight in weights)
    assert [smooth(quantise(weights)).count(place) * divisor for place in range(len(weights))] == weights


# What holds for every pool

HOSTS = [address(host) for host in ("11", "12", "13", "14", "::11", "::12", "::13")]
TARGETS = [ip_address("10.0.0.1"), ip_address("10.0.0.2")]
OUTCOMES = st.builds(Outcome, st.booleans(), st.just(""), st.just(0.01))
SECONDS = st.floats(-100, 300).map(lambda seconds: NOW + seconds)
ORDERS = st.builds(Order, st.sampled_from(Mode), since=SECONDS, at=st.none() | SECONDS, until=st.none() | SECONDS)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Any pool after any outcomes and orders."""
    backends = [
        Backend(
            host,
            weight=draw(st.sampled_from([0, 1, 1, 2, 3, 256])),
            backup=draw(st.booleans()),
            probe_address=draw(st.none() | st.sampled_from(TARGETS)),
        )
        for host in draw(st.lists(st.sampled_from(HOSTS), min_size=1, unique=True))
    ]
    pool = Pool(
        OWNER,
        tuple(sorted(backends, key=lambda backend: backend.address.version)),
        probe=draw(st.sampled_from([None, replace(PROBE, fall=1, rise=1), PROBE])),
        when_all_down=draw(st.sampled_from(AllDown)),
        slowstart=draw(st.sampled_from([0.0, 60.0, 61.7])),
    )
    targets = sorted({backend.target for backend in backends}, key=str)
    healths: dict[Address, Health] = {}
    now = NOW - draw(st.integers(0, 100))
    for target, outcome in draw(st.lists(st.tuples(st.sampled_from(targets), OUTCOMES), max_size=30)):
        known = healths.get(target)
        probe = pool.probe or PROBE
        healths[target] = first(outcome, now) if known is None else observe(known, outcome, probe, now)
        now += draw(st.sampled_from([0.0, 1.0, 7.3]))
    scopes = st.builds(Scope, st.sampled_from([None, OWNER, "db.example.com."]), st.sampled_from(HOSTS))
    return World(pool, healths, draw(st.dictionaries(scopes, ORDERS, max_size=8)))


def is_up(there: World, backend: Backend) -> bool:
    return there.pool.probe is None or there.healths.get(backend.target, Health()).up


@given(there=worlds(), version=st.sampled_from([4, 6]), now=SECONDS)
def test_a_pool_that_fails_open_is_never_empty(there: World, version: int, now: float) -> None:
    open_pool = replace(there.pool, when_all_down=ALL)
    has_addresses = any(backend.address.version == version for backend in open_pool.backends)
    assert bool(select(open_pool, version, there.healths, there.orders, now).shares) is has_addresses


@given(there=worlds(), version=st.sampled_from([4, 6]), now=SECONDS)
def test_shares_are_addresses_of_the_version_in_the_files_order(there: World, version: int, now: float) -> None:
    shares = there.select(version, now).shares
    kept = [share.address for share in shares]
    assert kept == [backend.address for backend in there.pool.backends if backend.address in set(kept)]
    assert {host.version for host in kept} <= {version}
    assert all(share.weight >= 1 for share in shares)
    assert sum(share.weight for share in shares) <= MOST_TURNS


@given(there=worlds(), version=st.sampled_from([4, 6]), now=SECONDS)
def test_who_is_in_and_who_is_not(there: World, version: int, now: float) -> None:
    selection = there.select(version, now)
    handed_out = {share.address for share in selection.shares}
    backends = [backend for backend in there.pool.backends if backend.address.version == version]
    available = set()
    for backend in backends:
        up, ready = is_up(there, backend), mode_for(there.orders, OWNER, backend.address, now) is Mode.READY
        available |= {backend.address} if up and ready else set()
        if up and ready and backend.weight > 0 and not backend.backup:
            assert backend.address in handed_out
        if not up and backend.address in handed_out:
            assert selection.fails_open
        if selection.fails_open:
            assert not (up and (ready or backend.address in handed_out))
    if available:
        assert not selection.fails_open
        assert handed_out <= available
    elif there.pool.when_all_down is NONE:
        assert not handed_out


@given(there=worlds(), now=SECONDS, data=st.data())
def test_a_and_aaaa_are_independent(there: World, now: float, data: st.DataObject) -> None:
    before = there.select(4, now)
    other = {backend.address for backend in there.pool.backends if backend.address.version == 6}
    orders = there.orders | {Scope(None, host): data.draw(ORDERS) for host in other}
    healths = there.healths | {host: Health(up=data.draw(st.booleans())) for host in other}
    assert select(there.pool, 4, healths, orders, now) == before
    alone = tuple(backend for backend in there.pool.backends if backend.address.version == 4)
    assert select(replace(there.pool, backends=alone), 4, there.healths, there.orders, now) == before


@given(there=worlds(), now=SECONDS, part=st.floats(0, 1))
def test_a_selection_holds_until_the_next_change(there: World, now: float, part: float) -> None:
    change = there.next_change(now)
    assert change is None or change > now
    later = now + part * ((1000.0 if change is None else change) - now)
    if change is None or later < change:
        for version in (4, 6):
            assert there.select(version, max(now, later)) == there.select(version, now)


@given(there=worlds(), now=SECONDS)
def test_time_alone_comes_to_rest(there: World, now: float) -> None:
    changes = 0
    while (change := there.next_change(now)) is not None:
        now, changes = change, changes + 1
        assert changes <= 9 * len(HOSTS) + 2 * len(there.orders)


@pytest.mark.parametrize(("backends", "below", "expected"), [
    ("11, 12, 13 down, 14 down",                       50, "11 12"),             # half is not less than half
    ("11, 12 down, 13 down, 14 down",                  50, "open 11 12 13 14"),
    ("11, 12 down, 13 down, 14 drain",                 50, "open 11 12 13"),     # the operator's word beats health
    ("11, 12 down, 13 drain, 14 drain",                50, "11"),                # what he took out is not missed
    ("11 w=3, 12 down, 13 down",                       50, "11"),                # by weight
    ("11 w=3 down, 12, 13",                            50, "open 11*3 12 13"),
    ("11 down, 12 down, 13 backup, 14 backup",         50, "13 14"),             # backups take over, if they are enough
    ("11 down, 12 down, 13 down, 14 backup",           50, "open 11 12 13 14"),
    ("11 down, 12 w=0",                                50, "open 11 12"),
    ("11 down, 12 down",                               50, "open 11 12"),
    ("11, 12 down",                                   100, "open 11 12"),
])  # fmt: skip
def test_with_too_few_up_all_are_handed_out(backends: str, below: int, expected: str) -> None:
    there = world(backends)
    assert told(replace(there, pool=replace(there.pool, fail_open_below=below)).select()) == expected


def test_who_is_not_judged_yet_is_not_missed() -> None:
    there = world("11, 12, 13, 14")
    there.healths.update({there.pool.backends[number].target: NOT_YET for number in (1, 2, 3)})
    assert told(replace(there, pool=replace(there.pool, fail_open_below=50)).select()) == "11"


@given(there=worlds(), version=st.sampled_from([4, 6]), now=SECONDS, below=st.integers(1, 100))
def test_a_threshold_only_ever_adds_what_no_order_takes_out(
    there: World, version: int, now: float, below: int
) -> None:
    plain = there.select(version, now)
    bounded = select(replace(there.pool, fail_open_below=below), version, there.healths, there.orders, now)
    if bounded == plain:
        return
    hosts = {share.address for share in bounded.shares}
    assert bounded.fails_open
    assert {share.address for share in plain.shares} <= hosts
    assert all(mode_for(there.orders, OWNER, host, now) is Mode.READY for host in hosts)
    assert bounded.up == sum(is_up(there, each) for each in there.pool.backends if each.address in hosts)
