"""What dnslb needs is told with its reasons and licences, and locked for CI."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGE = (ROOT / ".github" / "DEPENDENCIES.md").read_text()
LOCKED = (ROOT / ".ci" / "requirements.txt").read_text()
RUN = dict(re.findall(r"^\| ([\w-]+) \| (>=[\d.]+) \|", PAGE, re.MULTILINE))
LICENCES = dict(re.findall(r"^\| ([a-zA-Z0-9-]+) \|(?:.*\|)? ([A-Z][^|]+) \|$", PAGE, re.MULTILINE))


def name(requirement: str) -> str:
    return re.split(r"[<>=!~]", requirement)[0]


def normal(package: str) -> str:
    """As indices write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", package).lower()


def test_the_ranges_to_run_are_those_of_the_project() -> None:
    assert [f"{package}{range_}" for package, range_ in RUN.items()] == PROJECT["dependencies"]


def test_all_that_tests_need_is_listed() -> None:
    assert {name(one) for one in PROJECT["optional-dependencies"]["test"]} <= set(LICENCES)
    assert {name(one) for one in PROJECT["optional-dependencies"]["compare"]} <= set(re.findall(r"[\w-]+", PAGE))


@pytest.mark.parametrize(("package", "licence"), LICENCES.items())
def test_a_licence_is_what_the_package_says(package: str, licence: str) -> None:
    told = metadata.metadata(package).json
    assert licence == (told.get("license_expression") or told.get("license"))


def test_ci_installs_what_is_locked_by_hash() -> None:
    entries = re.split(r"\n(?=[A-Za-z])", re.sub(r"^ *#.*\n?", "", LOCKED, flags=re.MULTILINE).strip())
    locked = {normal(re.split(r"[=\s;]", entry)[0]): entry for entry in entries}
    assert all("--hash=sha256:" in entry for entry in entries)
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["test"], *extras["compare"], "setuptools"]
    assert {normal(name(one)) for one in wanted} <= set(locked)
