"""Lengths of time as master files write them: seconds, or numbers with units, as in ``1h30m``."""

from __future__ import annotations

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_INTERVAL = re.compile(r"[0-9]{1,20}|(?:[0-9]{1,20}[smhdw])+", re.IGNORECASE)
_PART = re.compile(r"([0-9]+)([smhdw])", re.IGNORECASE)


def parse(word: str) -> int | None:
    """Seconds, without a limit; None when the word is no length of time."""
    if _INTERVAL.fullmatch(word) is None:
        return None
    if word.isdigit():
        return int(word)
    return sum(int(number) * _SECONDS[unit.lower()] for number, unit in _PART.findall(word))
