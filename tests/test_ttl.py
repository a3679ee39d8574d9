"""TTLs by worked examples, and what holds for all of them (DESIGN §2, "TTL")."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dnslb.balance.health import Health
from dnslb.balance.pool import Backend, Pool, Probe, TcpCheck, TtlPolicy
from dnslb.balance.ttl import OVERTIME, Bounds, Member, bounds, rungs, ttl

NOW = 1_800_000_000.0
UP, DOWN = Health(up=True), Health(up=False)
PROBE = Probe(TcpCheck(80))  # every 5 s, timeout 2 s, down after 3, up after 2: detection 17 s
ADDRESSES = tuple(map(ip_address, ("192.0.2.11", "192.0.2.12", "192.0.2.13", "2001:db8::11")))
POOL = Pool(
    "www.example.com.",
    tuple(Backend(address) for address in ADDRESSES),
    zone_ttls={4: 300, 6: 60},
    probe=PROBE,
    ttl=TtlPolicy(min=5, failover=60.0),
)
MIN_8 = replace(POOL, ttl=TtlPolicy(min=8))
UNPROBED = replace(POOL, probe=None)


@pytest.mark.parametrize(("policy", "probe", "zone_ttl", "expected"), [
    (TtlPolicy(), PROBE, 300, "5 300 zone file's TTL"),
    (TtlPolicy(max=30), PROBE, 300, "5 30 max: 30s"),
    (TtlPolicy(max=300), PROBE, 30, "5 30 zone file's TTL"),
    (TtlPolicy(failover=60.0), PROBE, 300, "5 42 failover: 60s"),          # 60 - 17 - 1
    (TtlPolicy(failover=60.5), PROBE, 300, "5 42 failover: 60.5s"),        # rounded down
    (TtlPolicy(failover=60.0, max=20), PROBE, 300, "5 20 max: 20s"),
    (TtlPolicy(failover=600.0), PROBE, 300, "5 300 zone file's TTL"),
    (TtlPolicy(failover=20.0), PROBE, 300, "2 2 failover: 20s"),           # the promise binds more than min
    (TtlPolicy(failover=10.0), PROBE, 300, "1 1 failover: 10s"),           # cannot be kept; never below 1
    (TtlPolicy(failover=60.0), None, 300, "5 300 zone file's TTL"),        # no probe, no promise
    (TtlPolicy(failover=16.4), Probe(TcpCheck(80), 0.9, timeout=0.1, fall=7), 300, "5 9 failover: 16.4s"),
    (TtlPolicy(failover=60.0), replace(PROBE, fast_interval=2.0), 300, "5 48 failover: 60s"),
    (TtlPolicy(), PROBE, 3, "3 3 zone file's TTL"),
    (TtlPolicy(), PROBE, 0, "0 0 zone file's TTL"),
    (TtlPolicy(min=0, max=0), PROBE, 300, "0 0 max: 0s"),
])  # fmt: skip
def test_the_bounds(policy: TtlPolicy, probe: Probe | None, zone_ttl: int, expected: str) -> None:
    limits = bounds(replace(POOL, ttl=policy, probe=probe, zone_ttls={4: zone_ttl}), 4)
    assert f"{limits.floor} {limits.ceiling} {limits.why}" == expected


def test_each_rrset_has_bounds_of_its_own() -> None:
    pool = replace(POOL, zone_ttls={4: 300, 6: 10})
    assert bounds(pool, 4) == Bounds(5, 42, "failover: 60s")
    assert bounds(pool, 6) == Bounds(5, 10, "zone file's TTL")


def members(*states: Health | Member | None) -> list[Member]:
    """One of 192.0.2.11, .12, .13 for each state."""
    return [
        replace(state, address=address) if isinstance(state, Member) else Member(address, state)
        for address, state in zip(ADDRESSES, states, strict=False)
    ]


def leaves(seconds: float, health: Health | None = UP) -> Member:
    return Member(ADDRESSES[0], health, leaves_at=NOW + seconds)


def streak(health: Health, outcomes: int) -> Health:
    return replace(health, streak=outcomes)


GONE = Member(ADDRESSES[0], streak(UP, 2), counts=False)


# The worked examples of the documentation.  zone TTL 300, failover 60s and PROBE: the TTL moves from 5 to 42.
# states | seconds since the answer changed | TTL, until (seconds from now), why
@pytest.mark.parametrize(("states", "changed", "expected"), [
    ((UP, UP, UP), None, "42 - failover: 60s"),
    ((None, UP, UP), None, "42 - failover: 60s"),
    # In doubt: interval × outcomes still needed.
    ((UP, streak(UP, 1), UP), None, "10 - 192.0.2.12 may go down in 10 s (1 of 3 probes failed)"),
    ((UP, streak(UP, 2), UP), None, "5 - 192.0.2.12 may go down in 5 s (2 of 3 probes failed)"),
    ((streak(UP, 1), streak(UP, 2), UP), None, "5 - 192.0.2.12 may go down in 5 s (2 of 3 probes failed)"),
    ((UP, streak(DOWN, 1), UP), None, "5 - 192.0.2.12 may come up in 5 s (1 of 2 probes passed)"),
    ((GONE, UP, UP), None, "42 - failover: 60s"),
    # Down and staying down is settled.
    ((UP, DOWN, UP), None, "42 - failover: 60s"),
    # After a change the TTL doubles with the age of the answer.
    ((UP, DOWN, UP), 0, "5 10 the answer changed 0 s ago"),
    ((UP, DOWN, UP), 7, "5 3 the answer changed 7 s ago"),
    ((UP, DOWN, UP), 10, "10 10 the answer changed 10 s ago"),
    ((UP, DOWN, UP), 19.9, "10 0.1 the answer changed 19 s ago"),
    ((UP, DOWN, UP), 20, "20 20 the answer changed 20 s ago"),
    ((UP, DOWN, UP), 40, "40 2 the answer changed 40 s ago"),
    ((UP, DOWN, UP), 42, "42 - failover: 60s"),
    ((UP, DOWN, UP), -9, "5 19 the answer changed 0 s ago"),  # the clock was set back
    ((UP, DOWN, streak(UP, 1)), 30, "10 - 192.0.2.13 may go down in 10 s (1 of 3 probes failed)"),
    ((UP, DOWN, streak(UP, 1)), 7, "5 3 the answer changed 7 s ago"),
    # A planned leave: rungs downwards, each gone, with one second to spare, when the backend is.
    ((leaves(3600), UP, UP), None, "42 3557 failover: 60s"),
    ((leaves(50), UP, UP), None, "42 7 failover: 60s"),
    ((leaves(43), UP, UP), None, "40 2 192.0.2.11 leaves in 43 s"),
    ((leaves(41), UP, UP), None, "20 20 192.0.2.11 leaves in 41 s"),
    ((leaves(21), UP, UP), None, "10 10 192.0.2.11 leaves in 21 s"),
    ((leaves(11), UP, UP), None, "5 11 192.0.2.11 leaves in 11 s"),
    ((leaves(6), UP, UP), None, "5 6 192.0.2.11 leaves in 6 s; min: 5s"),
    ((leaves(2.5), UP, UP), None, "5 2.5 192.0.2.11 leaves in 2 s; min: 5s"),
    ((leaves(0), UP, UP), None, "42 - failover: 60s"),  # it has left
    ((leaves(20, DOWN), UP, UP), None, "42 - failover: 60s"),
    ((leaves(20), leaves(12), UP), None, "10 1 192.0.2.12 leaves in 12 s"),
    ((leaves(20), streak(UP, 1), UP), None, "10 9 192.0.2.12 may go down in 10 s (1 of 3 probes failed)"),
    ((leaves(50), DOWN, UP), 25, "20 15 the answer changed 25 s ago"),
    ((leaves(25), DOWN, UP), 25, "20 4 the answer changed 25 s ago"),
    ((leaves(15), DOWN, UP), 25, "10 4 192.0.2.11 leaves in 15 s"),
    ((leaves(15), streak(UP, 2), UP), None, "5 - 192.0.2.12 may go down in 5 s (2 of 3 probes failed)"),
    ((replace(leaves(15), counts=False), UP, UP), None, "42 - failover: 60s"),
])  # fmt: skip
def test_worked_examples(
    states: tuple[Health | Member | None, ...], changed: float | None, expected: str
) -> None:
    changed_at = None if changed is None else NOW - changed
    assert told(POOL, members(*states), changed_at=changed_at) == expected


def told(pool: Pool, of: list[Member], fails_open: bool = False, changed_at: float | None = None) -> str:
    answer = ttl(pool, 4, of, fails_open, changed_at, NOW)
    until = "-" if answer.until is None else f"{round(answer.until - NOW, 3):g}"
    return f"{answer.seconds} {until} {answer.why}"


@pytest.mark.parametrize(("probe", "states", "expected"), [
    (PROBE, (DOWN, DOWN, DOWN), "10 - no backend is up: 192.0.2.11 may come up in 10 s (0 of 2 probes passed)"),
    (PROBE, (DOWN, streak(DOWN, 1)), "5 - no backend is up: 192.0.2.12 may come up in 5 s (1 of 2 probes passed)"),
    (
        replace(PROBE, down_interval=30.0),
        (DOWN, DOWN),
        "42 - failover: 60s",
    ),
    (
        replace(PROBE, down_interval=12.6),
        (DOWN, DOWN),
        "25 - no backend is up: 192.0.2.11 may come up in 25.2 s (0 of 2 probes passed)",
    ),
    (
        replace(PROBE, fast_interval=1.0),
        (DOWN, streak(DOWN, 1)),
        "5 - no backend is up: 192.0.2.12 may come up in 1 s (1 of 2 probes passed); min: 5s",
    ),
    (PROBE, (leaves(20, DOWN), DOWN), "10 9 no backend is up: 192.0.2.11 may come up in 10 s (0 of 2 probes passed)"),
    (PROBE, (leaves(9, DOWN), DOWN), "5 9 192.0.2.11 leaves in 9 s"),
    (PROBE, (replace(GONE, health=DOWN), None), "42 - failover: 60s"),  # no probe will change it
])  # fmt: skip
def test_a_pool_that_fails_open_is_in_doubt(
    probe: Probe, states: tuple[Health | Member | None, ...], expected: str
) -> None:
    assert told(replace(POOL, probe=probe), members(*states), fails_open=True) == expected


@pytest.mark.parametrize(("pool", "states", "expected"), [
    (MIN_8, (UP, streak(UP, 2)), "8 - 192.0.2.12 may go down in 5 s (2 of 3 probes failed); min: 8s"),
    (replace(POOL, zone_ttls={4: 3}), (UP, streak(UP, 1)), "3 - zone file's TTL"),
    (replace(POOL, zone_ttls={4: 0}), (UP, streak(UP, 1)), "0 - zone file's TTL"),
    (UNPROBED, (None, None), "300 - zone file's TTL"),
    (UNPROBED, (leaves(50, None), None), "40 9 192.0.2.11 leaves in 50 s"),
    (UNPROBED, (streak(UP, 2), None), "300 - zone file's TTL"),
])  # fmt: skip
def test_the_floor_the_zone_file_and_pools_without_probes(
    pool: Pool, states: tuple[Health | Member | None, ...], expected: str
) -> None:
    assert told(pool, members(*states)) == expected


def test_doubt_about_an_aaaa_does_not_lower_the_ttl_of_the_as() -> None:
    of = [Member(ADDRESSES[0], UP), Member(ADDRESSES[3], streak(UP, 2))]
    assert ttl(POOL, 4, of, False, None, NOW).seconds == 42
    assert ttl(POOL, 6, of, False, None, NOW).seconds == 5


@pytest.mark.parametrize(("limits", "expected"), [
    (Bounds(5, 300, ""), [5, 10, 20, 40, 80, 160, 300]),
    (Bounds(5, 40, ""), [5, 10, 20, 40]),
    (Bounds(5, 5, ""), [5]),
    (Bounds(0, 5, ""), [0, 1, 2, 4, 5]),
    (Bounds(0, 1, ""), [0, 1]),
    (Bounds(0, 0, ""), [0]),
])  # fmt: skip
def test_rungs(limits: Bounds, expected: list[int]) -> None:
    assert rungs(limits) == expected


# Times with all the bits of a real clock, so that differences round.
SECONDS = st.floats(0, 1000, allow_nan=False)
PROBES = st.builds(
    Probe,
    st.just(TcpCheck(80)),
    interval=st.sampled_from([0.1, 0.7, 1.0, 5.0, 30.0]),
    fast_interval=st.sampled_from([None, 0.3, 1.0]),
    down_interval=st.sampled_from([None, 10.0, 60.0]),
    timeout=st.sampled_from([0.5, 2.0]),
    fall=st.integers(1, 5),
    rise=st.integers(1, 5),
)
POLICIES = st.builds(
    TtlPolicy,
    min=st.integers(0, 60),
    max=st.none() | st.integers(0, 600),
    failover=st.none() | st.floats(1, 600),
)
POOLS = st.builds(
    Pool,
    st.just("www.example.com."),
    st.just(POOL.backends),
    zone_ttls=st.fixed_dictionaries({4: st.integers(0, 900), 6: st.integers(0, 900)}),
    probe=st.none() | PROBES,
    ttl=POLICIES,
)
HEALTHS = st.builds(Health, up=st.booleans(), streak=st.integers(0, 4))
MEMBERS = st.lists(
    st.builds(
        Member,
        st.sampled_from(ADDRESSES),
        st.none() | HEALTHS,
        st.none() | SECONDS.map(lambda seconds: NOW + 0.1 + seconds),
        st.booleans(),
    ),
    max_size=4,
)
CHANGES = st.none() | SECONDS.map(lambda seconds: NOW + 0.1 - seconds)
VERSIONS = st.sampled_from([4, 6])


@given(POOLS, VERSIONS, MEMBERS, st.booleans(), CHANGES)
def test_a_ttl_is_within_its_bounds_and_the_same_for_the_same_state(
    pool: Pool, version: int, of: list[Member], fails_open: bool, changed_at: float | None
) -> None:
    answer = ttl(pool, version, of, fails_open, changed_at, NOW)
    limits = bounds(pool, version)
    assert 0 <= limits.floor <= limits.ceiling <= pool.zone_ttls[version]
    assert limits.floor <= answer.seconds <= limits.ceiling
    assert answer == ttl(pool, version, list(of), fails_open, changed_at, NOW)
    backwards = ttl(pool, version, of[::-1], fails_open, changed_at, NOW)
    assert (answer.seconds, answer.until) == (backwards.seconds, backwards.until)
    assert answer.why
    assert "\n" not in answer.why


@given(POOLS, VERSIONS, MEMBERS, st.booleans(), CHANGES)
def test_between_events_a_ttl_changes_at_until_and_not_before(
    pool: Pool, version: int, of: list[Member], fails_open: bool, changed_at: float | None
) -> None:
    now = NOW
    for _ in range(100):
        answer = ttl(pool, version, of, fails_open, changed_at, now)
        end = now + 2000 if answer.until is None else answer.until
        assert end > now
        for moment in (now + (end - now) / 3, now + (end - now) * 0.99):
            if now < moment < end:
                assert ttl(pool, version, of, fails_open, changed_at, moment).seconds == answer.seconds
        if answer.until is None:
            return
        now = answer.until
    raise AssertionError("no end of recomputing")


@given(POOLS, st.lists(SECONDS, min_size=1, max_size=3), CHANGES, st.lists(SECONDS, min_size=1, max_size=20))
def test_no_answer_above_the_floor_outlives_a_backend_that_leaves(
    pool: Pool, lefts: list[float], changed_at: float | None, moments: list[float]
) -> None:
    of = [Member(address, UP, NOW + left) for address, left in zip(ADDRESSES, lefts, strict=False)]
    for moment in moments:
        now = NOW + moment
        answer = ttl(pool, 4, of, False, changed_at, now)
        for member in of:
            assert member.leaves_at is not None
            if now < member.leaves_at and answer.seconds > bounds(pool, 4).floor:
                assert now + answer.seconds + OVERTIME < member.leaves_at + 1e-6


@given(POOLS, MEMBERS, st.booleans(), SECONDS, SECONDS)
def test_the_longer_the_answer_has_held_the_higher_the_ttl(
    pool: Pool, of: list[Member], fails_open: bool, age: float, more: float
) -> None:
    young = ttl(pool, 4, of, fails_open, NOW - age, NOW).seconds
    old = ttl(pool, 4, of, fails_open, NOW - age - more, NOW).seconds
    assert young <= old
    assert young <= max(age, bounds(pool, 4).floor)


@given(POOLS, CHANGES, SECONDS, SECONDS)
def test_the_nearer_a_leave_the_lower_the_ttl(
    pool: Pool, changed_at: float | None, left: float, more: float
) -> None:
    assume(left > 0.001)  # else the sum with the time is the time
    near, far = (ttl(pool, 4, members(leaves(time)), False, changed_at, NOW).seconds for time in (left, left + more))
    assert near <= far


@given(POOLS, VERSIONS, MEMBERS, CHANGES, st.integers(0, 2))
def test_one_more_outcome_against_the_verdict_never_raises_the_ttl(
    pool: Pool, version: int, of: list[Member], changed_at: float | None, outcomes: int
) -> None:
    # By construction a streak ends one outcome before the verdict changes.
    probe = pool.probe
    assume(probe is not None and of)
    assert probe is not None
    first = Member(of[0].address, streak(UP, min(outcomes, probe.fall - 1)))
    worse = Member(of[0].address, streak(UP, min(outcomes + 1, probe.fall - 1)))
    before = ttl(pool, version, [first, *of[1:]], False, changed_at, NOW).seconds
    after = ttl(pool, version, [worse, *of[1:]], False, changed_at, NOW).seconds
    assert after <= before or (probe.fast_interval or 0) > probe.interval


@given(POOLS, VERSIONS, SECONDS)
def test_the_ceiling_keeps_the_promise_of_failover(pool: Pool, version: int, more: float) -> None:
    limits = bounds(pool, version)
    if pool.probe is not None and pool.ttl.failover is not None and limits.ceiling > 1:
        assert pool.probe.detection + limits.ceiling + OVERTIME <= pool.ttl.failover + 1e-5
        later = replace(pool, ttl=replace(pool.ttl, failover=pool.ttl.failover + more))
        assert bounds(later, version).ceiling >= limits.ceiling
