"""The control socket: what it answers to good requests and to bad ones."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dnslb_server import Server, started
from peers import free_port

ZONE = """\
$TTL 300
@    SOA  ns1 hostmaster 1 3600 900 1209600 60
     NS   ns1
ns1  A    192.0.2.53
www  30 A 192.0.2.1
     30 A 192.0.2.2
     30 AAAA 2001:db8::1
     30 AAAA 2001:db8::2
api  30 A 192.0.2.1
     30 A 192.0.2.3
"""
POLICY = "pools: {www: {ttl: {min: 1s}}, api: {ttl: {min: 1s}, when_all_down: none}}\n"


@dataclass(frozen=True, slots=True)
class Controlled:
    server: Server
    path: Path

    def raw(self, octets: bytes, patience: float = 15.0) -> bytes:
        """What comes back until the server closes; the client has nothing more to say."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(patience)
            sock.connect(str(self.path))
            sock.sendall(octets)
            sock.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: sock.recv(65536), b""))

    def ask(self, method: str, target: str, body: bytes = b"") -> tuple[int, Any]:
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        return parsed(self.raw(head.encode() + body))

    def order(self, **order: object) -> tuple[int, Any]:
        return self.ask("POST", "/orders", json.dumps(order).encode())

    def orders(self) -> list[Any]:
        return list(self.ask("GET", "/status")[1]["orders"])


def parsed(reply: bytes) -> tuple[int, Any]:
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 ")
    return int(head.split()[1]), json.loads(body)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controlled]:
    directory = tmp_path_factory.mktemp("control")
    zones = directory / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text(ZONE)
    (zones / "example.test.yaml").write_text(POLICY)
    with started(directory, "--listen", f"127.0.0.1:{free_port()}", "--workers", "2", "--no-watch") as server:
        yield Controlled(server, directory / "control")


@pytest.fixture
def control(running: Controlled) -> Iterator[Controlled]:
    """The running server, which ends every test as it began: without orders, and without a traceback in its log."""
    yield running
    assert running.order(mode="ready", addresses=["*"])[0] == 200
    assert running.orders() == []
    assert "Traceback" not in running.server.log


def test_only_its_user_and_group_may_connect(control: Controlled) -> None:
    assert stat.S_IMODE(os.stat(control.path).st_mode) == 0o660


def test_the_status_tells_what_is_served(control: Controlled) -> None:
    status, found = control.ask("GET", "/status")
    assert status == 200
    assert found["refused"] is None
    assert found["zones"] == [{"zone": "example.test.", "serial": 1, "changed": None, "change": "", "updated": 0}]
    assert [(pool["owner"], [rrset["type"] for rrset in pool["rrsets"]]) for pool in found["pools"]] == [
        ("www.example.test.", ["A", "AAAA"]), ("api.example.test.", ["A"]),
    ]  # fmt: skip
    backend = found["pools"][0]["rrsets"][0]["backends"][0]
    assert backend == {
        "address": "192.0.2.1", "up": None, "since": None, "reason": "", "unsure": "", "streak": 0, "mode": "ready",
        "order": None,
        "weight": 1, "backup": False, "handed_out": True, "share": 0.5, "led": 0,
        "achieved": None, "expires": None, "load": None, "left": None, "load_why": "", "joined": None,
    }  # fmt: skip


@pytest.mark.parametrize("pattern", ["www.example.test", "WWW.example.test.", "www.*", "%77ww.example.test"])
def test_the_status_of_one_name(control: Controlled, pattern: str) -> None:
    _, found = control.ask("GET", f"/status/{pattern}")
    assert [pool["owner"] for pool in found["pools"]] == ["www.example.test."]


