"""Lengths of time as operators write them: ``500ms``, ``5s``, ``2m``, ``1h``.  Always with a unit."""

from __future__ import annotations

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)", re.ASCII)

REMEDY = "write a number and a unit: 500ms, 5s, 2m, 1h"


def parse(text: str) -> float | None:
    """Seconds; None when the text is no duration."""
    match = _DURATION.fullmatch(text)
    return float(match[1]) * _UNITS[match[2]] if match else None
