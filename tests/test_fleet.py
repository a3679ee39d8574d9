"""scripts/fleet: a killed backend leaves a fleet of secondaries, and everything that was started ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from dnslb_server import eventually
from programs import program

pytestmark = pytest.mark.long

ROOT = Path(__file__).parent.parent


@pytest.fixture
def here() -> Iterator[Path]:
    # A socket's path is at most 107 octets long.
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture
def fleet(here: Path) -> Iterator[subprocess.Popen[str]]:
    for name, package in (("nsd", "nsd"), ("knotd", "knot"), ("named", "bind9"), ("pdns_server", "pdns-server"),
                          ("unbound", "unbound")):
        program(name, package)
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT}", "TMPDIR": str(here)}
    command = [sys.executable, "-m", "propagation"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as one:
        yield one
        one.terminate()
    assert not of(here)
    assert not list(here.iterdir())


def of(directory: Path) -> list[str]:
    """The command lines of processes that have to do with the directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            found.append(path.read_bytes().replace(b"\0", b" ").decode())
    return [line for line in found if str(directory) in line]


def test_the_fleet_lets_go_of_a_killed_backend(fleet: subprocess.Popen[str]) -> None:
    said, _ = fleet.communicate(timeout=90)
    assert fleet.returncode == 0, said
    times = {what: float(at) for at, what in re.findall(r"^ +([\d.]+) s  (.*)$", said, re.MULTILINE)}
    promised = float(re.search(r"^promised: (\d+) s", said, re.MULTILINE)[1])  # type: ignore[index]
    for name in ("NSD", "Knot", "BIND", "PowerDNS"):
        assert times[f"{name} answers without it"] < times["dnslb has noticed, and answers without it"] + 3
        assert times[f"the last client got it from unbound behind {name}"] < promised


def test_the_fleet_ends_when_it_is_told_to(fleet: subprocess.Popen[str], here: Path) -> None:
    eventually(lambda: len(of(here)) >= 3, "it starts", 30.0)
    fleet.send_signal(signal.SIGINT)
    assert fleet.wait(30) == 130
