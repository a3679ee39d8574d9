"""``dnslb ttl`` by its exact output."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from click import ClickException
from click.testing import CliRunner, Result

from dnslb.advice.advisor import Wishes
from dnslb.advice.forecast import Situation
from dnslb.balance.pool import Backend, Pool, Probe, TcpCheck, TtlPolicy
from dnslb.cli import main
from dnslb.cli.ttl import asked_of_pool

ADVICE = """\
pool       4 backends, 1 in each reply
probe      every 2 s, timeout 1 s, down after 3
detection  refused: mean 5 s, worst 6 s; hung: mean 6 s, worst 7 s
return     worst 4 s, up after 2
clients    200 look-ups/s at 100 resolvers, Zipf 1 (as uneven as 16.5 equal ones); shares over 60 s

TTL  queries/s  hits  failover           failed per  imbalance
          here     %    mean s  worst s   1,000 rps         CV  max/mean   Jain
  0      200.0   0.0       6.0       13       1,500      0.016      1.03  1.000
  1       49.0  75.5       6.4       13       1,594      0.057      1.10  0.997
  2       31.9  84.0       6.8       13       1,710      0.079      1.13  0.994
  5       16.1  92.0       8.3       13       2,075      0.123      1.20  0.985
 10        8.9  95.6      10.8       18       2,694      0.170      1.28  0.972
 15        6.1  96.9      13.3       23       3,317      0.205      1.34  0.960
 30        3.2  98.4      20.8       38       5,190      0.276      1.46  0.929
 60        1.6  99.2      35.8       68       8,939      0.349      1.58  0.891
120        0.8  99.6      65.8      128      16,438      0.390      1.65  0.868
300        0.3  99.8     155.8      308      38,938      0.413      1.69  0.854

use a TTL of 20 s
  because failover in 30 s leaves a TTL of 22 s or less
  because a load of 10/s needs a TTL of 9 s or more
  note: browsers hold addresses 60 s, whatever the TTL: --client-cache 60s counts it in
  note: a resolver's clients share what it cached: few resolvers make uneven shares
  note: resolvers that serve stale records (serve-expired) may hand out a dead backend after all
"""
CONFLICT = """\
pool       1 backend, all in each reply
probe      every 5 s, 1 s after a failure, timeout 0.5 s, down after 3
detection  refused: mean 4.5 s, worst 7 s; hung: mean 5 s, worst 7.5 s
return     worst 6 s, up after 2
clients    1,000 look-ups/s at 1 resolver, Zipf 0 (as uneven as 1 equal ones); shares over 60 s
caches     resolvers hold records 5 s or longer, clients hold addresses 30 s

TTL  queries/s   hits  failover           failed per  imbalance
          here      %    mean s  worst s   1,000 rps         CV  max/mean   Jain
  7        0.1  100.0      23.5     45.5      23,500      0.000      1.00  1.000

no TTL grants all that is wanted
  conflict: failover in 43 s cannot be: detection 7.5 s, a resolver's clock 1 s, clients' caches 30 s, \
resolvers' minimum 5 s
    change one: failover: 44s, or interval: 4.5s, or fast_interval: 0.75s, or fall: 2
