"""A reading: what a backend has said of itself when it was asked once, as a number or in the words of HAProxy's agents.

Pure: no I/O.  Whatever was sent becomes a reading; one that makes no sense has a fault, in words.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_MOST_SHOWN = 40  # characters of what was said
_NUMBER = re.compile(r"\+?((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*(%?)", re.ASCII)
_PERCENT = re.compile(r"(\d{1,9})%", re.ASCII)
_OPERATING = ("up", "down", "fail", "stopped")
_ADMIN = ("ready", "drain", "maint")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a backend has said of itself; of what it did not mention, nothing follows."""

    load: float | None = None  # 0 to 1, of what it can take
    is_zero: bool = False      # an agent wants no weight at all: ``0%``
    operating: str = ""        # up, down, fail or stopped
    admin: str = ""            # ready, drain or maint
    said: str = ""             # in its own words, for a person
    fault: str = ""            # why it says nothing: then all else is empty

    def updated(self, later: Reading) -> Reading:
        """All that is known after another one."""
        if later.fault:
            return self
        has_load = later.load is not None
        return Reading(
            later.load if has_load else self.load,
            later.is_zero if has_load else self.is_zero,
            later.operating or self.operating,
            later.admin or self.admin,
            later.said,
        )


NOTHING = Reading()


def of_agent(line: bytes) -> Reading:
    """A line of an agent: words with blanks, tabs or commas between, and perhaps a description after ``#``.

    ``75%`` is the part of its weight that the backend wants, not its load; above 100 % it gets 100.  See agent-check in
    HAProxy's configuration manual (5.2).
    """
    text = _shown(line.decode("latin-1"))
    load, is_zero, operating, admin = None, False, "", ""
    for word in re.split(r"[ \t,]+", line.partition(b"#")[0].decode("latin-1").lower()):
        if percent := _PERCENT.fullmatch(word):
            part = min(100, int(percent[1]))
            load, is_zero = 1 - part / 100, part == 0
        elif word in _OPERATING:
            operating = word
        elif word in _ADMIN:
            admin = word
    if load is None and not operating and not admin:
        return Reading(fault=f"says {text!r}, which no agent should")
    return Reading(load, is_zero, operating, admin, text)


def of_number(text: str, full: float, name: str) -> Reading:
    """A number such as ``0.42`` or ``42%``, as it was found under this name; ``full`` is that of a full load."""
    found = _NUMBER.fullmatch(text.strip()) if len(text) <= _MOST_SHOWN else None
    if found is None:
        return Reading(fault=f"{name} is {_shown(text)!r}, no number from 0 up")
    load = float(found[1]) / (100 if found[2] else full)
    return Reading(min(1.0, load), said=_shown(text))


def of_json(octets: bytes, path: str, full: float) -> Reading:
    """The number at a path such as ``status.load`` or ``cores.0.load`` in JSON."""
    try:
        found: Any = json.loads(octets)
    except (ValueError, RecursionError):
        return Reading(fault="the body is no JSON")
    for step in path.split("."):
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdigit() and len(step) < 6 and int(step) < len(found):
            found = found[int(step)]
        else:
            return Reading(fault=f"the JSON has no {path}")
    is_number = isinstance(found, (int, float, str)) and not isinstance(found, bool)
    return of_number(str(found) if is_number else type(found).__name__, full, path)


def _shown(text: str) -> str:
    """Foreign text, fit for one line."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:_MOST_SHOWN])
    return shown if len(text) <= _MOST_SHOWN else f"{shown}..."
