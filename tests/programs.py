"""Real programs that tests measure themselves against.  Never a silent pass when one is missing."""

from __future__ import annotations

import os
import shutil

import pytest

_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))  # where Debian keeps servers


def program(name: str, package: str) -> str:
    """The path of a program.  Skips the test that needs it, and fails it where nothing may be skipped (``CI`` set)."""
    found = shutil.which(name, path=_PATH)
    if found is not None:
        return found
    message = f"{name} is missing: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