@pytest.mark.parametrize(("order", "clocks"), [
    ({"addresses": ["192.0.2.2"]}, ["www.example.test. A 192.0.2.2"]),
    ({"addresses": ["192.0.2.1"]}, ["www.example.test. A 192.0.2.1", "api.example.test. A 192.0.2.1"]),
    ({"addresses": ["192.0.2.1"], "names": ["api.example.test"]}, ["api.example.test. A 192.0.2.1"]),
    ({"addresses": ["*:2"]}, ["www.example.test. AAAA 2001:db8::2"]),
    ({"addresses": ["2001:DB8:0::2"]}, ["www.example.test. AAAA 2001:db8::2"]),
    ({"addresses": ["192.0.2.[23]"]}, ["www.example.test. A 192.0.2.2", "api.example.test. A 192.0.2.3"]),
    ({"addresses": ["192.0.2.1"], "names": ["*.test"], "for": "30m"},
     ["www.example.test. A 192.0.2.1", "api.example.test. A 192.0.2.1"]),
])  # fmt: skip
def test_an_order_concerns(control: Controlled, order: dict[str, Any], clocks: list[str]) -> None:
    given = time.time()
    status, found = control.order(mode="drain", **order)
    assert status == 200
    assert [f"{one['owner']} {one['type']} {one['address']}" for one in found["clocks"]] == clocks
    for one in found["clocks"]:
        assert one["mode"] == "drain"
        assert given + 1 < one["expires"] < time.time() + 32
        assert not one["note"]
    assert len(control.orders()) == len({one["address"] for one in found["clocks"]} if "names" not in order else clocks)


def test_ready_under_one_name_is_an_exception(control: Controlled) -> None:
    control.order(mode="drain", addresses=["192.0.2.1"])
    control.order(mode="ready", addresses=["192.0.2.1"], names=["api.example.test"])
    modes = {
        (pool["owner"], backend["address"]): backend["mode"]
        for pool in control.ask("GET", "/status")[1]["pools"]
        for backend in pool["rrsets"][0]["backends"]
    }
    assert modes["www.example.test.", "192.0.2.1"] == "drain"
    assert modes["api.example.test.", "192.0.2.1"] == "ready"


def test_an_order_that_leaves_a_pool_empty_says_so(control: Controlled) -> None:
    _, found = control.order(mode="drain", addresses=["192.0.2.*"], names=["api.example.test"])
    assert {one["note"] for one in found["clocks"]} == {"the pool has no address left: NODATA"}


def test_an_order_that_would_leave_nobody_to_hand_out_says_so(control: Controlled) -> None:
    _, found = control.order(mode="drain", addresses=["192.0.2.*"], names=["www.example.test"])
    assert {(one["expires"], one["note"]) for one in found["clocks"]} == {
        (None, "still handed out: no other address of the pool is ready"),
    }  # fmt: skip


def test_an_order_comes_into_force_and_ends_by_itself(control: Controlled) -> None:
    begin = time.time()
    control.order(mode="maint", addresses=["192.0.2.2"], at=begin + 0.5, until=begin + 1.0, reason="short")
    assert mode_of(control, "192.0.2.2") == "ready"
    time.sleep(max(0.0, begin + 0.7 - time.time()))
    assert mode_of(control, "192.0.2.2") == "maint"
    time.sleep(max(0.0, begin + 1.2 - time.time()))
    assert mode_of(control, "192.0.2.2") == "ready"
    assert control.orders() == []
    _, found = control.ask("GET", "/history")
    assert [(change["what"], change["reason"]) for change in found["changes"][-3:]] == [
        ("maint planned", f"for {clock(begin + 0.5)}; short"), ("maint", "begins as planned; short"),
        ("ready", "maint is over"),
    ]  # fmt: skip


def clock(unix: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix))


def mode_of(control: Controlled, address: str) -> str:
    rrset = control.ask("GET", "/status/www.example.test")[1]["pools"][0]["rrsets"][0]
    return next(str(backend["mode"]) for backend in rrset["backends"] if backend["address"] == address)


