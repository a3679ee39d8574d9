"""Real programs that tests measure themselves against.  Never a silent pass when one is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import NoReturn

import pytest

_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))  # where Debian keeps servers


def program(name: str, package: str) -> str:
    """The path of a program.  Skips the test that needs it, and fails it where nothing may be skipped (``CI`` set)."""
    found = shutil.which(name, path=_PATH)
    return found or without(f"{name} is missing: apt-get install {package}")


def module(name: str, package: str) -> None:
    """Of the extra ``compare``: as for a program."""
    if importlib.util.find_spec(name) is None:
        without(f"{name} is missing: pip install {package}")


def without(message: str) -> NoReturn:
    """Skip the test, or fail it where nothing may be skipped."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
