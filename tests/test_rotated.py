"""Names without a policy: they are rotated, shown as that, and orders work on them."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import Any

import dns.message
import dns.query
import pytest
from click.testing import CliRunner
from dnslb_server import Server, eventually
from hypothesis import given
from hypothesis import strategies as st
from world import POLICY, World, kill

from dnslb.answer.served import Before, Facts, work_out
from dnslb.answer.snapshot import Snapshot
from dnslb.balance.operator_order import Mode
from dnslb.balance.pool import Pool
from dnslb.balance.rotation import RRsetOrder
from dnslb.cli import main
from dnslb.config.rotated import Rotated
from dnslb.control.errors import Rejected, Unknown
from dnslb.control.order import OrderRequest
from dnslb.dns import master, name, rrtype
from dnslb.dns.zone import Zone
from dnslb.parent import concerned
from dnslb.parent.balancer import Balancer
from dnslb.parent.telling import rotated_status

ZONE = """\
$TTL 300
@       SOA   ns1 hostmaster 1 3600 900 1209600 60
        NS    ns1
ns1     A     192.0.2.53
www     A     192.0.2.1
        A     192.0.2.2
api     A     192.0.2.1
        A     192.0.2.2
        A     192.0.2.3
        AAAA  2001:db8::1
one     A     192.0.2.1
alone   A     192.0.2.7
*.wild  A     192.0.2.4
        A     192.0.2.5
text    TXT   "no address"
alias   CNAME api
sub     NS    ns.sub
ns.sub  A     192.0.2.1
        A     192.0.2.2
gone    DNAME elsewhere.example.
x.gone  A     192.0.2.1
        A     192.0.2.2
