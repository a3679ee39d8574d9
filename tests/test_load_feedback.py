"""Load feedback over real sockets: agents and pages that behave well or badly, HAProxy beside us, a whole server."""

from __future__ import annotations

import asyncio
import csv
import io
import socket
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import backends
import pytest
from agents import Agents, agents
from backends import Behaviour
from dnslb_server import eventually
from peers import free_port, running
from programs import program
from scrape import fetch, value
from world import World

from dnslb.balance.health import Outcome
from dnslb.balance.pool import AgentCheck, Gauge, HttpCheck
from dnslb.probe import probe

TIMEOUT = 0.3  # seconds, where the other end will let it pass
AMPLE = 10.0   # seconds, where it will not
HOMES = [f"127.0.1.{number}" for number in (11, 12, 13, 14)]


def ask(check: AgentCheck | HttpCheck, behaviour: Behaviour, timeout: float = TIMEOUT) -> Outcome:
    async def main() -> Outcome:
        async with backends.listening(behaviour) as port:
            return await probe(replace(check, port=port), IPv4Address(backends.HOME), None, timeout)

    return asyncio.run(main())


def saying(octets: bytes, holds: bool = False) -> Behaviour:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(octets)
        if holds:
            await asyncio.sleep(3600)

    return say


async def flooding(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"75% " * 4096)
        await writer.drain()


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"7")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(("behaviour", "reason", "load"), [
    (saying(b"75%\n"),                  "75%",                                    0.25),
    (saying(b"75% up\r\n", holds=True), "75% up",                                 0.25),
    (saying(b"75%"),                    "75%",                                    0.25),
    (saying(b"75%\n0%\ndown\n"),        "75%",                                    0.25),
    (saying(b"75%", holds=True),        "no line within 0.3 s",                   None),
    (saying(b""),                       "closed the connection without a line",   None),
    (saying(b"\n"),                     "says '', which no agent should",         None),
    (saying(b"HTTP/1.1 200 OK\r\n"),    "says 'HTTP/1.1 200 OK', which no agent should", None),
    (saying(b"\x1b[2J\0\xff\n"),        "says '\ufffd[2J\ufffdÿ', which no agent should", None),
    (backends.silent,                   "no line within 0.3 s",                   None),
    (dripping,                          "no line within 0.3 s",                   None),
    (flooding,                          "a line of more than 1024 octets",        None),
])  # fmt: skip
def test_an_agent_has_a_load_or_a_reason(behaviour: Behaviour, reason: str, load: float | None) -> None:
    outcome = ask(AgentCheck(0), behaviour)
    assert (outcome.reason, outcome.ok) == (reason, load is not None)
    assert outcome.took < TIMEOUT + 2
    assert (outcome.reading and outcome.reading.load) == load


