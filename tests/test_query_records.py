"""Queries recorded as they come: dnstap as the field's tools take it, the query log, and what is asked most."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.message
import dns.query
from dnslb_server import DNSLB, Server, eventually, started
from peers import STOPPING, free_port
from programs import program

from dnslb.admin import client
from dnslb.dns.dnstap import CONTENT_TYPE
from dnslb.ipc import frame_streams
from dnslb.ipc.frame_streams import ControlReader

ROUND = 20  # queries


@contextmanager
def serving(directory: Path, settings: str, *options: str) -> Iterator[tuple[Server, int]]:
    """A server with one worker and these settings, and its port."""
    zones, port = directory / "zones", free_port()
    if not zones.exists():
        zones.mkdir()
        (zones / "example.test.zone").write_text(
            "$TTL 300\n@ SOA ns1 hostmaster 1 3600 900 1209600 60\n NS ns1\nns1 A 192.0.2.53\nwww A 192.0.2.1\n"
            "www A 192.0.2.2\n"
        )
    (zones / "dnslb.yaml").write_text(settings)
    listen = ("--listen", f"127.0.0.1:{port}", "--listen", f"[::1]:{port}")
    with started(directory, "--workers", "1", *listen, *options) as server:
        yield server, port


def ask(port: int, name: str, rdtype: str = "A", host: str = "127.0.0.1", *, tcp: bool = False) -> dns.message.Message:
    query = dns.message.make_query(name, rdtype)
    return (dns.query.tcp if tcp else dns.query.udp)(query, host, port=port, timeout=5)




@contextmanager
def capture(directory: Path) -> Iterator[tuple[Path, Path]]:
    """fstrm_capture at work: its socket, and the file that it writes."""
    sock, file = directory / "tap.sock", directory / "frames"
    command = [program("fstrm_capture", "fstrm-bin"), "-t", CONTENT_TYPE.decode(), "-u", str(sock), "-w", str(file)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        eventually(sock.exists, "fstrm_capture does not listen")
        yield sock, file
    finally:
        process.terminate()
        process.wait(STOPPING)


def test_dnstap_tools_read_what_is_asked(tmp_path: Path) -> None:
    reader = program("dnstap-read", "bind9-dnsutils")
    with capture(tmp_path) as (sock, file):
        with serving(tmp_path, f"dnstap: {{socket: {sock}}}\nserver_id: ns1\n") as (server, port):
            eventually(lambda: "connected" in server.log, "no connection")
            ask(port, "www.example.test")
            ask(port, "nope.example.test", "AAAA", "::1")
            ask(port, "www.example.test", "MX", tcp=True)
        time.sleep(0.2)
    short = subprocess.run([reader, str(file)], capture_output=True, text=True, timeout=20, check=True).stdout
    lines = [line.split(" ", 2)[2] for line in short.splitlines()]
    assert [re.sub(r":\d{4,} |:\d{4,}$|(?<= )\d+b ", " ", line).replace("  ", " ") for line in lines] == [
        "AQ 127.0.0.1 -> 127.0.0.1 UDP www.example.test/IN/A",
        "AR 127.0.0.1 <- 127.0.0.1 UDP www.example.test/IN/A",
        "AQ ::1 -> ::1 UDP nope.example.test/IN/AAAA",
        "AR ::1 <- ::1 UDP nope.example.test/IN/AAAA",
        "AQ 127.0.0.1 -> 127.0.0.1 TCP www.example.test/IN/MX",
        "AR 127.0.0.1 <- 127.0.0.1 TCP www.example.test/IN/MX",
    ]
    assert f"127.0.0.1:{port}" in short
    whole = subprocess.run([reader, "-y", str(file)], capture_output=True, text=True, timeout=20, check=True).stdout
    assert "identity: ns1" in whole and "status: NXDOMAIN" in whole and "www.example.test. 300 IN A 192.0.2.1" in whole


def test_a_sample_of_queries_is_recorded(tmp_path: Path) -> None:
    log = tmp_path / "queries.log"
    with serving(tmp_path, f"query_log: {{file: {log}, sample: 10%}}\n") as (_, port):
        for _ in range(30):
            for _ in range(ROUND):
                ask(port, "www.example.test")
    assert 20 <= len(log.read_text().splitlines()) <= 120


def test_the_query_log_as_text(tmp_path: Path) -> None:
    log = tmp_path / "queries.log"
    with serving(tmp_path, f"query_log: {{file: {log}}}\n") as (_, port):
        ask(port, "WWW.example.test")
        ask(port, "nope.example.test", "AAAA", "::1")
        ask(port, "example.org", tcp=True)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"no query", ("127.0.0.1", port))
            sock.sendto(dns.message.make_query("a\\010b.example.test", "A").to_wire(), ("127.0.0.1", port))
            sock.settimeout(5)
            sock.recv(512)
    lines = [re.sub(r"^\S+Z (\S+) \d+ ", r"\1 ", line) for line in log.read_text().splitlines()]
    assert [line.rpartition(" ")[0] for line in lines] == [
        "127.0.0.1 udp WWW.example.test. IN A NOERROR answer",
        "::1 udp nope.example.test. IN AAAA NXDOMAIN nxdomain",
        "127.0.0.1 tcp example.org. IN A REFUSED refused",
        "127.0.0.1 udp - - - - -",
        "127.0.0.1 udp a\\010b.example.test. IN A NXDOMAIN nxdomain",
    ]


def test_a_reload_takes_over_the_query_log(tmp_path: Path) -> None:
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    with serving(tmp_path, "") as (_, port):
        ask(port, "before.example.test")
        (tmp_path / "zones" / "dnslb.yaml").write_text(f"query_log: {{file: {first}, format: json}}\n")
        assert client.ask(tmp_path / "control", "POST", "/reload")[0] == 200
        ask(port, "first.example.test")
        (tmp_path / "zones" / "dnslb.yaml").write_text(f"query_log: {{file: {second}}}\n")
        assert client.ask(tmp_path / "control", "POST", "/reload")[0] == 200
        ask(port, "second.example.test")
        (tmp_path / "zones" / "dnslb.yaml").write_text("")
        assert client.ask(tmp_path / "control", "POST", "/reload")[0] == 200
        ask(port, "after.example.test")
    (line,) = map(json.loads, first.read_text().splitlines())
    at, sent = line.pop("at"), line.pop("port")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", at) and 0 < sent < 65536
    assert line == {
        "client": "127.0.0.1", "protocol": "udp", "name": "first.example.test.", "class": "IN", "type": "A",
        "rcode": "NXDOMAIN", "kind": "nxdomain", "truncated": False, "octets": line["octets"],
    }  # fmt: skip
    (text,) = second.read_text().splitlines()
    assert "second.example.test." in text


def test_a_log_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    log = tmp_path / "queries.log"
    with serving(tmp_path, f"query_log: {{file: {log}}}\n") as (_, port):
        ask(port, "first.example.test")
        eventually(log.exists, "no log")
        log.rename(tmp_path / "old.log")

        def is_new() -> bool:
            ask(port, "second.example.test")
            return log.exists()

        eventually(is_new, "no new log")


def test_a_log_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with serving(tmp_path, f"query_log: {{file: {missing}/queries.log}}\n") as (server, port):
        ask(port, "first.example.test")
        eventually(lambda: "No such file or directory; make it writable" in server.log, "it is not told")
        missing.mkdir()
        ask(port, "second.example.test")
        eventually(lambda: "is written again; 1 lines were lost" in server.log, "it is not told")


def test_who_does_not_read_costs_drops_and_no_reply(tmp_path: Path) -> None:
    """The other end accepts, and never reads again."""
    path = tmp_path / "tap.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(10)
        with serving(tmp_path, f"dnstap: {{socket: {path}}}\n") as (server, port):
            taker, _ = listener.accept()
            with taker:
                assert ControlReader().read(taker.recv(100))[0].kind == frame_streams.READY
                taker.sendall(frame_streams.control(frame_streams.ACCEPT, CONTENT_TYPE))
                eventually(lambda: "connected" in server.log, "no connection")
                query = dns.message.make_query("www.example.test", "A").to_wire()
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.connect(("127.0.0.1", port))
                    sock.settimeout(5)
                    for _ in range(300):
                        for _ in range(ROUND):
                            sock.send(query)
                        for _ in range(ROUND):
                            assert sock.recv(512)[:2] == query[:2]
            eventually(lambda: told(tmp_path, 'dropped_total{to="dnstap"}') > 0, "nothing is dropped")
            assert told(tmp_path, 'records_total{to="dnstap"}') > 0


def test_nobody_listens_to_dnstap_until_somebody_does(tmp_path: Path) -> None:
    path = tmp_path / "tap.sock"
    with serving(tmp_path, f"dnstap: {{socket: {path}}}\n") as (server, port):
        eventually(lambda: "No such file or directory; tried again" in server.log, "it is not told")
        assert ask(port, "www.example.test").answer
        with capture(tmp_path):
            eventually(lambda: "connected" in server.log, "no connection")
    assert server.log.count("No such file or directory; tried again") == 1


def test_what_is_asked_most_is_counted_while_somebody_asks(tmp_path: Path) -> None:
    with serving(tmp_path, "") as (_, port):
        ask(port, "before.example.test")
        assert client.ask(tmp_path / "control", "GET", "/queries")[1]["queries"] == 0
        for number in range(ROUND):
            ask(port, "www.example.test")
            ask(port, "www.example.test")
            ask(port, f"x{number}.example.test", "AAAA", "::1", tcp=True)
        found = client.ask(tmp_path / "control", "GET", "/queries")[1]
        done = subprocess.run(
            [*DNSLB, "queries", "--interval", "100ms", "--limit", "1", "--control", str(tmp_path / "control")],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
    assert found["queries"] == 3 * ROUND
    assert found["names"][0] == {"name": "www.example.test.", "type": "A", "queries": 2 * ROUND, "error": 0}
    assert len(found["names"]) == 1 + ROUND
    assert {one["client"]: one["queries"] for one in found["clients"]} == {"127.0.0.1": 2 * ROUND, "::/64": ROUND}
    assert done.returncode == 0, done.stderr
    assert re.sub(r"in \d+ s: \d+/s", "in 1 s: 60/s", done.stdout) == (
        "60 queries in 1 s: 60/s, 1 worker\n\n"
        "name               type  queries  share\n"
        "www.example.test.  A     40       67%\n\n"
        "client     queries  share\n"
        "127.0.0.1  40       67%\n"
    )


def told(directory: Path, sample: str) -> float:
    """A sample of the metrics."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(directory / "control"))
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    found = re.search(rf"{re.escape(sample)} (\S+)", text)
    return float(found[1]) if found else 0.0


