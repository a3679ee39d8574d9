"""What ``dnslb check`` says of a pool, word by word."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from dnslb.advice.explain import lines
from dnslb.balance.near import Near, around, merged
from dnslb.balance.pool import (
    AllDown,
    Backend,
    Check,
    DnsCheck,
    ExecCheck,
    HttpCheck,
    Pool,
    Probe,
    TcpCheck,
    TtlPolicy,
)

WWW = Pool(
    "www.example.com.",
    (
        Backend(ip_address("192.0.2.11"), weight=3),
        Backend(ip_address("192.0.2.12"), probe_address=ip_address("10.0.0.12")),
        Backend(ip_address("192.0.2.13"), weight=2, backup=True),
        Backend(ip_address("2001:db8::11")),
    ),
    zone_ttls={4: 300, 6: 20},
    probe=Probe(HttpCheck(80, "/healthz")),
    answers=2,
    ttl=TtlPolicy(failover=60.0),
    negative_ttl=5,
)
ALIKE = -1  # near clients get what others do


ADVICE = (
    "in their own subnet a client with glibc uses only the address most like its own (RFC 6724 rule 9);"
    " to spread clients there, write answers: {near: 1, far: "
)


def test_a_pool_with_a_promise() -> None:
    assert "\n".join(lines(WWW)) == f"""\
www.example.com.
  backends  4: 192.0.2.11 (weight 3), 192.0.2.12 (probed at 10.0.0.12), 192.0.2.13 (weight 2, backup), 2001:db8::11
  probe     http /healthz on port 80 every 5 s, down after 3, up after 2
  order     cyclic, at most 2 in a reply; all of them when none is up
  near      {ADVICE}2}}
  ttl       A 5 to 42 s (failover: 60s), AAAA 5 to 20 s (zone file's TTL)
  death     noticed within 17 s, last client after 60 s (78 s where caches hold 60 s)
  nodata    an answer of no such type is kept 5 s (the zone's SOA)"""


def test_a_ttl_below_what_some_resolvers_hold() -> None:
    assert lines(replace(WWW, zone_ttls={4: 2}))[-2] == (
        "  death     noticed within 17 s, last client after 23 s, as some resolvers hold records 5 s at least"
        " (78 s where caches hold 60 s)"
    )


def test_a_pool_without_a_probe() -> None:
    many = tuple(Backend(ip_address(f"192.0.2.{host}")) for host in range(1, 8))
    pool = Pool("db.example.com.", many, zone_ttls={4: 3}, when_all_down=AllDown.NONE, slowstart=60.0, negative_ttl=9)
    assert "\n".join(lines(pool)) == f"""\
db.example.com.
  backends  7: 192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, …
  probe     none; every backend counts as up
  order     cyclic, all in a reply; no address when none is up; a recovered one takes 60 s to its full share
  near      {ADVICE}all}}
  ttl       A 3 s (zone file's TTL)
  nodata    an answer of no such type, or of none up, is kept 9 s (the zone's SOA)"""


def test_a_long_ttl_outlasts_the_caches_that_hold_records() -> None:
    assert lines(replace(WWW, ttl=TtlPolicy()))[-2] == "  death     noticed within 17 s, last client after 318 s"


@pytest.mark.parametrize(("hosts", "answers", "near_answers", "named", "row"), [
    ("192.0.2.11 192.0.2.12", None, ALIKE, False, f"{ADVICE}all}}"),
    ("192.0.2.11 192.0.2.12", 2, ALIKE, False, f"{ADVICE}2}}"),
    ("192.0.2.11 192.0.2.12", 1, ALIKE, False, None),
    ("10.0.0.1 172.16.0.1", None, ALIKE, False, f"{ADVICE}all}}"),
    ("192.0.2.11 198.51.100.1", None, ALIKE, False, None),
    ("192.0.2.11 2001:db8::1", None, ALIKE, False, None),
    ("127.0.1.11 127.0.1.12", None, ALIKE, False, None),
    ("192.0.2.11 192.0.2.12 2001:db8::1", None, 1, False, "clients in 192.0.2.0/24, 2001:db8::/64"),
    ("10.0.0.1 10.0.0.2", None, 1, True, "clients in 10.0.0.0/24, any private network, near_networks"),
    (" ".join(f"192.0.{net}.1" for net in range(9)), None, 1, False,
     "clients in 192.0.0.0/24, 192.0.1.0/24, 192.0.2.0/24, 192.0.3.0/24, …"),
])  # fmt: skip
def test_who_is_near(hosts: str, answers: int | None, near_answers: int | None, named: bool, row: str | None) -> None:
    addresses = [ip_address(host) for host in hosts.split()]
    near = None
    if near_answers != ALIKE:
        near = Near(near_answers, around(addresses), merged([ip_network("203.0.113.0/24")] if named else []))
    pool = replace(WWW, backends=tuple(map(Backend, addresses)), answers=answers, near=near)
    found = [line.removeprefix("  near      ") for line in lines(pool) if line.startswith("  near ")]
    assert found == ([row] if row else [])


def test_near_clients_that_get_several_are_told_as_well() -> None:
    addresses = [ip_address("10.0.0.1"), ip_address("10.0.0.2")]
    pool = replace(WWW, backends=tuple(map(Backend, addresses)), answers=None, near=Near(2, around(addresses)))
    assert lines(pool)[3:6] == [
        "  order     cyclic, at most 2 in a reply to near clients, all to others; all of them when none is up",
        "  near      clients in 10.0.0.0/24, any private network",
        f"  near      {ADVICE}all}}",
    ]


@pytest.mark.parametrize(("check", "words"), [
    (TcpCheck(3306), "tcp on port 3306"),
    (HttpCheck(443, tls=True, host="www.example.com"), "https / of www.example.com on port 443"),
    (HttpCheck(8080, "/up", method="HEAD"), "http HEAD /up on port 8080"),
    (DnsCheck("example.com."), "dns example.com. SOA on port 53"),
    (ExecCheck(("/usr/lib/nagios/plugins/check_smtp", "-H", "{address}")), "exec /usr/lib/nagios/plugins/check_smtp"),
])  # fmt: skip
def test_probes_in_words(check: Check, words: str) -> None:
    probe = Probe(check, interval=2.5, fast_interval=0.5, down_interval=30.0)
    pace = "every 2.5 s, 0.5 s in doubt, 30 s while down, down after 3, up after 2"
    assert lines(replace(WWW, probe=probe))[2] == f"  probe     {words} {pace}"