"""


def run(arguments: str) -> Result:
    return CliRunner().invoke(main, ["ttl", *arguments.split()], prog_name="dnslb")


def test_a_table_and_a_recommendation() -> None:
    result = run("--interval 2s --timeout 1s --qps 200 --mode single --failover 30s --max-load 10")
    assert (result.exit_code, result.stdout, result.stderr) == (0, ADVICE, "")


def test_wishes_in_conflict_exit_with_1() -> None:
    result = run(
        "--fast-interval 1s --timeout 500ms --backends 1 --resolvers 1 --zipf 0 --qps 1000"
        " --resolver-min-ttl 5s --client-cache 30s --failover 43s --ttl 7 --ttl 7"
    )
    assert (result.exit_code, result.stdout, result.stderr) == (1, CONFLICT, "")


def test_json_has_everything() -> None:
    result = run("--json --mode single --ttl 30 --ttl 5 --max-imbalance 0.2")
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert list(found) == [
        "situation", "wishes", "detection", "recovery_worst", "effective_resolvers", "ttls", "advice",
    ]  # fmt: skip
    assert found["situation"]["probe"] == {
        "interval": 5.0, "fast_interval": None, "fall": 3, "rise": 2, "timeout": 2.0,
    }  # fmt: skip
    assert found["detection"] == {"refused": {"mean": 12.5, "worst": 15.0}, "hung": {"mean": 14.5, "worst": 17.0}}
    assert [row["ttl"] for row in found["ttls"]] == [5, 30]
    assert found["wishes"] == {"failover": None, "max_load": None, "max_imbalance": 0.2}
    assert found["advice"]["ttl"] == 10
    assert found["advice"]["conflicts"] == []


def test_json_of_a_conflict_exits_with_1() -> None:
    result = run("--json --failover 10s")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["advice"]["ttl"] is None


@pytest.mark.parametrize(("arguments", "complaint"), [
    ("--failover 30", "'--failover': 30 is no duration; write a number and a unit: 500ms, 5s, 2m, 1h"),
    ("--interval 0s", "'--interval': 0s is out of range; write 0.01s to 168h"),
    ("--client-cache 1000h", "'--client-cache': 1000h is out of range; write 0s to 168h"),
    ("--qps nan", "'--qps': nan is out of range; write 0.001 to 1e+09"),
    ("--qps 0", "'--qps': 0 is out of range; write 0.001 to 1e+09"),
    ("--max-load many", "'--max-load': many is no number"),
    ("--backends 0", "'--backends': 0 is not in the range 1<=x<=1000."),
    ("--ttl -1", "'--ttl': -1 is no TTL; write whole seconds: 30s, 5m"),
    ("--ttl 1500ms", "'--ttl': 1500ms is no TTL; write whole seconds: 30s, 5m"),
    ("--ttl 200h", "'--ttl': 200h is out of range; write 0s to 168h"),
    ("--mode some", "'--mode': 'some' is not one of 'full', 'single'."),
])  # fmt: skip
def test_options_that_make_no_sense(arguments: str, complaint: str) -> None:
    result = run(arguments)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"Error: Invalid value for {complaint}"


ZONE = """\
$TTL 300
@ SOA ns1 hostmaster 7 3600 900 1209600 60
@ NS ns1
ns1 A 192.0.2.53
www A 192.0.2.11
www A 192.0.2.12
www A 192.0.2.13
www 20 AAAA 2001:db8::11
"""


@pytest.fixture
def zones(tmp_path: Path) -> Path:
    (tmp_path / "example.com.zone").write_text(ZONE)
    return tmp_path


POOL = Pool(
    "www.example.com.",
    (
        *(Backend(ip_address(f"192.0.2.{host}"), backup=host == 14) for host in (11, 12, 13, 14)),
        Backend(ip_address("2001:db8::11")),
    ),
    zone_ttls={4: 300, 6: 20},
    probe=Probe(TcpCheck(80)),
    answers=2,
    ttl=TtlPolicy(failover=60.0),
)
GIVEN = {"qps": 100.0, "resolvers": 100, "zipf": 1.0, "window": 60.0, "resolver": "any", "resolver_min_ttl": 0.0,
         "client_cache": 0.0, "client_timeout": 0.0}


def test_a_pool_brings_its_probe_its_a_records_without_backups_and_its_promise() -> None:
    asked = asked_of_pool(POOL, GIVEN)
    assert asked.situation == Situation(Probe(TcpCheck(80)), backends=3, answers=2)
    assert asked.wishes == Wishes(failover=60.0)
    assert asked.ttls == (0, 1, 2, 5, 10, 15, 30, 42, 60, 120, 300)  # 5 to 42 are the pool's own


def test_a_pool_of_aaaa_records_only() -> None:
    pool = Pool("six.example.com.", POOL.backends[-1:], zone_ttls={6: 20}, probe=POOL.probe)
    asked = asked_of_pool(pool, GIVEN)
    assert (asked.situation.backends, asked.situation.answers) == (1, 1)
    assert 20 in asked.ttls


def test_options_override_the_pool() -> None:
    given = {**GIVEN, "interval": 1.0, "mode": "full", "backends": 8, "failover": 30.0, "ttls": (7,)}
    asked = asked_of_pool(POOL, given)
    assert asked.situation == Situation(Probe(TcpCheck(80), interval=1.0), backends=8, answers=8)
    assert asked.wishes.failover == 30.0
    assert asked.ttls == (7,)


def test_a_pool_without_a_probe_notices_no_death() -> None:
    with pytest.raises(ClickException, match=r"www.example.com. is not probed, so no death is noticed"):
        asked_of_pool(replace(POOL, probe=None), GIVEN)


POLICY = """\
pools:
  www:
    probe: {tcp: 80, interval: 2s, timeout: 1s}
    ttl: {min: 4s, failover: 30s}
    answers: 1
  ns1: {}
