"""The http and https probes against backends that behave well or badly: a clear reason, in time, in little memory."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import ssl
import tracemalloc
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import backends
import pytest
from backends import Behaviour

from dnslb import __version__
from dnslb.balance.health import Outcome
from dnslb.balance.pool import HttpCheck
from dnslb.probe import expression, probe

TIMEOUT = 0.4  # seconds, where the backend will let it pass
AMPLE = 10.0   # seconds, where it will not

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nall is well"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nall is\r\n5\r\n well\r\n0\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nall is well"
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 100007\r\n\r\n" + b"." * 100_000 + b"well"
ZIPPED = gzip.compress(b"all is well", mtime=0)
GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(ZIPPED), ZIPPED)
HEADERS_ONLY = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n"


def status(code: int, *headers: bytes) -> bytes:
    return b"\r\n".join((b"HTTP/1.1 %d Any" % code, *headers, b"Content-Length: 0", b"", b""))


def ask(check: HttpCheck, behaviour: Behaviour, tls: ssl.SSLContext | None = None, timeout: float = AMPLE) -> Outcome:
    async def main() -> Outcome:
        async with backends.listening(behaviour, tls=tls) as port:
            return await probe(replace(check, port=port), IPv4Address(backends.HOME), None, timeout)

    return asyncio.run(main())


PLAIN = HttpCheck(port=0)
WELL = HttpCheck(port=0, body="well")


@pytest.mark.parametrize(("check", "response", "reason"), [
    (PLAIN,                                         OK,                         "status 200"),
    (PLAIN,                                         status(204),                "status 204"),
    (PLAIN,                                         b"HTTP/1.0 200 OK\r\n\r\n", "status 200"),
    (PLAIN,                                         status(100) + OK,           "status 200"),
    (replace(PLAIN, expect=((302, 302),)),          status(302),                "status 302"),
    (replace(PLAIN, expect=((200, 299), (401, 401))), status(401),              "status 401"),
    (replace(PLAIN, expect=((101, 101),), headers=(("Connection", "Upgrade"), ("Upgrade", "websocket"))),
                                                    status(101),                "status 101"),
    # What cannot stand in a request line goes out percent-encoded.
    (replace(PLAIN, path="/a b\r\nX: y"),           OK,                         "status 200"),
    (replace(PLAIN, method="HEAD"),                 HEADERS_ONLY,               "status 200"),
    (WELL,                                          OK,                         "status 200"),
    (WELL,                                          CHUNKED,                    "status 200"),
    (WELL,                                          UNTIL_CLOSE,                "status 200"),
    (replace(WELL, body=""),                        OK,                         "status 200"),
    (replace(PLAIN, body_matches=r"^all\b.*well$"), OK,                         "status 200"),
    (replace(WELL, body_matches="is"),              CHUNKED,                    "status 200"),
    (PLAIN,                                         GZIP,                       "status 200"),
])  # fmt: skip
def test_a_good_answer_passes(check: HttpCheck, response: bytes, reason: str) -> None:
    outcome = ask(check, backends.answering(response))
    assert (outcome.ok, outcome.reason) == (True, reason)
    assert 0 < outcome.took < AMPLE


@pytest.mark.parametrize(("check", "response", "reason"), [
    (PLAIN, status(503), "status 503, expected 200-299"),
    (PLAIN, status(302, b"Location: /elsewhere"), "status 302, expected 200-299"),
    (replace(PLAIN, expect=((200, 204), (401, 401))), status(500), "status 500, expected 200-204, 401"),
    (replace(PLAIN, body="ok"), OK, 'body has no "ok"'),
    (replace(PLAIN, body="ok", method="HEAD"), HEADERS_ONLY, 'body has no "ok"'),
    (WELL, LARGE, 'body has no "well" in its first 64 kB'),
    (replace(PLAIN, body_matches="^o.?k"), OK, 'body has nothing that matches "^o.?k"'),
    (replace(PLAIN, body_matches="well"), LARGE, 'body has nothing that matches "well" in its first 64 kB'),
    (replace(PLAIN, body_matches="("), OK,
     "the regular expression is broken: missing ), unterminated subpattern at position 0"),
    (WELL, GZIP, "body is compressed (gzip) although we asked for it plain; it cannot be checked"),
    (WELL, HEADERS_ONLY + b"all", "closed the connection before the end of the body"),
    (PLAIN, b"HTTP/1.1 200 OK\r\nContent-Le", "closed the connection before the end of the headers"),
    (PLAIN, b"", "closed the connection without an answer"),
    (PLAIN, b"SSH-2.0-OpenSSH_9.2\r\n\r\n", r"the answer is not HTTP, it begins with b'SSH-2.0-OpenSSH_9.2\r\n\r\n'"),
    (PLAIN, b"\0\xff\x1b[2J" * 99, r"the answer is not HTTP, it begins with "
     r"b'\x00\xff\x1b[2J\x00\xff\x1b[2J\x00\xff\x1b[2J\x00\xff\x1b[2J\x00\xff\x1b[2J\x00\xff'"),
    (WELL, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "broken HTTP: illegal chunk header: *"),
    (PLAIN, b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "broken HTTP: bad Content-Length"),
    (replace(PLAIN, headers=(("X y", "z"),)), OK, "the request cannot be written: Illegal header name*"),
    (replace(PLAIN, headers=(("X", "a\nb"),)), OK, "the request cannot be written: Illegal header value*"),
    (replace(PLAIN, host="a" * 64 + "ä.example"), OK, "the request cannot be written: *"),
])  # fmt: skip
def test_a_bad_answer_has_a_reason(check: HttpCheck, response: bytes, reason: str) -> None:
    outcome = ask(check, backends.answering(response))
    assert not outcome.ok
    if reason.endswith("*"):
        assert outcome.reason.startswith(reason[:-1])
    else:
        assert outcome.reason == reason


@pytest.mark.parametrize(("check", "behaviour", "reason"), [
    (PLAIN, backends.silent,                                        "no answer within 0.4 s"),
    (PLAIN, backends.dripping(OK),                                  "no end of the headers within 0.4 s"),
    (PLAIN, backends.holding(b"HTTP/1.1 200 OK\r\n"),               "no end of the headers within 0.4 s"),
    (WELL,  backends.holding(HEADERS_ONLY + b"all"),                "no end of the body within 0.4 s"),
    (PLAIN, backends.holding(HEADERS_ONLY + b"all"),                "status 200"),
    (WELL,  backends.holding(HEADERS_ONLY + b"all well"),           "status 200"),
    (PLAIN, backends.endless(OK[:17], b"A: b\r\n"),                 "headers of more than 64 kB"),
    (PLAIN, backends.endless(OK[:17], b"A" * 999),                  "headers of more than 64 kB"),
    (PLAIN, backends.endless(b"", b"A" * 999),                      "headers of more than 64 kB"),
    (PLAIN, backends.endless(b"", b"HTTP/1.1 100 Go on\r\n\r\n"),   "headers of more than 64 kB"),
    (PLAIN, backends.endless(UNTIL_CLOSE, b"." * 999),              "status 200"),
    (WELL,  backends.endless(UNTIL_CLOSE, b"." * 999),              "status 200"),
    (replace(PLAIN, body="ok"), backends.endless(UNTIL_CLOSE, b"." * 999), 'body has no "ok" in its first 64 kB'),
    (replace(PLAIN, body="ok"), backends.endless(CHUNKED[:47], b"1;" + b"x" * 999 + b"\r\n.\r\n"),
     "more than 1 MB for 64 kB of body"),
    (PLAIN, backends.resetting,                                     "reset by the peer"),
    (WELL,  backends.sending_and_resetting(HEADERS_ONLY + b"all"),  "reset by the peer"),
    (PLAIN, backends.closing,                                       "closed the connection without an answer"),
    (PLAIN, backends.closing_at_once,                               "closed the connection without an answer"),
])  # fmt: skip
def test_a_nasty_backend_gets_a_reason_in_time(check: HttpCheck, behaviour: Behaviour, reason: str) -> None:
    timed = " within 0.4 s" in reason
    outcome = ask(check, behaviour, timeout=TIMEOUT if timed else AMPLE)
    assert outcome.reason == reason
    assert outcome.ok == reason.startswith("status")
    assert outcome.took < (TIMEOUT + 2 if timed else AMPLE)


def test_an_endless_backend_does_not_grow_memory() -> None:
    check = replace(PLAIN, body="ok")
    behaviour = backends.endless(UNTIL_CLOSE, b"." * 65536)
    ask(check, behaviour)
    tracemalloc.start()
    ask(check, behaviour)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 << 20


def test_a_port_without_a_server_refuses() -> None:
    check = HttpCheck(port=backends.closed_port())
    outcome = asyncio.run(probe(check, IPv4Address(backends.HOME), None, AMPLE))
    assert (outcome.ok, outcome.reason) == (False, "connection refused")


def test_a_full_backlog_gives_no_connection() -> None:
    async def main() -> Outcome:
        async with backends.full_backlog() as port:
            return await probe(HttpCheck(port), IPv4Address(backends.HOME), None, 0.3)

    outcome = asyncio.run(main())
    assert (outcome.ok, outcome.reason) == (False, "no connection within 0.3 s")


def heard(check: HttpCheck, home: str = backends.HOME) -> list[str]:
    """The lines of the request."""
    lines: list[str] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.extend((await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2])
        writer.write(OK)

    async def main() -> Outcome:
        async with backends.listening(listen, home) as port:
            lines.append(f"port {port}")
            return await probe(replace(check, port=port), ip_address(home), None, AMPLE)

    assert asyncio.run(main()).ok
    port = lines.pop(0).removeprefix("port ")
    return [line.replace(port, "PORT") for line in lines]


def test_the_request_says_who_asks_and_wants_a_plain_body() -> None:
    assert heard(replace(PLAIN, path="/healthz?a=b", host="www.example.com")) == [
        "GET /healthz?a=b HTTP/1.1",
        "Host: www.example.com:PORT",
        f"User-Agent: dnslb/{__version__}",
        "Accept: */*",
        "Accept-Encoding: identity",
        "Connection: close",
    ]


def test_configured_headers_replace_ours() -> None:
    lines = heard(replace(PLAIN, method="POST", path="/ü x", headers=(("host", "other.example"), ("X-Probe", "ä"))))
    assert lines[0] == "POST /%C3%BC%20x HTTP/1.1"
    assert [line for line in lines if line.lower().startswith("host")] == ["host: other.example"]
    assert "X-Probe: ä" in lines
    assert "Content-Length: 0" in lines


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert "Host: [::1]:PORT" in heard(PLAIN, "::1")


@pytest.mark.parametrize("matches", ["(a+)+$", ".*ok", "(a|a)*b", "a*a*a*b"])
def test_a_regular_expression_that_backtracks_forever_stops_nothing(matches: str) -> None:
    response = b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 65535 + b"!"

    async def main() -> tuple[Outcome, float]:
        loop = asyncio.get_running_loop()
        longest = 0.0

        async def watch() -> None:
            nonlocal longest
            while True:
                before = loop.time()
                await asyncio.sleep(0.01)
                longest = max(longest, loop.time() - before)

        async with backends.listening(backends.answering(response)) as port:
            watching = asyncio.create_task(watch())
            check = HttpCheck(port, body_matches=matches)
            outcome = await probe(check, IPv4Address(backends.HOME), None, AMPLE)
            again = await probe(replace(check, body_matches="a{9}"), IPv4Address(backends.HOME), None, AMPLE)
            watching.cancel()
            assert again.ok
            return outcome, longest

    outcome, longest = asyncio.run(main())
    assert not outcome.ok
    assert outcome.reason == "the regular expression takes more than 0.1 s for this body; simplify its repetitions"
    assert outcome.took < AMPLE / 2
    assert longest < 1


def test_probes_share_the_search_of_an_expression_in_turn() -> None:
    async def main() -> list[Outcome]:
        async with backends.listening(backends.answering(OK)) as port:
            checks = [HttpCheck(port, body_matches=matches) for matches in ["w.ll", "b.d", "w.ll", "b.d"] * 5]
            checks += [HttpCheck(port, body_matches=f"w.ll|{number}") for number in range(20)]
            return await asyncio.gather(*(probe(check, IPv4Address(backends.HOME), None, AMPLE) for check in checks))

    outcomes = asyncio.run(main())
    assert [outcome.ok for outcome in outcomes] == [True, False] * 10 + [True] * 20


def test_a_search_process_that_somebody_killed_is_replaced() -> None:
    async def main() -> list[Outcome]:
        async with backends.listening(backends.answering(OK)) as port:
            check = HttpCheck(port, body_matches="w.ll|killed")
            first = await probe(check, IPv4Address(backends.HOME), None, AMPLE)
            searcher = expression._searchers[asyncio.get_running_loop(), "w.ll|killed"]
            assert searcher._process is not None
            os.kill(searcher._process.pid, signal.SIGKILL)
            os.waitid(os.P_PID, searcher._process.pid, os.WEXITED | os.WNOWAIT)
            return [first, await probe(check, IPv4Address(backends.HOME), None, AMPLE)]

    assert [outcome.reason for outcome in asyncio.run(main())] == ["status 200", "status 200"]


def test_a_second_look_that_fails_leaves_the_first_reason(tmp_path: Path) -> None:
    """The certificate is read over a second connection; here there is none."""
    context = backends.certified(NAME, begins=-9 * DAY, ends=-3 * DAY)

    async def main() -> Outcome:
        async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(never, backends.HOME, 0, ssl=context)
        context.sni_callback = lambda sock, name, context: server.close()
        port = server.sockets[0].getsockname()[1]
        return await probe(replace(https(tmp_path), port=port), IPv4Address(backends.HOME), None, AMPLE)

    outcome = asyncio.run(main())
    assert (outcome.ok, outcome.reason) == (False, "certificate has expired")


NAME = "www.example.com"
DAY = timedelta(days=1)


def https(directory: Path, host: str | None = NAME) -> HttpCheck:
    return HttpCheck(port=0, tls=True, host=host, ca_file=backends.authority_file(directory), body="well")


def test_a_good_certificate_passes(tmp_path: Path) -> None:
    outcome = ask(https(tmp_path), backends.answering(OK), backends.certified(NAME))
    assert (outcome.ok, outcome.reason) == (True, "status 200")


def test_a_certificate_for_the_address_passes_without_a_host(tmp_path: Path) -> None:
    outcome = ask(https(tmp_path, None), backends.answering(OK), backends.certified(backends.HOME))
    assert (outcome.ok, outcome.reason) == (True, "status 200")


@pytest.mark.parametrize(("begins", "ends", "names", "reason"), [
    (-9 * DAY, -3.5 * DAY, [NAME], "certificate expired 3 days ago"),
    (-9 * DAY, -DAY / 2, [NAME], "certificate expired 12 hours ago"),
    (5.5 * DAY, 9 * DAY, [NAME], "certificate is not valid yet, for another 5 days"),
    (-DAY, DAY, ["other.example.com"], "certificate is for other.example.com, not www.example.com"),
    (-DAY, DAY, [f"{n}.example" for n in range(9)],
     "certificate is for 0.example, 1.example, 2.example and 6 more, not www.example.com"),
])  # fmt: skip
def test_a_wrong_certificate_says_what_is_wrong(
    tmp_path: Path, begins: timedelta, ends: timedelta, names: list[str], reason: str
) -> None:
    outcome = ask(https(tmp_path), backends.answering(OK), backends.certified(*names, begins=begins, ends=ends))
    assert (outcome.ok, outcome.reason) == (False, reason)


def test_a_certificate_for_another_address_says_so(tmp_path: Path) -> None:
    outcome = ask(https(tmp_path, None), backends.answering(OK), backends.certified("127.0.9.9"))
    assert (outcome.ok, outcome.reason) == (False, "certificate is for 127.0.9.9, not 127.0.1.11")


def test_a_self_signed_certificate_says_so(tmp_path: Path) -> None:
    outcome = ask(https(tmp_path), backends.answering(OK), backends.self_signed(tmp_path))
    assert (outcome.ok, outcome.reason) == (False, "certificate is self-signed")


def test_the_systems_authorities_do_not_know_ours(tmp_path: Path) -> None:
    outcome = ask(replace(https(tmp_path), ca_file=None), backends.answering(OK), backends.certified(NAME))
    assert not outcome.ok
    assert outcome.reason.startswith("certificate is signed by an unknown authority")


def test_without_verification_any_certificate_passes(tmp_path: Path) -> None:
    check = replace(https(tmp_path), verify=False, ca_file=None)
    assert ask(check, backends.answering(OK), backends.self_signed(tmp_path)).ok


def test_a_ca_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    check = https(tmp_path)
    path = Path(check.ca_file or "")
    good = path.read_text()
    path.write_text("nothing")
    broken = ask(check, backends.answering(OK), backends.certified(NAME))
    assert broken.reason == f"the CA file {path} holds no certificate in PEM form"
    path.unlink()
    missing = ask(check, backends.answering(OK), backends.certified(NAME))
    assert missing.reason == f"cannot read the CA file {path}: no such file or directory"
    path.write_text(good)
    assert ask(check, backends.answering(OK), backends.certified(NAME)).ok


def test_the_server_is_told_the_name_but_never_an_address(tmp_path: Path) -> None:
    told: list[str | None] = []
    for host in (NAME, None):
        context = backends.certified(NAME, backends.HOME)
        context.sni_callback = lambda sock, name, context: told.append(name)
        assert ask(https(tmp_path, host), backends.answering(OK), context).ok
    assert told == [NAME, None]


@pytest.mark.parametrize(("behaviour", "reason"), [
    (backends.silent, "no TLS handshake within 0.4 s"),
    (backends.answering(OK), "no TLS handshake within 0.4 s"),
    (backends.closing_at_once, "closed the connection during the TLS handshake"),
    (backends.resetting, "reset by the peer"),
    (backends.dripping(b"\x16\x03\x03" + b"\0" * 99), "no TLS handshake within 0.4 s"),
])
def test_tls_to_a_server_without_it(tmp_path: Path, behaviour: Behaviour, reason: str) -> None:
    outcome = ask(https(tmp_path), behaviour, timeout=TIMEOUT if "within" in reason else AMPLE)
    assert (outcome.ok, outcome.reason) == (False, reason)


def test_tls_to_a_plain_server(tmp_path: Path) -> None:
    async def complain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        await reader.read()

    outcome = ask(https(tmp_path), complain)
    assert (outcome.ok, outcome.reason) == (False, "no TLS on this port")


def test_http_to_a_tls_server() -> None:
    async def alert(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"\x15\x03\x01\x00\x02\x02\x46")  # as OpenSSL answers

    outcome = ask(PLAIN, alert)
    assert (outcome.ok, outcome.reason) == (False, "the server speaks TLS: probe it with https")


def test_a_server_with_old_tls_only(tmp_path: Path) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(2000)
        writer.write(b"\x15\x03\x03\x00\x02\x02\x46")  # alert 70, protocol_version (RFC 8446 §6)

    outcome = ask(https(tmp_path), refuse)
    assert (outcome.ok, outcome.reason) == (False, "the server speaks no TLS 1.2 or later")
