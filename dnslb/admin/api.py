"""What a request means: a request in, a reply out.

No sockets: ``server`` carries it.  Every failure is JSON with the fact and its remedy.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import isfinite
from typing import Any, TypeAlias
from urllib.parse import unquote

from dnslb import duration, exposition, logs, moment
from dnslb.admin import page
from dnslb.balance.admin import Mode
from dnslb.operations import Delayed, NotReloaded, Operations, Rejected, Unknown, Wanted, public
from dnslb.settings import LOG_LEVELS

_KEYS = ("mode", "addresses", "names", "for", "at", "until", "reason")
_LONGEST_TEXT = 300   # characters
_MOST_PATTERNS = 1000


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)  # by names in lower case
    is_trusted: bool = True  # came by the socket, or with the token


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"


Route: TypeAlias = Callable[[Operations, Request], Awaitable[Reply]]


class _Malformed(Rejected):
    """The request is no order."""


def failure(status: int, fact: str, remedy: str, **more: object) -> Reply:
    return _reply(status, {"error": fact, "remedy": remedy, **more})


async def respond(operations: Operations, request: Request) -> Reply:
    """Do what the request asks.  Raises nothing but our own mistakes."""
    path = request.target.partition("?")[0]
    routes = _routes(path)
    if not routes:
        known = "/status, /probes, /history, /metrics, /healthz, /readyz, /log-level, /reload or /orders"
        return failure(404, f"there is no {path[:_LONGEST_TEXT]}", f"ask for {known}")
    route = routes.get("GET" if request.method == "HEAD" else request.method)
    if route is None:
        allowed = ", ".join(routes)
        reply = failure(405, f"{path} does not take {request.method[:_LONGEST_TEXT]}", f"use {allowed}")
        return Reply(reply.status, reply.body, (("Allow", allowed),))
    try:
        return await route(operations, request)
    except _Malformed as bad:
        return failure(400, bad.fact, bad.remedy)
    except Unknown as unknown:
        return failure(404, unknown.fact, unknown.remedy)
    except NotReloaded as refused:
        return failure(409, f"not reloaded: {refused.fact}", refused.remedy, problems=refused.problems)
    except Rejected as rejected:
        return failure(409, rejected.fact, rejected.remedy)
    except Delayed:
        return failure(503, "the order is given, but a worker has not acknowledged it", "see the log of the server")


def _routes(path: str) -> dict[str, Route]:
    """By method."""
    if path in page.FILES:
        return {"GET": _page}
    match path.split("/"):
        case ["", "status"] | ["", "status", _]:
            return {"GET": _status}
        case ["", "probes"] | ["", "probes", _]:
            return {"GET": _probes}
        case ["", "history"]:
            return {"GET": _history}
        case ["", "log-level"]:
            return {"GET": _log_level, "PUT": _set_log_level}
        case ["", "metrics"]:
            return {"GET": _metrics}
        case ["", "healthz"]:
            return {"GET": _healthz}
        case ["", "readyz"]:
            return {"GET": _readyz}
        case ["", "reload"]:
            return {"POST": _reload}
        case ["", "orders"]:
            return {"POST": _order}
    return {}


async def _page(operations: Operations, request: Request) -> Reply:
    file = page.FILES[request.target.partition("?")[0]]
    return Reply(200, file.body, page.HEADERS, file.content_type)


async def _status(operations: Operations, request: Request) -> Reply:
    status = operations.status(_pattern(request))
    return _reply(200, status if request.is_trusted else public(status))


async def _probes(operations: Operations, request: Request) -> Reply:
    return _reply(200, {"probes": operations.probes(_pattern(request))})


async def _history(operations: Operations, request: Request) -> Reply:
    return _reply(200, {"changes": operations.history()})


async def _log_level(operations: Operations, request: Request) -> Reply:
    return _reply(200, {"level": logs.level()})


async def _set_log_level(operations: Operations, request: Request) -> Reply:
    try:
        root = json.loads(request.body)
    except (ValueError, RecursionError):
        root = None
    level = root.get("level") if isinstance(root, dict) else None
    if level not in LOG_LEVELS:
        raise _Malformed("the body names no level", f'send {{"level": "debug"}}; known are: {", ".join(LOG_LEVELS)}')
    logs.set_level(level)
    return await _log_level(operations, request)


async def _metrics(operations: Operations, request: Request) -> Reply:
    pieces = []
    for piece in operations.metrics():
        pieces.append(piece.encode())
        await asyncio.sleep(0)  # so that probes and others have their turn
    return Reply(200, b"".join(pieces), content_type=exposition.CONTENT_TYPE)


async def _healthz(operations: Operations, request: Request) -> Reply:
    """The parent lives: it says so."""
    return _reply(200, {"healthy": True})


async def _readyz(operations: Operations, request: Request) -> Reply:
    """A refused reload does not count: a mistake in the files must not take every node out at once."""
    silent = operations.silent()
    if silent:
        numbers = ", ".join(map(str, silent))
        return failure(503, f"not known to answer: worker {numbers}", "see the log of the server")
    return _reply(200, {"ready": True})


async def _reload(operations: Operations, request: Request) -> Reply:
    return _reply(200, await operations.reload())


async def _order(operations: Operations, request: Request) -> Reply:
    wanted = _wanted(request.body, time.time())
    done = await operations.order(wanted)
    return _reply(200, {"at": wanted.at, "until": wanted.until, "clocks": done.clocks, "warnings": done.warnings})


def _pattern(request: Request) -> str | None:
    """What comes after the first part of the path."""
    return unquote(request.target.partition("?")[0].removeprefix("/").partition("/")[2]) or None


def _reply(status: int, value: Any) -> Reply:
    return Reply(status, json.dumps(value, default=_fields, allow_nan=False).encode() + b"\n")


def _fields(value: Any) -> dict[str, Any]:
    """Of a frozen noun.  ``asdict`` would copy all below it first, which takes as long as all the rest."""
    return {field: getattr(value, field) for field in value.__slots__}


# The body of an order.


def _wanted(body: bytes, now: float) -> Wanted:
    """Raises _Malformed."""
    try:
        root = json.loads(body)
    except (ValueError, RecursionError):
        raise _Malformed("the body is no JSON", 'send {"mode": "drain", "addresses": ["192.0.2.1"]}') from None
    if not isinstance(root, dict):
        raise _Malformed("the body is no object", 'send {"mode": "drain", "addresses": ["192.0.2.1"]}')
    for key in root:
        if key not in _KEYS:
            close = get_close_matches(key, _KEYS, 1, 0.0)[0]
            raise _Malformed(f"{key[:_LONGEST_TEXT]!r} is unknown", f"did you mean {close!r}?")
    modes = [mode.value for mode in Mode]
    if root.get("mode") not in modes:
        raise _Malformed("'mode' is missing or unknown", f"write one of {', '.join(modes)}")
    mode = Mode(root["mode"])
    addresses = _texts(root, "addresses")
    if not addresses:
        raise _Malformed("'addresses' is missing", "list addresses, or patterns such as 192.0.2.*")
    at, until = _time(root, "at", now), _time(root, "until", now)
    lasts = _duration(root)
    if lasts is not None and until is not None:
        raise _Malformed("'for' and 'until' are both given", "leave one out")
    if mode is Mode.READY and (lasts is not None or until is not None):
        raise _Malformed("ready has no end", "leave 'for' and 'until' out; drain and maint have them")
    if lasts is not None:
        until = (at if at is not None and at > now else now) + lasts
    return Wanted(mode, addresses, _texts(root, "names"), at, until, _reason(root))


def _texts(root: dict[str, Any], key: str) -> tuple[str, ...]:
    found = root.get(key)
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(text, str) and len(text) > 0 for text in found):
        raise _Malformed(f"{key!r} is no list of texts", f'write "{key}": ["…"]')
    if len(found) > _MOST_PATTERNS or any(len(text) > _LONGEST_TEXT for text in found):
        raise _Malformed(f"{key!r} is too long", "use patterns such as 192.0.2.*")
    if not all(text.isprintable() for text in found):
        raise _Malformed(f"{key!r} holds what cannot be printed", "leave it out")
    return tuple(found)


def _time(root: dict[str, Any], key: str, now: float) -> float | None:
    found = root.get(key)
    if found is None:
        return None
    if isinstance(found, str):
        at = moment.parse(found, now)
    else:
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        at = float(found) if is_number and 0 <= found < moment.LATEST else None
    if at is None:
        remedy = "write 14:00, 2026-11-20T14:00 or Unix time"
        raise _Malformed(f"{key!r} is no time: {str(found)[:_LONGEST_TEXT]!r}", remedy)
    return at


def _duration(root: dict[str, Any]) -> float | None:
    found = root.get("for")
    if found is None:
        return None
    seconds = duration.parse(found) if isinstance(found, str) else None
    if seconds is None or not isfinite(seconds) or not 0 < seconds < 1e9:
        remedy = "write a number and a unit: 90s, 30m, 2h"
        raise _Malformed(f"'for' is no duration: {str(found)[:_LONGEST_TEXT]!r}", remedy)
    return seconds


def _reason(root: dict[str, Any]) -> str:
    found = root.get("reason") or ""
    if not isinstance(found, str) or len(found) > _LONGEST_TEXT or not found.isprintable():
        raise _Malformed("'reason' is no short line of text", f"write {_LONGEST_TEXT} characters at most")
    return found
