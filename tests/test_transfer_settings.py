"""Keys, ``secondaries`` and ``transfer_to``: read, or exactly what is wrong with them."""

from __future__ import annotations

import os
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from click.testing import CliRunner
from programs import program

from dnslb.balance import ttl
from dnslb.cli import main
from dnslb.config import keys
from dnslb.config.catalog import Catalog
from dnslb.config.directory import load
from dnslb.config.nameserver import Nameserver, TransferPolicy
from dnslb.dns import name
from dnslb.dns.mistake import Mistaken
from dnslb.text.problem import has_errors

APEX = name.parse("example.com.", name.ROOT)
ZONE = "$TTL 300\n@ SOA ns1 h 1 3600 900 1209600 60\n@ NS ns1\nns1 A 192.0.2.53\nwww A 127.0.1.11\nwww A 127.0.1.12\n"
SECRET = "MDEyMzQ1Njc4OWFiY2RlZg=="
KEY = f'key "fleet" {{ algorithm hmac-sha256; secret "{SECRET}"; }};\n'


@pytest.fixture
def zones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fleet.key").write_text(KEY)
    (tmp_path / "fleet.key").chmod(0o640)
    directory = tmp_path / "zones"
    directory.mkdir()
    (directory / "example.com.zone").write_text(ZONE)
    (directory / "dnslb.yaml").write_text(f"keys: {{fleet: {tmp_path}/fleet.key}}\n")
    return directory


def loaded(zones: Path, policy: str) -> tuple[Catalog, list[str]]:
    (zones / "example.com.yaml").write_text(policy)
    catalog, problems = load(Path("zones"))
    return catalog, [str(problem).replace(str(zones.parent), "") for problem in problems]


def test_a_policy_says_who_gets_the_zone(zones: Path) -> None:
    policy = """\
secondaries:
  - {address: 192.0.2.53, key: fleet}
  - {address: "2001:db8::53", port: 5353, key: none}
transfer_to: [Fleet., 198.51.100.0/24, "2001:db8::/32"]
"""
    catalog, problems = loaded(zones, policy)
    assert problems == []
    assert catalog.transfers == {APEX: TransferPolicy(
        (Nameserver(ip_address("192.0.2.53"), 53, "fleet."), Nameserver(ip_address("2001:db8::53"), 5353, None)),
        frozenset({"fleet."}), (ip_network("198.51.100.0/24"), ip_network("2001:db8::/32")),
    )}  # fmt: skip
    assert catalog.keys["fleet."].secret == b"0123456789abcdef"
    assert "0123" not in repr(catalog)


def test_dnslb_yaml_says_it_for_all_zones_that_say_nothing_else(zones: Path) -> None:
    path = zones / "dnslb.yaml"
    path.write_text(path.read_text() + "secondaries: [{address: 192.0.2.53, key: fleet}]\n")
    assert loaded(zones, "pools: {www: {}}\n")[0].transfers[APEX].secondaries[0].key == "fleet."
    assert loaded(zones, "secondaries: []\n")[0].transfers == {}


@pytest.mark.parametrize(("policy", "says"), [
    ("secondaries: x", "1:14: secondaries is no list; write - {address: 192.0.2.53, key: NAME} for each"),
    ("secondaries: [{key: fleet}]", "1:15: the secondary has no address; add address: 192.0.2.53"),
    ("secondaries: [{address: ns1, key: fleet}]", "1:25: ns1 is no address; write it as 192.0.2.53 or 2001:db8::53"),
    ("secondaries: [{address: 192.0.2.53}]",
     "1:15: 192.0.2.53 has no key, so anybody could claim to be it; add key: NAME, or key: none"),
    ("secondaries: [{address: 192.0.2.53, key: flet}]",
     "1:42: there is no key flet; add it to keys: in dnslb.yaml; dnslb key NAME makes one"),
    ("secondaries: [{address: 192.0.2.53, key: fleet, port: 0}]", "1:55: 0 is no number from 1 to 65535"),
    ("secondaries: [{address: 192.0.2.53, key: fleet, prot: 53}]", "a secondary has no key prot; did you mean port?"),
    ("secondaries: [{address: 192.0.2.53, key: fleet}, {address: 192.0.2.53, key: none}]",
     "1:50: 192.0.2.53:53 is given twice; remove one of the two"),
    ("transfer_to: [192.0.2.0/33]",
     "1:15: 192.0.2.0/33 is no network; write one as 192.0.2.0/24 or 2001:db8::/32, or a key's name"),
    ("transfer_to: [nobody]", "1:15: there is no key nobody"),
])  # fmt: skip
def test_what_is_wrong_with_secondaries(zones: Path, policy: str, says: str) -> None:
    [problem] = loaded(zones, policy)[1]
    assert says in problem


