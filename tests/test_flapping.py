"""Backends that come and go, that return by a word only, and pools with too few left: on a real server."""

from __future__ import annotations

from pathlib import Path

import dns.message
import dns.query
import pytest
from click.testing import CliRunner
from dnslb_server import Server, eventually
from world import World, kill

from dnslb.balance.operator_order import Mode, Order, Scope
from dnslb.cli import main
from dnslb.parent import amendment

POLICY = """\
pools:
  www:
    probe: {{exec: [/usr/bin/test, -e, "{up}/{{address}}"], interval: 100ms, fall: 3, rise: 1}}
"""


def dnslb(world: World, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, [*words, "--control", str(world.directory / "control")])
    return done.exit_code, done.output


def handed_out(world: World) -> set[str]:
    """The last numbers."""
    return {address[-1] for address, one in world.backends().items() if one["handed_out"]}


def leave(world: World, *digits: int) -> None:
    for digit in digits:
        (world.up / f"192.0.2.{digit}").unlink()


def come(world: World, *digits: int) -> None:
    for digit in digits:
        (world.up / f"192.0.2.{digit}").touch()


def answered(server: Server) -> dns.message.Message:
    port = int(server.said.split("-p ")[1].split()[0])
    return dns.query.udp(dns.message.make_query("www.example.test.", "A", use_edns=0), "127.0.0.1", 2, port)


def test_who_went_down_returns_by_a_word_only_and_also_after_a_crash(tmp_path: Path) -> None:
    world = World(tmp_path, policy=f"{POLICY}    on_return: manual\n")
    with world.server() as server:
        leave(world, 1)
        eventually(lambda: world.backends()["192.0.2.1"]["mode"] == "drain", "not held")
        come(world, 1)
        eventually(lambda: world.backends()["192.0.2.1"]["up"] is True, "not up")
        assert handed_out(world) == set("234")
        assert "drain (on_return: manual; was down: exit status 1) by dnslb" in dnslb(world, "status")[1]
        assert ("192.0.2.1", "drain") in world.history()
        assert "192.0.2.1 drain (on_return: manual; was down: exit status 1) by dnslb" in server.log
        eventually(lambda: "on_return" in world.saved(), "not saved")
        kill(server)
    with world.server():
        assert handed_out(world) == set("234")
        assert dnslb(world, "ready", "192.0.2.1")[0] == 0
        assert handed_out(world) == set("1234")


def test_when_all_are_kept_out_those_that_are_up_are_handed_out(tmp_path: Path) -> None:
    world = World(tmp_path, policy=f"{POLICY}    on_return: manual\n")
    with world.server():
        leave(world, 1, 2, 3, 4)
        eventually(lambda: {one["mode"] for one in world.backends().values()} == {"drain"}, "not held")
        come(world, 2)
        eventually(lambda: handed_out(world) == {"2"}, "not handed out")


OWN = Scope("www.example.test.", None)  # type: ignore[arg-type]  # of no account here


@pytest.mark.parametrize(("standing", "is_replaced"), [
    (None, True),
    (Order(Mode.DRAIN, 1.0), False),
    (Order(Mode.MAINT, 1.0), False),
    (Order(Mode.DRAIN, 1.0, until=20.0), True),  # it would return by itself
    (Order(Mode.DRAIN, 1.0, at=20.0), True),     # not out yet
    (Order(Mode.READY, 1.0), True),
])  # fmt: skip
def test_an_order_of_the_operator_that_keeps_it_out_stays_as_it_is(standing: Order | None, is_replaced: bool) -> None:
    orders = {} if standing is None else {OWN: standing}
    found = amendment.held(orders, {OWN: "refused"}, 10.0)[OWN]
    assert (found != standing) is is_replaced
    if is_replaced:
        assert found == Order(Mode.DRAIN, 10.0, reason="on_return: manual; was down: refused", by="dnslb")


def test_with_too_few_up_all_are_handed_out_and_everybody_is_told(tmp_path: Path) -> None:
    world = World(tmp_path, policy=f"{POLICY}    fail_open_below: 50%\n")
    with world.server() as server:
        leave(world, 1, 2)
        eventually(lambda: handed_out(world) == set("34"), "two are enough")
        leave(world, 3)
        eventually(lambda: handed_out(world) == set("1234"), "one is not")
        status, told = dnslb(world, "status")
        assert status == 1
        assert "FAILING OPEN: only 1 of 4 up, all are handed out" in told
        assert "too few backends are up: 192.0.2." in told
        assert "EDE 0 (Other): only 1 of 4 up; all 4 are handed out" in str(answered(server))
        assert "www.example.test A: only 1 of 4 up: all 4 are handed out (fail open)" in server.log
        come(world, 3)
        eventually(lambda: handed_out(world) == set("34"), "not back to normal")


def test_who_fails_every_second_probe_is_taken_out(tmp_path: Path) -> None:
    """The probe itself makes it so: it takes the file away, or puts it back."""
    flips = """[/bin/sh, -c, 'test "$1" != 192.0.2.1 || rm "$0/$1" 2>/dev/null || {{ touch "$0/$1"; exit 1; }}',"""
    policy = f"""\
pools:
  www:
    probe: {{{{exec: {flips} "{{up}}", "{{{{address}}}}"], interval: 100ms, fall: 3, rise: 1, unsteady: 30% of 20}}}}
"""
    world = World(tmp_path, policy=policy)
    with world.server() as server:
        eventually(lambda: handed_out(world) == set("234"), "it is up still")
        assert "192.0.2.1 down (unsteady: 6 of the last 20 probes failed; exit status 1); serving 3 of 4" in server.log
        assert "unsteady: " in dnslb(world, "status")[1]
        assert [what for address, what in world.history() if address == "192.0.2.1"] == ["down"]
