"""The dns probe against servers that answer, answer something else, or do not answer."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from ipaddress import ip_address

import backends
import dns.flags
import dns.message
import pytest

from dnslb.balance.health import Outcome
from dnslb.balance.pool import DnsCheck
from dnslb.probe import probe

TIMEOUT = 0.3  # seconds, where the backend will let it pass
AMPLE = 10.0   # seconds, where it will not
SOA = DnsCheck("www.Example.com.")


def ask(check: DnsCheck, reply: Callable[[bytes], list[bytes]], timeout: float, home: str = backends.HOME) -> Outcome:
    async def main() -> Outcome:
        async with backends.datagrams(reply, home) as port:
            moved = DnsCheck(check.name, check.rrtype, port, check.expect)
            return await probe(moved, ip_address(home), None, timeout)

    return asyncio.run(main())


def rcode(code: int) -> Callable[[bytes], list[bytes]]:
    return lambda query: [query[:2] + struct.pack("!H", 0x8180 | code) + query[4:]]


def bare(code: int) -> Callable[[bytes], list[bytes]]:
    """The header alone, as some servers send it with an error."""
    return lambda query: [query[:2] + struct.pack("!5H", 0x8180 | code, 0, 0, 0, 0)]


def altered(at: int, octet: int) -> Callable[[bytes], list[bytes]]:
    """A good reply but for one octet."""
    return lambda query: [answer[:at] + bytes((answer[at] ^ octet,)) + answer[at + 1 :] for answer in rcode(0)(query)]


@pytest.mark.parametrize(("check", "reply", "ok", "reason"), [
    (SOA, rcode(0), True, "NOERROR"),
    (SOA, lambda query: [answer[:12] + answer[12:].lower() for answer in rcode(0)(query)], True, "NOERROR"),
    (SOA, lambda query: [b"", b"\0" * 600, *rcode(0)(query)], True, "NOERROR"),
    (DnsCheck("nope.", expect=("NOERROR", "NXDOMAIN")), rcode(3), True, "NXDOMAIN"),
    (SOA, rcode(3), False, "NXDOMAIN, expected NOERROR"),
    (SOA, rcode(2), False, "SERVFAIL, expected NOERROR"),
    (DnsCheck("a.", expect=("NOERROR", "NXDOMAIN")), rcode(11), False, "RCODE11, expected NOERROR or NXDOMAIN"),
    (SOA, bare(5), False, "REFUSED, expected NOERROR"),
    (SOA, lambda query: [b"junk"] * 99, False,
     "16 packets, but none answers the question; the last is no DNS message"),
    (DnsCheck("a..b."), rcode(0), False, "cannot ask: the name a..b. has an empty label; remove the extra dot"),
    (DnsCheck("\N{SNOWMAN}."), rcode(0), False, "cannot ask: *"),
    (DnsCheck("a.", "NONE"), rcode(0), False, "cannot ask for the type NONE"),
])  # fmt: skip
def test_a_reply_is_judged(check: DnsCheck, reply: Callable[[bytes], list[bytes]], ok: bool, reason: str) -> None:
    outcome = ask(check, reply, AMPLE)
    if reason.endswith("*"):
        assert outcome.reason.startswith(reason[:-1])
    else:
        assert (outcome.ok, outcome.reason) == (ok, reason)


@pytest.mark.parametrize(("reply", "lacks"), [
    (lambda query: [], "answer"),
    (lambda query: [b"junk"], "answer to the question (but a packet that is no DNS message)"),
    (altered(1, 1), "answer to the question (but a packet that has another id)"),
    (altered(2, 0x80), "answer to the question (but a packet that is no response)"),
    (bare(0), "answer to the question (but a packet that has another question)"),
    (altered(13, 3), "answer to the question (but a packet that has another question)"),
    (altered(-1, 2), "answer to the question (but a packet that has another question)"),
])  # fmt: skip
def test_what_is_no_answer_is_passed_over(reply: Callable[[bytes], list[bytes]], lacks: str) -> None:
    outcome = ask(SOA, reply, TIMEOUT)
    assert (outcome.ok, outcome.reason) == (False, f"no {lacks} within 0.3 s")


def test_a_port_without_a_server_refuses() -> None:
    outcome = asyncio.run(probe(DnsCheck("a.", port=backends.closed_port()), ip_address(backends.HOME), None, AMPLE))
    assert (outcome.ok, outcome.reason) == (False, "connection refused")


def test_the_question_is_the_one_configured() -> None:
    heard: list[bytes] = []

    def reply(query: bytes) -> list[bytes]:
        heard.append(query)
        return rcode(0)(query)

    for _ in range(5):
        assert ask(DnsCheck("www.example.com.", "AAAA"), reply, AMPLE, "::1").ok
    queries = [dns.message.from_wire(query) for query in heard]
    assert {query.question[0].to_text() for query in queries} == {"www.example.com. IN AAAA"}
    assert {dns.flags.to_text(query.flags) for query in queries} == {"RD"}
    assert len({query.id for query in queries}) > 1
