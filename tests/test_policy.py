"""``example.com.yaml`` → pools, or exactly what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from textwrap import dedent
from time import perf_counter
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dnslb.balance import ttl
from dnslb.balance.near import Near, around, merged
from dnslb.balance.pool import (
    AgentCheck,
    AllDown,
    Backend,
    Check,
    DnsCheck,
    ExecCheck,
    Gauge,
    HttpCheck,
    JoinPolicy,
    Load,
    Pool,
    Probe,
    TcpCheck,
    TtlPolicy,
)
from dnslb.balance.rotation import RRsetOrder
from dnslb.config import policy as policies
from dnslb.config.policy import Owner
from dnslb.text.problem import Level, Problem, has_errors

pytestmark = pytest.mark.usefixtures("yaml_parser")  # all of it, with either parser

RESHUFFLE = "resolvers and clients reshuffle the addresses of a reply; add answers: 1"
PROBE_KEYS = (
    "body, body_matches, ca_file, dns, down_interval, exec, expect, fall, fast_interval, headers, host, http, https,"
    " interval, load, method, port, rise, source, tcp, timeout, type, unsteady, verify"
)



def owner(name: str, *addresses: str, line: int = 14, ttl: int = 300, negative_ttl: int = 60) -> Owner:
    """As the lines of a zone file from ``line`` on would have it."""
    parsed = [ip_address(address) for address in addresses]
    places = tuple((address, f"example.com.zone:{line + i}") for i, address in enumerate(parsed))
    return Owner(name, places, {address.version: ttl for address in parsed}, negative_ttl)


ZONE = {owner.name: owner for owner in [
    owner("example.com.", "192.0.2.1", "192.0.2.2", line=10),
    owner("www.example.com.", "192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14"),
    owner("db-ro.example.com.", "192.0.2.21", "192.0.2.22", line=20),
    owner("mail.example.com.", "192.0.2.31", "192.0.2.32", line=30),
    owner("dual.example.com.", "192.0.2.41", "192.0.2.42", "2001:db8::41", "2001:db8::42", line=40),
    owner("six.example.com.", "2001:db8::51", "2001:db8::52", line=50),
    owner("one.example.com.", "192.0.2.61", line=60),
    owner("short.example.com.", "192.0.2.71", "192.0.2.72", line=70, ttl=20),
    owner("*.example.com.", "192.0.2.81", "192.0.2.82", line=80),
    owner("bare.example.com."),
    replace(owner("mixed.example.com.", "192.0.2.91", "2001:db8::91", line=90), zone_ttls={4: 300, 6: 20}),
]}  # fmt: skip
AROUND = around([ip_address("192.0.2.11")])


def find(text: str) -> Owner | str:
    absolute = "example.com." if text == "@" else text if text.endswith(".") else f"{text}.example.com."
    if absolute.lower() in ZONE:
        return ZONE[absolute.lower()]
    if absolute == "alias.example.com.":
        return f"{absolute} is a CNAME"
    return f"{absolute} does not exist; did you mean www?"


def read(octets: bytes, file: str, find: Callable[[str], Owner | str]) -> tuple[list[Pool], list[Problem]]:
    """The pools alone: the rest of a policy is in test_transfer_settings.py."""
    found, problems = policies.read(octets, file, find)
    return found.pools, problems


def pools(text: str) -> list[Pool]:
    """Of a file without errors."""
    found, problems = read(dedent(text).encode(), "f", find)
    assert not has_errors(problems), problems
    return found


def said(text: str) -> list[str]:
    return [str(problem) for problem in read(dedent(text).encode(), "f", find)[1]]


def facts(text: str) -> list[str]:
    """The problems of one line, without their places."""
    return [re.sub(r"^f:1:\d+: ", "", one) for one in said(text)]


def pool(name: str = "www", **changes: Any) -> Pool:
    """The pool of an owner that the file says no more of than ``changes``."""
    source = ZONE[f"{name}.example.com." if name != "@" else "example.com."]
    backends = tuple(Backend(address) for address, _ in source.addresses)
    return replace(Pool(source.name, backends, source.zone_ttls, negative_ttl=source.negative_ttl), **changes)


DESIGN = """\
defaults:                                # for every pool in this file
  probe: {http: /healthz, port: 80, interval: 5s, timeout: 2s, fall: 3, rise: 2}

pools:
  www:                                   # owner name: relative, absolute, or @; its A and AAAA RRsets are the backends
    probe: {https: /healthz, host: www.example.com, expect: [200-299], body: ok}
    order: cyclic                        # cyclic | spread | random | none | sticky
    answers: 2                           # at most so many addresses in a reply (default: all)
    ttl: {min: 5s, failover: 60s}        # or a plain duration
    when_all_down: all                   # all (fail open, default) | none (NODATA)
    slowstart: 60s
    backends:                            # only what differs; every key must be an address of the RRset
      192.0.2.11: {weight: 3}
      192.0.2.13: {backup: true}
      192.0.2.14: {probe_address: 10.0.0.14}
  db-ro: {probe: {tcp: 3306}}
  mail:  {probe: {exec: [/usr/lib/nagios/plugins/check_smtp, -H, "{address}"]}, interval: 30s}
