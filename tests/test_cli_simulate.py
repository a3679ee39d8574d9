"""``dnslb simulate`` on the samples of zones/."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dnslb.cli import main

ZONES = Path(__file__).parent.parent / "zones"
QUICK = "--span 5m --deaths 2 --seeds 2"


def run(arguments: str, directory: Path = ZONES) -> Result:
    policy = str(directory / "example.net.yaml")
    return CliRunner().invoke(main, ["simulate", policy, *arguments.split()], prog_name="dnslb")


def test_a_row_for_each_way_and_a_picture_and_what_suffices() -> None:
    result = run(QUICK)
    lines = result.stdout.splitlines()
    assert (result.exit_code, result.stderr) == (0, "")
    assert lines[:3] == [
        "pool      www.example.net. A: 3 backends, the weakest 0% behind the strongest; 67% busy on average",
        "clients   100 sessions/s of 300 s at 100 resolvers, Zipf 1 (as uneven as 16.5 equal ones)",
        "measured  300 s in windows of 8 s, then 2 deaths; 2 runs",
    ]
    rows = {line[:34].strip(): line.split()[-3:] for line in lines[6:11]}
    assert list(rows) == [
        "full sets (as written)", "single answers", "least_assigned", "adaptive TTL", "L7 least connections",
    ]  # fmt: skip
    # The policy promises that the last client is gone in 30 s.
    assert 0 < float(rows["full sets (as written)"][1]) <= 30
    assert "the simplest that keeps the busiest backend below 90% in 90% of the windows: full sets" in lines


def test_the_same_as_json_and_the_same_each_time() -> None:
    first, second = (run(f"{QUICK} --json").stdout for _ in range(2))
    assert first == second
    found = json.loads(first)
    assert [each["as_written"] for each in found["variants"]] == [True, False, False, False, False]
    assert all(len(each["quantiles"]) == 101 for each in found["variants"])
    assert [len(each["failovers"]) for each in found["variants"]] == [4, 4, 4, 4, 0]


@pytest.mark.parametrize(("arguments", "complaint"), [
    ("nope.example.net", "which pool is to be tried?"),
    ("--heterogeneity 100%", "100% is no share of 0% to 99%"),
    ("--span 24h --seeds 1000 --qps 100000 --resolvers 100000", "would take hours"),
    ("--qps nan", "nan is out of range"),
])
def test_what_cannot_be_tried_is_told(arguments: str, complaint: str) -> None:
    result = run(arguments)
    assert result.exit_code in {1, 2}
    assert complaint in result.stderr


def test_of_several_pools_one_has_to_be_named(tmp_path: Path) -> None:
    zone = (ZONES / "example.net.zone").read_text()
    (tmp_path / "example.net.zone").write_text(zone + "api 60 A 127.0.1.21\napi 60 A 127.0.1.22\n")
    (tmp_path / "example.net.yaml").write_text("pools:\n  www: {answers: 2}\n  api: {answers: 1}\n")
    result = run(QUICK, tmp_path)
    assert (result.exit_code, "pools there: api.example.net., www.example.net." in result.stderr) == (1, True)
    result = run(f"api.example.net {QUICK}", tmp_path)
    assert result.exit_code == 0
    # Nobody probes them, so nobody dies.
    assert "single answers (as written)" in result.stdout
    assert "note: the pool has no probe, so a dead backend is handed out for ever" in result.stdout
    result = run(f"www.example.net. {QUICK}", tmp_path)
    assert "as written  " in result.stdout
