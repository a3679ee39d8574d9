"""Who may ask what over TCP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnslb.admin.exchange import Request
from dnslb.admin.guard import Guard, Role, Token, known_by, refusal

TOKEN = "s3cret.~token+/=="
READING, TRUSTING = Guard((), ("ns1.example.com",)), Guard((Token(TOKEN.encode()),), ("ns1.example.com",))


def status(guard: Guard, method: str = "GET", **headers: str) -> int:
    """Of the refusal; 200 when there is none."""
    reply = refusal(guard, Request(method, "/status", b"", headers))
    return 200 if reply is None else reply.status


@pytest.mark.parametrize(("host", "expected"), [
    *((host, 200) for host in (
        "127.0.0.1", "127.0.0.1:5380", "192.0.2.1:80", "[::1]", "[::1]:5380", "[2001:DB8::1]:1", "localhost",
        "LocalHost:5380", "localhost.", "ns1.example.com", "NS1.Example.COM.:5380",
    )),
    *((host, 421) for host in (
        "", ":5380", "example.com", "ns2.example.com", "ns1.example.com.evil.test", "x.ns1.example.com",
        "evil.test:5380", "localhost.evil.test", "127.0.0.1.evil.test", "evil.test@127.0.0.1", "127.0.0.1/evil",
        "127.0.0.1 evil.test", "2130706433", "127.1", "0x7f000001", "[::1", "::1", "[127.0.0.1%25x]", "[::1]evil.test",
        "ns1.example.com\x00", "127.0.0.1:x", "１２７.0.0.1",
    )),
])  # fmt: skip
def test_the_host_asked_for_must_be_this_one(host: str, expected: int) -> None:
    assert status(READING, host=host) == expected
    assert status(TRUSTING, "POST", host=host, authorization=f"Bearer {TOKEN}") == expected


def test_a_program_may_leave_the_host_out() -> None:
    assert status(READING) == 200


@pytest.mark.parametrize(("host", "origin", "expected"), [
    ("127.0.0.1:5380", "http://127.0.0.1:5380", 200),
    ("ns1.example.com", "https://ns1.example.com", 200),   # behind a proxy that speaks TLS
    ("NS1.example.com", "http://ns1.example.com", 200),
    ("[::1]:5380", "http://[::1]:5380", 200),
    ("127.0.0.1:5380", "http://127.0.0.1", 403),           # another server on this host
    ("127.0.0.1:5380", "http://127.0.0.1:8000", 403),
    ("127.0.0.1:5380", "http://localhost:5380", 403),
    ("127.0.0.1:5380", "http://evil.test", 403),
    ("127.0.0.1:5380", "null", 403),
    ("127.0.0.1:5380", "", 403),
    ("127.0.0.1:5380", "http://127.0.0.1:5380/", 403),
    ("evil.test", "http://evil.test", 421),                # DNS rebinding
])  # fmt: skip
def test_only_our_own_page_may_ask(host: str, origin: str, expected: int) -> None:
    for method in ("GET", "POST"):
        assert status(TRUSTING, method, host=host, origin=origin, authorization=f"Bearer {TOKEN}") == expected
    assert status(READING, host=host, origin=origin) == expected


@pytest.mark.parametrize(("site", "expected"), [
    ("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403), ("", 403),
])  # fmt: skip
def test_a_browser_says_that_another_site_asks(site: str, expected: int) -> None:
    headers = {"host": "127.0.0.1:5380", "authorization": f"Bearer {TOKEN}", "sec-fetch-site": site}
    assert status(TRUSTING, "POST", **headers) == expected
    assert status(TRUSTING, "GET", **headers) == 200, "a link in a ticket leads to the page"


@pytest.mark.parametrize(("method", "authorization", "reading", "trusting"), [
    ("GET", None, 200, 200),
    ("HEAD", None, 200, 200),
    ("GET", "Bearer wrong", 200, 401),       # reading is open, but nobody may try tokens by it
    ("GET", "Basic x", 200, 200),
    ("POST", None, 403, 401),
    ("POST", f"Bearer {TOKEN}", 403, 200),
    ("POST", f"bearer   {TOKEN} ", 403, 200),
    ("POST", f"Bearer {TOKEN}x", 403, 401),
    ("POST", f"Bearer {TOKEN[:-1]}", 403, 401),
    ("POST", "Bearer", 403, 401),
    ("POST", "Bearer é\x80", 403, 401),
    ("POST", f"Basic {TOKEN}", 403, 401),
    ("POST", TOKEN, 403, 401),
    ("DELETE", None, 403, 401),
    ("get", None, 403, 401),                 # methods know no other case
])  # fmt: skip
def test_more_than_reading_needs_the_token(method: str, authorization: str | None, reading: int, trusting: int) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    assert status(READING, method, **headers) == reading
    assert status(TRUSTING, method, **headers) == trusting


def test_each_of_several_tokens_is_known_by_its_name() -> None:
    guard = Guard((Token(b"one", "alice"), Token(b"two", "deploy")))
    names = []
    for text in ("Bearer one", "Bearer two", "Bearer three", "Basic one", ""):
        token = known_by(guard, Request("POST", "/orders", b"", {"authorization": text}))
        names.append(None if token is None else token.name)
    assert names == ["alice", "deploy", None, None, None]


def test_a_token_for_reading_opens_no_more() -> None:
    guard = Guard((Token(b"one", "alice", Role.READ), Token(b"two", "bob", Role.OPERATE)))
    assert [status(guard, method, authorization="Bearer one") for method in ("GET", "POST", "PUT")] == [200, 403, 403]
    assert status(guard, "POST", authorization="Bearer two") == 200
    reply = refusal(guard, Request("POST", "/orders", b"", {"authorization": "Bearer one"}))
    assert reply is not None
    assert b"the token alice is for reading only" in reply.body
    assert reply.headers == (("WWW-Authenticate", 'Bearer realm="dnslb", error="insufficient_scope"'),)


@pytest.mark.parametrize(("method", "target", "operate", "register", "read"), [
    ("POST", "/backends", 200, 200, 403),
    ("DELETE", "/backends?x", 200, 200, 403),
    ("POST", "/backends/", 200, 403, 403),
    ("GET", "/status", 200, 403, 200),       # an address may be registered by whom nothing else is told
    ("GET", "/backends", 200, 403, 200),
    ("POST", "/orders", 200, 403, 403),
    ("POST", "/reload", 200, 403, 403),
    ("PUT", "/log-level", 200, 403, 403),
])  # fmt: skip
def test_a_role_opens_what_it_is_for(method: str, target: str, operate: int, register: int, read: int) -> None:
    guard = Guard(tuple(Token(role.value.encode(), role.value, role) for role in Role))
    for role, expected in ((Role.OPERATE, operate), (Role.REGISTER, register), (Role.READ, read)):
        reply = refusal(guard, Request(method, target, b"", {"authorization": f"Bearer {role.value}"}))
        assert (200 if reply is None else reply.status) == expected


@pytest.mark.parametrize(("authorization", "challenge"), [
    ({}, 'Bearer realm="dnslb"'),
    ({"authorization": "Bearer wrong"}, 'Bearer realm="dnslb", error="invalid_token"'),
])  # fmt: skip
def test_who_is_refused_is_told_how_to_ask(authorization: dict[str, str], challenge: str) -> None:
    reply = refusal(TRUSTING, Request("POST", "/orders", b"", authorization))
    assert reply is not None
    assert reply.headers == (("WWW-Authenticate", challenge),)
    assert TOKEN.encode() not in reply.body


TEXTS = st.text(st.characters(max_codepoint=255), max_size=300)


@given(headers=st.dictionaries(st.sampled_from(["host", "origin", "authorization"]), TEXTS), method=TEXTS)
def test_any_headers_are_judged(headers: dict[str, str], method: str) -> None:
    if refusal(TRUSTING, Request(method, "/orders", b"", headers)) is None:
        assert method in ("GET", "HEAD") or TOKEN in headers["authorization"]