"""


def test_the_example_of_the_design_is_read_as_written() -> None:
    found, problems = read(DESIGN.encode(), "f", find)
    assert found == [
        Pool(
            "www.example.com.",
            (
                Backend(ip_address("192.0.2.11"), weight=3),
                Backend(ip_address("192.0.2.12")),
                Backend(ip_address("192.0.2.13"), backup=True),
                Backend(ip_address("192.0.2.14"), probe_address=ip_address("10.0.0.14")),
            ),
            {4: 300},
            Probe(
                HttpCheck(443, "/healthz", tls=True, host="www.example.com", expect=((200, 299),), body="ok"),
                interval=5.0, timeout=2.0, fall=3, rise=2,
            ),
            RRsetOrder.CYCLIC, 2, TtlPolicy(min=5, max=None, failover=60.0), AllDown.ALL, 60.0, 60,
        ),
        pool("db-ro", probe=Probe(TcpCheck(3306), interval=5.0, timeout=2.0, fall=3, rise=2)),
        pool("mail", probe=Probe(
            ExecCheck(("/usr/lib/nagios/plugins/check_smtp", "-H", "{address}")), interval=30.0, timeout=2.0
        )),
    ]  # fmt: skip
    assert [str(problem) for problem in problems] == [
        f"f:11:16: warning: slowstart without answers: 1 does next to nothing: {RESHUFFLE}",
        f"f:13:28: warning: weights without answers: 1 do next to nothing: {RESHUFFLE}",
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "~", "pools:", "pools: {}", "defaults:\npools:\n"])
def test_a_file_may_say_nothing(text: str) -> None:
    assert (pools(text), said(text)) == ([], [])


@pytest.mark.parametrize(("text", "expected"), [
    ("pools: {www: }", [pool()]),
    ("pools: {www: {}}", [pool()]),
    ("pools: {www.example.com.: {}}", [pool()]),
    ("pools: {WWW: {}}", [pool()]),
    ('pools: {"@": {}}', [pool("@")]),
    ('pools: {"*": {}}', [pool("*")]),
    ('pools: {"*.example.com.": {}}', [pool("*")]),
    ("pools: {six: {}, www: {}}", [pool("six"), pool()]),
    ("pools: {dual: {order: none}}", [pool("dual", order=RRsetOrder.NONE)]),
    ("pools: {www: {order: random}}", [pool(order=RRsetOrder.RANDOM)]),
    ("pools: {www: {order: spread}}", [pool(order=RRsetOrder.SPREAD)]),
    ("pools: {www: {order: sticky, answers: 1}}", [pool(order=RRsetOrder.STICKY, answers=1)]),
    ("pools: {www: {answers: 1}}", [pool(answers=1)]),
    ("pools: {www: {answers: {near: 1, far: all}}}", [pool(near=Near(1, AROUND))]),
    ("pools: {www: {answers: {near: 1}}}", [pool(near=Near(1, AROUND))]),
    ("pools: {www: {answers: {far: 2}}}", [pool(answers=2, near=Near(None, AROUND))]),
    ("pools: {www: {answers: {near: 2, far: 2}}}", [pool(answers=2)]),
    ("pools: {www: {answers: {}}}", [pool()]),
    ("pools: {www: {answers: {near: 1}, near_networks: [203.0.113.0/25, '2001:db8:7::/48', 203.0.113.128/25]}}", [
        pool(near=Near(1, AROUND, merged([ip_network("203.0.113.0/24"), ip_network("2001:db8:7::/48")])))
    ]),
    ("pools: {www: {answers: {near: 1}, near_networks: 203.0.113.7}}", [
        pool(near=Near(1, AROUND, merged([ip_network("203.0.113.7")])))
    ]),
    ("pools: {www: {when_all_down: none}}", [pool(when_all_down=AllDown.NONE)]),
    ("pools: {www: {ttl: 30s}}", [pool(ttl=TtlPolicy(30, 30))]),
    ("pools: {www: {answers: 1, ttl: {adaptive: load, mean: 10s}}}",
     [pool(answers=1, ttl=TtlPolicy(is_adaptive=True, mean=10))]),
    ("pools: {www: {hidden_load: true}}", [pool(hidden_load=True)]),
    ("pools: {www: {ttl: 2m}}", [pool(ttl=TtlPolicy(120, 120))]),
    ("pools: {www: {ttl: 0s}}", [pool(ttl=TtlPolicy(0, 0))]),
    ("pools: {www: {ttl: {}}}", [pool()]),
    ("pools: {www: {ttl: {min: 10s}}}", [pool(ttl=TtlPolicy(10))]),
    ("pools: {www: {ttl: {max: 60s}}}", [pool(ttl=TtlPolicy(5, 60))]),
    ("pools: {www: {ttl: {max: 3s}}}", [pool(ttl=TtlPolicy(3, 3))]),    # the default floor gives way
    ("pools: {www: {ttl: {min: 1s, max: 1m, failover: 90s}, probe: {tcp: 1}}}", [
        pool(ttl=TtlPolicy(1, 60, 90.0), probe=Probe(TcpCheck(1)))
    ]),
    ("pools: {www: {backends: {192.0.2.12: }}}", [pool()]),
    ("pools: {www: {backends: }}", [pool()]),
    # Addresses as written by people, and the order of the zone file.
    ("pools: {six: {answers: 1, backends: {'2001:DB8:0:0::52': {weight: 2}}}}", [
        pool("six", answers=1, backends=(
            Backend(ip_address("2001:db8::51")), Backend(ip_address("2001:db8::52"), weight=2)
        ))
    ]),
    ("""\
     pools:
       six:
         backends:
           2001:db8::52: {backup: yes}
           2001:db8::51: {}
     """, [
        pool("six", backends=(Backend(ip_address("2001:db8::51")), Backend(ip_address("2001:db8::52"), backup=True)))
    ]),
    # Who may join.
    ("pools: {www: {probe: {tcp: 1}, register: {networks: [10.0.0.0/8, '2001:db8::/32']}}}", [
        pool(probe=Probe(TcpCheck(1)), register=JoinPolicy((ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))))
    ]),
    ("pools: {www: {probe: {tcp: 1}, register: {networks: 10.0.0.0/8, limit: 7, lease: 5m, others: yes}}}", [
        pool(probe=Probe(TcpCheck(1)), register=JoinPolicy((ip_network("10.0.0.0/8"),), 7, 300.0, others=True))
    ]),
    # An anchor.
    ("pools: {www: &a {order: none, probe: {tcp: 1}}, mail: *a}", [
        pool(order=RRsetOrder.NONE, probe=Probe(TcpCheck(1))),
        pool("mail", order=RRsetOrder.NONE, probe=Probe(TcpCheck(1))),
    ]),
])  # fmt: skip
def test_a_pool_is_what_the_zone_lists_and_the_policy_refines(text: str, expected: list[Pool]) -> None:
    assert (pools(text), said(text)) == (expected, [])


@pytest.mark.parametrize(("defaults", "own", "expected"), [
    ("order: none", "{}", {"order": RRsetOrder.NONE}),
    ("order: none", "order: cyclic", {}),
    ("answers: 2", "{}", {"answers": 2}),
    ("answers: 2", "answers: all", {}),
    ("answers: 2", "answers: {near: 1}", {"near": Near(1, AROUND)}),    # replaced, not merged
    ("near_networks: [203.0.113.0/24]", "{}", {}),
    ("near_networks: [203.0.113.0/24]", "answers: {near: 1}", {
        "near": Near(1, AROUND, merged([ip_network("203.0.113.0/24")]))
    }),
    ("near_networks: [203.0.113.0/24]", "answers: {near: 1}, near_networks: []", {"near": Near(1, AROUND)}),
    ("answers: {near: 1}", "near_networks: [203.0.113.0/24]", {
        "near": Near(1, AROUND, merged([ip_network("203.0.113.0/24")]))
    }),
    ("when_all_down: none", "when_all_down: all", {}),
    ("slowstart: 30s", "slowstart: 0s", {}),
    ("slowstart: 30s", "{}", {"slowstart": 30.0}),     # meant for the pools that have a probe: no warning
    ("ttl: {min: 9s, max: 1m}", "{}", {"ttl": TtlPolicy(9, 60)}),
    ("ttl: {min: 9s, max: 1m}", "ttl: {max: 2m}", {"ttl": TtlPolicy(5, 120)}),     # replaced, not merged
    ("probe: {tcp: 1}", "{}", {"probe": Probe(TcpCheck(1))}),
    ("probe: {tcp: 1}", "probe: {}", {"probe": Probe(TcpCheck(1))}),
    ("probe: {tcp: 1}", "probe: none", {}),
    ("probe: {tcp: 1}", "probe: ", {}),
    ("probe: none", "{}", {}),
    ("probe: {tcp: 1, rise: 4}", "probe: {fall: 5}", {"probe": Probe(TcpCheck(1), rise=4, fall=5)}),
    ("probe: {tcp: 1, rise: 4}", "probe: {tcp: 2}", {"probe": Probe(TcpCheck(2), rise=4)}),
    ("probe: {tcp: 1, rise: 4}", "rise: 5", {"probe": Probe(TcpCheck(1), rise=5)}),
    ("probe: {rise: 4}", "probe: {tcp: 2}", {"probe": Probe(TcpCheck(2), rise=4)}),
    ("probe: {rise: 4}", "{}", {}),                    # how to probe, but not what
    ("probe: {http: /a, port: 81, host: a}", "probe: {host: b}", {"probe": Probe(HttpCheck(81, "/a", host="b"))}),
    ("probe: {http: /a, port: 81, host: a}", "probe: {http: /b}", {"probe": Probe(HttpCheck(81, "/b", host="a"))}),
    ("probe: {http: /a, port: 81, host: a, rise: 4}", "probe: {https: /b, host: c}", {
        "probe": Probe(HttpCheck(443, "/b", tls=True, host="c"), rise=4)
    }),
    ("probe: {http: /a, expect: [200], interval: 9s}", "probe: {dns: a.}", {
        "probe": Probe(DnsCheck("a."), interval=9.0)
    }),
    ("probe: {https: /a}", "probe: {host: b}", {"probe": Probe(HttpCheck(443, "/a", tls=True, host="b"))}),
])  # fmt: skip
def test_a_pool_overrides_the_defaults(defaults: str, own: str, expected: dict[str, Any]) -> None:
    own = "{}" if own == "{}" else f"{{{own}}}"
    text = f"defaults: {{{defaults}}}\npools: {{www: {own}}}"
    assert (pools(text), said(text)) == ([pool(**expected)], [])


@pytest.mark.parametrize(("text", "check"), [
    ("tcp: 3306", TcpCheck(3306)),
    ("http: /", HttpCheck(80)),
    ("http: '/a?b=c%20d', port: 8080, host: a.example, method: HEAD, expect: 204", HttpCheck(
        8080, "/a?b=c%20d", host="a.example", method="HEAD", expect=((204, 204),)
    )),
    ("http: /, expect: [200-299, '301', 404]", HttpCheck(80, expect=((200, 299), (301, 301), (404, 404)))),
    ("http: /, headers: {Accept: text/plain, X-Probe: 'a b'}", HttpCheck(
        80, headers=(("Accept", "text/plain"), ("X-Probe", "a b"))
    )),
    ("http: /, body: 'all är well', body_matches: 'v[0-9]+$'", HttpCheck(
        80, body="all är well", body_matches="v[0-9]+$"
    )),
    ("http: /, host: '2001:db8::1'", HttpCheck(80, host="2001:db8::1")),
    ("https: /, host: a", HttpCheck(443, tls=True, host="a")),
    ("https: /, host: a, verify: true, ca_file: /ca.pem", HttpCheck(443, tls=True, host="a", ca_file="/ca.pem")),
    ("dns: example.com.", DnsCheck("example.com.")),
    ("dns: ., type: ns, port: 5300, expect: [noerror, REFUSED]", DnsCheck(".", "NS", 5300, ("NOERROR", "REFUSED"))),
    ("exec: [/bin/check, '{address}', '']", ExecCheck(("/bin/check", "{address}", ""))),
    ("exec: '/bin/check-{address}'", ExecCheck(("/bin/check-{address}",))),
])  # fmt: skip
def test_every_kind_of_probe(text: str, check: Check) -> None:
    text = f"pools: {{www: {{probe: {{{text}}}}}}}"
    assert (pools(text), said(text)) == ([pool(probe=Probe(check))], [])


@pytest.mark.parametrize(("text", "probe"), [
    ("interval: 100ms, timeout: 10ms, rise: 1, fall: 100", Probe(TcpCheck(1), 0.1, timeout=0.01, rise=1, fall=100)),
    ("interval: 1h, timeout: 5m", Probe(TcpCheck(1), 3600.0, timeout=300.0)),
    ("interval: 10s, fast_interval: 3s, down_interval: 1m", Probe(TcpCheck(1), 10.0, 3.0, 60.0)),
    ("source: 10.0.0.1", Probe(TcpCheck(1), source=ip_address("10.0.0.1"))),
    # A timeout that nobody wrote is no longer than the shortest interval.
    ("interval: 1s", Probe(TcpCheck(1), 1.0, timeout=1.0)),
    ("fast_interval: 500ms", Probe(TcpCheck(1), fast_interval=0.5, timeout=0.5)),
])  # fmt: skip
def test_the_schedule_of_a_probe(text: str, probe: Probe) -> None:
    text = f"pools: {{www: {{probe: {{tcp: 1, {text}}}}}}}"
    assert (pools(text), said(text)) == ([pool(probe=probe)], [])


@pytest.mark.parametrize(("text", "problems"), [
    # The file.
    ("- a", [
        "f:1:1: the file is no mapping; write keys and values: allow, defaults, deny, pools, primary, secondaries,"
        " transfer_to, update",
    ]),
    ("pool: {}", ["f:1:1: the file has no key pool; did you mean pools?"]),
    ("pools: [www]", ["f:1:8: pools is no mapping; write keys and values"]),
    ("default: {}\npools: {}", ["f:1:1: the file has no key default; did you mean defaults?"]),
    ("defaults: {order: cyclik, backends: {}}", [
        "f:1:19: cyclik is not one of cyclic, spread, random, none, sticky, least_assigned; did you mean cyclic?",
        "f:1:27: defaults has no key backends; known are: answers, fail_open_below, hidden_load, min_ready,"
        " near_networks, on_return, order, probe, register, slowstart, ttl, when_all_down",
    ]),
    ("pools:\n  @: {}", [
        "f:2:3: while scanning for the next token, found character '@' that cannot start any token;"
        ' put the apex in quotes: "@"',
    ]),
    ("pools:\n  *.example.com.: {}", [
        "f:2:4: while scanning an alias, expected alphabetic or numeric character, but found '.';"
        ' put wildcards in quotes, "*.example.com."; an alias needs its anchor before it',
    ]),
    ("pools: {www: *b}", [
        "f:1:14: found undefined alias 'b';"
        ' put wildcards in quotes, "*.example.com."; an alias needs its anchor before it',
    ]),
    ("pools: {www: [}", [
        "f:1:15: while parsing a flow node, expected the node content, but found '}';"
        " check brackets, quotes and indentation (by spaces, not tabs)",
    ]),
    # Owners.
    ("pools: {ww: {}}", ["f:1:9: ww.example.com. does not exist; did you mean www?"]),
    ("pools: {alias: {}}", [
        "f:1:9: alias.example.com. is a CNAME; name an owner of A or AAAA records in the zone file",
    ]),
    ("pools: {bare: {}}", [
        "f:1:9: bare.example.com. has no addresses; name an owner of A or AAAA records in the zone file",
    ]),
    ("pools: {www: {}, www: {}}", ["f:1:18: www is given twice; remove one of the two"]),
    ("pools:\n  www: {}\n  www.example.com.: {}", [
        "f:3:3: www.example.com. is www of line 2 again; make one pool of the two",
    ]),
    ("pools:\n  www.example.com.: {}\n  www: {}", [
        "f:3:3: www is www.example.com. of line 2 again; make one pool of the two",
    ]),
    ("pools: {'': {}}", ["f:1:9: a word is missing; write one value here"]),
    ("pools: {[www]: {}}", ["f:1:9: a word is missing; write one value here"]),
    ("pools: {'a\\nb': {}}", ["f:1:9: a\\nb.example.com. does not exist; did you mean www?"]),
    ('pools: {"a\\nb\\ud800": {}}', ["f:1:9: a\\nb\\ud800.example.com. does not exist; did you mean www?"]),
    ("pools: {ww: {orde: 1}}", [
        "f:1:9: ww.example.com. does not exist; did you mean www?",
        "f:1:14: a pool has no key orde; did you mean order?",
    ]),
    ("pools: {www: 3}", [
        "f:1:14: a pool is no mapping; write keys and values: answers, backends, down_interval, fail_open_below, fall,"
        " fast_interval, hidden_load, interval, load, min_ready, near_networks, on_return, order, probe, register,"
        " rise, slowstart, source, timeout, ttl, unsteady, when_all_down",
    ]),
    ("a: &a {order: none}\npools: {www: {<<: *a}}", [
        "f:1:1: the file has no key a; known are: allow, defaults, deny, pools, primary, secondaries, transfer_to,"
        " update",
        "f:2:15: a pool has no key <<; known are: answers, backends, down_interval, fail_open_below, fall,"
        " fast_interval, hidden_load, interval, load, min_ready, near_networks, on_return, order, probe, register,"
        " rise, slowstart, source, timeout, ttl, unsteady, when_all_down",
    ]),
    # What an anchor or the defaults lend is wrong once.
    ("pools: {www: &a {orde: none}, mail: *a}", ["f:1:18: a pool has no key orde; did you mean order?"]),
    ("defaults: {slowstart: 1}\npools: {www: {}, mail: {}}", [
        "f:1:23: 1 is no duration; write a number and a unit: 500ms, 5s, 2m, 1h",
    ]),
])  # fmt: skip
def test_what_is_wrong_with_the_file_and_its_owners(text: str, problems: list[str]) -> None:
    assert said(text) == problems
    assert all(pool.owner == "www.example.com." for pool in read(text.encode(), "f", find)[0])


@pytest.mark.parametrize(("text", "problems"), [
    ("order: x", ["7: x is not one of cyclic, spread, random, none, sticky, least_assigned;"
                  " known are: cyclic, least_assigned, none, random, spread, sticky"]),
    ("answers: 0", ["9: answers: 0 hands out nothing; write 1 or more, or all"]),
    ("answers: -1", ["9: -1 is no number from 1 to 4096; write such a number"]),
    ("answers: two", ["9: two is no number from 1 to 4096; write such a number"]),
    ("when_all_down: alll", ["15: alll is not one of all, none; did you mean all?"]),
    ("slowstart: 60", ["11: 60 is no duration; write a number and a unit: 500ms, 5s, 2m, 1h"]),
    ("slowstart: 25h", ["11: 25h is out of range; write 0s to 86400s"]),
    ("ttl: 30", ["5: 30 is no duration; write a number and a unit: 500ms, 5s, 2m, 1h"]),
    ("ttl: 500ms", ["5: a TTL of 0.5s is no whole number of seconds; write whole seconds (RFC 2181 §8)"]),
    ("ttl: 169h", ["5: 169h is out of range; write 0s to 604800s"]),
    ("ttl: ", ["4: a word is missing; write one value here"]),
    ("ttl: [1s]", ["5: ttl is no mapping; write keys and values: adaptive, failover, max, mean, min"]),
    ("ttl: {mn: 1s}", ["6: ttl has no key mn; did you mean min?"]),
    ("ttl: {min: 9s, max: 8s}", ["11: min 9s is above max 8s; exchange them, or remove one"]),
    ("ttl: {min: 5, max: 1.5s}", [
        "11: 5 is no duration; write a number and a unit: 500ms, 5s, 2m, 1h",
        "19: a TTL of 1.5s is no whole number of seconds; write whole seconds (RFC 2181 §8)",
    ]),
    ("backends: [192.0.2.11]", ["10: backends is no mapping; write keys and values"]),
    ("backends: {192.0.2.15: {}}", [
        "11: 192.0.2.15 is no address of www.example.com.; add it to those at example.com.zone:14, or remove it here",
    ]),
    ("backends: {web1: {}}", ["11: web1 is no address; write one of the addresses of www.example.com."]),
    ("backends: {192.0.2.011: {}}", ["11: 192.0.2.011 is no address; write one of the addresses of www.example.com."]),
    ("backends: {192.0.2.11: {}, 192.0.2.11: {}}", ["27: 192.0.2.11 is given twice; remove one of the two"]),
    ("backends: {192.0.2.11: 3}", [
        "23: a backend is no mapping; write keys and values: backup, probe_address, weight",
    ]),
    ("backends: {192.0.2.11: {wieght: 3}}", ["24: a backend has no key wieght; did you mean weight?"]),
    ("backends: {192.0.2.11: {weight: 257}}", ["32: 257 is no number from 0 to 256; write such a number"]),
    ("backends: {192.0.2.11: {weight: -1}}", ["32: -1 is no number from 0 to 256; write such a number"]),
    ("backends: {192.0.2.11: {backup: maybe}}", ["32: maybe is neither true nor false; write true or false"]),
    ("backends: {192.0.2.11: {probe_address: x}}", ["39: x is no address; write an IPv4 or IPv6 address"]),
    ("backends: {192.0.2.11: {probe_address: 0.0.0.0}}", [
        "39: 0.0.0.0 is no address of one host; write a unicast address",
    ]),
    ("answers: 1, backends: {192.0.2.11: {weight: 0}, 192.0.2.12: {weight: 0}, 192.0.2.13: {weight: 0},"
     " 192.0.2.14: {backup: true}}", [
        "22: the weights of the IPv4 backends of www.example.com. sum to zero;"
        " give a weight above 0 to one that is no backup",
    ]),
    ("answers: {near: 0, far: x}", [
        "16: answers: 0 hands out nothing; write 1 or more, or all",
        "24: x is no number from 1 to 4096; write such a number",
    ]),
    ("answers: {near: 1, here: 2}", ["19: answers has no key here; did you mean near?"]),
    ("answers: [1, 2]", ["9: a word is missing; write one value here"]),
    ("near_networks: [10.0.0.0/8, 10.1.2.3/8, x, 10.0.0.0/33, 'fe80::%eth0/64', 5]", [
        "28: 10.1.2.3/8 has bits behind its prefix; write 10.0.0.0/8, or a longer prefix",
        "40: x is no network; write one as 192.0.2.0/24 or 2001:db8::/32",
        "43: 10.0.0.0/33 is no network; write one as 192.0.2.0/24 or 2001:db8::/32",
        "56: fe80::%eth0/64 is no network; write one as 192.0.2.0/24 or 2001:db8::/32",
        "74: 5 is no network; write one as 192.0.2.0/24 or 2001:db8::/32",
    ]),
    ("min_ready: 0%", ["11: 0% is no number of backends up to 4096, and no share from 1% to 100%;"
                       " write one such as 1, or 50% of the weight"]),
    ("fail_open_below: 50", ["17: 50 is no share from 1% to 100%; write one with its sign, such as 50%"]),
    ("on_return: manuel", ["11: manuel is not one of automatic, manual; did you mean manual?"]),
    ("probe: {tcp: 1}, unsteady: often", ["27: often is no share of the last probes; write one such as 30% of 20"]),
    ("probe: {tcp: 1}, unsteady: 30% of 200", ["27: 30% of 200 is out of range; write 1% to 100%, of 2 to 100 probes"]),
    ("probe: {tcp: 1}, fail_open_below: 50%, when_all_down: none", [
        "34: www.example.com. fails open when few are up (fail_open_below), and is empty when none is (when_all_down);"
        " remove one of the two",
    ]),
    ("register: {networks: 10.0.0.0/8}", [
        "10: who joins www.example.com. would be handed out unprobed; add probe:, or remove register",
    ]),
    ("probe: {tcp: 1}, register: {}", [
        "27: register names no network from which backends may join; write {networks: [192.0.2.0/24]}",
    ]),
    ("probe: {tcp: 1}, register: yes", [
        "27: register is no mapping; write keys and values: lease, limit, networks, others",
    ]),
    ("probe: {tcp: 1}, register: {networks: 10.0.0.1/8, limit: 0, lease: 1s}", [
        "38: 10.0.0.1/8 has bits behind its prefix; write 10.0.0.0/8, or a longer prefix",
        "57: 0 is no number from 1 to 4096; write such a number",
        "67: 1s is out of range; write 5s to 86400s",
    ]),
    # All at once, in reading order.
    ("answers: 0, order: x, ttl: 5, probe: {tcp: 0, http: /}", [
        "9: answers: 0 hands out nothing; write 1 or more, or all",
        "19: x is not one of cyclic, spread, random, none, sticky, least_assigned;"
        " known are: cyclic, least_assigned, none, random, spread, sticky",
        "27: 5 is no duration; write a number and a unit: 500ms, 5s, 2m, 1h",
        "43: 0 is no number from 1 to 65535; write such a number",
        "52: the probe has two kinds, tcp and http; keep one of them",
    ]),
    # Hidden load.
    ("order: least_assigned", [
        "7: least_assigned needs answers: 1: of several addresses a resolver chooses for itself;"
        " add answers: 1, or write another order"]),
    ("ttl: {adaptive: load}", [
        "16: adaptive: load needs answers: 1: all records of a reply have one TTL (RFC 2181 §5.2);"
        " add answers: 1, or remove adaptive"]),
    ("answers: {far: 1}, ttl: {adaptive: load}", [
        "35: adaptive: load needs answers: 1: all records of a reply have one TTL (RFC 2181 §5.2);"
        " add answers: 1, or remove adaptive"]),
    ("answers: 1, order: sticky, ttl: {adaptive: load}", [
        "43: order: sticky leaves a resolver with one address, so its TTL evens out nothing;"
        " write order: cyclic, or remove adaptive"]),
    ("ttl: {mean: 5s}", ["12: mean is of no use without adaptive; add adaptive: load, or remove it"]),
    ("ttl: {adaptive: lode}", ["16: lode is not one of load; did you mean load?"]),
    ("hidden_load: maybe", ["13: maybe is neither true nor false; write true or false"]),
])  # fmt: skip
def test_what_is_wrong_with_a_pool(text: str, problems: list[str]) -> None:
    head = "pools: {www: {"
    found = said(f"{head}{text}}}}}")
    assert found == [shifted(problem, len(head)) for problem in problems]
    assert read(f"{head}{text}}}}}".encode(), "f", find)[0] == []


@pytest.mark.parametrize(("name", "text", "problem"), [
    ("six", "'192.0.2.11': {}", "192.0.2.11 is no address of six.example.com.;"
                                " add it to those at example.com.zone:50, or remove it here"),
    ("dual", "'2001:db8::1': {}", "2001:db8::1 is no address of dual.example.com.;"
                                  " add it to those at example.com.zone:42, or remove it here"),
    ("dual", "'2001:db8::41%eth0': {}", "2001:db8::41%eth0 is no address;"
                                        " write one of the addresses of dual.example.com."),
    ("six", "'2001:db8::51': {}, '2001:DB8:0::51': {}", "2001:DB8:0::51 is 2001:db8::51 again; remove one of the two"),
    ("six", "'2001:db8::51': {backup: on}, '2001:db8::52': {backup: on}",
     "every IPv6 backend of six.example.com. is a backup; leave one that is not"),
    ("dual", "192.0.2.41: {backup: on}, 192.0.2.42: {backup: on}",
     "every IPv4 backend of dual.example.com. is a backup; leave one that is not"),
    ("dual", "'2001:db8::41': {weight: 0}, '2001:db8::42': {weight: 0}",
     "the weights of the IPv6 backends of dual.example.com. sum to zero;"
     " give a weight above 0 to one that is no backup"),
])  # fmt: skip
def test_a_and_aaaa_are_held_apart(name: str, text: str, problem: str) -> None:
    assert facts(f"pools: {{{name}: {{backends: {{{text}}}}}}}") == [problem]


@pytest.mark.parametrize(("text", "problems"), [
    ("{}", ["0: the probe has no kind; add tcp, http, https, dns or exec"]),
    ("{rise: 3}", ["0: the probe has no kind; add tcp, http, https, dns or exec"]),
    ("tcp", [f"0: a probe is no mapping; write keys and values: {PROBE_KEYS}"]),
    ("{tpc: 80}", ["1: a probe has no key tpc; did you mean tcp?"]),
    ("{xyzzy: 80}", [f"1: a probe has no key xyzzy; known are: {PROBE_KEYS}"]),
    ("{tcp: 80, http: /}", ["16: the probe has two kinds, tcp and http; keep one of them"]),
    ("{tcp: 80, host: a}", ["16: a probe of kind tcp has no host; remove it; http or https has it"]),
    ("{http: /, verify: false}", ["18: a probe of kind http has no verify; remove it; https has it"]),
    ("{port: 80}", ["7: port depends on the kind of the probe; add http, https or dns beside it"]),
    ("{tcp: http}", ["6: http is no number from 1 to 65535; write such a number"]),
    ("{tcp: 65536}", ["6: 65536 is no number from 1 to 65535; write such a number"]),
    ("{tcp: 80, interval: 5}", ["20: 5 is no duration; write a number and a unit: 500ms, 5s, 2m, 1h"]),
    ("{tcp: 80, interval: 99ms}", ["20: 99ms is out of range; write 0.1s to 3600s"]),
    ("{tcp: 80, timeout: 6m}", ["19: 6m is out of range; write 0.01s to 300s"]),
    ("{tcp: 80, rise: 0}", ["16: 0 is no number from 1 to 100; write such a number"]),
    ("{tcp: 80, fall: 101}", ["16: 101 is no number from 1 to 100; write such a number"]),
    ("{tcp: 80, timeout: 16s}", [
        "19: the timeout 16s is longer than fall × interval, 3 × 5s: a backend would be out before one probe is;"
        " write at most timeout: 5s",
    ]),
    ("{tcp: 80, source: x}", ["18: x is no address; write an IPv4 or IPv6 address"]),
    ("{tcp: 80, source: '::1'}", [
        "18: from source ::1 nothing reaches 192.0.2.11, a backend of www.example.com.;"
        " remove source, or give the backend an IPv6 probe_address",
    ]),
    ("{http: healthz}", ["7: healthz is no path; begin it with /, and write odd characters as %20"]),
    ("{http: /a b}", ["7: /a b is no path; begin it with /, and write odd characters as %20"]),
    ("{http: /é}", ["7: /é is no path; begin it with /, and write odd characters as %20"]),
    ('{http: "/a\\r\\nHost: b"}', [
        "7: /a\\r\\nHost: b is no path; begin it with /, and write odd characters as %20",
    ]),
    ("{http: /, host: 'a:80'}", [
        "16: a:80 is no host name; write a name such as www.example.com, without port or final dot",
    ]),
    ("{http: /, host: a.}", [
        "16: a. is no host name; write a name such as www.example.com, without port or final dot",
    ]),
    ("{http: /, method: 'G T'}", ["18: G T is no method that can be asked for; write GET, HEAD, OPTIONS or POST"]),
    ("{http: /, method: HEAD, body: ok}", ["18: a reply to HEAD has no body to look at; write GET"]),
    ("{http: /, headers: x}", ["19: headers is no mapping; write keys and values"]),
    ("{http: /, headers: {'A b': c, Host: d, E: 'f', e: g}}", [
        "20: A b is no name of a header; write letters, digits and hyphens",
        "30: the Host header has a key of its own; write host: beside headers:",
        "47: e is given twice; remove one of the two",
    ]),
    ('{http: /, headers: {A: "b\\nc"}}', ["23: what A has is no value of a header; write it in one line of ASCII"]),
    ("{http: /, expect: []}", ["18: the list is empty; write what is expected"]),
    ("{http: /, expect: [2xx, 600, 299-200]}", [
        "19: 2xx is no status; write one from 100 to 599, or a range such as 200-299",
        "24: 600 is no status; write one from 100 to 599, or a range such as 200-299",
        "29: 299-200 is an empty range; write 200-299",
    ]),
    ('{http: /, body: "\\ud800"}', ["16: the text is no Unicode; remove its surrogates"]),
    ("{http: /, body_matches: 'a('}", [
        "24: a( does not compile: missing ), unterminated subpattern at position 1;"
        " write a regular expression of Python's re",
    ]),
    ("{http: /, body_matches: 'a{99999999999}'}", [
        "24: a{99999999999} does not compile: the repetition number is too large;"
        " write a regular expression of Python's re",
    ]),
    ("{https: /}", [
        "8: an https probe without host has no name to verify the certificate for;"
        " add host: www.example.com, or verify: false",
    ]),
    ("{https: /, hsot: a}", ["11: a probe has no key hsot; did you mean host?"]),
    ("{https: /, interval: 5}", [      # both at once, though the second hangs together with more
        "8: an https probe without host has no name to verify the certificate for;"
        " add host: www.example.com, or verify: false",
        "21: 5 is no duration; write a number and a unit: 500ms, 5s, 2m, 1h",
    ]),
    ("{https: /, host: a, verify: x}", ["28: x is neither true nor false; write true or false"]),
    ("{dns: example.com}", ["6: example.com is not absolute; write example.com."]),
    ("{dns: a..b.}", ["6: a..b. is no name to ask for; write an absolute name such as example.com."]),
    (f"{{dns: {'a' * 64}.}}", [
        f"6: {'a' * 64}. is no name to ask for; write an absolute name such as example.com.",
    ]),
    ("{dns: a., type: AXFR}", [
        "16: AXFR is not one of A, AAAA, CAA, CNAME, DNSKEY, DS, HTTPS, MX, NAPTR, NS, PTR, SOA, SRV, SVCB, TLSA, TXT;"
        " known are: A, AAAA, CAA, CNAME, DNSKEY, DS, HTTPS, MX, NAPTR, NS, PTR, SOA, SRV, SVCB, TLSA, TXT",
    ]),
    ("{dns: a., expect: [NOEROR]}", [
        "19: NOEROR is not one of NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, YXDOMAIN, NOTAUTH;"
        " did you mean NOERROR?",
    ]),
    ("{exec: []}", ["7: the program is missing; write [/path/of/program, argument, ...]"]),
    ("{exec: ['', a]}", ["7: the program is missing; write [/path/of/program, argument, ...]"]),
    ("{exec: [a, {address}]}", [
        "11: an argument is a list or mapping; write one word, in quotes if it has brackets",
    ]),
    ('{exec: [a, "{address}\\0"]}', ["11: {address}\\x00 is no argument; remove NUL and surrogates"]),
])  # fmt: skip
def test_what_is_wrong_with_a_probe(text: str, problems: list[str]) -> None:
    head = "pools: {www: {probe: "
    found = said(f"{head}{text}}}}}")
    assert found == [shifted(problem, len(head)) for problem in problems]
    assert read(f"{head}{text}}}}}".encode(), "f", find)[0] == []


def shifted(problem: str, by: int) -> str:
    """A problem that begins with the number of characters before it."""
    column, _, rest = problem.partition(": ")
    return f"f:1:{by + int(column) + 1}: {rest}"


PROMISE = "f:1:{}: www.example.com. promises failover in {}, but detection takes up to {}, the TTL is at least {}, and"


@pytest.mark.parametrize(("probe", "bounds", "problems"), [
    # Detection is interval × fall + timeout; resolvers keep a record a second longer than its TTL.
    ("interval: 5s, timeout: 2s, fall: 3", "failover: 23s", []),
    ("interval: 5s, timeout: 2s, fall: 3", "failover: 22s", [
        ("22s", "17s", "5s", "interval: 4s or min: 4s or failover: 23s"),
    ]),
    ("interval: 5s, timeout: 2s, fall: 3", "failover: 15s, min: 1s", [
        ("15s", "17s", "1s", "interval: 3s or failover: 19s"),
    ]),
    ("interval: 5s, timeout: 2s, fall: 3", "failover: 19s, min: 0s", []),
    ("interval: 5s, timeout: 2s, fall: 3", "failover: 18s, min: 0s", [
        ("18s", "17s", "1s", "interval: 4s or failover: 19s"),
    ]),
    ("interval: 30s, timeout: 2s, fall: 3", "failover: 60s", [("60s", "92s", "5s", "interval: 17s or failover: 98s")]),
    # The interval cannot go below the timeout.
    ("interval: 5s, timeout: 5s, fall: 3", "failover: 16s", [
        ("16s", "20s", "5s", "interval: 2s and timeout: 2s or failover: 26s"),
    ]),
    ("interval: 1s, timeout: 1s, fall: 3", "failover: 8s", [
        ("8s", "4s", "5s", "interval: 0.5s and timeout: 0.5s or min: 3s or failover: 10s"),
    ]),
    ("interval: 1s, timeout: 1s, fall: 3", "failover: 6s", [("6s", "4s", "5s", "min: 1s or failover: 10s")]),
    # While outcomes stand against the verdict, fast_interval counts.
    ("interval: 10s, fast_interval: 1s, timeout: 1s, fall: 3", "failover: 19s", []),
    ("interval: 10s, fast_interval: 1s, timeout: 1s, fall: 3", "failover: 18s", [
        ("18s", "13s", "5s", "interval: 9s or min: 4s or failover: 19s"),
    ]),
    ("interval: 9s, fast_interval: 5s, timeout: 5s, fall: 3", "failover: 16s", [
        ("16s", "24s", "5s", "interval: 2s, fast_interval: 2s and timeout: 2s or failover: 30s"),
    ]),
])  # fmt: skip
def test_a_promise_that_probes_cannot_keep(probe: str, bounds: str, problems: list[tuple[str, ...]]) -> None:
    head = f"pools: {{www: {{probe: {{tcp: 1, {probe}}}, ttl: {{"
    text = f"{head}{bounds}}}}}}}"
    found, _ = read(text.encode(), "f", find)
    column = len(head) + len("failover: ") + 1
    assert said(text) == [
        f"{PROMISE.format(column, *facts)} resolvers add 1s; {remedy} would keep it" for *facts, remedy in problems
    ]
    assert len(found) == (not problems)


def test_a_promise_needs_a_probe() -> None:
    fact = "www.example.com. promises failover in 60s, but has no probe to notice a death"
    remedy = "add probe:, or remove failover"
    assert said("pools: {www: {ttl: {failover: 60s}}}") == [f"f:1:31: {fact}; {remedy}"]


@given(
    st.integers(1, 300), st.none() | st.integers(1, 100), st.integers(1, 100), st.integers(1, 6), st.integers(3, 400),
    st.integers(0, 30),
)  # fmt: skip
def test_every_remedy_keeps_the_promise(  # noqa: PLR0917 - hypothesis gives them by position
    interval: int, fast: int | None, timeout: int, fall: int, promise: int, least: int
) -> None:
    probe = {"tcp": "1", "interval": f"{interval}s", "timeout": f"{timeout}s", "fall": str(fall)}
    if fast is not None:
        probe["fast_interval"] = f"{fast}s"
    bounds = {"failover": f"{promise}s", "min": f"{least}s"}
    problems = broken_promises(probe, bounds)
    if problems:
        remedies = re.sub(r".*?; (.*) would keep it", r"\1", problems[0]).split(" or ")
        for remedy in remedies:
            changes = dict(change.split(": ") for change in re.split(", | and ", remedy))
            changed = {key: changes.get(key, value) for key, value in bounds.items()}
            assert not broken_promises({**probe, **{key: changes.get(key, probe[key]) for key in probe}}, changed)
    elif timeout <= interval * fall:
        [kept] = read(policy(probe, bounds), "f", find)[0]
        assert kept.probe is not None
        limits = ttl.bounds(kept, 4)
        assert kept.probe.detection + limits.ceiling + ttl.OVERTIME <= promise


def policy(probe: dict[str, str], bounds: dict[str, str]) -> bytes:
    return f"pools: {{www: {{probe: {flow(probe)}, ttl: {flow(bounds)}}}}}".encode()


def flow(values: dict[str, str]) -> str:
    return f"{{{', '.join(f'{key}: {value}' for key, value in values.items())}}}"


def broken_promises(probe: dict[str, str], bounds: dict[str, str]) -> list[str]:
    problems = read(policy(probe, bounds), "f", find)[1]
    return [str(problem) for problem in problems if "promises" in problem.fact]


@pytest.mark.parametrize(("text", "problem"), [
    # Behind resolvers, who leads a reply of several addresses is of no account.
    ("www: {backends: {192.0.2.11: {weight: 3}}}", f"1:47: weights without answers: 1 do next to nothing: {RESHUFFLE}"),
    ("www: {answers: 2, backends: {192.0.2.11: {weight: 3}}}",
     f"1:59: weights without answers: 1 do next to nothing: {RESHUFFLE}"),
    ("www: {order: none, answers: 1, backends: {192.0.2.11: {weight: 3}}}",
     "1:72: order: none has one leader, so weights do nothing; write another order"),
    ("www: {answers: 1, backends: {192.0.2.11: {weight: 3}}}", None),
    ("mail: {backends: {192.0.2.31: {weight: 3}, 192.0.2.32: {weight: 3}}}", None),
    ("www: {backends: {192.0.2.11: {weight: 0}}}", None),     # left out of every reply: resolvers cannot undo that
    ("www: {backends: {192.0.2.11: {weight: 3, backup: true}}}", None),
    ("www: {order: sticky}", f"1:22: sticky without answers: 1 holds no client: {RESHUFFLE}"),
    ("www: {order: sticky, answers: 1}", None),
    ("www: {order: sticky, answers: {near: 1}}", f"1:22: sticky without answers: 1 holds no client: {RESHUFFLE}"),
    ("www: {order: sticky, answers: {far: 1}}", f"1:22: sticky without answers: 1 holds no client: {RESHUFFLE}"),
    ("www: {answers: 1, near_networks: [203.0.113.0/24]}",
     "1:42: near_networks is of no use when all clients get as many answers;"
     " add answers: {near: 1, far: all}, or remove it"),
    ("www: {probe: {tcp: 1}, slowstart: 30s}",
     f"1:43: slowstart without answers: 1 does next to nothing: {RESHUFFLE}"),
    ("www: {probe: {tcp: 1}, slowstart: 30s, answers: 1}", None),
    ("www: {slowstart: 30s, answers: 1}",
     "1:26: slowstart is of no use without a probe; add probe:, or remove it"),
    ("www: {backends: {192.0.2.11: {probe_address: 10.0.0.1}}}",
     "1:54: probe_address is of no use without a probe; add probe:, or remove it"),
    ("www: {backends: {192.0.2.11: {probe_address: '::1'}}, probe: {tcp: 1}}", None),   # IPv6 outside, or inside
    ("one: {}", "1:9: one.example.com. has one backend, so there is nothing to balance;"
                " add addresses to the zone file, or remove the pool"),
    ("short: {ttl: 30s}", "1:22: short.example.com. has a TTL of 20s in the zone file, which wins over min 30s;"
                          " raise the zone file's TTL, or lower this"),
    ("short: {ttl: {min: 21s}}", "1:28: short.example.com. has a TTL of 20s in the zone file, which wins over min 21s;"
                                 " raise the zone file's TTL, or lower this"),
    ("short: {ttl: {min: 20s}}", None),
    ("mixed: {ttl: {min: 21s}}", "1:28: mixed.example.com. has a TTL of 20s in the zone file, which wins over min 21s;"
                                 " raise the zone file's TTL, or lower this"),
    ("short: {ttl: {max: 30s}}", "1:28: short.example.com. has a TTL of 20s in the zone file, which wins over max 30s;"
                                 " raise the zone file's TTL, or lower this"),
    ("mixed: {ttl: {max: 30s}}", None),  # of use to the A records
    ("www: {probe: {tcp: 1}, order: none, answers: 1, slowstart: 30s}",
     "1:68: order: none has one leader, so slowstart does nothing; write another order"),
    ("mixed: {when_all_down: none, probe: {tcp: 1}}",
     "1:32: when mixed.example.com. is down, resolvers keep the NODATA for 60s, its addresses for at most 20s: it"
     " outlives the outage; write 20 as the MINIMUM of the zone's SOA (RFC 2308 §5), or all"),
    ("short: {when_all_down: none, probe: {tcp: 1}}",
     "1:32: when short.example.com. is down, resolvers keep the NODATA for 60s, its addresses for at most 20s: it"
     " outlives the outage; write 20 as the MINIMUM of the zone's SOA (RFC 2308 §5), or all"),
    ("www: {when_all_down: none, probe: {tcp: 1}, ttl: {max: 59s}}",
     "1:30: when www.example.com. is down, resolvers keep the NODATA for 60s, its addresses for at most 59s: it"
     " outlives the outage; write 59 as the MINIMUM of the zone's SOA (RFC 2308 §5), or all"),
    ("www: {when_all_down: none, probe: {tcp: 1}, ttl: {failover: 60s}}",
     "1:30: when www.example.com. is down, resolvers keep the NODATA for 60s, its addresses for at most 42s: it"
     " outlives the outage; write 42 as the MINIMUM of the zone's SOA (RFC 2308 §5), or all"),
    ("www: {when_all_down: none, probe: {tcp: 1}, ttl: {max: 60s}}", None),
    ("short: {probe: {tcp: 1}}", None),
    ("www: {probe: {tcp: 1, timeout: 6s}}",
     "1:40: the timeout 6s is longer than interval 5s: a probe that hangs delays the next; write at most timeout: 5s"),
    ("www: {probe: {tcp: 1, timeout: 2s, fast_interval: 1s}}",
     "1:40: the timeout 2s is longer than fast_interval 1s: a probe that hangs delays the next;"
     " write at most timeout: 1s"),
    ("www: {probe: {tcp: 1, fast_interval: 6s}}",
     "1:46: fast_interval 6s is slower than interval 5s; exchange them, or remove fast_interval"),
    ("www: {probe: {https: /, verify: false}}",
     "1:41: verify: false takes any certificate, an expired or foreign one too;"
     " give the authority in ca_file: instead"),
    ("www: {probe: {https: /, verify: false, ca_file: a}}",
     "1:41: verify: false takes any certificate, an expired or foreign one too, and leaves ca_file unread;"
     " give the authority in ca_file: instead"),
    ("www: {answers: 1, ttl: {adaptive: load}}", None),
    ("www: {answers: 1, order: least_assigned, ttl: {adaptive: load, mean: 10s}}", None),
    ("www: {answers: 1, ttl: {adaptive: load, min: 5s, max: 5s}}",
     "1:43: the TTL of www.example.com. is 5s at least and at most: there is nothing to adapt;"
     " raise the zone file's TTL, max or failover, or lower min"),
    ("www: {answers: 1, ttl: {adaptive: load, max: 20s, mean: 30s}}",
     "1:65: mean 30s is not between 5s and 20s (max: 20s); write one between these, or change them"),
    ("www: {min_ready: 4}", None),
    ("www: {min_ready: 5}", "1:26: min_ready: 5 is more than the 4 IPv4 backends of www.example.com.;"
                            " every order would need --force; write a smaller number"),
    ("www: {fail_open_below: 50%}", "1:32: fail_open_below is of no use without a probe; add probe:, or remove it"),
    ("www: {on_return: manual}", "1:26: on_return is of no use without a probe; add probe:, or remove it"),
    ("www: {on_return: automatic}", None),
    ("www: {probe: {tcp: 1}, register: {networks: 10.0.0.0/8}}", None),
    ("one: {probe: {tcp: 1}, register: {networks: 10.0.0.0/8}}", None),  # the others come by themselves
    ("www: {probe: {tcp: 1}, answers: 1, register: {networks: 10.0.0.0/8}}",
     "1:54: who joins www.example.com. gets its full share at once, before it is warm;"
     " add slowstart: 30s, or what your servers need"),
    ("www: {probe: {tcp: 1}, unsteady: 15% of 20}",
     "1:42: unsteady: 15% of 20 is 3 failures, which an outage reaches by fall: 3; write at least 20% of 20"),
    ("www: {probe: {tcp: 1}, unsteady: 50% of 3}",
     "1:42: unsteady: 50% of 3 is 2 failures, which an outage reaches by fall: 3; write a share of more probes"),
    ("www: {probe: {tcp: 1, unsteady: 30% of 20}}", None),
    ("www: {probe: {exec: [/bin/true]}}",
     '1:29: the program is not told which address to check; add "{address}" to its arguments'),
])  # fmt: skip
def test_what_will_not_work_in_real_life_is_a_warning(text: str, problem: str | None) -> None:
    found, problems = read(f"pools: {{{text}}}".encode(), "f", find)
    place, _, rest = (problem or "").partition(": ")
    assert [str(one) for one in problems] == ([f"f:{place}: warning: {rest}"] if problem else [])
    assert len(found) == 1


@pytest.mark.parametrize(("backends", "settings_of_pool", "problem"), [
    (251, "backends: {10.0.0.1: {weight: 256}}",
     "57: warning: a cycle of 256 turns is too short for these weights: 48% of the answers go astray;"
     " write weights with a smaller sum, or use fewer backends"),
    (300, "backends: {10.0.0.1: {weight: 2}}", None),  # all alike, but by 1/300 only
    (4, "backends: {10.0.0.1: {weight: 256}, 10.0.0.2: {weight: 100}}", None),
    (103, "order: sticky",
     "34: warning: sticky divides the clients into 1024 parts: of 103 backends some get far more than others;"
     " use at most 102 backends, or another order"),
    (102, "order: sticky", None),
])  # fmt: skip
def test_a_large_pool_cannot_share_as_finely_as_it_says(
    backends: int, settings_of_pool: str, problem: str | None
) -> None:
    many = owner("www.example.com.", *(str(ip_address("10.0.0.1") + number) for number in range(backends)))
    text = f"pools: {{www: {{answers: 1, {settings_of_pool}}}}}"
    _, problems = read(text.encode(), "f", lambda _: many)
    assert [str(one) for one in problems] == ([f"f:1:{problem}"] if problem else [])


def test_a_zone_file_ttl_below_min_is_what_a_promise_reckons_with() -> None:
    tight = owner("www.example.com.", "192.0.2.1", "192.0.2.2", ttl=1)
    text = "pools: {www: {probe: {tcp: 1, interval: 2s, timeout: 1s}, ttl: {failover: 9s}}}"  # detection 7 s, TTL 1 s
    [pool], problems = read(text.encode(), "f", lambda _: tight)
    assert not problems
    assert ttl.bounds(pool, 4).ceiling == 1


def test_a_warning_about_a_default_is_said_once() -> None:
    text = "defaults: {order: sticky}\npools: {www: {}, mail: {}, six: {answers: 1}}"
    fact = "f:1:19: warning: sticky without answers: 1 holds no client"
    assert said(text) == [f"{fact}: {RESHUFFLE}"]


@pytest.mark.parametrize("word", ["interval: 1s", "timeout: 1s", "rise: 1", "source: 192.0.2.1"])
def test_the_schedule_may_stand_beside_the_probe_but_not_without_one(word: str) -> None:
    key = word.partition(":")[0]
    within, beside = f"probe: {{tcp: 1, {word}}}", f"probe: {{tcp: 1}}, {word}"
    assert pools(f"pools: {{www: {{{beside}}}}}") == pools(f"pools: {{www: {{{within}}}}}")
    assert facts(f"pools: {{www: {{{word}}}}}") == [f"{key} is of no use without a probe; add probe:, or remove it"]
    assert facts(f"pools: {{www: {{{within}, {word}}}}}") == [
        f"{key} is given twice, here and in the probe; remove one of the two"
    ]


def test_ten_thousand_near_networks_are_read_once_for_all_pools() -> None:
    """Pools share what the defaults name, in the memory of every worker too."""
    networks = ", ".join(str(ip_network((number << 17, 16))) for number in range(10_000))
    names = " ".join(f"p{number}: {{}}," for number in range(1000))
    text = f"defaults: {{answers: {{near: 1}}, near_networks: [{networks}]}}\npools: {{{names}}}"
    begin = perf_counter()
    found, problems = read(text.encode(), "f", lambda name: owner(f"{name}.example.com.", "192.0.2.1", "192.0.2.2"))
    assert perf_counter() - begin < 10
    assert (len(found), problems) == (1000, [])
    assert len({id(one.near.named) for one in found if one.near}) == 1
    assert found[0].near is not None and len(found[0].near.named.ipv4) == 20_000


def test_a_pool_with_a_mistake_is_left_out_and_the_others_stay() -> None:
    found, problems = read(b"pools: {www: {answers: 0}, mail: {}}", "f", find)
    assert (found, len(problems)) == ([pool("mail")], 1)


def test_a_thousand_broken_pools_are_reported_in_good_time() -> None:
    text = "pools:\n" + "".join(f"  nope{i}: {{order: x}}\n" for i in range(1000))
    begun = perf_counter()
    assert len(said(text)) == 2000
    assert perf_counter() - begun < 20  # seconds; it takes 0.2


KEYS = [
    "defaults", "pools", "www", "'@'", "'*'", "six", "nope", "probe", "order", "answers", "ttl", "when_all_down",
    "min_ready", "fail_open_below", "on_return", "unsteady",
    "slowstart", "backends", "192.0.2.11", "192.0.2.12", "'2001:db8::51'", "weight", "backup", "probe_address", "tcp",
    "http", "https", "dns", "exec", "port", "host", "method", "headers", "expect", "body", "body_matches", "verify",
    "ca_file", "type", "interval", "fast_interval", "timeout", "rise", "fall", "source", "min", "max", "failover",
    "adaptive", "mean", "hidden_load", "<<", "? [a]", "x",
]  # fmt: skip
WORDS = [
    "", "~", "none", "all", "0", "1", "3", "9" * 400, "1e400", "-1", ".inf", "5", "5s", "1ms", "60s", "9h", "cyclic",
    "sticky", "true", "no", "/", "/healthz", "192.0.2.1", "'::1'", "200-299", "a.", "'a('", "'{address}'", "GET",
    "HEAD", '"\\ud800"', '"\\0"', "é", "&a 1", "*a", "!!binary aGk=", "!x y", "2001-01-01", "50%",
    "0%", "30% of 20", "manual",
]  # fmt: skip


def flows(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    entries = st.tuples(st.sampled_from(KEYS), inner).map(lambda pair: f"{pair[0]} : {pair[1]}")
    return (
        st.lists(entries, max_size=5).map(lambda items: f"{{{', '.join(items)}}}")
        | st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
    )  # fmt: skip


VALUES = st.recursive(st.sampled_from(WORDS), flows, max_leaves=12)


def mappings(**values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Some of the keys."""
    return st.fixed_dictionaries({}, optional=values).map(
        lambda found: "{" + ", ".join(f"{key} : {value}" for key, value in found.items()) + "}"
    )