"""
WWW = """\
pool       3 backends, 1 in each reply
probe      every 2 s, timeout 1 s, down after 3
detection  refused: mean 5 s, worst 6 s; hung: mean 6 s, worst 7 s
return     worst 4 s, up after 2
clients    100 look-ups/s at 100 resolvers, Zipf 1 (as uneven as 16.5 equal ones); shares over 60 s

TTL  queries/s  hits  failover           failed per  imbalance
          here     %    mean s  worst s   1,000 rps         CV  max/mean   Jain
  5       13.7  86.3       8.2       13       2,719      0.101      1.15  0.990
 22        4.1  95.9      16.6       30       5,517      0.199      1.29  0.962

use a TTL of 20 s
  because failover in 30 s leaves a TTL of 22 s or less
  note: browsers hold addresses 60 s, whatever the TTL: --client-cache 60s counts it in
  note: a resolver's clients share what it cached: few resolvers make uneven shares
  note: resolvers that serve stale records (serve-expired) may hand out a dead backend after all
"""


def test_the_pool_of_a_name(zones: Path) -> None:
    (zones / "example.com.yaml").write_text(POLICY)
    result = run(f"WWW.example.com {zones} --ttl 5 --ttl 22")
    assert (result.exit_code, result.stdout) == (0, WWW)
    assert json.loads(run(f"www.example.com. {zones} --json").stdout)["wishes"]["failover"] == 30.0
    assert [row["ttl"] for row in json.loads(run(f"www.example.com {zones} --json").stdout)["ttls"]] == [
        0, 1, 2, 4, 5, 10, 15, 22, 30, 60, 120, 300,
    ]  # fmt: skip


def test_a_name_whose_pool_is_not_probed(zones: Path) -> None:
    (zones / "example.com.yaml").write_text(POLICY)
    result = run(f"ns1.example.com {zones}")
    assert result.exit_code == 1
    assert "Error: ns1.example.com. is not probed" in result.stderr


def test_a_name_without_a_pool(zones: Path) -> None:
    result = run(f"ftp.example.com {zones}")
    assert result.exit_code == 1
    assert result.stderr == f"Error: ftp.example.com has no pool in {zones}; pools there: none\n"


def test_a_name_that_is_none(zones: Path) -> None:
    result = run(f"www..example.com {zones}")
    assert result.exit_code == 2
    assert "www..example.com" in result.stderr


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    result = run(f"www.example.com {tmp_path / 'none'}")
    assert result.exit_code == 1
    assert "the directory does not exist" in result.stderr


def test_with_unlike_backends_it_says_which_way_to_hand_them_out_fits() -> None:
    paper = "--backends 7 --resolvers 20 --qps 1.667 --ttl 15 --max-load 0.09"
    alike, unlike = (run(f"{paper} --heterogeneity {share}").stdout.splitlines() for share in ("0%", "65%"))
    begin = alike.index("backends up to 0% behind the strongest; the busiest is below 90%")
    told = [line.split()[:2] for line in alike[begin + 1 :]]
    assert told[0] == ["full", "sets"]
    assert told[-2] == ["L7", "least"]
    # Whole sets cannot tell backends apart, and single answers pin resolvers; see tests/test_simulation.py.
    assert unlike[-1] == "the simplest that is so 90% of the time: L7 least connections"
    ways = json.loads(run(f"{paper} --heterogeneity 65% --json").stdout)["ways"]
    assert ways["full sets"] < 0.1
    assert ways["L7 least connections"] > 0.9
