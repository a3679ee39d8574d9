"""The body of an order by an operator: JSON in, an ``OrderRequest`` out.

Pure: the time is an argument.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import isfinite
from typing import Any

from dnslb.balance.operator_order import Mode
from dnslb.control.errors import Rejected
from dnslb.control.order import OrderRequest
from dnslb.text import duration, timestamp
from dnslb.text.spelling import closest

_KEYS = ("mode", "addresses", "names", "for", "at", "until", "reason", "now", "force")
_LONGEST_TEXT = 300  # characters
# Of a name with its escapes: labels of 63, 63, 63 and 61 octets (RFC 1035 §2.3.4), each octet as \DDD, and four dots.
LONGEST_NAME = 4 * 250 + 4
_MOST_WILD = 16      # * and [ in a pattern: each may look at all of a name
_MOST_PATTERNS = 1000


class Malformed(Rejected):
    """The body of the request is not what it should be; the text says what to write."""


def parse(body: bytes, now: float) -> OrderRequest:
    """The order in the body of the request.  ``now`` is Unix time.  Raises Malformed."""
    root = read_object(body, _KEYS, '{"mode": "drain", "addresses": ["192.0.2.1"]}')
    modes = [mode.value for mode in Mode]
    if root.get("mode") not in modes:
        raise Malformed("'mode' is missing or unknown", f"write one of {', '.join(modes)}")
    mode = Mode(root["mode"])
    addresses = _texts(root, "addresses")
    if not addresses:
        raise Malformed("'addresses' is missing", "list addresses, or patterns such as 192.0.2.*")
    if root.get("names", addresses) in (None, []):
        # Whoever lists names means some: a list that came out empty must not mean all.
        raise Malformed("'names' is empty", "list names, or leave 'names' out for all of them")
    at, until = _span(root, mode, now)
    return OrderRequest(
        mode, addresses, _texts(root, "names"), at, until, _reason(root), now=_now(root, mode), force=_force(root, mode)
    )


def read_object(body: bytes, keys: tuple[str, ...], example: str) -> dict[str, Any]:
    """An object with none but these keys.  Raises Malformed."""
    try:
        root = json.loads(body)
    except (ValueError, RecursionError):
        raise Malformed("the body is no JSON", f"send {example}") from None
    if not isinstance(root, dict):
        raise Malformed("the body is no object", f"send {example}")
    for key in root:
        if key not in keys:
            raise Malformed(f"{key[:_LONGEST_TEXT]!r} is unknown", f"did you mean {closest(key, keys)!r}?")
    return root


def _span(root: dict[str, Any], mode: Mode, now: float) -> tuple[float | None, float | None]:
    """When the order begins, and when it ends; None: now, and never."""
    at, until = _time(root, "at", now), _time(root, "until", now)
    if at is not None and at <= now:
        raise Malformed(f"'at' is in the past: {str(root['at'])[:_LONGEST_TEXT]!r}", "leave it out for now")
    lasts = _duration(root)
    if lasts is not None and until is not None:
        raise Malformed("'for' and 'until' are both given", "leave one out")
    if mode is Mode.READY and (lasts is not None or until is not None):
        raise Malformed("ready has no end", "leave 'for' and 'until' out; drain and maint have them")
    if lasts is not None:
        until = (now if at is None else at) + lasts
    return at, until


def _now(root: dict[str, Any], mode: Mode) -> bool:
    found = root.get("now")
    if found is not None and not isinstance(found, bool):
        raise Malformed("'now' is neither true nor false", "write true, or leave it out")
    if found and (mode is not Mode.READY or root.get("at") is not None):
        raise Malformed("'now' is for ready, at once", "leave it out")
    return bool(found)


def _force(root: dict[str, Any], mode: Mode) -> bool:
    found = root.get("force")
    if found is not None and not isinstance(found, bool):
        raise Malformed("'force' is neither true nor false", "write true, or leave it out")
    if found and mode is Mode.READY:
        raise Malformed("'force' is for drain and maint", "leave it out")
    return bool(found)


def _texts(root: dict[str, Any], key: str) -> tuple[str, ...]:
    found = root.get(key)
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(text, str) and len(text) > 0 for text in found):
        raise Malformed(f"{key!r} is no list of texts", f'write "{key}": ["…"]')
    if len(found) > _MOST_PATTERNS:
        raise Malformed(f"{key!r} is too long", "use patterns such as 192.0.2.*")
    check_patterns(f"a text in {key!r}", found, LONGEST_NAME)
    if not all(text.isprintable() for text in found):
        raise Malformed(f"{key!r} holds what cannot be printed", "leave it out")
    return tuple(found)


def _time(root: dict[str, Any], key: str, now: float) -> float | None:
    found = root.get(key)
    if found is None:
        return None
    if isinstance(found, str):
        at = timestamp.parse(found, now)
    else:
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        at = float(found) if is_number and 0 <= found < timestamp.LATEST else None
    if at is None:
        remedy = "write 14:00, 2026-11-20T14:00 or Unix time"
        raise Malformed(f"{key!r} is no time: {str(found)[:_LONGEST_TEXT]!r}", remedy)
    return at


def _duration(root: dict[str, Any]) -> float | None:
    found = root.get("for")
    if found is None:
        return None
    seconds = duration.parse(found) if isinstance(found, str) else None
    if seconds == 0:
        raise Malformed(f"'for' is no time at all: {found!r}", "give more, or leave it out: then there is no end")
    if seconds is None or not isfinite(seconds) or not 0 < seconds < 1e9:
        remedy = "write a number and a unit: 90s, 30m, 2h"
        raise Malformed(f"'for' is no duration: {str(found)[:_LONGEST_TEXT]!r}", remedy)
    return seconds


def _reason(root: dict[str, Any]) -> str:
    found = root.get("reason") or ""
    if not isinstance(found, str) or len(found) > _LONGEST_TEXT or not found.isprintable():
        raise Malformed("'reason' is no short line of text", f"write {_LONGEST_TEXT} characters at most")
    return found


def check_patterns(what: str, patterns: Iterable[str], longest: int) -> None:
    """Raises Malformed for a pattern that would take long to compare with all names."""
    for pattern in patterns:
        if len(pattern) > longest:
            raise Malformed(f"{what} is longer than {longest} characters", "use patterns such as *.example.net")
        if pattern.count("*") + pattern.count("[") > _MOST_WILD:
            raise Malformed(f"{what} has more than {_MOST_WILD} of * and [", "give a simpler pattern")
