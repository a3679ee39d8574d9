"""The API over TCP: a real server, asked by good clients and by bad ones."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from dnslb_server import DNSLB, Server, started
from peers import free_port
from test_control import DRAIN, POLICY, ZONE, parsed

from dnslb.admin.address import read_tokens
from dnslb.admin.control_socket import CannotControl

TOKEN = "a-token-for-tests"


@dataclass(frozen=True, slots=True)
class Address:
    """The TCP address of a running server."""

    server: Server
    port: int

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=15)

    def raw(self, octets: bytes) -> bytes:
        """What comes back until the server closes; the client has nothing more to say."""
        with self.connect() as sock:
            sock.sendall(octets)
            sock.shutdown(socket.SHUT_WR)
            return everything(sock)

    def ask(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[int, Any]:
        lines = {"Host": "127.0.0.1", "Content-Length": str(len(body)), **headers}
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return parsed(self.raw(f"{head}\r\n".encode("latin-1") + body))

    def orders(self) -> list[Any]:
        return list(self.ask("GET", "/status")[1]["orders"])


def everything(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def settled(directory: Path) -> Path:
    """The directory with a zone in it, and beside it a file with the token."""
    zones = directory / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text(ZONE)
    (zones / "example.test.yaml").write_text(POLICY)
    return secret(directory, f"{TOKEN}\n")


def secret(directory: Path, text: str) -> Path:
    token = directory / "token"
    token.touch(mode=0o600)
    token.write_text(text)
    return token


def options(port: int, *more: object) -> tuple[str, ...]:
    listen = f"127.0.0.1:{free_port()}"
    return ("--listen", listen, "--workers", "1", "--no-watch", "--admin", f"127.0.0.1:{port}", *map(str, more))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    directory = tmp_path_factory.mktemp("admin")
    token, port = settled(directory), free_port()
    more = ("--admin-token-file", token, "--admin-hosts", "ns1.example.com")
    with started(directory, *options(port, *more)) as server:
        yield Address(server, port)


@pytest.fixture
def admin(running: Address) -> Iterator[Address]:
    """The running server, which ends every test as it began: without orders, and without a traceback in its log."""
    yield running
    assert running.orders() == []
    assert "Traceback" not in running.server.log
    assert "a bug" not in running.server.log


BEARER = {"Authorization": f"Bearer {TOKEN}"}


def test_reading_needs_nothing_and_orders_need_the_token(admin: Address) -> None:
    known = {"zone": "example.test.", "serial": 1, "changed": None, "change": "", "updated": 0}
    assert admin.ask("GET", "/status")[1]["zones"] == [known]
    assert admin.ask("POST", "/orders", json.dumps(DRAIN).encode(), BEARER)[0] == 200
    assert [(order["address"], order["by"]) for order in admin.orders()] == [("192.0.2.1", "token")]
    ready = json.dumps(DRAIN | {"mode": "ready"}).encode()
    assert admin.ask("POST", "/orders", ready)[0] == 401
    assert admin.ask("POST", "/orders", ready, BEARER)[0] == 200
    assert admin.ask("POST", "/reload", headers=BEARER)[0] == 200


@pytest.mark.parametrize(("method", "target", "headers", "status", "error"), [
    ("POST", "/orders", {}, 401, "this needs a token"),
    ("POST", "/orders", {"Authorization": "Bearer nonsense"}, 401, "the token is wrong"),
    ("POST", "/orders", {"Authorization": "Bearer \xe9"}, 401, "the token is wrong"),
    ("POST", "/reload", {}, 401, "this needs a token"),
    ("POST", "/orders", BEARER | {"Host": "evil.test"}, 421, "'evil.test' is no name of this server"),
    ("GET", "/status", {"Host": "evil.test:5380"}, 421, "'evil.test:5380' is no name of this server"),
    ("GET", "/", {"Host": "evil.test"}, 421, "'evil.test' is no name of this server"),
    ("POST", "/orders", BEARER | {"Origin": "http://evil.test"}, 403, "a page of 'http://evil.test' asks"),
    ("GET", "/status", {"Origin": "null"}, 403, "a page of 'null' asks"),
    ("OPTIONS", "/orders", {"Origin": "http://evil.test", "Access-Control-Request-Method": "POST"}, 403,
     "a page of 'http://evil.test' asks"),
    ("GET", "/orders", {}, 405, "/orders does not take GET"),
    ("DELETE", "/status", BEARER, 405, "/status does not take DELETE"),
    ("POST", "/", BEARER, 405, "/ does not take POST"),
    ("GET", "/nowhere", {}, 404, "there is no /nowhere"),
    ("GET", "/page.js/../../server.py", {}, 404, "there is no /page.js/../../server.py"),
    ("GET", "/status/nobody.example.test", {}, 404, "no pool is called nobody.example.test"),
])  # fmt: skip
def test_who_may_not_is_told_why(  # noqa: PLR0917 - a case is a request and its reply
    admin: Address, method: str, target: str, headers: dict[str, str], status: int, error: str
) -> None:
    body = json.dumps(DRAIN).encode() if method == "POST" else b""
    got, found = admin.ask(method, target, body, headers)
    assert (got, found["error"]) == (status, error)
    assert found["remedy"]
    assert "192.0.2" not in json.dumps(found)


@pytest.mark.parametrize(("body", "status", "error"), [
    ("{", 400, "the body is no JSON"),
    ("[" * 60000, 400, "the body is no JSON"),
    ('{"mode": "drain", "addresses": ["192.0.2.9"]}', 404, "192.0.2.9 is no address of any name that is served here"),
    ('{"mode": "drain", "adresses": ["192.0.2.1"]}', 400, "'adresses' is unknown"),
    (" " * 70000, 413, "the body is longer than 65536 octets"),
])  # fmt: skip
def test_a_bad_order_changes_nothing(admin: Address, body: str, status: int, error: str) -> None:
    got, found = admin.ask("POST", "/orders", body.encode(), BEARER)
    assert (got, found["error"]) == (status, error)


@pytest.mark.parametrize(("octets", "status"), [
    (b"nonsense\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200 + b"\r\n\r\n", 400),  # TLS
    (b"GET /status HTTP/1.1\r\n\r\n", 400),
    (b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.test\r\n\r\n", 400),
    (b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 20000, 431),
    (b"GET http://evil.test/status HTTP/1.1\r\nHost: evil.test\r\n\r\n", 421),
    (b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n", 401),
    (b"GET /status HTTP/1.0\r\n\r\n", 200),                                             # as health checks ask
    (b"GET /status HTTP/1.1\r\nHost: ns1.example.com\r\n\r\n", 200),
])  # fmt: skip
def test_whatever_comes_in_gets_a_status(admin: Address, octets: bytes, status: int) -> None:
    assert parsed(admin.raw(octets))[0] == status


def test_our_own_page_may_ask_and_no_other_is_told_that_it_may(admin: Address) -> None:
    reply = admin.raw(b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 200 ")
    assert b"access-control" not in reply.lower()


@pytest.mark.parametrize("target", ["/", "/status", "/nowhere"])
def test_head_is_get_without_the_body(admin: Address, target: str) -> None:
    head, _, body = admin.raw(f"HEAD {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()).partition(b"\r\n\r\n")
    full = admin.raw(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()).partition(b"\r\n\r\n")[0]
    assert body == b""
    assert head.split(b"\r\n")[0] == full.split(b"\r\n")[0]
    assert b"content-length: 0" not in head.lower()


def test_what_follows_a_head_has_its_body_again(admin: Address) -> None:
    reply = admin.raw(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\nnonsense\r\n\r\n")
    assert parsed(reply.partition(b"\r\n\r\n")[2])[0] == 400


def test_slow_clients_time_out_and_keep_nobody_else_out(admin: Address) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(admin.connect()) for _ in range(20)]
        for sock in slow:
            sock.sendall(b"POST /orders HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le")
        assert admin.ask("GET", "/status")[0] == 200
        assert {parsed(everything(sock))[0] for sock in slow} == {408}


def test_a_crowd_is_bounded_and_who_comes_late_is_served(admin: Address, running: Address) -> None:
    control = running.server.stdout.parent / "control"
    with ExitStack() as stack:
        crowd = [stack.enter_context(admin.connect()) for _ in range(100)]
        for sock in crowd:
            sock.sendall(b"GET /sta")
        assert admin.ask("GET", "/status")[0] == 200
        open_now = descriptors(running.server.parent, "socket:")
        assert open_now < 64
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(15)
            sock.connect(str(control))
            sock.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert parsed(everything(sock))[0] == 200


def descriptors(pid: int, kind: str) -> int:
    return sum(os.readlink(entry).startswith(kind) for entry in Path(f"/proc/{pid}/fd").iterdir())


# From the start to the end.


def test_without_a_token_it_is_for_reading_only(tmp_path: Path) -> None:
    settled(tmp_path)
    port = free_port()
    with started(tmp_path, *options(port)) as server:
        admin = Address(server, port)
        assert f"status page: http://127.0.0.1:{port}/" in server.said
        status, found = admin.ask("POST", "/orders", json.dumps(DRAIN).encode(), BEARER)
        assert (status, found["error"]) == (403, "this address is for reading only")
        assert admin.orders() == []


def test_by_default_nothing_but_dns_listens(tmp_path: Path) -> None:
    settled(tmp_path)
    port = free_port()
    with started(tmp_path, "--listen", f"127.0.0.1:{port}", "--workers", "1") as server:
        assert listening_ports(server.parent) == {port}


def listening_ports(pid: int) -> set[int]:
    """On which the process listens for TCP."""
    held = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [line.split() for file in ("tcp", "tcp6") for line in Path("/proc/net", file).read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in held}


def test_the_end_with_clients_inside_is_quiet(tmp_path: Path) -> None:
    settled(tmp_path)
    port = free_port()
    with started(tmp_path, *options(port)) as server:
        with Address(server, port).connect() as idle:
            idle.sendall(b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert idle.recv(65536)
            server.popen.terminate()
            assert server.ends_within(5.0) == 0
        assert "Traceback" not in server.log
        with started(tmp_path, *options(port)) as again:  # at once, on the same port
            assert Address(again, port).ask("GET", "/status")[0] == 200


def test_it_changes_only_at_a_start(tmp_path: Path) -> None:
    settled(tmp_path)
    port = free_port()
    (tmp_path / "zones" / "dnslb.yaml").write_text(f"admin: 127.0.0.1:{port}\n")
    with started(tmp_path, "--listen", f"127.0.0.1:{free_port()}", "--workers", "1", "--no-watch") as server:
        assert port in listening_ports(server.parent)
        (tmp_path / "zones" / "dnslb.yaml").write_text("")
        done = subprocess.run(
            [*DNSLB, "reload", "--control", tmp_path / "control"], capture_output=True, text=True, check=True
        )
        assert "admin: what the files say now holds when dnslb is started again\n" in done.stderr
        assert Address(server, port).ask("GET", "/status")[0] == 200


def refused(directory: Path, *more: object) -> str:
    """What the server says, that does not start."""
    kept = ("--state", directory / "state", "--control", directory / "control")
    command = [*DNSLB, "serve", str(directory / "zones"), *map(str, (*kept, *more))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def test_a_port_in_use_is_one_line_and_no_start(tmp_path: Path) -> None:
    settled(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert refused(tmp_path, *options(port)) == (
            f"Error: cannot listen on 127.0.0.1:{port} for admin: address already in use; stop the server that has the "
            f"port (ss -lntp 'sport = {port}' names it), or choose another with --admin\n"
        )


REMEDY = "make one: umask 077; openssl rand -hex 32 > {}"


def test_a_token_that_is_none_is_one_line_and_no_start(tmp_path: Path) -> None:
    token = settled(tmp_path)
    token.write_text("two words\n")
    said = refused(tmp_path, *options(free_port(), "--admin-token-file", token))
    fact = f"the token file {token} holds more than a token: letters, digits, -._~+/"
    assert said == f"Error: {fact}; {REMEDY.format(token)}\n"


@pytest.mark.parametrize(("text", "fact"), [
    (None, "cannot read the token file {}: no such file or directory"),
    ("", "the token file {} is empty"),
    (" \n\n", "the token file {} is empty"),
    ("two words\n", "the token file {} holds more than a token: letters, digits, -._~+/"),
    ("one\ntwo\n", "the token file {} holds more than a token: letters, digits, -._~+/"),
    ("one: first\ntwo\n", "the token file {} holds more than a token: letters, digits, -._~+/"),
    ("two words: first\n", "the token file {} holds more than a token: letters, digits, -._~+/"),
    ("read: first\n", "the token file {} holds more than a token: letters, digits, -._~+/"),
    ("alice reed: first\n", "the token file {} holds more than a token: letters, digits, -._~+/"),
    ("gehe\u00efm\n", "the token file {} holds more than a token: letters, digits, -._~+/"),
    ("x" * 5000, "the token file {} holds more than a token: letters, digits, -._~+/"),
])  # fmt: skip
def test_a_token_that_is_none_is_refused(tmp_path: Path, text: str | None, fact: str) -> None:
    token = tmp_path / "token"
    if text is not None:
        secret(tmp_path, text)
    with pytest.raises(CannotControl) as refusal:
        read_tokens(token)
    assert str(refusal.value) == f"{fact.format(token)}; {REMEDY.format(token)}"


def test_orders_are_known_by_the_name_of_their_token(tmp_path: Path) -> None:
    token = settled(tmp_path)
    token.write_text(f"deploy: {TOKEN}\n\nalice@ops:another-token\n")
    port = free_port()
    with started(tmp_path, *options(port, "--admin-token-file", token)) as server:
        admin = Address(server, port)
        assert admin.ask("POST", "/orders", json.dumps(DRAIN).encode(), BEARER)[0] == 200
        assert [order["by"] for order in admin.orders()] == ["token deploy"]
        ready = json.dumps(DRAIN | {"mode": "ready"}).encode()
        assert admin.ask("POST", "/orders", ready, {"Authorization": "Bearer another-token"})[0] == 200
        assert admin.ask("POST", "/orders", ready, {"Authorization": "Bearer deploy:another-token"})[0] == 401
        assert "all names: 192.0.2.1 ready by token alice@ops" in server.log


def test_a_directory_is_no_token(tmp_path: Path) -> None:
    settled(tmp_path)
    assert "is a directory; make one" in refused(tmp_path, *options(free_port(), "--admin-token-file", tmp_path))


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
def test_a_token_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    token = settled(tmp_path)
    token.chmod(mode)
    said = refused(tmp_path, *options(free_port(), "--admin-token-file", token))
    assert said == f"Error: others can read the token file {token}; chmod o= {token}\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_port_and_token_are_opened_before_privileges_are_dropped(tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o711)
    token = settled(tmp_path)
    port = next(port for port in range(700, 1000) if is_free(port))
    more = ("--user", "nobody", "--admin-token-file", token)
    with started(tmp_path, *options(port, *more)) as server:
        admin = Address(server, port)
        assert b"<title>dnslb</title>" in admin.raw(b"GET / HTTP/1.0\r\n\r\n")
        assert admin.ask("POST", "/orders", json.dumps(DRAIN).encode(), BEARER)[0] == 200


def is_free(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0
