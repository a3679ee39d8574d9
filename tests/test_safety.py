"""What an order leaves of a pool: the rule ``min_ready``, and what is said of what is left."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from world import POLICY, World

from dnslb.admin import client
from dnslb.balance.capacity import capacity
from dnslb.balance.health import Health
from dnslb.balance.operator_order import Mode, Order, Scope
from dnslb.balance.pool import Address, Backend, Least, Pool, Probe, TcpCheck
from dnslb.cli import main
from dnslb.control.errors import Rejected
from dnslb.control.order import OrderRequest
from dnslb.dns import name
from dnslb.parent import amendment, concerned, safety
from dnslb.parent.balancer import Balancer

NOW = 1_000_000.0
OWNER = name.parse("www.example.test.", name.ROOT)
HOSTS = [ip_address(f"192.0.2.{number}") for number in range(1, 5)]
SIX = ip_address("2001:db8::1")
PROBE = Probe(TcpCheck(80))
DRAIN = Order(Mode.DRAIN, NOW - 10)


def balancer(least: Least, orders: Mapping[Scope, Order], down: str = "", weights: str = "1111") -> Balancer:
    """``down`` are the last digits of those that are."""
    backends = [Backend(host, weight=int(weight)) for host, weight in zip(HOSTS, weights, strict=True)]
    pool = Pool("www.example.test.", (*backends, Backend(SIX)), {4: 30, 6: 30}, PROBE, min_ready=least)
    made = Balancer({OWNER: pool}, lambda: NOW)
    made.verdicts.healths = {
        (PROBE, host): Health(up=str(host)[-1] not in down or host is SIX) for host in (*HOSTS, SIX)
    }
    made.orders = dict(orders)
    return made


def refusal(made: Balancer, wanted: OrderRequest) -> str:
    about = [one for one in concerned.concerned(made, wanted) if one is not None]
    after = amendment.amended(made.orders, wanted, about, NOW)
    try:
        list(safety.check(made, wanted, about, after, NOW))
    except Rejected as rejected:
        return rejected.fact
    return ""


def drain(*digits: int, at: float | None = None, until: float | None = None) -> OrderRequest:
    return OrderRequest(Mode.DRAIN, tuple(f"192.0.2.{digit}" for digit in digits), (), at, until)


def of(*digits: int) -> dict[Scope, Order]:
    return {Scope(None, HOSTS[digit - 1]): DRAIN for digit in digits}


WOULD = "it would leave www.example.test. A with "


@pytest.mark.parametrize(("least", "orders", "down", "wanted", "refused"), [
    (Least(1), {}, "", drain(1, 2, 3), ""),
    (Least(1), {}, "", drain(1, 2, 3, 4), "0 of 4 backends up and ready; its min_ready is 1"),
    (Least(2), of(1), "2", drain(3), "1 of 4 backends up and ready; its min_ready is 2"),
    (Least(2), of(1), "2", drain(2), ""),                           # it is down: nothing is lost
    (Least(2), of(1, 2, 3), "", drain(1), ""),                      # it is out already
    (Least(2), of(1, 2, 3), "", drain(4), "0 of 4 backends up and ready; its min_ready is 2"),
    (Least(), {}, "", drain(1, 2, 3, 4), ""),
    (Least(percent=50), {}, "", drain(1, 2), ""),
    (Least(percent=50), {}, "1", drain(2, 3), "1 of 4 backends up and ready (25% of the weight); its min_ready is 50%"),
    # A planned order counts when it begins, and while it stands.
    (Least(1), of(1, 2, 3), "", drain(4, at=NOW + 60), "0 of 4 backends up and ready; its min_ready is 1"),
    (Least(1), {Scope(None, host): Order(Mode.DRAIN, NOW - 10, until=NOW + 50) for host in HOSTS[:3]}, "",
     drain(4, at=NOW + 60), ""),
    (Least(1), {Scope(None, host): Order(Mode.DRAIN, NOW - 10, at=NOW + 50) for host in HOSTS[:3]}, "",
     drain(4), "0 of 4 backends up and ready; its min_ready is 1"),
    (Least(1), {Scope(None, host): Order(Mode.DRAIN, NOW - 10, at=NOW + 50) for host in HOSTS[:3]}, "",
     drain(4, until=NOW + 40), ""),
])  # fmt: skip
def test_what_would_leave_too_little_is_refused(
    least: Least, orders: dict[Scope, Order], down: str, wanted: OrderRequest, refused: str
) -> None:
    assert refusal(balancer(least, orders, down), wanted) == (f"{WOULD}{refused}" if refused else "")


def test_a_share_is_one_of_the_weight() -> None:
    assert refusal(balancer(Least(percent=50), {}, weights="3111"), drain(2, 3, 4)) == ""
    assert "(33% of the weight)" in refusal(balancer(Least(percent=50), {}, weights="4110"), drain(1))


def test_a_and_aaaa_are_held_apart() -> None:
    wanted = OrderRequest(Mode.MAINT, ("2001:db8::1",))
    assert refusal(balancer(Least(1), {}), wanted) == (
        "it would leave www.example.test. AAAA with 0 of 1 backends up and ready; its min_ready is 1"
    )


def test_who_has_not_passed_yet_does_not_count() -> None:
    made = balancer(Least(1), {})
    made.served[OWNER].judgement.awaited = {(PROBE, host) for host in HOSTS[1:]}
    assert refusal(made, drain(1)).startswith(f"{WOULD}0 of 4")


ORDERS = st.dictionaries(
    st.sampled_from(HOSTS).map(lambda host: Scope(None, host)),
    st.builds(Order, st.sampled_from([Mode.DRAIN, Mode.MAINT]), st.just(NOW - 10),
              st.none() | st.integers(1, 9).map(lambda after: NOW + after),
              st.none() | st.integers(10, 19).map(lambda after: NOW + after)),
)  # fmt: skip


@given(
    least=st.builds(Least, st.integers(0, 4)) | st.builds(Least, percent=st.integers(1, 100)),
    orders=ORDERS,
    down=st.text("1234", max_size=3),
    digits=st.sets(st.integers(1, 4), min_size=1),
    at=st.none() | st.integers(1, 9).map(lambda after: NOW + after),
)
def test_what_is_let_through_leaves_enough_at_any_time_or_takes_nothing(
    least: Least, orders: dict[Scope, Order], down: str, digits: set[int], at: float | None
) -> None:
    made = balancer(least, orders, down)
    wanted = drain(*digits, at=at)
    try:
        if refusal(made, wanted):
            return
    except Rejected:  # a planned order would end one that stands
        return
    about = [one for one in concerned.concerned(made, wanted) if one is not None]
    after = amendment.amended(orders, wanted, about, NOW)
    healths: dict[Address, Health] = {target: health for (_, target), health in made.verdicts.healths.items()}
    for step in range(25):
        now = NOW + step
        if at is None or now >= at:
            was, left = (capacity(made.pools[OWNER], 4, healths, each, now) for each in (orders, after))
            assert left.reaches(least) or left.backends >= was.backends


def test_an_operator_is_kept_from_taking_the_last_one_out(tmp_path: Path) -> None:
    def dnslb(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, [*words, "--control", str(tmp_path / "control")])
        return done.exit_code, done.output

    world = World(tmp_path, policy=f"{POLICY}    min_ready: 50%\n")
    with world.server():
        assert dnslb("drain", "192.0.2.1")[0] == 0
        status, told = dnslb("drain", "192.0.2.[23]")
        assert status == 1
        assert told == (
            "Error: it would leave www.example.test. A with 1 of 4 backends up and ready (25% of the weight);"
            " its min_ready is 50%; make others ready first, or give --force\n"
        )
        assert {one["mode"] for address, one in world.backends().items() if address != "192.0.2.1"} == {"ready"}
        assert world.ask("POST", "/orders", {"mode": "drain", "addresses": ["192.0.2.2"]})["left"] == [
            {"owner": "www.example.test.", "type": "A", "backends": 2, "of": 4, "percent": 50.0}
        ]
        status, told = dnslb("drain", "192.0.2.[23]", "--force")
        assert status == 0
        assert "left: www.example.test. A 1 of 4 backends up and ready, 25% of the weight\n" in told
        for value, remedy in ((1, "write true, or leave it out"), (True, None)):
            wanted = {"mode": "drain", "addresses": ["192.0.2.4"], "force": value}
            code, answer = client.ask(tmp_path / "control", "POST", "/orders", wanted)
            assert (code == 200) is (remedy is None)
            assert remedy is None or answer["remedy"] == remedy
