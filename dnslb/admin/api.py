"""What a request means: a request in, a reply out.

No sockets: ``server`` carries it.  Every failure is JSON with the fact and its remedy.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from math import isfinite
from typing import Any, TypeAlias
from urllib.parse import unquote

from dnslb.admin import json_stream, page
from dnslb.admin.admission import Work
from dnslb.admin.render_queue import Body, Full, RenderQueue, rendered
from dnslb.balance.operator_order import Mode
from dnslb.config.settings import LOG_LEVELS
from dnslb.control.errors import Delayed, NotReloaded, Rejected, Unknown
from dnslb.control.operations import Operations
from dnslb.control.order import OrderRequest
from dnslb.control.status import Status, public
from dnslb.system import logs
from dnslb.system import user as users
from dnslb.text import duration, exposition, timestamp
from dnslb.text.spelling import closest

_KEYS = ("mode", "addresses", "names", "for", "at", "until", "reason", "now")
_LONGEST_TEXT = 300   # characters
# Of a name with its escapes: labels of 63, 63, 63 and 61 octets (RFC 1035 §2.3.4), each octet as \DDD, and four dots.
_LONGEST_NAME = 4 * 250 + 4
_MOST_WILD = 16       # * and [ in a pattern: each may look at all of a name
_MOST_PATTERNS = 1000
_RETRY = 1            # seconds after which who was sent away may ask again

_REFUSED = exposition.counter("dnslb_admin_refused_total", "Requests and connections of operators that were refused.")


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)  # by names in lower case
    client: Hashable = None  # who asks
    is_trusted: bool = True  # came by the socket, or with a token
    user: int | None = None  # who has connected to the socket
    token: str | None = None  # the name of the token that it came with, which may have none


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    long: Body | None = None  # instead of the body


class Refusal(Enum):
    """Why operators are refused, as the metric has it."""

    TOKEN = "token"    # a wrong one
    EVICTED = "crowd"    # a connection that went for a new one
    BUSY = "busy"      # too much is being worked out
    SLOW = "slow"      # the request, or the taking of the reply


@dataclass(frozen=True, slots=True)
class Api:
    """What answers the requests that come in on one listener."""

    operations: Operations
    refused: Counter[Refusal]  # on all listeners
    replies: RenderQueue = field(default_factory=RenderQueue)
    scrapes: RenderQueue = field(default_factory=RenderQueue)  # a queue of their own: nobody else makes monitoring wait

    def busy(self) -> Reply:
        """For whom there is no place now.  Nothing was done."""
        self.refused[Refusal.BUSY] += 1
        reply = failure(503, "too many requests are being answered", "ask again in a moment")
        return replace(reply, headers=(("Retry-After", str(_RETRY)),))

    async def stop(self) -> None:
        await self.replies.stop()
        await self.scrapes.stop()


Route: TypeAlias = Callable[[Api, Request], Awaitable[Reply]]


class _Malformed(Rejected):
    """The request is no order."""


def failure(status: int, fact: str, remedy: str) -> Reply:
    return _reply(status, {"error": fact, "remedy": remedy})


def work(request: Request) -> Work | None:
    """What the request asks for; None: nothing that takes any time."""
    match _path(request):
        case "/healthz" | "/readyz":
            return None
        case "/metrics":
            return Work.MEASURING
    return Work.OTHER


async def respond(api: Api, request: Request) -> Reply:
    """Do what the request asks.  Raises nothing but our own mistakes."""
    path = _path(request)
    routes = _routes(path)
    if not routes:
        known = "/status, /probes, /history, /metrics, /healthz, /readyz, /log-level, /reload or /orders"
        return failure(404, f"there is no {path[:_LONGEST_TEXT]}", f"ask for {known}")
    route = routes.get("GET" if request.method == "HEAD" else request.method)
    if route is None:
        allowed = ", ".join(routes)
        reply = failure(405, f"{path[:_LONGEST_TEXT]} does not take {request.method[:_LONGEST_TEXT]}", f"use {allowed}")
        return replace(reply, headers=(("Allow", allowed),))
    try:
        return await route(api, request)
    except Full:
        return api.busy()
    except _Malformed as bad:
        return failure(400, bad.fact, bad.remedy)
    except Unknown as unknown:
        return failure(404, unknown.fact, unknown.remedy)
    except NotReloaded as refused:
        told = {"error": f"not reloaded: {refused.fact}", "remedy": refused.remedy, "problems": refused.problems}
        return Reply(409, b"", long=await rendered(_text(told)))
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


async def _page(api: Api, request: Request) -> Reply:
    file = page.FILES[_path(request)]
    return Reply(200, file.body, page.HEADERS, file.content_type)


async def _status(api: Api, request: Request) -> Reply:
    pattern, is_trusted = _pattern(request), request.is_trusted

    def status() -> Status:
        found = api.operations.status(pattern)
        return found if is_trusted else public(found)

    return await _told(api, request, ("status", pattern, is_trusted), status)


async def _probes(api: Api, request: Request) -> Reply:
    pattern = _pattern(request)
    return await _told(api, request, ("probes", pattern), lambda: {"probes": api.operations.probes(pattern)})


async def _history(api: Api, request: Request) -> Reply:
    return await _told(api, request, "history", lambda: {"changes": api.operations.history()})


async def _log_level(api: Api, request: Request) -> Reply:
    return _reply(200, {"level": logs.level()})


async def _set_log_level(api: Api, request: Request) -> Reply:
    try:
        root = json.loads(request.body)
    except (ValueError, RecursionError):
        root = None
    level = root.get("level") if isinstance(root, dict) else None
    if level not in LOG_LEVELS:
        raise _Malformed("the body names no level", f'send {{"level": "debug"}}; known are: {", ".join(LOG_LEVELS)}')
    logs.set_level(level)
    return await _log_level(api, request)


async def _metrics(api: Api, request: Request) -> Reply:
    def measured() -> Iterator[str]:
        yield from api.operations.metrics()
        refused = [(exposition.labels(reason=reason.value), api.refused[reason]) for reason in Refusal]
        yield _REFUSED.head + _REFUSED.lines(refused)

    body = await api.scrapes.render(request.client, "metrics", measured)
    return Reply(200, b"", content_type=exposition.CONTENT_TYPE, long=body)


async def _healthz(api: Api, request: Request) -> Reply:
    """The parent lives: it says so."""
    return _reply(200, {"healthy": True})


async def _readyz(api: Api, request: Request) -> Reply:
    """A refused reload does not count: a mistake in the files must not take every node out at once."""
    silent = api.operations.silent()
    if silent:
        numbers = ", ".join(map(str, silent))
        return failure(503, f"not known to answer: worker {numbers}", "see the log of the server")
    return _reply(200, {"ready": True})


async def _reload(api: Api, request: Request) -> Reply:
    done = await api.operations.reload()
    return Reply(200, b"", long=await rendered(_text(done)))


async def _order(api: Api, request: Request) -> Reply:
    wanted = replace(_wanted(request.body, time.time()), by=_by(request))
    done = await api.operations.order(wanted)
    told = {"at": wanted.at, "until": wanted.until, "clocks": done.clocks, "warnings": done.warnings}
    return Reply(200, b"", long=await rendered(_text(told)))


async def _told(api: Api, request: Request, key: Hashable, value: Callable[[], object]) -> Reply:
    """What takes long to tell, in its turn.  The same ``key`` must mean the same reply."""
    return Reply(200, b"", long=await api.replies.render(request.client, key, lambda: _text(value())))


def _text(value: object) -> Iterator[str]:
    yield from json_stream.pieces(value)
    yield "\n"


def _path(request: Request) -> str:
    return request.target.partition("?")[0]


def _pattern(request: Request) -> str | None:
    """What comes after the first part of the path.  Raises _Malformed."""
    found = unquote(_path(request).removeprefix("/").partition("/")[2])
    _check("the name", [found], _LONGEST_NAME)
    return found or None


def _check(what: str, patterns: Iterable[str], longest: int) -> None:
    """Raises _Malformed for a pattern that would be work to compare."""
    for pattern in patterns:
        if len(pattern) > longest:
            raise _Malformed(f"{what} is longer than {longest} characters", "use patterns such as *.example.net")
        if pattern.count("*") + pattern.count("[") > _MOST_WILD:
            raise _Malformed(f"{what} has more than {_MOST_WILD} of * and [", "give a simpler pattern")


def _reply(status: int, value: Any) -> Reply:
    return Reply(status, json.dumps(value, allow_nan=False).encode() + b"\n")


def _by(request: Request) -> str:
    """Who asks, by a name that people know."""
    if request.user is not None:
        return users.name(request.user)
    return "" if request.token is None else f"token {request.token}".rstrip()


# The body of an order.


def _wanted(body: bytes, now: float) -> OrderRequest:
    """Raises _Malformed."""
    try:
        root = json.loads(body)
    except (ValueError, RecursionError):
        raise _Malformed("the body is no JSON", 'send {"mode": "drain", "addresses": ["192.0.2.1"]}') from None
    if not isinstance(root, dict):
        raise _Malformed("the body is no object", 'send {"mode": "drain", "addresses": ["192.0.2.1"]}')
    for key in root:
        if key not in _KEYS:
            raise _Malformed(f"{key[:_LONGEST_TEXT]!r} is unknown", f"did you mean {closest(key, _KEYS)!r}?")
    modes = [mode.value for mode in Mode]
    if root.get("mode") not in modes:
        raise _Malformed("'mode' is missing or unknown", f"write one of {', '.join(modes)}")
    mode = Mode(root["mode"])
    addresses = _texts(root, "addresses")
    if not addresses:
        raise _Malformed("'addresses' is missing", "list addresses, or patterns such as 192.0.2.*")
    if root.get("names", addresses) in (None, []):
        # Whoever lists names means some: a list that came out empty must not mean all.
        raise _Malformed("'names' is empty", "list names, or leave 'names' out for all of them")
    at, until = _time(root, "at", now), _time(root, "until", now)
    if at is not None and at <= now:
        raise _Malformed(f"'at' is in the past: {str(root['at'])[:_LONGEST_TEXT]!r}", "leave it out for now")
    lasts = _duration(root)
    if lasts is not None and until is not None:
        raise _Malformed("'for' and 'until' are both given", "leave one out")
    if mode is Mode.READY and (lasts is not None or until is not None):
        raise _Malformed("ready has no end", "leave 'for' and 'until' out; drain and maint have them")
    if lasts is not None:
        until = (now if at is None else at) + lasts
    return OrderRequest(mode, addresses, _texts(root, "names"), at, until, _reason(root), now=_now(root, mode))


def _now(root: dict[str, Any], mode: Mode) -> bool:
    found = root.get("now")
    if found is not None and not isinstance(found, bool):
        raise _Malformed("'now' is neither true nor false", "write true, or leave it out")
    if found and (mode is not Mode.READY or root.get("at") is not None):
        raise _Malformed("'now' is for ready, at once", "leave it out")
    return bool(found)


def _texts(root: dict[str, Any], key: str) -> tuple[str, ...]:
    found = root.get(key)
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(text, str) and len(text) > 0 for text in found):
        raise _Malformed(f"{key!r} is no list of texts", f'write "{key}": ["…"]')
    if len(found) > _MOST_PATTERNS:
        raise _Malformed(f"{key!r} is too long", "use patterns such as 192.0.2.*")
    _check(f"a text in {key!r}", found, _LONGEST_NAME)
    if not all(text.isprintable() for text in found):
        raise _Malformed(f"{key!r} holds what cannot be printed", "leave it out")
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
        raise _Malformed(f"{key!r} is no time: {str(found)[:_LONGEST_TEXT]!r}", remedy)
    return at


def _duration(root: dict[str, Any]) -> float | None:
    found = root.get("for")
    if found is None:
        return None
    seconds = duration.parse(found) if isinstance(found, str) else None
    if seconds == 0:
        raise _Malformed(f"'for' is no time at all: {found!r}", "give more, or leave it out: then there is no end")
    if seconds is None or not isfinite(seconds) or not 0 < seconds < 1e9:
        remedy = "write a number and a unit: 90s, 30m, 2h"
        raise _Malformed(f"'for' is no duration: {str(found)[:_LONGEST_TEXT]!r}", remedy)
    return seconds


def _reason(root: dict[str, Any]) -> str:
    found = root.get("reason") or ""
    if not isinstance(found, str) or len(found) > _LONGEST_TEXT or not found.isprintable():
        raise _Malformed("'reason' is no short line of text", f"write {_LONGEST_TEXT} characters at most")
    return found