def test_open_connections_are_counted_too(tmp_path: Path) -> None:
    """Those that were open before anybody asked, and after it."""
    with serving(tmp_path, "") as (_, port), socket.create_connection(("127.0.0.1", port), 5) as sock:
        query = dns.message.make_query("www.example.test", "A")
        dns.query.send_tcp(sock, query)
        dns.query.receive_tcp(sock)
        client.ask(tmp_path / "control", "GET", "/queries")
        for _ in range(ROUND):
            dns.query.send_tcp(sock, query)
        for _ in range(ROUND):
            assert dns.query.receive_tcp(sock)[0].id == query.id
        assert client.ask(tmp_path / "control", "GET", "/queries")[1]["queries"] == ROUND


def test_who_asks_is_told_only_with_a_token(tmp_path: Path) -> None:
    port, token = free_port(), tmp_path / "token"
    token.write_text("a-secret-of-enough-letters\n")
    token.chmod(0o600)
    options = ("--admin", f"127.0.0.1:{port}", "--admin-token-file", str(token))
    with serving(tmp_path, "", *options):
        for header, status in (("", 401), ("Authorization: Bearer a-secret-of-enough-letters\r\n", 200)):
            with socket.create_connection(("127.0.0.1", port), 5) as sock:
                sock.sendall(f"GET /queries HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}Connection: close\r\n\r\n".encode())
                assert sock.recv(65536).startswith(f"HTTP/1.1 {status} ".encode())