def page(*lines: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n\r\n" + b"\n".join(lines)


OK = b"HTTP/1.1 200 OK\r\nX-Load: 42%\r\nContent-Length: 17\r\n\r\n{\"a\": {\"b\": 0.5}}"
ILL = OK.replace(b"200 OK", b"503 Ill")
HEADER = HttpCheck(0, gauge=Gauge("header", "x-load"))
JSON = HttpCheck(0, gauge=Gauge("json", "a.b"))
METRIC = HttpCheck(0, gauge=Gauge("prometheus", "node_load1", 4.0))


@pytest.mark.parametrize(("check", "behaviour", "reason", "said"), [
    (HEADER, backends.answering(OK),                    "status 200",                      0.42),
    (HEADER, backends.answering(ILL),                   "status 503, expected 200-299",    0.42),
    (HEADER, backends.holding(OK[:-3]),                 "status 200",                      0.42),
    (JSON,   backends.answering(OK),                    "status 200",                      0.5),
    (replace(JSON, body="0.5"), backends.answering(OK), "status 200",                      0.5),
    (replace(JSON, body="a"), backends.answering(OK),   "status 200",                      0.5),
    (METRIC, backends.answering(page(b"node_load1 3")), "status 200",                      0.75),
    # What is wrong with the load fails no probe.
    (HEADER, backends.answering(OK.replace(b"42%", b"nan")), "status 200", "x-load is 'nan', no number from 0 up"),
    (JSON,   backends.answering(OK.replace(b"0.5", b"-.5")), "status 200", "the body is no JSON"),
    (JSON,   backends.holding(OK[:-3]),                 "status 200",           "no end of the body within 0.3 s"),
    (JSON,   backends.answering(OK.replace(b"X-Load: 42%", b"Content-Encoding: br")), "status 200",
     "body is compressed (br) although we asked for it plain; it cannot be checked"),
    (JSON,   backends.endless(page(), b"[" * 999),      "status 200",                      "the body is no JSON"),
    (METRIC, backends.endless(page(), b"x" * 9999),     "status 200",           "more than 1 MB for 64 kB of body"),
    (METRIC, backends.endless(page(), b"a 1\n" * 999),  "status 200",           "more than 1 MB for 64 kB of body"),
])  # fmt: skip
def test_an_answer_over_http_tells_the_load(
    check: HttpCheck, behaviour: Behaviour, reason: str, said: float | str
) -> None:
    tracemalloc.start()
    outcome = ask(check, behaviour, TIMEOUT if f"within {TIMEOUT}" in str(said) else AMPLE)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert outcome.reason == reason
    assert outcome.reading is not None
    assert (outcome.reading.fault or outcome.reading.load) == said
    assert most < 8 << 20


# A whole server.

METRICS = ("load_ratio", "weight_left_ratio", "overloaded", "weight")

ZONE = "$TTL 0\n@ SOA ns1 hostmaster 1 3600 900 1209600 60\n NS ns1\nns1 A 192.0.2.53\n" + "".join(
    f"www A {home}\n" for home in HOMES
)
POLICY = """\
pools:
  www:
    answers: 1
    probe: {{tcp: PORT, interval: 100ms, timeout: 100ms, load: {{agent: PORT, overload: 95%}}}}
    backends: {{BACKENDS}}
"""


@pytest.fixture
def port() -> int:
    with socket.create_server((HOMES[0], 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def four(port: int) -> Iterator[Agents]:
    with agents(HOMES, port, b"100%\n") as found:
        yield found


@pytest.fixture
def world(tmp_path: Path, port: int) -> World:
    weights = ", ".join(f"{home}: {{{{weight: 100}}}}" for home in HOMES)
    policy = POLICY.replace("PORT", str(port)).replace("BACKENDS", weights)
    return World(tmp_path, ZONE, policy)


def standing(found: dict[str, dict[str, Any]]) -> dict[str, tuple[str, int]]:
    """By address: up, drain or down, and the effective weight."""
    return {home: (one["load_why"].partition(",")[0] if not one["handed_out"] or one["up"] is False else "up",
                   round(one["weight"] * one["left"]) if one["handed_out"] else 0)
            for home, one in found.items() if one["left"] is not None}  # fmt: skip


def haproxys(runtime: Path) -> dict[str, tuple[str, int]]:
    """The same by HAProxy's statistics."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(runtime))
        sock.sendall(b"show stat\n")
        rows = csv.DictReader(io.StringIO(sock.makefile().read().removeprefix("# ")))
    words = {"UP": "up", "no check": "up", "DRAIN": "drain", "DOWN": "down", "MAINT": "down"}
    found = {}
    for row in rows:
        if row["svname"].startswith("127."):
            word = words[row["status"].partition(" (")[0]]
            weight = int(row["weight"]) if word == "up" else 0
            found[row["svname"]] = word if weight or word == "down" else "drain", weight
    return found


def test_haproxy_makes_the_same_of_the_same_agents(world: World, four: Agents, port: int, tmp_path: Path) -> None:
    haproxy = program("haproxy", "haproxy")
    runtime, file, front = tmp_path / "haproxy.sock", tmp_path / "haproxy.cfg", free_port()
    servers = "".join(f"  server {home} {home}:{port} weight 100 agent-check agent-port {port} agent-inter 100ms\n"
                      for home in HOMES)  # fmt: skip
    file.write_text(
        f"global\n  stats socket {runtime}\ndefaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1s\n"
        f"  timeout server 1s\nlisten farm\n  bind 127.0.0.1:{front}\n{servers}")
    with running([haproxy, "-db", "-f", str(file)], tmp_path / "haproxy.log"), world.server():
        eventually(runtime.exists, "HAProxy does not start", 10)
        for lines in (
            ["75%", "50%", "100%", "10%"],
            ["75% up ready", "drain", "down # db has gone", "60%"],
            ["20%", "ready 100%", "up, 45%", "0%"],
            ["maint", "fail", "40%", "up 85%"],
            ["ready 30%", "up", "stopped", "85%"],
            ["100%", "100%", "up 100%", "100%"],
        ):
            four.says.update({home: f"{line}\n".encode() for home, line in zip(HOMES, lines, strict=True)})
            time.sleep(0.4)  # HAProxy has heard it, and does it at once
            eventually(lambda: standing(world.backends()) == haproxys(runtime),
                       f"they differ after {lines}", 10)  # fmt: skip
            time.sleep(0.3)
            assert standing(world.backends()) == haproxys(runtime)


def test_what_agents_say_is_served_told_and_remembered(world: World, four: Agents, port: int) -> None:
    with world.server() as server:
        four.says[HOMES[0]] = b"50%\n"
        eventually(lambda: world.backends()[HOMES[0]]["left"] == 0.5, "no half weight", 10)
        eventually(lambda: world.backends()[HOMES[0]]["load_why"] == "50%", "no half load", 10)
        eventually(lambda: world.backends()[HOMES[0]]["share"] == pytest.approx(1 / 7), "no such share", 10)
        text = fetch(world.directory / "control", "/metrics")[2]
        assert [value(text, f"dnslb_backend_{name}", address=HOMES[0]) for name in METRICS] == [
            pytest.approx(0.5, abs=0.03), 0.5, 0, 100]  # fmt: skip
        world.ask("POST", "/reload")
        assert world.backends()[HOMES[0]]["left"] == 0.5
        four.says[HOMES[0]] = b"2%\n"
        eventually(lambda: not world.backends()[HOMES[0]]["handed_out"], "it is not shed", 10)
        four.says[HOMES[1]] = b"down # db has gone\n"
        eventually(lambda: world.backends()[HOMES[1]]["up"] is False, "it is not down", 10)
        assert world.backends()[HOMES[1]]["reason"] == "its agent says down # db has gone"
        four.says[HOMES[2]] = b"\0\xff" * 4000
        eventually(lambda: "load unknown" in server.log, "silence is not told", 10)
        four.says.update(dict.fromkeys(HOMES, b"100% up\n"))
        eventually(lambda: {one["share"] for one in world.backends().values()} == {0.25}, "they do not come back", 20)
        told = [(change["address"][-2:], change["what"], change["by"]) for change in world.changes()]
        assert sorted(told) == sorted([
            ("11", "overloaded", ""), ("11", "relieved", ""), ("12", "down", "its agent"), ("12", "up", "its agent"),
            ("13", "load unknown", ""), ("13", "load known", ""),
        ])  # fmt: skip
        assert sum("load unknown" in line for line in server.log.splitlines()) == 1
        assert server.log.count("a line of more than 1024 octets") == 1


def test_an_operators_order_is_above_the_agent_and_maint_stops_asking(world: World, four: Agents) -> None:
    with world.server():
        world.ask("POST", "/orders", {"mode": "maint", "addresses": [HOMES[0]]})
        four.says[HOMES[0]] = b"ready up 100%\n"
        time.sleep(0.3)
        before = four.asked[HOMES[0]]
        time.sleep(0.5)
        assert four.asked[HOMES[0]] - before <= 1
        assert not world.backends()[HOMES[0]]["handed_out"]


def test_with_all_over_load_the_answers_are_as_without_feedback(world: World, four: Agents) -> None:
    four.says.update(zip(HOMES, (b"1%\n", b"2%\n", b"3%\n", b"4%\n"), strict=True))
    with world.server():
        eventually(lambda: all("overloaded" in one["load_why"] for one in world.backends().values()), "not over", 10)
        assert {one["share"] for one in world.backends().values()} == {0.25}


def test_where_nobody_asks_for_load_nothing_is_told_of_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.server():
        assert {(one["load"], one["left"], one["load_why"]) for one in world.backends().values()} == {(None, None, "")}