def words(*choices: str) -> st.SearchStrategy[str]:
    return st.sampled_from(choices)


INTERVALS = words("1s", "2s", "3s", "5s", "500ms")
COUNTS = words("1", "2", "3")
SCHEDULE = {
    "interval": INTERVALS, "fast_interval": INTERVALS, "down_interval": INTERVALS, "timeout": INTERVALS,
    "unsteady": words("30% of 20", "1% of 2"), "rise": COUNTS, "fall": COUNTS, "source": words("192.0.2.1", "'::1'"),
}  # fmt: skip
HTTP = {"port": words("80"), "host": words("a"), "expect": words("200", "[200-299, 301]"), "body": words("ok")}
PROBES = st.one_of(
    words("none"),
    mappings(tcp=words("80"), **SCHEDULE),
    mappings(http=words("/"), **HTTP, **SCHEDULE),
    mappings(https=words("/"), verify=words("true", "false"), **HTTP, **SCHEDULE),
    mappings(dns=words("a."), type=words("A"), **SCHEDULE),
    mappings(exec=words("[a, '{address}']"), **SCHEDULE),
)
BACKEND = mappings(
    weight=words("0", "1", "3"), backup=words("true", "false"), probe_address=words("192.0.2.1", "'::1'")
)
SHARED = {
    "probe": PROBES, "order": words("cyclic", "spread", "random", "none", "sticky", "least_assigned"),
    "answers": COUNTS | mappings(near=COUNTS, far=COUNTS), "near_networks": words("[]", "[10.0.0.0/8, '::1']"),
    "hidden_load": words("true", "false"),
    "ttl": INTERVALS | mappings(min=words("1s", "9s"), max=words("9s", "1m"), failover=words("9s", "30s", "60s"),
                                adaptive=words("load"), mean=words("2s", "20s")),
    "when_all_down": words("all", "none"), "slowstart": INTERVALS,
    "min_ready": words("1", "9", "50%"), "fail_open_below": words("50%"), "on_return": words("automatic", "manual"),
}  # fmt: skip


