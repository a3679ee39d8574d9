"""Zones that come from a primary, as the directory has them: read from the copy, or told what is missing."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from dnslb.answer.snapshot import ABSENT, NOT_OURS, Snapshot
from dnslb.balance.rotation import RRsetOrder
from dnslb.cli import main
from dnslb.config.catalog import Catalog
from dnslb.config.directory import load, receive
from dnslb.config.files import Disk
from dnslb.dns import master, name, rrtype
from dnslb.dns.zone import Zone
from dnslb.text.problem import has_errors

APEX = name.parse("example.org.", name.ROOT)
WWW = name.parse("www", APEX)
FROM = "primary: {address: 192.0.2.1, port: 5353, key: none}\n"
HEAD = """\
example.org. 60 IN SOA ns1.example.org. h.example.org. 7 3600 900 86400 60
example.org. 60 IN NS ns1.example.org.
"""
LINES = f"""\
{HEAD}ns1.example.org. 60 IN A 192.0.2.53
www.example.org. 60 IN A 192.0.2.1
www.example.org. 60 IN A 192.0.2.2
"""


@pytest.fixture
def zones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "dnslb/secondary").mkdir(parents=True)
    (tmp_path / "zones").mkdir()
    return Path("zones")


def loaded(zones: Path, policy: str, copy: str | None = None) -> tuple[Catalog, list[str]]:
    (zones / "example.org.yaml").write_text(policy)
    if copy is not None:
        Path("dnslb/secondary/example.org.zone").write_text(copy)
    catalog, problems = load(zones)
    return catalog, [str(problem).replace(str(zones.absolute().parent), "") for problem in problems]


def test_before_it_has_come_it_is_absent_and_its_pools_are_not_judged(zones: Path) -> None:
    catalog, problems = loaded(zones, FROM + "pools: {www: {}, nowhere: {}}\n")
    assert not catalog.zones
    assert not catalog.pools
    assert catalog.absent == {APEX}
    assert problems == [
        "zones/example.org.yaml: warning: nothing has come from 192.0.2.1:5353 yet, and SERVFAIL is what is answered "
        "until it has; see dnslb status, or the log, once it runs"
    ]
    done = CliRunner().invoke(main, ["check", "zones"])
    assert (done.exit_code, done.stdout) == (0, "example.org.  nothing yet, from 192.0.2.1:5353\n")


def test_the_copy_is_the_zone_and_pools_lie_over_it(zones: Path) -> None:
    catalog, problems = loaded(zones, FROM + "pools: {www: {}}\ntransfer_to: [127.0.0.0/8]\n", LINES)
    assert problems == []
    assert [list(found) for found in (catalog.zones, catalog.pools, catalog.transfers)] == [[APEX], [WWW], [APEX]]
    assert CliRunner().invoke(main, ["check", "zones"]).stdout.startswith(
        "example.org.  serial 7, 5 records, 3 names, from 192.0.2.1:5353\n"
    )


@pytest.mark.parametrize(("policy", "warnings"), [
    ("pools: {api: {}}", ["the zone example.org. has no api.example.org."]),
    ("pools: {www: {backends: {192.0.2.9: {weight: 2}}}}", ["192.0.2.9 is no address of www.example.org."]),
    ("pools: {www: {backends: {192.0.2.1: {backup: yes}, 192.0.2.2: {backup: yes}}}}",
     ["every IPv4 backend of www.example.org. is a backup"]),
    ("pools: {www: {probe: {tcp: 80}, ttl: {failover: 3s}}}", ["www.example.org. promises failover in 3s"]),
])  # fmt: skip
def test_what_a_primary_may_change_keeps_nobody_from_serving(zones: Path, policy: str, warnings: list[str]) -> None:
    catalog, problems = loaded(zones, FROM + policy, LINES)
    assert len(problems) == len(warnings)
    for problem, fact in zip(problems, warnings, strict=True):
        assert f"warning: {fact}" in problem
    assert APEX in catalog.zones


@pytest.mark.parametrize(("policy", "says"), [
    (FROM + "pools: {www: {answers: 0}}", "example.org.yaml:2:24: answers: 0 hands out nothing"),
    ("primary: []", "example.org.yaml:1:10: there is no primary in the list"),
    ("primary: {address: 192.0.2.1}", "1:10: 192.0.2.1 has no key, so anybody could claim to be it"),
    ("primary: {key: none}", "1:10: the primary has no address"),
    ("primary: [{address: 192.0.2.1, key: none}, {address: 192.0.2.1, key: none}]", "192.0.2.1:53 is given twice"),
    ("pools: {}", "there is no zone file of that name; write example.org.zone, say of which primary: it comes, or"),
])  # fmt: skip
def test_what_is_wrong_with_the_file_itself_is_an_error(zones: Path, policy: str, says: str) -> None:
    (zones / "example.com.zone").write_text("@ 60 SOA ns h 1 1 1 1 1\n@ 60 NS ns\nns 60 A 192.0.2.1\n")
    _, problems = loaded(zones, policy, LINES)
    assert [problem for problem in problems if "warning" not in problem and says in problem]


def test_a_zone_has_a_file_or_a_primary(zones: Path) -> None:
    (zones / "example.org.zone").write_text(LINES)
    _, problems = loaded(zones, FROM)
    assert problems == [
        "zones/example.org.yaml: the zone has a primary, and the file zones/example.org.zone; "
        "remove the file, or primary:"
    ]


def test_a_copy_that_cannot_be_read_is_as_none(zones: Path) -> None:
    catalog, [problem] = loaded(zones, FROM, LINES + "www.example.org. 60 IN CNAME ns1.example.org.\n")
    assert catalog.absent == {APEX}
    assert "example.org.zone: warning: what came last cannot be used: www.example.org. has CNAME and A" in problem


def test_it_is_answered_from_until_it_expires(zones: Path) -> None:
    loaded(zones, FROM + "pools: {www: {}}\n", LINES)
    os.utime("dnslb/secondary/example.org.zone", (1000, 1000))
    catalog, _ = load(zones)
    assert catalog.at(1000 + 86399) is catalog
    late = catalog.at(1000 + 86400)
    assert not late.zones
    assert not late.pools
    assert late.absent == {APEX}


def test_what_comes_is_taken_with_its_pools_or_not_at_all(zones: Path) -> None:
    was, _ = loaded(zones, FROM + "pools: {www: {}}\n", LINES)
    file = Path("dnslb/secondary/example.org.zone.new")
    file.write_text(LINES.replace("h.example.org. 7", "h.example.org. 8") + "www.example.org. 60 IN A 192.0.2.3\n")
    found, problems = receive(was, [APEX], Disk(str(zones)))
    assert not problems
    now = was.with_received(found)
    assert (now.zones[APEX].serial, len(now.pools[WWW].backends), file.exists()) == (8, 3, False)
    assert load(zones)[0].zones[APEX].serial == 8
    file.write_text(HEAD + "$INCLUDE /etc/passwd\n")
    found, problems = receive(now, [APEX], Disk(str(zones)))
    assert (found.zones, has_errors(problems)) == ({}, True)
    assert load(zones)[0].zones[APEX].serial == 8


@pytest.mark.parametrize(("asked", "kind", "is_absent"), [
    ("example.org.", rrtype.SOA, True), ("a.b.example.org.", rrtype.A, True),
    ("example.org.", rrtype.DS, False), ("a.example.org.", rrtype.DS, True),
    ("org.", rrtype.SOA, False), ("xexample.org.", rrtype.A, False), ("www.held.example.org.", rrtype.A, False),
])  # fmt: skip
def test_what_is_absent_fails_and_its_neighbours_do_not(asked: str, kind: int, is_absent: bool) -> None:
    apexes = [name.parse(text, name.ROOT) for text in ("org.", "held.example.org.")]
    held = {apex: load_zone(apex) for apex in apexes}
    snapshot = Snapshot({**held, APEX: Zone(APEX, {}, frozenset())}, RRsetOrder.CYCLIC, Random(0))
    folded, question = name.parse(asked, name.ROOT), kind.to_bytes(2) + b"\0\1"
    assert (snapshot.plain(folded, question) is ABSENT) == is_absent
    rcode = snapshot.ready(folded, question, snapshot.over_udp).heads[0][1] & 15
    assert (rcode == rrtype.SERVFAIL) == is_absent
    assert snapshot.plain(name.parse("example.com.", name.ROOT), question) is NOT_OURS


def load_zone(apex: name.Name) -> Zone:
    zone, _ = master.load("f", apex, lambda _: b"@ 60 SOA ns h 1 1 1 1 1\n@ 60 NS ns\nns 60 A 192.0.2.1\n")
    assert zone is not None
    return zone