"""
APEX = name.parse("example.test.", name.ROOT)


def load(text: str) -> Zone:
    zone, problems = master.load("zone", APEX, lambda _: text.encode())
    assert zone is not None, problems
    return zone


def named(text: str) -> bytes:
    return name.parse(text, APEX)


ZONES = {APEX: load(ZONE)}
WWW = Pool("www.example.test.", (), {4: 300})
ROTATED = Rotated(ZONES, {named("www"): WWW})


def test_those_with_several_addresses_and_no_policy_are_found() -> None:
    for _ in range(2):  # looked for, and remembered
        found = [name.text(owner) for owner in ROTATED.several() if owner is not None]
        assert found == ["api.example.test.", "*.wild.example.test."]


@pytest.mark.parametrize(("owner", "addresses"), [
    ("api", "192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::1"),
    ("one", "192.0.2.1"),
    ("*.wild", "192.0.2.4 192.0.2.5"),
    ("www", None),       # it has a policy
    ("text", None),
    ("alias", None),
    ("nope", None),
    ("ns.sub", None),    # glue
    ("x.gone", None),    # hidden
])  # fmt: skip
def test_a_pool_is_made_of_a_name_with_addresses(owner: str, addresses: str | None) -> None:
    pool = ROTATED.pool(named(owner))
    found = None if pool is None else " ".join(str(backend.address) for backend in pool.backends)
    assert found == addresses


@given(st.sampled_from(RRsetOrder), st.sampled_from(["api", "one", "*.wild"]), st.sampled_from([4, 6]))
def test_such_a_pool_serves_what_the_zone_says(order: RRsetOrder, owner: str, version: int) -> None:
    """Whoever is included in the balancer for an order is served as before when it is over."""
    pool = Rotated(ZONES, {}, order).pool(named(owner))
    assert pool is not None
    if version in pool.zone_ttls:
        serving = work_out(pool, version, Facts(0.0), Before()).serving
        snapshot = Snapshot(ZONES, order, Random(1))
        kind = rrtype.ADDRESS_TYPES[version].to_bytes(2) + b"\0\1"
        plain = snapshot.plain(named(owner), kind).answer[0].rrset
        assert (serving.rrset.ttl, set(serving.rrset.rdatas)) == (plain.ttl, set(plain.rdatas))
        assert (serving.rotation.order, serving.rotation.answers) == (order, None)


def meant(*words: str, mode: Mode = Mode.DRAIN) -> list[str]:
    names = tuple(word for word in words if word[0] not in "0123456789")
    addresses = tuple(word for word in words if word[0] in "0123456789")
    wanted = OrderRequest(mode, addresses, names)
    found = concerned.concerned(Balancer({}), wanted, Rotated(ZONES))
    return [f"{name.text(one.owner).split('.')[0]} {one.address}" for one in found if one is not None]


@pytest.mark.parametrize(("words", "found"), [
    (("192.0.2.1",), ["www 192.0.2.1", "api 192.0.2.1"]),   # not that of a name which has no other
    (("192.0.2.7",), ["alone 192.0.2.7"]),                  # unless nobody else has it
    (("one.example.test", "192.0.2.1"), ["one 192.0.2.1"]),
    (("API.example.test", "192.0.2.[12]"), ["api 192.0.2.1", "api 192.0.2.2"]),
    (("*.example.test", "192.0.2.3"), ["api 192.0.2.3"]),
    (("192.0.2.*",), ["www 192.0.2.1", "www 192.0.2.2", "api 192.0.2.1", "api 192.0.2.2", "api 192.0.2.3",
                      "* 192.0.2.4", "* 192.0.2.5"]),
])  # fmt: skip
def test_an_order_means(words: tuple[str, ...], found: list[str]) -> None:
    assert meant(*words) == found


def test_ready_for_a_pattern_makes_nothing_of_names_that_no_order_concerns() -> None:
    with pytest.raises(Unknown):
        meant("192.0.2.*", mode=Mode.READY)
    assert meant("192.0.2.3", mode=Mode.READY) == ["api 192.0.2.3"]


@pytest.mark.parametrize(("words", "text"), [
    (("192.0.2.99",), "192.0.2.99 is no address of any name that is served here; see `dnslb status` for the addresses"),
    (("ap", "192.0.2.1"), "no pool is called ap; did you mean api.example.test.?"),
    (("one.example.test", "192.0.2.2"),
     "192.0.2.2 is no backend of one.example.test.; see `dnslb status` for the addresses"),
])  # fmt: skip
def test_what_is_nowhere_is_said_with_a_remedy(words: tuple[str, ...], text: str) -> None:
    with pytest.raises(Unknown) as caught:
        meant(*words)
    assert str(caught.value) == text


def test_a_server_without_any_says_how_to_have_a_pool() -> None:
    with pytest.raises(Unknown) as caught:
        list(concerned.matching({}, "www", Rotated({APEX: load(ZONE.split("www", maxsplit=1)[0])})))
    assert caught.value.remedy == (
        "there are none: list several A or AAAA records of a name in its zone file, and it is one"
    )


def many(names: int) -> Rotated:
    lines = (f"h{number} A 192.0.2.1\nh{number} A 192.0.2.2\n" for number in range(names))
    return Rotated({APEX: load(ZONE.split("www", maxsplit=1)[0] + "".join(lines))})


def test_of_very_many_names_some_are_listed_and_an_order_for_all_is_refused() -> None:
    rotated = many(12_000)
    listing = rotated_status.Listing(rotated, {})
    assert sum(owner is not None for owner in listing.owners()) == 1000
    assert [(one.zone, one.names) for one in listing.unlisted() if one is not None] == [("example.test.", 11_000)]
    balancer = Balancer({})
    with pytest.raises(Rejected, match="the order concerns more than 10,000 names without a policy; give names"):
        list(concerned.concerned(balancer, OrderRequest(Mode.DRAIN, ("192.0.2.1",)), rotated))
    some = concerned.concerned(balancer, OrderRequest(Mode.DRAIN, ("192.0.2.1",), ("h1*",)), rotated)
    assert sum(one is not None for one in some) == 1 + 10 + 100 + 1000 + 2000
    for pattern in ("h11999.example.test", "h1199*"):
        assert any(concerned.matching({}, pattern, rotated))


def test_no_step_of_the_search_takes_long() -> None:
    rotated, longest = many(20_000), 0.0

    def steps() -> Iterator[Any]:
        yield from rotated.holding([ip_address("192.0.2.99")])
        yield from rotated.several()
        yield from concerned.matching({}, "*9.example.test", rotated)

    began = time.process_time()
    for _ in steps():
        now = time.process_time()
        longest, began = max(longest, now - began), now
    assert longest < 0.05  # seconds; it takes 0.001


# On a real server.


def dnslb(world: World, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, [*words, "--control", str(world.directory / "control")])
    return done.exit_code, done.output


def answered(server: Server, owner: str = "api") -> tuple[int, list[str]]:
    """TTL and last numbers."""
    port = int(server.said.split("-p ")[1].split()[0])
    reply = dns.query.udp(dns.message.make_query(f"{owner}.example.test.", "A"), "127.0.0.1", 2, port)
    return reply.answer[0].ttl, sorted(str(one)[-1] for one in reply.answer[0])


def test_a_server_without_any_policy_obeys_and_remembers(tmp_path: Path) -> None:
    world = World(tmp_path, zone=ZONE)
    (tmp_path / "zones" / "example.test.yaml").unlink()
    with world.server() as server:
        assert not (tmp_path / "state").exists()
        status, told = dnslb(world, "status")
        assert status == 0
        assert "1 zone, 0 pools and 3 names without a policy shown" in told
        assert "api.example.test. A  ttl 300 (zone file's TTL; rotated, not probed: no policy names it)" in told
        assert 'dnslb_zone_rotated_names{zone="example.test."} 3\n' in metrics(tmp_path)
        assert answered(server) == (300, ["1", "2", "3"])
        effect = world.ask("POST", "/orders/effect", {"mode": "drain", "addresses": ["192.0.2.1"]})["rrsets"]
        assert [(one["owner"], one["before"], one["after"]) for one in effect] == [
            ("www.example.test.", 2, 1), ("api.example.test.", 3, 2),
        ]
        assert all(305 > one["expires"] - time.time() > 295 for one in effect)
        status, told = dnslb(world, "drain", "192.0.2.1", "--reason", "new kernel")
        assert status == 0
        lines = told.splitlines()
        assert [line.partition(":")[0] for line in lines[:2]] == [
            "www.example.test. A 192.0.2.1", "api.example.test. A 192.0.2.1",
        ]
        assert ", in 5 min" in lines[0]
        assert lines[2:] == [
            "left: www.example.test. A 1 of 2 backends up and ready, 50% of the weight",
            "left: api.example.test. A 2 of 3 backends up and ready, 67% of the weight",
        ]
        assert answered(server) == (5, ["2", "3"])
        assert answered(server, "one") == (300, ["1"])
        assert "drain (new kernel)" in dnslb(world, "status", "api.example.test")[1]
        assert ("192.0.2.1", "drain") in world.history()
        world.configure("order: cyclic\n")
        assert dnslb(world, "reload")[0] == 0
        assert answered(server) == (5, ["2", "3"])
        kill(server)
    with world.server() as server:
        assert answered(server) == (5, ["2", "3"])
        assert dnslb(world, "ready", "192.0.2.1")[0] == 0
        assert answered(server) == (5, ["1", "2", "3"])
        assert dnslb(world, "reload")[0] == 0
        assert answered(server) == (300, ["1", "2", "3"])
        # The only address of a name: there is nothing else to hand out.
        status, told = dnslb(world, "drain", "one.example.test", "192.0.2.1")
        assert "still handed out: no other address of the pool is ready" in told
        assert answered(server, "one") == (300, ["1"])


def metrics(directory: Path) -> str:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(directory / "control"))
    connection.request("GET", "/metrics")
    return connection.getresponse().read().decode()


def test_a_pool_with_a_policy_goes_on_and_a_reload_meanwhile_loses_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, zone=ZONE, policy=POLICY)
    with world.server() as server:
        dnslb(world, "maint", "api.example.test", "192.0.2.2")
        assert answered(server) == (5, ["1", "3"])
        pools = world.ask("GET", "/status")["pools"]
        assert [(pool["owner"], pool["rotated"]) for pool in pools] == [
            ("www.example.test.", False), ("api.example.test.", True), ("*.wild.example.test.", True),
        ]
        # A policy takes the name over, with the order that stands.
        policy = tmp_path / "zones" / "example.test.yaml"
        policy.write_text(policy.read_text() + "  api: {}\n")
        assert dnslb(world, "reload")[0] == 0
        assert answered(server) == (5, ["1", "3"])
        assert [pool["rotated"] for pool in world.ask("GET", "/status")["pools"]] == [False, False, True]
        eventually(lambda: dnslb(world, "ready", "*")[0] == 0, "not ready")
        assert answered(server)[1] == ["1", "2", "3"]