def a_pool(*addresses: str) -> st.SearchStrategy[str]:
    return mappings(**SHARED, backends=mappings(**dict.fromkeys(addresses, BACKEND)))


FILES = mappings(defaults=mappings(**SHARED), pools=mappings(
    www=a_pool("192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14"),
    dual=a_pool("192.0.2.41", "192.0.2.42", "'2001:db8::41'"),
    six=a_pool("'2001:db8::51'", "'2001:db8::52'"),
    one=a_pool("192.0.2.61"),
    short=a_pool(),
))  # fmt: skip


@st.composite
def slips(draw: st.DrawFn) -> str:
    """A file with one word exchanged for another."""
    tokens = re.split(r"([{}\[\], ]+)", draw(FILES))
    at = 2 * draw(st.integers(0, len(tokens) // 2))
    tokens[at] = draw(st.sampled_from(WORDS + KEYS) | VALUES)
    return "".join(tokens)


@settings(max_examples=150)  # with each parser
@given(FILES)
def test_a_pool_without_mistakes_can_be_served_and_keeps_its_promise(text: str) -> None:
    for one in read(text.encode(), "f", find)[0]:
        source = ZONE[one.owner]
        assert [backend.address for backend in one.backends] == [address for address, _ in source.addresses]
        for version in source.zone_ttls:
            regular = [each for each in one.backends if each.address.version == version and not each.backup]
            assert sum(backend.weight for backend in regular) > 0
            if one.ttl.failover is not None:
                assert one.probe is not None
                limits = ttl.bounds(one, version)
                assert one.probe.detection + limits.ceiling + ttl.OVERTIME <= one.ttl.failover + 1e-6


@settings(max_examples=200)
@given((slips() | VALUES | st.text()).map(lambda text: text.encode()) | st.binary())
@example(b"&a {pools: *a, defaults: *a}")
@example(b"pools: &a {www: *a, six: {probe: *a, backends: *a, ttl: *a}}")
@example(b"defaults: &a {probe: *a}\npools: {www: *a}")
@example(b"pools: " + b"{www: " * 5000)
@example(b"pools: {www: " + b"[" * 300 + b"]" * 300 + b"}")
@example(b"pools: {www: {probe: {http: /, body_matches: '" + b"(" * 3000 + b")" * 3000 + b"'}}}")
@example(b"pools: {www: {answers: " + b"9" * 5000 + b", ttl: " + b"9" * 5000 + b"h}}")
@example(b"pools: {www: {probe: {tcp: 1, interval: 1" + b"0" * 400 + b"s}}}")
@example(b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\npools: {www: {probe: {exec: *c, expect: *c, headers: *c}}}")
@example(b"pools: {www: \xff}")
def test_anything_is_pools_or_problems(octets: bytes) -> None:
    found, problems = read(octets, "f", find)
    owners = [one.owner for one in found]
    assert len(owners) == len(set(owners))
    assert len(problems) == len(set(problems))
    for problem in problems:
        assert len(str(problem).splitlines()) == 1
        assert str(problem).encode()
        assert problem.level is Level.ERROR or problem.line


# Load


def asking(check: Check, **changes: Any) -> Probe:
    return replace(Probe(check), **changes)


@pytest.mark.parametrize(("probe", "load"), [
    ("tcp: 80, load: {agent: 8888}", Load(asking(AgentCheck(8888)))),
    ("tcp: 80, interval: 1s, fall: 5, source: 127.0.0.1, load: {agent: 8888, overload: 90%}",
     Load(asking(AgentCheck(8888), interval=1.0, timeout=1.0, fall=5, source=ip_address("127.0.0.1")), 90)),
    ("tcp: 80, load: {agent: 8888, interval: 500ms}", Load(asking(AgentCheck(8888), interval=0.5, timeout=0.5))),
    ("http: /, load: {header: X-Load}", Load(asking(HttpCheck(80, gauge=Gauge("header", "X-Load"))))),
    ("http: /, load: {json: a.0.b, full: 8}", Load(asking(HttpCheck(80, gauge=Gauge("json", "a.0.b", 8.0))))),
    ("tcp: 80, load: {prometheus: /metrics, port: 9100, metric: m, full: 4, interval: 9s, timeout: 3s}",
     Load(asking(HttpCheck(9100, "/metrics", gauge=Gauge("prometheus", "m", 4.0)), interval=9.0, timeout=3.0))),
])  # fmt: skip
def test_who_tells_the_load(probe: str, load: Load) -> None:
    [found] = pools(f"pools: {{www: {{answers: 1, probe: {{{probe}}}}}}}")
    assert found.load == load
    # What the probe itself tells, no second request is made for.
    assert (found.probe == load.told_by) == ("header" in probe or "json" in probe)


def test_load_may_stand_in_the_defaults_and_beside_the_probe() -> None:
    found = pools("""\
        defaults: {answers: 1, probe: {http: /, load: {header: X-Load}}}
        pools: {www: {}, mail: {load: {agent: 8888}}, db-ro: {probe: {tcp: 80, load: {agent: 1}}}}
    """)
    assert [each.load and each.load.told_by.check for each in found] == [
        HttpCheck(80, gauge=Gauge("header", "X-Load")), AgentCheck(8888), AgentCheck(1)]  # fmt: skip
    assert [each.probe and each.probe.check for each in found] == [
        HttpCheck(80, gauge=Gauge("header", "X-Load")), HttpCheck(80), TcpCheck(80)]  # fmt: skip


@pytest.mark.parametrize(("load", "fact"), [
    ("3", "load is no mapping; write keys and values: agent, full, header, interval, json, metric, overload, port,"
          " prometheus, timeout"),
    ("{}", "load has no kind; write one of agent, header, json, prometheus"),
    ("{agent: 1, json: a}", "load has two kinds, agent and json; write one of agent, header, json, prometheus"),
    ("{agent: 0}", "0 is no number from 1 to 65535; write such a number"),
    ("{agent: 1, full: 3}", "load of kind agent has no full; remove it"),
    ("{header: X-Load, interval: 1s}", "load of kind header has no interval; remove it"),
    ("{header: 'X Load'}", "X Load is no name of a header; write letters, digits and hyphens"),
    ("{header: X, full: 0}", "0 is no number above 0; write the number of a full load, such as 1, or 8"),
    ("{header: X, full: nan}", "nan is no number above 0; write the number of a full load, such as 1, or 8"),
    ("{header: X, overload: 2}", "2 is no share from 1% to 100%; write one with its sign, such as 50%"),
    ("{header: X}", "load from a header comes with the answer to an http probe; probe by http or https, or ask an"
                    " agent"),
    ("{prometheus: /metrics}", "a page of metrics needs a port and a metric; add port: 9100 and metric: node_load1, or"
                               " the like"),
    ("{agent: 1, timeout: 9s}", "the timeout 9s is longer than the interval 5s of asking for the load; write at most"
                                " timeout: 5s"),
    ("{agnt: 1}", "load has no key agnt; did you mean agent?"),
])  # fmt: skip
def test_what_is_wrong_with_load(load: str, fact: str) -> None:
    assert facts(f"pools: {{www: {{answers: 1, probe: {{tcp: 80, load: {load}}}}}}}") == [fact]


@pytest.mark.parametrize(("pool", "fact"), [
    ("probe: {http: /, method: HEAD, load: {json: a}}, answers: 1", "a reply to HEAD has no JSON; write method: GET"),
    ("load: {agent: 1}", "load is of no use without a probe; add probe:, or remove it"),
    ("probe: {tcp: 1, load: {agent: 1}}", f"warning: load without answers: 1 does next to nothing: {RESHUFFLE}"),
    ("probe: {tcp: 1, load: {agent: 1}}, answers: 1, order: none",
     "warning: order: none has one leader, so load does nothing; write another order"),
])  # fmt: skip
def test_load_that_would_do_nothing(pool: str, fact: str) -> None:
    assert facts(f"pools: {{www: {{{pool}}}}}") == [fact]
