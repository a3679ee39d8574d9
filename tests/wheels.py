"""dnslb as others get it: a wheel, and an environment that it is installed in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from programs import without

ROOT = Path(__file__).parent.parent
_PATIENCE = 300.0  # seconds for what comes over the network


def build(directory: Path) -> Path:
    """The wheel, put into the directory.  Skips the test when pip cannot have what it builds with."""
    _pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", str(directory), str(ROOT))
    [wheel] = directory.glob("dnslb-*.whl")
    return wheel


def install(wheel: Path, directory: Path) -> Path:
    """A new environment with the wheel in it.  Skips the test when pip cannot have what dnslb needs."""
    subprocess.run([sys.executable, "-m", "venv", directory], check=True, timeout=_PATIENCE)
    _pip(str(directory / "bin" / "python"), "install", str(wheel))
    return directory


def _pip(python: str, *arguments: str) -> None:
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    judge(subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False))


def judge(done: subprocess.CompletedProcess[str]) -> None:
    """Skip the test when the command has failed for want of a registry, and fail it when for anything else."""
    if done.returncode:
        # What has failed in our own files is no lack of a registry.
        lacks = ("No matching distribution found", "Could not find a version", "Connection", "timed out")
        if any(word in done.stderr for word in lacks):
            without(f"pip has no registry: {done.stderr.strip().splitlines()[-1]}")
        pytest.fail(f"{done.args} failed\n{done.stderr}")
