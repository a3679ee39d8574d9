"""The manual's page of faults and threats names a test for each, and all of them are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "dnslb" / "manual" / "faults.md").read_text()
HEADS = "| fault", "| threat", "| ---"
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(HEADS)]


def test_every_fault_and_threat_has_a_test() -> None:
    assert len(ROWS) > 30
    assert [row for row in ROWS if not re.search(r"`test_\w+\.py", row.rsplit(" | ", 1)[1])] == []


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`(test_\w+\.py[\w:]*)`", PAGE))))
def test_a_test_that_is_named_is_there(named: str) -> None:
    file, _, test = named.partition("::")
    assert (TESTS / file).exists()
    assert not test or f"def {test}(" in (TESTS / file).read_text()
