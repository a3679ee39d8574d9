"""What is served of a backend before it is judged, while it cannot be probed, and by what was known long ago."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address

import pytest
from test_balancer import EPOCH, HOSTS, PASSED, PROBE, REFUSED, Desk, drain, play, pool, record, text, unix_time
from transcript import wire

from dnslb.balance.health import Health, Outcome, ProbeKey, first, observe
from dnslb.balance.operator_order import Mode, Order, Scope
from dnslb.balance.pool import AllDown, Backend, Pool, TcpCheck

OWNER = wire("www.example.com.")
ALL, FIRST, REST = " ".join(HOSTS), HOSTS[0], " ".join(HOSTS[1:])
UP, DOWN = Health(since=EPOCH - 1000), Health(up=False, since=EPOCH - 1000, reason="gone")


def key(host: str) -> ProbeKey:
    return PROBE, ip_address(host)


def fresh(*pools: Pool, **orders: object) -> Desk:
    """Nothing is known of any backend."""
    desk = Desk(*pools or (pool(),))
    desk.balancer.verdicts.healths = {}
    return desk


def recalling(known: Mapping[str, Health], away: float) -> Desk:
    """By what a server has left that ended so long ago."""
    desk = fresh()
    desk.balancer.verdicts.healths = {key(host): health for host, health in known.items()}
    desk.balancer.verdicts.recalled = set(desk.balancer.verdicts.healths)
    desk.balancer.verdicts.left = EPOCH - away
    return desk.start()


def following(old: Desk, *pools: Pool, plain: Mapping[bytes, list[str]] | None = None) -> Desk:
    """The generation after a reload."""
    desk = fresh(*pools)
    served = {owner: [ip_address(host) for host in hosts] for owner, hosts in (plain or {}).items()}
    desk.balancer.follow(old.balancer, served)
    keys, known = desk.balancer.keys, old.balancer.verdicts.healths
    desk.balancer.verdicts.healths = {key: health for key, health in known.items() if key in keys}
    return desk.start()


def served(desk: Desk) -> list[str]:
    """What is not withheld."""
    return [text(item) for item in desk.balancer.served.servings().items() if not item[1].withheld]


def why(desk: Desk, version: int = 4) -> str:
    return desk.balancer.served[OWNER].rrsets[version].ttl.why


# The start


def test_a_pool_is_withheld_until_its_own_backends_are_judged() -> None:
    async def story() -> None:
        desk = fresh(pool(), pool("api.example.com.", ["192.0.2.21", "192.0.2.22"])).start()
        assert served(desk) == []
        desk.probe("192.0.2.21", PASSED)
        await asyncio.sleep(0.1)
        assert served(desk) == []
        desk.probe("192.0.2.22", REFUSED)
        await asyncio.sleep(0.1)
        assert served(desk) == ["api.example.com. A 30: 192.0.2.21"]
        for host in HOSTS:
            desk.probe(host, PASSED)
        await asyncio.sleep(0.1)
        assert served(desk) == [f"www.example.com. A 30: {ALL}", "api.example.com. A 30: 192.0.2.21"]
        assert len(desk.said) == 2

    play(story)


def test_addresses_of_one_version_do_not_wait_for_the_other() -> None:
    async def story() -> None:
        desk = fresh(pool(hosts=(FIRST, "2001:db8::1"))).start()
        desk.probe(FIRST, PASSED)
        await asyncio.sleep(0.1)
        assert served(desk) == [f"www.example.com. A 30: {FIRST}"]

    play(story)


def test_a_pool_without_a_probe_is_served_at_once() -> None:
    async def story() -> None:
        assert served(fresh(pool(probe=None)).start()) == [f"www.example.com. A 30: {ALL}"]

    play(story)


def test_nobody_waits_for_what_an_order_takes_out() -> None:
    async def story() -> None:
        desk = fresh()
        desk.balancer.orders = drain(FIRST)
        desk.start()
        for host in HOSTS[1:]:
            desk.probe(host, PASSED)
        await asyncio.sleep(0.1)
        assert served(desk) == [f"www.example.com. A 30: {REST}"]

    play(story)


def test_after_five_seconds_who_is_not_judged_counts_as_up(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        many = [f"192.0.2.{host}" for host in range(11, 21)]
        desk = fresh(pool(hosts=many), pool("api.example.com.", ["192.0.2.99"])).start()
        desk.probe(many[0], REFUSED)
        desk.probe("192.0.2.99", PASSED)
        await asyncio.sleep(4.9)
        assert served(desk) == ["api.example.com. A 30: 192.0.2.99"]
        await asyncio.sleep(0.2)
        assert served(desk)[0] == f"www.example.com. A 5: {' '.join(many[1:])}"
        assert why(desk) == "192.0.2.12 is not judged yet"
        # And then by its verdict.
        desk.probe(many[1], REFUSED)
        await asyncio.sleep(0.1)
        assert served(desk)[0] == f"www.example.com. A 5: {' '.join(many[2:])}"

    with caplog.at_level(logging.INFO, "dnslb"):
        play(story)
    assert [record.getMessage() for record in caplog.records] == [
        "9 backends of 1 pools are not judged after 5 s, and count as up: www.example.com 192.0.2.12,"
        " www.example.com 192.0.2.13, www.example.com 192.0.2.14, www.example.com 192.0.2.15 and 5 more",
        "www.example.com: down from the start: 192.0.2.11 (connection refused); serving 9 of 10, ttl 5",
        "www.example.com: 192.0.2.12 down (its first probe failed: connection refused); serving 8 of 10, ttl 5",
    ]


def test_what_was_withheld_is_in_no_cache() -> None:
    async def story() -> None:
        desk = fresh().start()
        desk.balancer.copies.clear()
        desk.probe(FIRST, REFUSED)
        await asyncio.sleep(10)
        assert ip_address(FIRST) not in desk.balancer.copies.get((OWNER, 1), {})

    play(story)


# A restart


@pytest.mark.parametrize(("known", "away", "said"), [
    # A new server goes by all of it at once, but trusts it for no longer than it must.
    (dict.fromkeys(HOSTS, UP), 2, [f"www.example.com. A 5: {ALL}"]),
    ({HOSTS[0]: DOWN, HOSTS[1]: UP, HOSTS[2]: UP}, 2, [f"www.example.com. A 5: {REST}"]),
    (dict.fromkeys(HOSTS, DOWN), 90_000, [f"www.example.com. A 5: {ALL} (fails open)"]),
    # No cache holds an answer any more that names them.
    (dict.fromkeys(HOSTS, UP), 31, []),
    ({HOSTS[0]: DOWN, HOSTS[1]: UP, HOSTS[2]: UP}, 31, []),
    # The clock was set.
    (dict.fromkeys(HOSTS, UP), -5, []),
    # One is new.
    ({HOSTS[0]: UP, HOSTS[1]: UP}, 2, []),
])  # fmt: skip
def test_what_an_earlier_life_has_left(known: dict[str, Health], away: float, said: list[str]) -> None:
    async def story() -> None:
        assert served(recalling(known, away)) == said

    play(story)


def test_the_ttl_is_low_until_a_probe_has_confirmed_what_was_known() -> None:
    async def story() -> None:
        desk = recalling(dict.fromkeys(HOSTS, UP), 2)
        assert why(desk) == f"{FIRST} has not been probed since the start"
        for host in HOSTS:
            desk.probe(host, PASSED)
        await asyncio.sleep(0.1)
        assert served(desk) == [f"www.example.com. A 30: {ALL}"]

    play(story)


def test_long_ago_is_after_five_minutes_at_most() -> None:
    async def story() -> None:
        slow = replace(pool(), zone_ttls={4: 86400})
        for away, expected in ((299, 1), (301, 0)):
            desk = fresh(slow)
            desk.balancer.verdicts.healths = {key(host): UP for host in HOSTS}
            desk.balancer.verdicts.recalled = set(desk.balancer.verdicts.healths)
            desk.balancer.verdicts.left = EPOCH - away
            assert len(served(desk.start())) == expected

    play(story)


# A reload


def test_a_new_backend_is_not_handed_out_before_it_has_passed() -> None:
    async def story() -> None:
        old = Desk(pool(hosts=HOSTS[:2])).start()
        desk = following(old, pool())
        assert served(desk) == [f"www.example.com. A 30: {' '.join(HOSTS[:2])}"]
        await asyncio.sleep(10)
        assert desk.said == []
        desk.probe(HOSTS[2], PASSED)
        await asyncio.sleep(0.1)
        assert served(desk) == [f"www.example.com. A 5: {ALL}"]

    play(story)


def test_a_new_backend_is_handed_out_when_nothing_else_is_up() -> None:
    async def story() -> None:
        old = Desk(pool(hosts=[FIRST])).start()
        old.probe(FIRST, REFUSED, REFUSED, REFUSED)
        desk = following(old, pool(hosts=HOSTS[:2]))
        assert served(desk) == [f"www.example.com. A 5: {HOSTS[1]}"]

    play(story)


def test_under_a_new_probe_backends_go_by_their_last_verdicts_until_it_has_some() -> None:
    async def story() -> None:
        old = Desk(pool()).start()
        old.probe(FIRST, REFUSED, REFUSED, REFUSED)
        await asyncio.sleep(100)
        other = replace(PROBE, check=TcpCheck(443))
        desk = following(old, pool(probe=other))
        assert served(desk) == [f"www.example.com. A 5: {REST}"]
        assert why(desk) == f"{HOSTS[1]} is not judged yet"
        desk.probe(FIRST, PASSED, by=other)
        desk.probe(HOSTS[1], REFUSED, by=other)
        desk.probe(HOSTS[2], PASSED, by=other)
        await asyncio.sleep(0.1)
        assert served(desk) == [f"www.example.com. A 5: {FIRST} {HOSTS[2]}"]

    play(story)


@pytest.mark.parametrize("before", ["a pool without a probe", "records of the zone"])
def test_what_was_served_without_a_verdict_is_served_until_there_is_one(before: str) -> None:
    async def story() -> None:
        if before == "a pool without a probe":
            desk = following(Desk(pool(probe=None)).start(), pool())
        else:
            desk = following(Desk().start(), pool(), plain={OWNER: [*HOSTS]})
        assert served(desk) == [f"www.example.com. A 5: {ALL}"]
        desk.probe(FIRST, REFUSED)
        await asyncio.sleep(0.1)
        assert served(desk) == [f"www.example.com. A 5: {REST}"]

    play(story)


def test_a_new_pool_is_withheld_as_at_the_start() -> None:
    async def story() -> None:
        desk = following(Desk(pool()).start(), pool(), pool("api.example.com.", ["192.0.2.21"]))
        assert served(desk) == [f"www.example.com. A 30: {ALL}"]
        await asyncio.sleep(5.1)
        assert served(desk)[1] == "api.example.com. A 5: 192.0.2.21"

    play(story)


# Our own faults


def test_what_cannot_be_probed_stays_as_it_is_with_the_lowest_ttl() -> None:
    async def story() -> None:
        desk = Desk(pool()).start()
        for _ in range(10):
            for host in HOSTS:
                desk.balancer.record_fault(key(host), "dnslb has too many open files")
            await asyncio.sleep(5)
        assert desk.said == [f"0.0 www.example.com. A 5: {ALL}"]
        assert why(desk) == f"{FIRST} cannot be probed: dnslb has too many open files"
        backend, judgement = Backend(ip_address(FIRST)), desk.balancer.served[OWNER].judgement
        assert judgement.unsure(backend) == "cannot be probed: dnslb has too many open files"
        assert judgement.verdict(backend) == desk.balancer.verdicts.healths[key(FIRST)]
        for host in HOSTS:
            desk.probe(host, PASSED)
        await asyncio.sleep(0.1)
        assert desk.said[1:] == [f"{unix_time() - EPOCH - 0.1:.1f} www.example.com. A 30: {ALL}"]

    play(story)


def test_what_is_down_and_cannot_be_probed_stays_out() -> None:
    async def story() -> None:
        desk = Desk(pool()).start()
        desk.probe(FIRST, REFUSED, REFUSED, REFUSED)
        await asyncio.sleep(60)
        desk.balancer.record_fault(key(FIRST), "network unreachable")
        await asyncio.sleep(60)
        assert served(desk) == [f"www.example.com. A 30: {REST}"]

    play(story)


def test_a_new_backend_that_cannot_be_probed_counts_as_up_after_five_seconds() -> None:
    async def story() -> None:
        desk = following(Desk(pool(hosts=HOSTS[:2])).start(), pool())
        desk.balancer.record_fault(key(HOSTS[2]), "network unreachable")
        await asyncio.sleep(4.9)
        assert served(desk) == [f"www.example.com. A 30: {' '.join(HOSTS[:2])}"]
        await asyncio.sleep(0.2)
        assert served(desk) == [f"www.example.com. A 5: {ALL}"]

    play(story)


# After maint


def test_what_was_not_probed_for_a_while_passes_before_it_is_handed_out(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        desk = Desk(pool()).start()
        desk.balancer.obey({Scope(None, ip_address(FIRST)): Order(Mode.MAINT, EPOCH)})
        await asyncio.sleep(3600)
        desk.balancer.doubt([key(FIRST)])
        desk.balancer.obey({})
        await asyncio.sleep(100)
        assert served(desk) == [f"www.example.com. A 30: {REST}"]
        assert desk.balancer.served[OWNER].judgement.unsure(Backend(ip_address(FIRST))) == "is not judged yet"
        desk.probe(FIRST, PASSED)
        await asyncio.sleep(0.1)
        assert served(desk) == [f"www.example.com. A 5: {ALL}"]

    with caplog.at_level(logging.INFO, "dnslb"):
        play(story)
    assert [record.getMessage() for record in caplog.records] == [
        f"www.example.com: {FIRST} up (its first probe passed); serving 3 of 3, ttl 5"
    ]


def test_after_maint_one_failure_is_enough() -> None:
    async def story() -> None:
        desk = Desk(pool()).start()
        desk.balancer.doubt([key(FIRST)])
        health = first(REFUSED, unix_time(), UP)
        record(desk.balancer, key(FIRST), UP, health)
        await asyncio.sleep(0.1)
        assert served(desk) == [f"www.example.com. A 5: {REST}"]

    play(story)


def test_after_maint_it_is_handed_out_when_nothing_else_is_up_or_the_operator_says_so() -> None:
    async def story() -> None:
        desk = Desk(pool(hosts=HOSTS[:2])).start()
        desk.balancer.doubt([key(FIRST)])
        await asyncio.sleep(0.1)
        assert served(desk) == [f"www.example.com. A 5: {HOSTS[1]}"]
        desk.probe(HOSTS[1], REFUSED, REFUSED, REFUSED)
        await asyncio.sleep(0.1)
        assert served(desk) == [f"www.example.com. A 5: {FIRST}"]
        desk.probe(HOSTS[1], PASSED, PASSED)
        await asyncio.sleep(100)
        assert served(desk) == [f"www.example.com. A 30: {HOSTS[1]}"]
        assert desk.balancer.served[OWNER].judgement.awaits(ip_address(FIRST))
        desk.balancer.trust([(OWNER, ip_address(FIRST))])
        await asyncio.sleep(100)
        assert served(desk) == [f"www.example.com. A 5: {FIRST} {HOSTS[1]}"], "nobody knows for how long"

    play(story)


def test_a_reload_before_the_first_probe_changes_nothing_of_that() -> None:
    async def story() -> None:
        old = Desk(pool()).start()
        old.balancer.doubt([key(FIRST)])
        await asyncio.sleep(100)
        desk = following(old, pool())
        assert served(desk) == [f"www.example.com. A 30: {REST}"]

    play(story)


def test_a_backend_that_a_new_probe_has_not_judged_after_a_moment_is_not_handed_out() -> None:
    async def story() -> None:
        other = replace(PROBE, check=TcpCheck(443))
        old = Desk(pool()).start()
        old.probe(FIRST, REFUSED, REFUSED, REFUSED)
        await asyncio.sleep(100)
        desk = following(old, pool(probe=other))
        desk.probe(HOSTS[1], PASSED, by=other)
        await asyncio.sleep(0.4)
        assert served(desk) == [f"www.example.com. A 5: {REST}"]
        await asyncio.sleep(0.2)
        assert served(desk) == [f"www.example.com. A 5: {HOSTS[1]}"]
        desk.probe(HOSTS[2], PASSED, by=other)
        await asyncio.sleep(0.1)
        assert served(desk) == [f"www.example.com. A 5: {REST}"]

    play(story)


def test_while_a_new_probe_has_judged_nobody_the_last_verdicts_stand() -> None:
    async def story() -> None:
        old = Desk(pool()).start()
        old.probe(FIRST, REFUSED, REFUSED, REFUSED)
        desk = following(old, pool(probe=replace(PROBE, check=TcpCheck(443))))
        await asyncio.sleep(100)
        assert served(desk) == [f"www.example.com. A 5: {REST}"]

    play(story)


# After an outage


def returning(when: AllDown, known: Mapping[str, Health]) -> tuple[Desk, list[ProbeKey]]:
    """After a restart, with what the schedule is asked to hurry with."""
    desk = fresh(replace(pool(), when_all_down=when))
    desk.balancer.verdicts.healths = {key(host): health for host, health in known.items()}
    desk.balancer.verdicts.recalled = set(desk.balancer.verdicts.healths)
    desk.balancer.verdicts.left = EPOCH - 2
    hastened: list[ProbeKey] = []
    desk.balancer.hasten = hastened.append
    return desk.start(), hastened


def recover(desk: Desk, host: str, *outcomes: Outcome) -> None:
    """As the schedule folds them: what was down needs ``rise`` successes."""
    for outcome in outcomes:
        before = desk.balancer.verdicts.healths[key(host)]
        is_doubtful = before.up and key(host) in desk.balancer.verdicts.recalled
        after = first(outcome, unix_time(), before) if is_doubtful else observe(before, outcome, PROBE, unix_time())
        record(desk.balancer, key(host), before, after)


def test_after_an_outage_nobody_is_told_that_there_is_no_address_while_backends_return(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        desk, hastened = returning(AllDown.NONE, dict.fromkeys(HOSTS, DOWN))
        assert served(desk) == []
        recover(desk, FIRST, PASSED)
        recover(desk, HOSTS[1], REFUSED)
        await asyncio.sleep(0.1)
        assert set(hastened) == {key(FIRST)}
        assert served(desk) == []
        recover(desk, FIRST, PASSED)
        await asyncio.sleep(0.1)
        assert served(desk) == [f"www.example.com. A 30: {FIRST}"]

    with caplog.at_level(logging.INFO, "dnslb"):
        play(story)
    assert [record.getMessage() for record in caplog.records] == [
        f"www.example.com: down from the start: {HOSTS[1]} (connection refused), {HOSTS[2]} (gone); serving 1 of 3,"
        " ttl 30"
    ]


def test_after_a_restart_during_an_outage_the_answer_is_empty_once_all_have_failed() -> None:
    async def story() -> None:
        desk, hastened = returning(AllDown.NONE, dict.fromkeys(HOSTS, DOWN))
        for host in HOSTS:
            recover(desk, host, REFUSED)
        await asyncio.sleep(0.1)
        assert served(desk) == ["www.example.com. A 30: "]
        assert hastened == []

    play(story)


def test_who_has_passed_once_is_hastened_when_the_last_that_was_up_goes_down() -> None:
    async def story() -> None:
        desk, hastened = returning(AllDown.NONE, {FIRST: UP, HOSTS[1]: DOWN, HOSTS[2]: DOWN})
        recover(desk, HOSTS[1], PASSED)
        await asyncio.sleep(0.1)
        assert (served(desk), hastened) == ([f"www.example.com. A 5: {FIRST}"], [])
        recover(desk, FIRST, REFUSED)
        await asyncio.sleep(0.1)
        assert (served(desk), set(hastened)) == ([], {key(HOSTS[1])})
        recover(desk, HOSTS[1], PASSED)
        await asyncio.sleep(0.1)
        assert served(desk) == [f"www.example.com. A 5: {HOSTS[1]}"]

    play(story)


def test_a_pool_that_fails_open_is_answered_meanwhile_and_nothing_is_withheld_for_long() -> None:
    async def story() -> None:
        desk, hastened = returning(AllDown.ALL, dict.fromkeys(HOSTS, DOWN))
        recover(desk, FIRST, PASSED)
        await asyncio.sleep(0.1)
        assert (served(desk), set(hastened)) == ([f"www.example.com. A 5: {ALL} (fails open)"], {key(FIRST)})
        desk, _ = returning(AllDown.NONE, dict.fromkeys(HOSTS, DOWN))
        await asyncio.sleep(4.9)
        assert served(desk) == []
        await asyncio.sleep(0.2)
        assert served(desk) == ["www.example.com. A 30: "]

    play(story)


def test_who_is_down_though_its_last_probe_passed_is_not_down_for_that(caplog: pytest.LogCaptureFixture) -> None:
    """The log said "down from the start: 192.0.2.11 (connected)"."""

    async def story() -> None:
        desk, _ = returning(AllDown.ALL, {FIRST: DOWN, HOSTS[1]: UP, HOSTS[2]: replace(DOWN, streak=1, reason="ok")})
        desk.balancer.stop()

    with caplog.at_level(logging.INFO, "dnslb"):
        play(story)
    assert [record.getMessage() for record in caplog.records] == [
        f"www.example.com: down from the start: {FIRST} (gone), {HOSTS[2]} (only 1 of 2 probes passed); serving 1 of 3,"
        " ttl 5"
    ]


def test_a_reload_does_not_tell_again_who_is_down(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        old = Desk(pool()).start()
        old.probe(FIRST, REFUSED, REFUSED, REFUSED)
        await asyncio.sleep(0.1)
        caplog.clear()
        following(old, pool())

    with caplog.at_level(logging.INFO, "dnslb"):
        play(story)
    assert caplog.records == []


def test_after_maint_what_cannot_be_probed_by_our_fault_counts_as_up() -> None:
    async def story() -> None:
        desk = Desk(pool()).start()
        desk.balancer.record_fault(key(FIRST), "dnslb has too many open files")
        await asyncio.sleep(10)
        desk.balancer.doubt([key(FIRST)])
        await asyncio.sleep(0.1)
        assert served(desk) == [f"www.example.com. A 5: {REST}"]
        desk.balancer.record_fault(key(FIRST), "dnslb has too many open files")
        await asyncio.sleep(0.1)
        assert served(desk) == [f"www.example.com. A 5: {ALL}"]

    play(story)
