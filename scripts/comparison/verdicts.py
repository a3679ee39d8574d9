"""The end of the report: which kind of balancing to use when, from what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from comparison.experiment import Result, Table

NONE = "n/a"


def tables(results: Mapping[str, Result]) -> Sequence[Table]:
    return []