def test_on_a_wildcard_the_address_that_was_asked_is_recorded(tmp_path: Path) -> None:
    reader, port = program("dnstap-read", "bind9-dnsutils"), free_port()
    with capture(tmp_path) as (sock, file):
        listen = ("--listen", f"0.0.0.0:{port}", "--listen", f"[::]:{port}")
        with serving(tmp_path, f"dnstap: {{socket: {sock}}}\n", *listen) as (server, _):
            eventually(lambda: "connected" in server.log, "no connection")
            ask(port, "www.example.test", host="127.0.0.5")
            ask(port, "www.example.test", host="::1")
            ask(port, "www.example.test", host="127.0.0.6", tcp=True)
        time.sleep(0.2)
    short = subprocess.run([reader, str(file)], capture_output=True, text=True, timeout=20, check=True).stdout
    for end in ("127.0.0.5", "::1", "127.0.0.6"):
        assert f"-> {end}:{port} " in short


def test_queries_are_counted_by_zone(tmp_path: Path) -> None:
    with serving(tmp_path, "") as (_, port):
        for name in ("www.example.test", "ns1.example.test", "nope.example.test", "example.org"):
            ask(port, name)
            ask(port, name, tcp=True)
        eventually(lambda: told(tmp_path, 'zone_queries_total{zone="example.test."}') == 6, "other counts")
        assert client.ask(tmp_path / "control", "POST", "/reload")[0] == 200
        ask(port, "www.example.test")
        eventually(lambda: told(tmp_path, 'zone_queries_total{zone="example.test."}') == 7, "other counts")
