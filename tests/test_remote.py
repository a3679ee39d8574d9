"""Commands from another machine: over TLS, with a token, to several servers at once."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from backends import authority, authority_file
from dnslb_server import DNSLB, Server, eventually, started
from peers import STARTING, free_port
from test_admin_address import refused, secret
from test_control import POLICY, ZONE

from dnslb.admin import remote
from dnslb.admin.remote import NotUsable

TOKENS = "alice read: token-for-reading\nbob operate: token-for-more\n"
DAY = timedelta(1)


@dataclass(frozen=True, slots=True)
class Node:
    """A server that speaks TLS at its admin address."""

    directory: Path
    port: int
    server: Server

    @property
    def name(self) -> str:
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        return f"https://{self.name}"


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    stdout: str
    stderr: str


def issue(directory: Path, *names: str, ca: trustme.CA | None = None, ends: timedelta = DAY) -> None:
    """A certificate and its key, in the place of those before."""
    now = datetime.now(UTC)
    issued = (ca or authority()).issue_cert(*names, not_before=now - 2 * DAY, not_after=now + ends)
    for name, pems in (("key.pem", [issued.private_key_pem]), ("cert.pem", issued.cert_chain_pems)):
        path = directory / f"{name}.new"
        path.touch(mode=0o600)
        path.write_bytes(b"".join(pem.bytes() for pem in pems))
        path.rename(directory / name)


def prepare(directory: Path, *names: str, ca: trustme.CA | None = None, ends: timedelta = DAY) -> None:
    zones = directory / "zones"
    zones.mkdir(parents=True)
    (zones / "example.test.zone").write_text(ZONE)
    (zones / "example.test.yaml").write_text(POLICY)
    issue(directory, *(names or ("localhost", "127.0.0.1")), ca=ca, ends=ends)
    tls = f"{{certificate: {directory}/cert.pem, key: {directory}/key.pem}}"
    (zones / "dnslb.yaml").write_text(f"admin_tls: {tls}\n")
    secret(directory, TOKENS)


@contextmanager
def node(directory: Path) -> Iterator[Node]:
    port = free_port()
    more = ("--admin", f"127.0.0.1:{port}", "--admin-token-file", str(directory / "token"))
    listen = ("--listen", f"127.0.0.1:{free_port()}", "--workers", "1", "--no-watch")
    with started(directory, *listen, *more) as server:
        yield Node(directory, port, server)
    assert "Traceback" not in server.log


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    directory = tmp_path_factory.mktemp("first")
    prepare(directory)
    with node(directory) as found:
        yield found


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    directory = tmp_path_factory.mktemp("second")
    prepare(directory)
    with node(directory) as found:
        yield found


def own(directory: Path, token: str) -> Path:
    """A file with this token alone, as an operator has it."""
    path = directory / token
    path.touch(mode=0o600)
    path.write_text(f"{token}\n")
    return path


def dnslb(directory: Path, *words: str, token: str | None = "token-for-more") -> Done:
    """The command, asked by an operator who trusts our authority."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DNSLB_")}
    environment["DNSLB_CA_FILE"] = authority_file(directory)
    if token is not None:
        environment["DNSLB_TOKEN_FILE"] = str(own(directory, token))
    done = subprocess.run(
        [*DNSLB, *words], capture_output=True, text=True, timeout=STARTING, check=False, env=environment
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_an_operator_drains_from_another_machine(tmp_path: Path, first: Node) -> None:
    done = dnslb(tmp_path, "drain", "192.0.2.1", "--reason", "kernel", "--server", first.url)
    assert (done.status, done.stderr) == (0, "")
    assert "192.0.2.1: drain" in done.stdout
    assert "==>" not in done.stdout
    status = dnslb(tmp_path, "status", "--server", first.url, token=None)
    assert "drain (kernel) by token bob" in status.stdout
    assert dnslb(tmp_path, "ready", "192.0.2.1", "--server", first.url).status == 0
    history = dnslb(tmp_path, "history", "--server", first.url, token=None)
    assert "kernel, by token bob" in history.stdout
    assert "192.0.2.1 drain (kernel) by token bob" in first.server.log
    assert dnslb(tmp_path, "reload", "--server", first.url).status == 0
    assert "nothing has changed, by token bob" in first.server.log
    assert dnslb(tmp_path, "log-level", "info", "--server", first.url).status == 0
    assert "log level info, by token bob" in first.server.log


@pytest.mark.parametrize(("token", "complaint"), [
    (None, "Error: this needs a token; give its file with --token-file\n"),
    ("nonsense", "Error: the token is wrong; give its file with --token-file\n"),
    ("token-for-reading", "Error: the token alice is for reading only; use one with the role operate\n"),
])
def test_who_may_not_is_told_what_to_give(tmp_path: Path, first: Node, token: str | None, complaint: str) -> None:
    for command in (("drain", "192.0.2.1"), ("reload",), ("log-level", "debug")):
        done = dnslb(tmp_path, *command, "--server", first.url, token=token)
        assert (done.status, done.stdout, done.stderr) == (1, "", complaint)


def test_each_node_answers_under_its_name_and_the_worst_status_counts(
    tmp_path: Path, first: Node, second: Node
) -> None:
    both = ("--server", first.url, "--server", second.url)
    done = dnslb(tmp_path, "log-level", *both)
    assert done == Done(0, f"==> {first.name} <==\ninfo\n\n==> {second.name} <==\ninfo\n", "")
    nobody = f"localhost:{free_port()}"
    done = dnslb(tmp_path, "log-level", *both, "--server", f"https://{nobody}")
    assert done.status == 1
    assert done.stdout.startswith(f"==> {first.name} <==\ninfo\n")
    assert done.stderr == (
        f"{nobody}: Error: {nobody} cannot be reached: connection refused; is it up, with admin: on this address?\n"
    )
    found = json.loads(dnslb(tmp_path, "history", "--json", *both, "--server", f"https://{nobody}").stdout)
    assert list(found) == [first.name, second.name, nobody]
    assert found[nobody]["status"] == 1
    assert "changes" in found[first.name]
    done = dnslb(tmp_path, "drain", "www", *both)
    assert done.status == 2
    assert done.stderr.count("is no address") == 1


def test_who_certifies_must_be_known(tmp_path: Path, first: Node) -> None:
    for path, status, complaint in (
        ("/etc/ssl/certs/ca-certificates.crt", 4, "is signed by an unknown authority"),
        (str(tmp_path / "nowhere"), 2, "nowhere: no such file or directory; mend the path"),
        (str(tmp_path / "ca.pem"), 4, "127.0.0.2"),
    ):
        host = first.url if status == 2 or "ca.pem" not in path else f"https://127.0.0.2:{first.port}"
        done = dnslb(tmp_path, "status", "--server", host, "--ca-file", path)
        assert done.status == status
        assert complaint in done.stderr


@pytest.mark.parametrize(("names", "ends", "complaint"), [
    (("ns1.example.com",), DAY, "certificate is for another name (Hostname mismatch, certificate is not valid for "
     "'localhost'.)"),
    (("localhost",), -DAY, "certificate has expired"),
])  # fmt: skip
def test_what_is_wrong_with_a_certificate_is_said(
    tmp_path: Path, names: tuple[str, ...], ends: timedelta, complaint: str
) -> None:
    prepare(tmp_path, *names, ends=ends)
    with node(tmp_path) as found:
        done = dnslb(tmp_path, "log-level", "--server", found.url)
        remedy = "give the authority with --ca-file, or mend admin_tls there"
        assert done == Done(1, "", f"Error: {found.name}: {complaint}; {remedy}\n")


def test_plain_http_and_tls_are_told_apart(tmp_path: Path, first: Node) -> None:
    done = dnslb(tmp_path, "log-level", "--server", f"http://{first.name}")
    assert done == Done(1, "", "Error: this address speaks TLS; ask by https://\n")
    with socket.create_server(("127.0.0.1", 0)) as plain:
        port = plain.getsockname()[1]
        child = subprocess.Popen(
            [*DNSLB, "log-level", "--server", f"https://localhost:{port}"], stderr=subprocess.PIPE, text=True
        )
        sock, _ = plain.accept()
        with sock:
            sock.recv(4096)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert f"localhost:{port}: it speaks no TLS; set admin_tls there, or write http://" in child.communicate()[1]


def shaken(port: int, **versions: ssl.TLSVersion) -> ssl.SSLSocket:
    context = ssl.create_default_context(cadata=authority().cert_pem.bytes().decode())
    for name, version in versions.items():
        setattr(context, name, version)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname="localhost")


