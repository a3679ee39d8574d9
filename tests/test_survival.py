"""What a server knows and was told, it still knows after it was killed and started again."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from dnslb_server import DNSLB, eventually, launched
from peers import free_port
from world import World, kill


def test_all_of_it_survives_a_kill(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.server() as server:
        (world.up / "192.0.2.2").unlink()
        eventually(lambda: world.backends()["192.0.2.2"]["up"] is False, "it is not noticed")
        (world.up / "192.0.2.3").unlink()
        eventually(lambda: world.backends()["192.0.2.3"]["up"] is False, "it is not noticed")
        (world.up / "192.0.2.3").touch()
        eventually(lambda: world.backends()["192.0.2.3"]["up"] is True, "its return is not noticed")
        world.ask("POST", "/orders", {"mode": "drain", "addresses": ["192.0.2.1"], "reason": "new kernel"})
        before, past = world.backends(), world.changes()
        eventually(lambda: '"what": "up"' in world.saved(), "the history is not saved")
        kill(server)
    time.sleep(0.5)
    with world.server():
        after = world.backends()
        for address, backend in before.items():
            for key in ("up", "since", "mode", "order"):
                assert after[address][key] == backend[key], (address, key)
        assert world.changes() == past
        # A slow start goes on from where it was: not all of the weight, and not from the beginning.
        assert 0 < after["192.0.2.3"]["share"] < 0.4
        (world.up / "192.0.2.2").touch()
        eventually(lambda: world.history()[-1] == ("192.0.2.2", "up"), "its return is not in the history")


def test_what_died_while_nobody_looked_is_down_since_it_was_found(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.server() as server:
        eventually(lambda: "192.0.2.2" in world.saved(), "nothing is saved")
        kill(server)
    (world.up / "192.0.2.2").unlink()
    back = time.time()
    with world.server():
        backend = world.backends()["192.0.2.2"]
        assert backend["up"] is False
        assert back < backend["since"] < time.time()
        assert world.history() == [("192.0.2.2", "down")]


def test_a_server_that_is_killed_while_it_starts_keeps_the_orders(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.server() as server:
        world.ask("POST", "/orders", {"mode": "drain", "addresses": ["192.0.2.1"]})
        kill(server)
    saved = world.saved()
    # The first round takes longer than changes wait to be saved.
    slow = 'pools: {www: {probe: {exec: [/bin/sleep, "4"], timeout: 30s, interval: 30s}}}\n'
    (tmp_path / "zones" / "example.test.yaml").write_text(slow)
    kept = ("--state", str(tmp_path / "state"), "--control", str(tmp_path / "control"))
    command = [*DNSLB, "serve", str(tmp_path / "zones"), *kept, "--listen", f"127.0.0.1:{free_port()}"]
    with launched(command, tmp_path) as server:
        time.sleep(3)
        kill(server)
    # The verdicts of a probe that is no more are gone.
    assert json.loads(world.saved())["orders"] == json.loads(saved)["orders"]


@pytest.mark.long
def test_an_order_that_cannot_be_saved_says_so_and_is_saved_when_it_can(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.server() as server:
        world.ask("POST", "/orders", {"mode": "ready", "addresses": ["192.0.2.1"]})
        state = tmp_path / "state"
        # To root nothing is forbidden, but a directory is no file for anybody.
        (state / "state.json.new" / "in-the-way").mkdir(parents=True)
        for _ in range(2):
            found = world.ask("POST", "/orders", {"mode": "drain", "addresses": ["192.0.2.1"]})
            assert found["warnings"] == [
                f"{state}/state.json cannot be written: is a directory; orders, verdicts and history would be lost now"
            ]
        drain = [*DNSLB, "drain", "--control", str(tmp_path / "control"), "192.0.2.1"]
        done = subprocess.run(drain, capture_output=True, text=True, timeout=20, check=True)
        assert done.stderr == f"{found['warnings'][0]}\n"
        assert done.stdout.startswith("www.example.test. A 192.0.2.1: drain; the last cached copy expires at ")
        assert world.backends()["192.0.2.1"]["mode"] == "drain"
        assert server.log.count("cannot be written") == 1
        (state / "state.json.new" / "in-the-way").rmdir()
        (state / "state.json.new").rmdir()
        eventually(lambda: '"mode": "drain"' in world.saved(), "it is not tried again", 15)
        eventually(lambda: "state.json is written again" in server.log, "nothing is said of it")


def test_what_was_kept_is_taken_up_with_the_first_pool(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.server():
        world.ask("POST", "/orders", {"mode": "drain", "addresses": ["192.0.2.1"]})
    policy = tmp_path / "zones" / "example.test.yaml"
    pools = policy.read_text()
    policy.unlink()
    with world.server("--no-watch"):
        # Without its policy the name is rotated, and the order stands all the same.
        assert [pool["rotated"] for pool in world.ask("GET", "/status")["pools"]] == [True]
        assert world.backends()["192.0.2.1"]["mode"] == "drain"
        policy.write_text(pools)
        world.ask("POST", "/reload")
        assert world.backends()["192.0.2.1"]["mode"] == "drain"
        assert world.history() == [("192.0.2.1", "drain")]


def test_a_damaged_state_is_set_aside_and_the_server_starts(tmp_path: Path) -> None:
    world = World(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.json").write_text('{"version": 1, "orders": [')
    with world.server() as server:
        assert world.history() == []
        assert "the state is damaged: it is no JSON" in server.log
        assert (tmp_path / "state" / "state.json.damaged-1").exists()
