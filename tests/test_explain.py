"""What ``dnslb check`` says of a pool, word by word."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from dnslb.balance.explain import lines
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


def test_a_pool_with_a_promise() -> None:
    assert "\n".join(lines(WWW)) == """\
www.example.com.
  backends  4: 192.0.2.11 (weight 3), 192.0.2.12 (probed at 10.0.0.12), 192.0.2.13 (weight 2, backup), 2001:db8::11
  probe     http /healthz on port 80 every 5 s, down after 3, up after 2
  order     cyclic, at most 2 in a reply; all of them when none is up
  ttl       A 5 to 42 s (failover: 60s), AAAA 5 to 20 s (zone file's TTL)
  death     noticed within 17 s, last client after 60 s (78 s where caches hold 60 s)
  nodata    an answer of no such type is kept 5 s (the zone's SOA)"""


def test_a_pool_without_a_probe() -> None:
    many = tuple(Backend(ip_address(f"192.0.2.{host}")) for host in range(1, 8))
    pool = Pool("db.example.com.", many, zone_ttls={4: 3}, when_all_down=AllDown.NONE, slowstart=60.0, negative_ttl=9)
    assert "\n".join(lines(pool)) == """\
db.example.com.
  backends  7: 192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, …
  probe     none; every backend counts as up
  order     cyclic, all in a reply; no address when none is up; a recovered one takes 60 s to its full share
  ttl       A 3 s (zone file's TTL)
  nodata    an answer of no such type, or of none up, is kept 9 s (the zone's SOA)"""


def test_a_long_ttl_outlasts_the_caches_that_hold_records() -> None:
    assert lines(replace(WWW, ttl=TtlPolicy()))[-2] == "  death     noticed within 17 s, last client after 318 s"


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