def test_a_planned_order_does_not_end_one_that_stands(control: Controlled) -> None:
    control.order(mode="drain", addresses=["192.0.2.2"])
    status, found = control.order(mode="maint", addresses=["192.0.2.2"], at="2100-01-01T00:00")
    assert (status, found["error"]) == (409, "192.0.2.2 is in drain now, and a planned order would end that")


def test_a_reload_tells_what_has_changed(control: Controlled) -> None:
    status, found = control.ask("POST", "/reload")
    assert status == 200
    same = {"before": 1, "after": 1, "changed": False, "added": 0, "gone": 0}
    assert found["zones"] == [{"zone": "example.test.", **same}]
    assert (found["changes"], found["settings"], found["restart"]) == ([], [], [])


DRAIN = {"mode": "drain", "addresses": ["192.0.2.1"]}


@pytest.mark.parametrize(("method", "target", "body", "status", "error"), [
    ("GET", "/nowhere", "", 404, "there is no /nowhere"),
    ("POST", "/", "", 405, "/ does not take POST"),
    ("GET", "/status/a/b", "", 404, "there is no /status/a/b"),
    ("GET", "/status/ww.example.test", "", 404, "no pool is called ww.example.test"),
    ("POST", "/status", "", 405, "/status does not take POST"),
    ("GET", "/orders", "", 405, "/orders does not take GET"),
    ("DELETE", "/reload", "", 405, "/reload does not take DELETE"),
    ("POST", "/orders", "", 400, "the body is no JSON"),
    ("POST", "/orders", "{", 400, "the body is no JSON"),
    ("POST", "/orders", "[" * 60000, 400, "the body is no JSON"),
    ("POST", "/orders", "9" * 60000, 400, "the body is no JSON"),
    ("POST", "/orders", "[]", 400, "the body is no object"),
    ("POST", "/orders", DRAIN | {"mode": "down"}, 400, "'mode' is missing or unknown"),
    ("POST", "/orders", DRAIN | {"mode": ["drain"]}, 400, "'mode' is missing or unknown"),
    ("POST", "/orders", DRAIN | {"adresses": []}, 400, "'adresses' is unknown"),
    ("POST", "/orders", DRAIN | {"addresses": []}, 400, "'addresses' is missing"),
    ("POST", "/orders", DRAIN | {"addresses": "192.0.2.1"}, 400, "'addresses' is no list of texts"),
    ("POST", "/orders", DRAIN | {"addresses": [1]}, 400, "'addresses' is no list of texts"),
    ("POST", "/orders", DRAIN | {"addresses": ["\ud800"]}, 400, "'addresses' holds what cannot be printed"),
    ("POST", "/orders", DRAIN | {"addresses": ["192.0.2.9"]}, 404,
     "192.0.2.9 is no address of any name that is served here"),
    ("POST", "/orders", DRAIN | {"addresses": ["192.0.2.3"], "names": ["www.example.test"]}, 404,
     "192.0.2.3 is no backend of www.example.test."),
    ("POST", "/orders", DRAIN | {"names": ["mail.example.test"]}, 404, "no pool is called mail.example.test"),
    ("POST", "/orders", DRAIN | {"names": []}, 400, "'names' is empty"),
    ("POST", "/orders", DRAIN | {"names": None}, 400, "'names' is empty"),
    ("POST", "/orders", DRAIN | {"names": ""}, 400, "'names' is no list of texts"),
    ("POST", "/orders", DRAIN | {"for": "0s"}, 400, "'for' is no time at all: '0s'"),
    ("POST", "/orders", DRAIN | {"at": 1}, 400, "'at' is in the past: '1'"),
    ("POST", "/orders", DRAIN | {"at": "2026-01-01T00:00"}, 400, "'at' is in the past: '2026-01-01T00:00'"),
    ("POST", "/orders", DRAIN | {"mode": "ready", "at": 1.5}, 400, "'at' is in the past: '1.5'"),
    ("POST", "/orders", DRAIN | {"for": "30"}, 400, "'for' is no duration: '30'"),
    ("POST", "/orders", DRAIN | {"for": 30}, 400, "'for' is no duration: '30'"),
    ("POST", "/orders", DRAIN | {"for": f"{'9' * 400}h"}, 400, f"'for' is no duration: '{'9' * 300}'"),
    ("POST", "/orders", DRAIN | {"at": "25:00"}, 400, "'at' is no time: '25:00'"),
    ("POST", "/orders", DRAIN | {"at": True}, 400, "'at' is no time: 'True'"),
    ("POST", "/orders", '{"mode": "drain", "addresses": ["*"], "at": NaN}', 400, "'at' is no time: 'nan'"),
    ("POST", "/orders", '{"mode": "drain", "addresses": ["*"], "until": 1e999}', 400, "'until' is no time: 'inf'"),
    ("POST", "/orders", DRAIN | {"until": 1}, 409, "the order would end before it begins"),
    ("POST", "/orders", DRAIN | {"until": "2100-01-01T00:00", "for": "1h"}, 400, "'for' and 'until' are both given"),
    ("POST", "/orders", DRAIN | {"mode": "ready", "for": "1h"}, 400, "ready has no end"),
    ("POST", "/orders", DRAIN | {"reason": "two\nlines"}, 400, "'reason' is no short line of text"),
    ("POST", "/orders", DRAIN | {"reason": "x" * 301}, 400, "'reason' is no short line of text"),
])  # fmt: skip
def test_a_bad_request_is_refused_and_changes_nothing(  # noqa: PLR0917 - a case is a request and its reply
    control: Controlled, method: str, target: str, body: str | dict[str, Any], status: int, error: str
) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    got, found = control.ask(method, target, text.encode())
    assert (got, found["error"]) == (status, error)
    assert found["remedy"]
    assert control.orders() == []


