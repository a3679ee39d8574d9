"""``zones:`` of dnslb.yaml: a zone whose name is too long for a file is served all the same."""

from __future__ import annotations

from pathlib import Path

import dns.message
import dns.query
import pytest
from dnslb_server import started
from peers import free_port

from dnslb.config import directory as directories

LONG = f"ab.{'.'.join(['as-programs-make-them'.ljust(58, '0')] * 4)}.example.test"   # room for one letter below it
ZONE = """\
$TTL 30
@     SOA ns1.example.com. hostmaster.example.com. 1 1h 15m 2w 1m
      NS  ns1.example.com.
w     A   127.0.1.11
      A   127.0.1.12
"""
POLICY = "pools: {w: {answers: 1}}\n"


def written(directory: Path, **files: str) -> Path:
    for file, text in files.items():
        (directory / file.replace("_", ".")).write_text(text)
    return directory


def test_a_zone_with_a_name_too_long_for_a_file_is_served(tmp_path: Path) -> None:
    zones, port = tmp_path / "zones", free_port()
    zones.mkdir()
    written(zones, dnslb_yaml=f"zones: {{{LONG}: long.zone}}\n", long_zone=ZONE, long_yaml=POLICY)
    with pytest.raises(OSError, match="File name too long"):
        (zones / f"{LONG}.zone").touch()
    with started(tmp_path, "--listen", f"127.0.0.1:{port}"):
        reply = dns.query.udp(dns.message.make_query(f"w.{LONG}", "A"), "127.0.0.1", 5, port)
    assert len(reply.answer[0]) == 1    # as its policy says


@pytest.mark.parametrize(("files", "problems"), [
    ({"dnslb_yaml": "zones: {b.example: b.zone}\n"},
     ["dnslb.yaml:1:20: there is no file b.zone; write it for b.example., or remove the line"]),
    ({"dnslb_yaml": "zones: {A.example: short.zone}\n", "short_zone": ZONE},
     ["short.zone: a.example.zone is the same zone; remove one of the two files"]),
    ({"dnslb_yaml": "zones: {b.example: b.zone}\n", "b_zone": ZONE, "b_yaml": POLICY, "b.example_yaml": POLICY},
     ["b.yaml: b.example.yaml is for the same zone; remove one of the two files"]),
])  # fmt: skip
def test_what_does_not_fit_is_said(tmp_path: Path, files: dict[str, str], problems: list[str]) -> None:
    written(tmp_path, **{"a.example_zone": ZONE}, **files)
    _, found = directories.load(tmp_path)
    assert [str(problem).replace(f"{tmp_path}/", "") for problem in found] == problems