def serial(port: int) -> str:
    with shaken(port) as sock:
        return str((sock.getpeercert() or {})["serialNumber"])


def test_tls_1_2_at_least(first: Node) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with shaken(first.port, minimum_version=version, maximum_version=version) as sock:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")
    with pytest.raises((ssl.SSLError, ConnectionError)), pytest.warns(DeprecationWarning):
        shaken(first.port, minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)


@pytest.mark.parametrize("octets", [b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00" + b"\0" * 512, b"\xff" * 5000])
def test_who_shakes_no_hands_keeps_nobody_waiting(first: Node, octets: bytes) -> None:
    idle = [socket.create_connection(("127.0.0.1", first.port)) for _ in range(40)]
    try:
        for sock in idle:
            sock.sendall(octets)
        begin = time.monotonic()
        serial(first.port)
        assert time.monotonic() - begin < 3
    finally:
        for sock in idle:
            sock.close()
    assert "a bug" not in first.server.log


def test_events_come_over_tls(tmp_path: Path, first: Node) -> None:
    with shaken(first.port) as sock:
        sock.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        text = b""
        while b": dnslb" not in text:
            text += sock.recv(65536)
        assert dnslb(tmp_path, "reload", "--server", first.url).status == 0
        while b'"what": "reloaded"' not in text:
            text += sock.recv(65536)


def test_a_long_reply_comes_whole_over_tls(first: Node) -> None:
    with shaken(first.port) as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        octets = b"".join(iter(lambda: sock.recv(65536), b""))
    head, _, body = octets.partition(b"\r\n\r\n")
    assert int(head.lower().partition(b"content-length: ")[2].split()[0]) == len(body)


@pytest.mark.long
def test_a_renewed_certificate_is_used_and_a_broken_one_is_not(tmp_path: Path) -> None:
    prepare(tmp_path)
    with node(tmp_path) as found:
        old = serial(found.port)
        issue(tmp_path, "localhost")
        eventually(lambda: serial(found.port) != old, "the new certificate is not used", 15)
        assert "admin_tls was renewed" in found.server.log
        new = serial(found.port)
        (tmp_path / "cert.pem").write_text("half")
        eventually(lambda: "the old certificate is used" in found.server.log, "nobody has said so", 15)
        assert serial(found.port) == new
        (tmp_path / "key.pem").unlink()
        eventually(lambda: "key.pem: no such file" in found.server.log, "nobody has said so", 15)
        assert serial(found.port) == new


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    prepare(tmp_path)
    key = tmp_path / "key.pem"
    admin = ("--listen", f"127.0.0.1:{free_port()}", "--workers", 1, "--admin", f"127.0.0.1:{free_port()}")
    key.chmod(0o644)
    assert refused(tmp_path, *admin) == f"Error: admin_tls: others can read the key {key}; chmod o= {key}\n"
    key.chmod(0o600)
    key.write_bytes(trustme.CA().private_key_pem.bytes())
    assert refused(tmp_path, *admin).startswith("Error: admin_tls: the key is not the certificate's: ")
    key.unlink()
    said = refused(tmp_path, *admin)
    assert said == f"Error: admin_tls: cannot read {key}: no such file or directory; mend the path\n"


@pytest.mark.parametrize(("url", "complaint"), [
    ("ns1.example.com", "ns1.example.com is no server; write https://ns1.example.com:5380"),
    ("ftp://ns1.example.com", "ftp://ns1.example.com is no server; write https://ns1.example.com:5380"),
    ("https://ns1:x", "https://ns1:x is no server; write https://ns1.example.com:5380"),
    ("https://", "https:// is no server; write https://ns1.example.com:5380"),
    ("https://me:pw@ns1", "https://me:pw@ns1 is no server; write https://ns1.example.com:5380"),
    ("https://ns1/dnslb", "https://ns1/dnslb is no server; write https://ns1.example.com:5380"),
    ("http://ns1", "everybody on the way to ns1 could read the token; write https:// (admin_tls in its dnslb.yaml), "
     "or tunnel: ssh -L 5380:127.0.0.1:5380 ns1, and --server http://127.0.0.1:5380"),
])  # fmt: skip
def test_a_server_that_is_none_is_refused(tmp_path: Path, url: str, complaint: str) -> None:
    with pytest.raises(NotUsable) as raised:
        remote.parse(url, own(tmp_path, "token"), None)
    assert str(raised.value) == complaint


def test_a_server_is_known_by_host_and_port(tmp_path: Path) -> None:
    token = own(tmp_path, "hunter2")
    found = remote.parse("https://[2001:db8::1]", token, None)
    assert (str(found), found.host) == ("[2001:db8::1]:5380", "2001:db8::1")
    assert "hunter2" not in repr(found)
    assert remote.parse("http://[::1]:80", token, None).headers["Authorization"] == "Bearer hunter2"
    token.chmod(0o644)
    with pytest.raises(NotUsable, match="others can read the token file"):
        remote.parse("https://ns1", token, None)