@pytest.mark.parametrize(("octets", "status"), [
    (b"nonsense\r\n\r\n", 400),
    (b"\x00" * 100, 400),
    (b"GET /status HTTP/1.1\r\n\r\n", 400),
    (b"GET /status HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20000, 431),
    (b"GET /status HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 5000 + b"\r\n", 431),
    (b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
    (b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{}", 400),
    (b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n" + b" " * 70000, 413),
    (b"POST /orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"4000\r\n" + b" " * 0x4000 + b"\r\n"
     + b"d000\r\n" + b" " * 0xd000 + b"\r\n", 413),
])  # fmt: skip
def test_what_is_no_request_gets_a_status(control: Controlled, octets: bytes, status: int) -> None:
    got, found = parsed(control.raw(octets))
    assert got == status
    assert found["error"] and found["remedy"]


@pytest.mark.parametrize("octets", [b"", b"GET /status HTT"])
def test_a_client_that_leaves_disturbs_nothing(control: Controlled, octets: bytes) -> None:
    control.raw(octets)
    assert control.ask("GET", "/status")[0] == 200


def test_a_slow_client_times_out_and_others_are_served_meanwhile(control: Controlled) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(15)
        sock.connect(str(control.path))
        sock.sendall(b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Le")
        assert control.ask("GET", "/status")[0] == 200
        assert parsed(b"".join(iter(lambda: sock.recv(65536), b"")))[0] == 408


def test_one_connection_takes_many_requests(control: Controlled) -> None:
    request = b"GET /history HTTP/1.1\r\nHost: x\r\n\r\n"
    assert control.raw(request * 3).count(b"HTTP/1.1 200 OK") == 3


def test_a_client_may_ask_whether_to_send_its_body(control: Controlled) -> None:
    body = json.dumps(DRAIN).encode()
    lines = (b"POST /orders HTTP/1.1", b"Host: x", b"Connection: close", b"Expect: 100-continue")
    head = b"\r\n".join((*lines, b"Content-Length: %d" % len(body), b"", b""))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect(str(control.path))
        sock.sendall(head)
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
        sock.sendall(body)
        assert parsed(sock.makefile("rb").read())[0] == 200
