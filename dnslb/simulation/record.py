"""What ``GET /probes`` has told, once or often, becomes the probes of each address, each of them once.

Pure: text in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from math import isfinite
from typing import Any

from dnslb.balance.pool import Address, Pool
from dnslb.simulation.replay import Records, Seen

_LATEST = 1e11  # Unix time, and seconds: beyond it no clock goes
_ALIKE = 1000   # of a second: two probes of an address in the same such part are one
_BLANKS = re.compile(r"\s*")


class Unreadable(Exception):
    """The text is no record.  The message says where and why."""


def replies(text: str) -> Iterator[Any]:
    """The JSON values in the text, one after another.  Raises Unreadable."""
    decoder, at = json.JSONDecoder(), _next(text, 0)
    while at < len(text):
        try:
            reply, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            line = text.count("\n", 0, at) + 1
            raise Unreadable(f"what begins in line {line} is no JSON; write what GET /probes tells") from None
        yield reply
        at = _next(text, end)


def read(told: Iterable[Any], pool: Pool) -> Records:
    """The probes of this pool's backends, by probed address, from replies of ``GET /probes``.  Raises Unreadable."""
    targets = {each.address: each.target for each in pool.backends}
    found: dict[Address, dict[int, Seen]] = {}
    for number, reply in enumerate(told, 1):
        try:
            for entry in reply["probes"]:
                address = ip_address(entry["address"])
                if entry["owner"].lower() == pool.owner.lower() and address in targets:
                    # Who wrote the file may have asked faster than new probes came.
                    seen = {round(each.start * _ALIKE): each for each in _seen(entry)}
                    found.setdefault(targets[address], {}).update(seen)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise Unreadable(f"reply {number} has no probes as GET /probes tells them: at, took, passed") from None
    return {target: sorted(seen.values()) for target, seen in found.items() if seen}


def _seen(entry: Mapping[str, Any]) -> Iterator[Seen]:
    """Raises KeyError, TypeError, ValueError."""
    for end, seconds, ok in zip(entry["at"], entry["took"], entry["passed"], strict=True):
        if not all(isfinite(each) and 0 <= each < _LATEST for each in (end, seconds)) or not isinstance(ok, bool):
            raise ValueError
        yield Seen(float(end - seconds), float(seconds), ok)


def _next(text: str, at: int) -> int:
    """Where no blank is, from there on."""
    found = _BLANKS.match(text, at)
    return at if found is None else found.end()
