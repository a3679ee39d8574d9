"""Our verdict on a zone file against those of BIND, NSD and Knot, and our records against BIND's.

Where the three agree, so do we; the exceptions are listed, each with its reason.
"""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from programs import program
from zonefiles import INCLUDED, ZONE_FILES

from dnslb.dns import master, name
from dnslb.dns.zone import Zone
from dnslb.text.problem import Problem

APEX = name.parse("example.com.", name.ROOT)

# Title, and why we accept what all three reject.
ACCEPTED_BY_US_ALONE = {
    "byte order mark": "editors on Windows write it, and nothing else can be meant",
}


def load(text: str) -> tuple[Zone | None, list[Problem]]:
    files = {"zone": text} | INCLUDED

    def read(path: str) -> bytes:
        if path not in files:
            raise FileNotFoundError(2, os.strerror(2))
        return files[path].encode("latin-1")

    return master.load("zone", APEX, read)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory per zone file, with what the file includes."""
    top = tmp_path_factory.mktemp("zonefiles")
    for number, text in enumerate(ZONE_FILES.values()):
        below = top / str(number)
        below.mkdir()
        for file, content in ({"zone": text} | INCLUDED).items():
            (below / file).write_bytes(content.encode("latin-1"))
    return top


def run_all(directory: Path, command: list[str]) -> dict[str, subprocess.CompletedProcess[bytes]]:
    """The command's outcome in the directory of every zone file."""

    def run(number: int) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(command, cwd=directory / str(number), capture_output=True, check=False, timeout=30)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(ZONE_FILES, pool.map(run, range(len(ZONE_FILES))), strict=True))


@pytest.fixture(scope="module")
def verdicts(directory: Path) -> dict[str, set[bool]]:
    """For each zone file, whether the three accept it: one member where they agree."""
    # Whether targets outside the zone exist, and whether owners are host names, is not asked of us.
    bind = [program("named-checkzone", "bind9-utils"), "-i", "local", "-k", "ignore", "example.com", "zone"]
    nsd = [program("nsd-checkzone", "nsd"), "example.com", "zone"]
    knot = [program("kzonecheck", "knot-dnssecutils"), "-o", "example.com", "zone"]
    outcomes = [run_all(directory, command) for command in (bind, nsd, knot)]
    return {title: {outcome[title].returncode == 0 for outcome in outcomes} for title in ZONE_FILES}


@pytest.fixture(scope="module")
def compiled(directory: Path) -> dict[str, list[str] | None]:
    """For each zone file, the records that BIND reads from it; None when it rejects the file."""
    bind = program("named-compilezone", "bind9-utils")
    command = [bind, "-i", "local", "-k", "ignore", "-f", "text", "-F", "text", "-q", "-o", "-", "example.com", "zone"]
    return {
        title: records(outcome.stdout.decode("ascii")) if outcome.returncode == 0 else None
        for title, outcome in run_all(directory, command).items()
    }


@pytest.mark.parametrize("title", ZONE_FILES)
def test_a_zone_file_is_accepted_where_bind_nsd_and_knot_agree(title: str, verdicts: dict[str, set[bool]]) -> None:
    zone, problems = load(ZONE_FILES[title])
    if title in ACCEPTED_BY_US_ALONE:
        assert zone is not None
        assert verdicts[title] == {False}
        return
    assert zone is not None or problems
    assert {zone is not None} <= verdicts[title], [str(problem) for problem in problems]


@pytest.mark.parametrize("title", ZONE_FILES)
def test_a_zone_file_means_the_records_that_bind_reads(title: str, compiled: dict[str, list[str] | None]) -> None:
    zone, _ = load(ZONE_FILES[title])
    theirs = compiled[title]
    if zone is None or theirs is None:
        return
    assert records("\n".join(master.records(zone))) == theirs


def records(text: str) -> list[str]:
    """Records in one spelling, sorted: owners in lower case, single blanks.  What else was printed is left out."""
    return sorted(normalise(words) for line in text.splitlines() if " IN " in " ".join(words := line.split()))


def normalise(words: list[str]) -> str:
    owner, ttl, class_, type_, *rdata = words
    # Of equal NS records that differ in case, each program keeps the one it likes.
    rdata = [word.lower() for word in rdata] if type_ == "NS" else rdata
    return " ".join([owner.lower(), ttl, class_, type_, *rdata])
