"""Backends join pools by themselves and leave them: what may, when it takes effect, and what is answered meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import virtual_time
from hypothesis import given
from hypothesis import strategies as st
from test_balancer import EPOCH, PASSED, PROBE, REFUSED, Desk, pool, unix_time
from transcript import wire

from dnslb.admin import join_body
from dnslb.admin.order_body import Malformed
from dnslb.balance.operator_order import Scope
from dnslb.balance.pool import JoinPolicy, Pool, TtlPolicy
from dnslb.balance.registration import Registration, joined, permitted, why_not
from dnslb.balance.selection import MOST_TURNS
from dnslb.control.change import Change
from dnslb.control.errors import Rejected
from dnslb.control.registration import JoinRequest
from dnslb.parent.registrations import Registrations

OWNER, NAME = "www.example.com.", wire("www.example.com.")
POLICY = JoinPolicy((ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")), limit=3, lease=60.0)
OPEN = replace(pool(), register=POLICY, slowstart=90.0, answers=1, ttl=TtlPolicy(min=5))


def wanted(host: str, weight: int = 1, source: str | None = None) -> JoinRequest:
    return JoinRequest(OWNER, ip_address(host), weight, "token web", None if source is None else ip_address(source))


class Scene:
    """A pool that is served, and who joins it."""

    def __init__(self, written: Pool = OPEN) -> None:
        self.written = written
        self.desk = Desk(written).start()
        self.told: list[Change] = []
        self.takes = True
        self.registrations = Registrations(self._apply, self.told.append, unix_time)

    def _apply(self, owners: set[str]) -> bool:
        if self.takes:
            assert owners == {OWNER}
            self.desk.balancer.replace(self.registrations.laid_over({NAME: self.written}))
        return self.takes

    def join(self, *hosts: str, **more: Any) -> None:
        for host in hosts:
            self.registrations.join(self.pool, wanted(host, **more))

    def leave(self, host: str) -> None:
        self.registrations.leave(self.pool, wanted(host))

    @property
    def pool(self) -> Pool:
        return self.desk.balancer.pools[NAME]

    @property
    def hosts(self) -> list[str]:
        """Who has joined, as the balancer knows."""
        return [str(backend.address) for backend in self.pool.backends if backend.joined is not None]

    @property
    def shares(self) -> dict[str, int]:
        served = self.desk.balancer.served[NAME].rrsets[4]
        return {str(share.address): share.weight for share in served.selection.shares}

    @property
    def said(self) -> list[str]:
        return [f"{change.address} {change.what} {change.reason}".rstrip() for change in self.told]


def play(story: Callable[[Scene], Coroutine[Any, Any, None]], written: Pool = OPEN) -> None:
    async def main() -> None:
        scene = Scene(written)
        await story(scene)
        scene.registrations.stop()

    virtual_time.run(main())


# Who may


@pytest.mark.parametrize(("host", "changes", "reason"), [
    ("10.0.0.1", {}, ""),
    ("10.0.0.1", {"register": None}, "nobody may join www.example.com.; add register: to its policy"),
    ("10.0.0.1", {"probe": None}, "nobody may join www.example.com.; add register: to its policy"),
    ("192.0.2.1", {}, "192.0.2.1 is in no network that may join www.example.com.; add one to "
                      "register: {networks: [...]}"),
    ("2001:db8::1", {}, "www.example.com. has no AAAA records; add one to the zone file, whose TTL then holds for all"),
])  # fmt: skip
def test_only_what_the_policy_says_may_join(host: str, changes: dict[str, Any], reason: str) -> None:
    assert why_not(replace(OPEN, **changes), ip_address(host)) == reason


def test_what_the_zone_file_lists_is_as_written_there() -> None:
    registered = {ip_address(host): Registration(9, EPOCH, EPOCH) for host in ("10.0.0.1", "192.0.2.11")}
    found = joined(OPEN, registered)
    assert [(str(one.address), one.weight, one.joined) for one in found.backends] == [
        ("192.0.2.11", 1, None), ("192.0.2.12", 1, None), ("192.0.2.13", 1, None), ("10.0.0.1", 9, EPOCH),
    ]  # fmt: skip
    assert joined(OPEN, {}) is OPEN


def test_a_lower_limit_keeps_who_joined_first() -> None:
    registered = {ip_address(f"10.0.0.{number}"): Registration(1, EPOCH, EPOCH) for number in (3, 1, 2)}
    kept = permitted(replace(OPEN, register=replace(POLICY, limit=2)), registered)
    assert list(map(str, kept)) == ["10.0.0.3", "10.0.0.1"]


@pytest.mark.parametrize(("source", "others", "may"), [
    ("10.0.0.1", False, True), ("10.0.0.2", False, False), ("10.0.0.2", True, True), (None, False, True),
])  # fmt: skip
def test_a_token_registers_its_own_address_unless_the_policy_says_otherwise(
    source: str | None, others: bool, may: bool
) -> None:
    async def story(scene: Scene) -> None:
        for act in (scene.registrations.join, scene.registrations.leave):
            if may:
                act(scene.pool, wanted("10.0.0.1", source=source))
            else:
                with pytest.raises(Rejected, match=r"10\.0\.0\.2 asks for 10\.0\.0\.1, which is not its own"):
                    act(scene.pool, wanted("10.0.0.1", source=source))

    play(story, replace(OPEN, register=replace(POLICY, others=others)))


# What happens


def test_who_joins_is_probed_first_and_then_gains_its_share_slowly() -> None:
    async def story(scene: Scene) -> None:
        scene.join("10.0.0.1")
        await asyncio.sleep(1)
        assert scene.hosts == ["10.0.0.1"]
        assert "10.0.0.1" not in scene.shares
        scene.desk.probe("10.0.0.1", PASSED)
        await asyncio.sleep(1)
        assert scene.shares == {"192.0.2.11": 10, "192.0.2.12": 10, "192.0.2.13": 10, "10.0.0.1": 1}
        for _ in range(3):
            await asyncio.sleep(30)
            scene.join("10.0.0.1")
        await asyncio.sleep(1)
        assert set(scene.shares.values()) == {1}
        scene.leave("10.0.0.1")
        await scene.registrations.settled()
        assert scene.hosts == []
        assert "10.0.0.1" not in scene.shares
        assert scene.said == ["10.0.0.1 joined", "10.0.0.1 left"]

    play(story)


def test_who_does_not_pass_is_never_handed_out() -> None:
    async def story(scene: Scene) -> None:
        scene.join("10.0.0.1")
        await asyncio.sleep(1)
        scene.desk.probe("10.0.0.1", REFUSED)
        await asyncio.sleep(1)
        assert len(scene.shares) == 3

    play(story)


def test_who_does_not_renew_leaves_when_the_lease_ends() -> None:
    async def story(scene: Scene) -> None:
        scene.join("10.0.0.1", "10.0.0.2")
        await asyncio.sleep(40)
        scene.join("10.0.0.1")
        await asyncio.sleep(22)
        assert scene.hosts == ["10.0.0.1"]
        await asyncio.sleep(40)
        assert scene.hosts == []
        assert scene.said[2:] == ["10.0.0.2 left its lease has ended", "10.0.0.1 left its lease has ended"]

    play(story)


def test_a_fleet_that_joins_together_is_published_together_and_no_more_than_the_limit() -> None:
    async def story(scene: Scene) -> None:
        scene.join("10.0.0.1", "10.0.0.2", "10.0.0.3")
        for number in range(4, 10_000):
            with pytest.raises(Rejected, match="3 backends have joined"):
                scene.join(str(ip_address("10.0.0.0") + number))
        scene.join("10.0.0.2", weight=7)  # a renewal is none more
        await scene.registrations.settled()
        assert [backend.weight for backend in scene.pool.backends[3:]] == [1, 7, 1]
        assert len(scene.desk.published) == 0, "nobody has passed yet"
        assert len(scene.told) == 3

    play(story)


def test_what_the_zone_file_lists_need_not_join_and_cannot_leave() -> None:
    async def story(scene: Scene) -> None:
        assert scene.registrations.join(scene.pool, wanted("192.0.2.11")) is None
        with pytest.raises(Rejected, match="the zone file lists"):
            scene.leave("192.0.2.11")
        scene.leave("192.0.2.99")  # nobody knows it: it is not there, as was wanted
        assert not scene.registrations.standing

    play(story, replace(OPEN, register=replace(POLICY, networks=(ip_network("192.0.2.0/24"),))))


def test_while_a_generation_begins_nothing_takes_effect_and_nothing_is_lost() -> None:
    async def story(scene: Scene) -> None:
        scene.takes = False
        scene.join("10.0.0.1")
        await asyncio.sleep(5)
        assert scene.hosts == []
        scene.takes = True
        await scene.registrations.settled()
        assert scene.hosts == ["10.0.0.1"]

    play(story)


@pytest.mark.parametrize(("after", "reason"), [
    ([], "the policy of www.example.com. does not permit it any more"),
    ([replace(OPEN, register=None)], "the policy of www.example.com. does not permit it any more"),
    ([replace(OPEN, register=replace(POLICY, networks=(ip_network("10.9.0.0/16"),)))],
     "10.0.0.1 is in no network that may join www.example.com."),
    ([pool(hosts=("192.0.2.11", "10.0.0.1"))], "the policy of www.example.com. does not permit it any more"),
    ([replace(pool(hosts=("192.0.2.11", "10.0.0.1")), register=POLICY)], "the zone file lists it now"),
    ([OPEN], None),
])  # fmt: skip
def test_after_a_reload_who_may_not_stay_leaves(after: list[Pool], reason: str | None) -> None:
    async def story(scene: Scene) -> None:
        scene.join("10.0.0.1")
        scene.registrations.keep_permitted(after)
        assert scene.said[1:] == ([] if reason is None else [f"10.0.0.1 left {reason}"])

    play(story)


def test_who_could_not_renew_while_the_server_was_gone_has_one_more_lease() -> None:
    async def story(scene: Scene) -> None:
        known = {
            Scope(OWNER, ip_address("10.0.0.1")): Registration(2, EPOCH - 900, EPOCH - 300, "token web"),
            Scope("gone.example.com.", ip_address("10.0.0.2")): Registration(1, EPOCH - 900, EPOCH + 300),
        }
        scene.registrations.recall(known, [scene.written])
        await asyncio.sleep(58)
        assert scene.hosts == ["10.0.0.1"]
        assert list(scene.registrations.kept().values()) == [Registration(2, EPOCH - 900, EPOCH + 60, "token web")]
        await asyncio.sleep(4)
        assert scene.hosts == []

    play(story)


STEPS = st.one_of(
    st.tuples(st.just("join"), st.integers(1, 5), st.integers(0, 256)),
    st.tuples(st.just("leave"), st.integers(1, 5), st.just(0)),
    st.tuples(st.just("pass"), st.integers(1, 8), st.integers(1, 3)),
    st.tuples(st.just("fail"), st.integers(1, 8), st.integers(1, 3)),
    st.tuples(st.just("wait"), st.integers(1, 90), st.just(0)),
)


@given(steps=st.lists(STEPS, max_size=25))
def test_no_sequence_of_joins_leases_and_verdicts_makes_an_answer_that_must_not_be(
    steps: list[tuple[str, int, int]],
) -> None:
    """None is empty, no weight or TTL is outside its limits, and nobody is answered who is neither written nor here."""

    async def story(scene: Scene) -> None:
        written = {str(backend.address) for backend in OPEN.backends}
        for what, which, number in steps:
            host = f"10.0.0.{which}" if which < 6 else f"192.0.2.{which + 5}"
            match what:
                case "join":
                    try:
                        scene.join(host, weight=number)
                    except Rejected:
                        assert len(scene.registrations.of(OWNER)) == POLICY.limit
                case "leave":
                    scene.leave(host)
                case "wait":
                    await asyncio.sleep(which)
                case _ if (PROBE, ip_address(host)) in scene.desk.balancer.served.probed:
                    scene.desk.probe(host, *[PASSED if what == "pass" else REFUSED] * number)
            await asyncio.sleep(0.2)
            rrset = scene.desk.balancer.served[NAME].rrsets[4]
            shares, registered = scene.shares, set(map(str, scene.registrations.of(OWNER)))
            assert shares
            assert shares.keys() <= written | registered
            assert all(weight >= 1 for weight in shares.values())
            assert sum(shares.values()) <= MOST_TURNS
            assert 1 <= rrset.ttl.seconds <= 30
            assert len(registered) <= POLICY.limit

    play(story)


# The request


@pytest.mark.parametrize(("body", "source", "expected"), [
    (b'{"name": "www"}', "10.0.0.1", JoinRequest("www", ip_address("10.0.0.1"))),
    (b'{"name": "www", "address": "10.0.0.2", "weight": 0}', "10.0.0.1",
     JoinRequest("www", ip_address("10.0.0.2"), 0)),
    (b'{"name": "www"}', None, "'address' is missing"),
    (b'{"name": "www", "address": "0.0.0.0"}', None, "'address' is no address of one host"),
    (b'{"name": "www", "address": "fe80::1%eth0"}', None, "'address' is no address of one host"),
    (b'{"name": "www", "address": 7}', None, "'address' is no address of one host"),
    (b'{"name": "", "address": "10.0.0.2"}', None, "'name' is missing"),
    (b'{"name": "www", "weight": 257}', "10.0.0.1", "'weight' is no number"),
    (b'{"name": "www", "weight": true}', "10.0.0.1", "'weight' is no number"),
    (b'{"name": "www", "weight": NaN}', "10.0.0.1", "'weight' is no number"),
    (b'{"name": "www", "wait": 1}', "10.0.0.1", "'wait' is unknown"),
    (b"[" * 50_000, "10.0.0.1", "the body is no JSON"),
    (b"[]", "10.0.0.1", "the body is no object"),
])  # fmt: skip
def test_a_request_to_join(body: bytes, source: str | None, expected: JoinRequest | str) -> None:
    address = None if source is None else ip_address(source)
    if isinstance(expected, JoinRequest):
        assert join_body.parse(body, address) == expected
    else:
        with pytest.raises(Malformed, match=expected):
            join_body.parse(body, address)
