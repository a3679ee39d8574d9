"""``dnslb join`` and ``dnslb leave`` against a running server, over TCP with tokens, as clones use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dnslb_server import DNSLB, Server, eventually
from peers import free_port
from world import World, kill

from dnslb.admin import client
from dnslb.admin.remote import parse

ENTRYPOINT = Path(__file__).parent.parent / "scripts" / "clone" / "entrypoint"
POLICY = """\
pools:
  www:
    probe: {{exec: [/usr/bin/test, -e, "{up}/{{address}}"], interval: 200ms, fall: 2, rise: 2}}
    slowstart: 1h
    answers: 1
    ttl: 2s
    register: {{networks: [127.0.0.0/8, 10.0.0.0/8], limit: 3, lease: 5s}}
"""
TOKENS = "web register: for-joining\nalice operate: for-all\nbob read: for-reading\n"


class Clones(World):
    """Clones at 127.0.0.0/8, which are up, and the address at which they ask."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, policy=POLICY)
        self.port = free_port()
        for name, text in (("tokens", TOKENS), *(line.split(": ") for line in TOKENS.splitlines())):
            path = directory / name.partition(" ")[0]
            path.touch(mode=0o600)
            path.write_text(text)
        for host in ("127.0.0.1", "127.0.0.5", "10.0.0.1", "10.0.0.2"):
            (self.up / host).touch()

    @contextmanager
    def serving(self, *options: str) -> Iterator[Server]:
        admin = ("--admin", f"127.0.0.1:{self.port}", "--admin-token-file", str(self.directory / "tokens"))
        with self.server(*admin, *options) as server:
            yield server

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        token, server = str(self.directory / "web"), f"http://127.0.0.1:{self.port}"
        return os.environ | {"DNSLB_SERVER": server, "DNSLB_TOKEN_FILE": token, "PATH": path}

    def run(self, *words: str, token: str = "web") -> tuple[int, str]:
        """A command of a clone: exit status, and what it says."""
        given = self.environment | {"DNSLB_TOKEN_FILE": str(self.directory / token)}
        done = subprocess.run([*DNSLB, *words], env=given, capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, (done.stdout + done.stderr).strip()

    def ask_with(self, token: str, method: str, value: object) -> tuple[int, Any]:
        remote = parse(f"http://127.0.0.1:{self.port}", self.directory / token, None)
        return client.ask(remote, method, "/backends", value)

    def has(self, host: str) -> bool:
        """Whether it is handed out."""
        found = self.backends().get(host)
        return found is not None and found["handed_out"]


@pytest.fixture
def clones() -> Iterator[Clones]:
    # A socket's path is at most 107 octets long.
    with tempfile.TemporaryDirectory() as directory:
        yield Clones(Path(directory))


def test_a_clone_joins_is_shown_leaves_and_its_lease_ends(clones: Clones) -> None:
    with clones.serving() as server:
        status, said = clones.run("join", "www.example.test", "--weight", "3")
        assert status == 0, said
        assert said.startswith("www.example.test. 127.0.0.1: joined until ")
        eventually(lambda: clones.has("127.0.0.1"), "it is not handed out")
        one = clones.backends()["127.0.0.1"]
        assert (one["weight"], one["joined"]["by"]) == (3, "token web")
        assert 0 < one["share"] < 0.2, "slowstart"
        assert clones.backends()["192.0.2.1"]["joined"] is None
        assert "3 joined, " in clones.run("status", token="bob")[1]
        status, said = clones.run("leave", "www.example.test")
        assert status == 0, said
        assert said.startswith("www.example.test. 127.0.0.1: left; the last cached copy expires at ")
        assert "127.0.0.1" not in clones.backends()
        clones.run("join", "www.example.test")
        eventually(lambda: clones.has("127.0.0.1"), "it is not handed out")
        eventually(lambda: "127.0.0.1" not in clones.backends(), "its lease has not ended", 8)
        words = [change["what"] for change in clones.changes() if change["address"] == "127.0.0.1"]
        assert words == ["joined", "left", "joined", "left"]
        assert "www.example.test.: 127.0.0.1 has joined (weight 3) by token web" in server.log
        assert (clones.directory / "zones" / "example.test.zone").read_text().count("192.0.2") == 5


@pytest.mark.parametrize(("token", "value", "status", "fact"), [
    ("web", {"name": "www.example.test", "address": "127.0.0.5"}, 409, "127.0.0.1 asks for 127.0.0.5"),
    ("alice", {"name": "www.example.test", "address": "10.0.0.1"}, 200, None),
    ("alice", {"name": "www.example.test", "address": "192.0.2.99"}, 409, "192.0.2.99 is in no network"),
    ("web", {"name": "ns1.example.test"}, 404, "no pool is called ns1.example.test"),
    ("web", {"name": "..."}, 404, "no pool is called ..."),
    ("web", {"name": "www.example.test", "weight": -1}, 400, "'weight' is no number"),
    ("bob", {"name": "www.example.test"}, 403, "the token bob is for reading only"),
])  # fmt: skip
def test_who_may_not_join_is_told_why(
    clones: Clones, token: str, value: object, status: int, fact: str | None
) -> None:
    with clones.serving():
        found, answer = clones.ask_with(token, "POST", value)
        assert found == status, answer
        assert fact is None or fact in answer["error"]
        eventually(lambda: len(clones.backends()) == (5 if status == 200 else 4), "too few or many")


def test_who_has_joined_is_still_there_after_a_crash_and_not_when_the_policy_says_no_more(clones: Clones) -> None:
    with clones.serving() as server:
        clones.run("join", "www.example.test", "--weight", "2")
        eventually(lambda: '"weight": 2' in clones.saved(), "it is not saved")
        kill(server)
    with clones.serving():
        assert clones.backends()["127.0.0.1"]["weight"] == 2
        eventually(lambda: clones.has("127.0.0.1"), "it is not handed out")
        policy = clones.directory / "zones" / "example.test.yaml"
        policy.write_text("\n".join(line for line in policy.read_text().splitlines() if "register" not in line) + "\n")
        clones.ask("POST", "/reload")
        eventually(lambda: "127.0.0.1" not in clones.backends(), "it is still there")
        assert clones.ask_with("web", "POST", {"name": "www.example.test"})[0] == 409


def test_what_the_operator_writes_down_has_left_and_is_served_on(clones: Clones) -> None:
    with clones.serving():
        clones.run("join", "www.example.test")
        eventually(lambda: clones.has("127.0.0.1"), "it is not handed out")
        with (clones.directory / "zones" / "example.test.zone").open("a") as zone:
            zone.write("www A 127.0.0.1\n")
        clones.ask("POST", "/reload")
        assert clones.backends()["127.0.0.1"]["joined"] is None
        assert clones.has("127.0.0.1")
        assert clones.run("join", "www.example.test")[1].endswith("the zone file lists it: nothing to do")
        assert clones.run("leave", "www.example.test")[0] == 1


def test_orders_hold_for_who_has_joined(clones: Clones) -> None:
    with clones.serving():
        clones.run("join", "www.example.test")
        eventually(lambda: clones.has("127.0.0.1"), "it is not handed out")
        clones.ask("POST", "/orders", {"mode": "drain", "addresses": ["127.0.0.1"]})
        assert not clones.has("127.0.0.1")
        clones.run("join", "www.example.test", "--weight", "9")
        assert clones.backends()["127.0.0.1"]["mode"] == "drain"
        assert not clones.has("127.0.0.1")


@pytest.mark.long
def test_a_clone_that_stays_renews_over_an_outage_and_leaves_at_its_end(clones: Clones) -> None:
    command = [*DNSLB, "join", "www.example.test", "--stay"]
    with clones.serving() as server:
        stay = subprocess.Popen(
            command, env=clones.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        eventually(lambda: clones.has("127.0.0.1"), "it is not handed out")
        kill(server)
    with clones.serving():
        time.sleep(7)  # more than a lease
        assert clones.has("127.0.0.1")
        began = time.monotonic()
        stay.terminate()
        said, complaint = stay.communicate(timeout=20)
        assert stay.returncode == 0, complaint
        assert "left; the last cached copy expires" in said
        assert time.monotonic() - began > 1, "it has not waited for caches"
        assert "127.0.0.1" not in clones.backends()


def test_the_entry_point_of_a_container_ends_its_server_after_it_has_left(clones: Clones) -> None:
    with clones.serving():
        given = clones.environment | {"DNSLB_POOL": "www.example.test"}
        note = clones.directory / "ended"
        program = f"trap 'date +%s.%N > {note}; exit 7' TERM; while :; do sleep 0.1; done"
        entry = subprocess.Popen([ENTRYPOINT, "sh", "-c", program], env=given)
        eventually(lambda: clones.has("127.0.0.1"), "it is not handed out")
        entry.terminate()
        eventually(lambda: "127.0.0.1" not in clones.backends(), "it has not left")
        assert not note.exists(), "clients still come"
        assert entry.wait(20) == 7
        assert note.exists()


@pytest.mark.long
def test_ten_thousand_joins_keep_nobody_waiting(clones: Clones) -> None:
    """Of two thousand pools with five clones each, from one machine that may; and as many beyond the limit."""
    zone = clones.directory / "zones" / "example.test.zone"
    policy = clones.directory / "zones" / "example.test.yaml"
    zone.write_text(zone.read_text() + "".join(f"p{number} A 192.0.2.1\n" for number in range(2000)))
    pools = "".join(f"  p{number}: {{}}\n" for number in range(2000))
    policy.write_text(f"""\
defaults:
  probe: {{exec: [/usr/bin/test, -e, "{clones.up}/{{address}}"], interval: 60s}}
  register: {{networks: [10.0.0.0/8], limit: 5, lease: 1h}}
pools:
{pools}""")
    with clones.serving() as server:
        took = []
        for number in range(12_000):
            value = {"name": f"p{number // 6}.example.test", "address": f"10.0.0.{1 + number % 6}"}
            began = time.monotonic()
            status, answer = client.ask(clones.directory / "control", "POST", "/backends", value)
            took.append(time.monotonic() - began)
            assert status == (409 if number % 6 == 5 else 200), answer
        assert sorted(took)[len(took) * 99 // 100] < 0.5
        eventually(lambda: clones.saved().count('"since"') >= 10_000, "not all are saved", 30)
        assert len(json.loads(clones.saved())["registrations"]) == 10_000
        assert server.log.count("has joined") <= 10_000