@pytest.mark.parametrize(("text", "says"), [
    ("", "the file has 0 keys among 0 statements"),
    (KEY + KEY.replace("fleet", "other"), "the file has 2 keys among 2 statements"),
    ('key "fleet" {', "the file is no key file"),
    (KEY.replace("sha256", "md5"), "the algorithm hmac-md5 is not among hmac-sha256, hmac-sha384, hmac-sha512"),
    (KEY.replace(SECRET, "not base64!"), "the secret is no base64"),
    (KEY.replace(SECRET, "c2hvcnQ="), "the secret has 5 octets, less than 16"),
])  # fmt: skip
def test_what_is_wrong_with_a_key_never_shows_it(zones: Path, text: str, says: str) -> None:
    (zones.parent / "fleet.key").write_text(text)
    [problem] = loaded(zones, "")[1]
    assert problem.startswith(f"/fleet.key: {says}")
    assert SECRET not in problem


def test_a_key_that_others_can_read_is_refused(zones: Path) -> None:
    (zones.parent / "fleet.key").chmod(0o644)
    assert loaded(zones, "")[1] == [
        "/fleet.key: the key cannot be read: everybody can read it; chmod o-r it; let this user read it"
    ]


def test_dnslb_key_makes_what_both_sides_read(tmp_path: Path) -> None:
    path = tmp_path / "new.key"
    done = CliRunner().invoke(main, ["key", "Fleet", "--output", str(path)])
    assert done.exit_code == 0
    assert os.stat(path).st_mode & 0o777 == 0o600
    key = keys.read(path.read_text(), "f")
    assert (key.name, key.algorithm, len(key.secret)) == ("fleet.", "hmac-sha256", 32)
    assert CliRunner().invoke(main, ["key", "fleet", "--output", str(path)]).exit_code == 1
    configuration = tmp_path / "named.conf"
    configuration.write_text(f'include "{path}";\n')
    subprocess.run([program("named-checkconf", "bind9-utils"), str(configuration)], check=True)


@pytest.mark.parametrize("bad", ["", ".", "a..b", "é"])
def test_a_key_needs_a_name(bad: str) -> None:
    assert CliRunner().invoke(main, ["key", bad]).exit_code == 2


def test_what_bind_makes_is_read() -> None:
    command = [program("tsig-keygen", "bind9-utils"), "-a", "hmac-sha512", "x.y"]
    made = subprocess.run(command, capture_output=True, check=True)
    assert keys.read(made.stdout.decode(), "f").algorithm == "hmac-sha512"
    with pytest.raises(Mistaken):
        keys.read(made.stdout.decode() + "}", "f")


# What travels


_PROBE = "{tcp: 80, interval: 2s, timeout: 1s, fall: 3, rise: 2}"
_PROMISE = f"pools: {{www: {{probe: {_PROBE}, ttl: {{min: 5s, failover: %s}}}}}}\n"
_TO = "secondaries: [{address: 192.0.2.53, key: fleet}]\n"


def test_the_promise_counts_the_way_to_the_secondaries(zones: Path) -> None:
    alone, _ = loaded(zones, _PROMISE % "30s")
    fleet, problems = loaded(zones, _PROMISE % "30s" + _TO)
    assert problems == []
    [here], [there] = alone.pools.values(), fleet.pools.values()
    assert ttl.bounds(here, 4).ceiling - ttl.bounds(there, 4).ceiling == 2
    told = CliRunner().invoke(main, ["check", str(zones)]).stdout
    assert "last client after 30 s" in told
    assert "travels   to the zone's secondaries within 2 s" in told


def test_a_promise_that_secondaries_break_is_an_error(zones: Path) -> None:
    assert not has_errors(load(zones)[1])
    assert loaded(zones, _PROMISE % "14s")[1] == []
    assert loaded(zones, _PROMISE % "14s" + _TO)[1] == [
        "zones/example.com.yaml:2:14: www.example.com. promises failover in 14s, and leaves no 2s for changes to "
        "travel; failover: 15s would keep it"
    ]


def test_what_cannot_travel_is_said(zones: Path) -> None:
    policy = "pools: {www: {order: spread, answers: 1, backends: {127.0.1.11: {weight: 2}}}}\n"
    _, [problem] = loaded(zones, policy + _TO)
    assert "without www.example.com. (weights, answers, order: spread); let them rotate: round-robin (NSD)" in problem
    assert "warning" in problem
