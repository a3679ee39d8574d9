"""What a request means: a request in, a reply out.

No sockets: ``connection`` carries it.  Every failure is JSON with the fact and its remedy.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias
from urllib.parse import unquote

from dnslb.admin import event_stream, join_body, json_stream, order_body, page, question
from dnslb.admin.admission import Work
from dnslb.admin.event_stream import Followers
from dnslb.admin.exchange import Refusal, Reply, Request, failure, json_reply
from dnslb.admin.guard import REGISTRATIONS
from dnslb.admin.order_body import Malformed
from dnslb.admin.render_queue import Full, RenderQueue, rendered
from dnslb.config.settings import LOG_LEVELS
from dnslb.control.errors import Delayed, NotReloaded, Rejected, Unknown
from dnslb.control.operations import Operations
from dnslb.control.registration import JoinRequest
from dnslb.control.status import Status, public
from dnslb.system import logs
from dnslb.system import user as users
from dnslb.text import exposition

_LONGEST_TEXT = 300  # characters of a foreign text in an answer
_RETRY = 1           # seconds after which who was sent away may ask again

_REFUSED = exposition.counter("dnslb_admin_refused_total", "Requests and connections of operators that were refused.")


@dataclass(frozen=True, slots=True)
class Api:
    """What all requests to one listener are answered with."""

    operations: Operations
    refused: Counter[Refusal]  # on all listeners
    replies: RenderQueue = field(default_factory=RenderQueue)
    scrapes: RenderQueue = field(default_factory=RenderQueue)  # a queue of their own: nobody else makes monitoring wait
    followers: Followers = field(default_factory=Followers)

    def busy(self) -> Reply:
        """The reply to a request that there is no room for at the moment.  Nothing was done."""
        self.refused[Refusal.BUSY] += 1
        reply = failure(503, "too many requests are being answered", "ask again in a moment")
        return replace(reply, headers=(("Retry-After", str(_RETRY)),))

    async def stop(self) -> None:
        await self.replies.stop()
        await self.scrapes.stop()


Route: TypeAlias = Callable[[Api, Request], Awaitable[Reply]]


def work_of(request: Request) -> Work | None:
    """The kind of work that the request asks for; None if its answer takes no time."""
    match _path(request):
        case "/healthz" | "/readyz":
            return None
        case "/metrics":
            return Work.MEASURING
    return Work.OTHER


async def respond(api: Api, request: Request) -> Reply:
    """Do what the request asks, and give the reply.  Whatever it raises is a bug of ours."""
    path = _path(request)
    routes = _routes(path)
    if not routes:
        known = ", ".join(_ROUTES)
        return failure(404, f"there is no {path[:_LONGEST_TEXT]}", f"ask for one of {known}")
    route = routes.get("GET" if request.method == "HEAD" else request.method)
    if route is None:
        allowed = ", ".join(routes)
        reply = failure(405, f"{path[:_LONGEST_TEXT]} does not take {request.method[:_LONGEST_TEXT]}", f"use {allowed}")
        return replace(reply, headers=(("Allow", allowed),))
    try:
        return await route(api, request)
    except Full:
        return api.busy()
    except Malformed as bad:
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
        case ["", "status", _]:
            return {"GET": _status}
        case ["", "probes", _]:
            return {"GET": _probes}
        case ["", "timeline", _]:
            return {"GET": _timeline}
        case ["", "lookup", _, _] | ["", "lookup", _, _, _]:
            return {"GET": _lookup}
    return _ROUTES.get(path, {})


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


async def _timeline(api: Api, request: Request) -> Reply:
    pattern = _pattern(request)
    return await _told(api, request, ("timeline", pattern), lambda: api.operations.timeline(pattern))


async def _history(api: Api, request: Request) -> Reply:
    return await _told(api, request, "history", lambda: {"changes": api.operations.history()})


async def _lookup(api: Api, request: Request) -> Reply:
    asked, client = question.parse(_path(request))
    return await _told(api, request, ("lookup", asked, client), lambda: api.operations.lookup(*asked, client))


async def _events(api: Api, request: Request) -> Reply:
    stream = event_stream.texts(api.operations.follow(request.headers.get("last-event-id")))
    return Reply(200, b"", content_type=event_stream.CONTENT_TYPE, stream=api.followers.counted(request.client, stream))


async def _operator(api: Api, request: Request) -> Reply:
    """Who asks; to POST, only if orders are taken from there: the page learns by this whether its token is one."""
    return json_reply(200, {"name": _by(request)})


async def _queries(api: Api, request: Request) -> Reply:
    """Who asks is not for everybody, and counting it costs something."""
    if not request.is_trusted:
        told = failure(401, "who asks what is told only with a token", "send one, or use the control socket")
        return replace(told, headers=(("WWW-Authenticate", 'Bearer realm="dnslb"'),))
    return Reply(200, b"", long=await rendered(_text(await api.operations.top())))


async def _log_level(api: Api, request: Request) -> Reply:
    return json_reply(200, {"level": logs.level()})


async def _set_log_level(api: Api, request: Request) -> Reply:
    try:
        root = json.loads(request.body)
    except (ValueError, RecursionError):
        root = None
    level = root.get("level") if isinstance(root, dict) else None
    if level not in LOG_LEVELS:
        raise Malformed("the body names no level", f'send {{"level": "debug"}}; known are: {", ".join(LOG_LEVELS)}')
    logs.set_level(level)
    if by := _by(request):
        logs.always(logging.INFO, "log level %s, by %s", level, by, extra={"by": by})
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
    return json_reply(200, {"healthy": True})


async def _readyz(api: Api, request: Request) -> Reply:
    """A refused reload does not count: a mistake in the files must not take every node out at once."""
    silent = api.operations.silent()
    if silent:
        numbers = ", ".join(map(str, silent))
        return failure(503, f"not known to answer: worker {numbers}", "see the log of the server")
    return json_reply(200, {"ready": True})


async def _reload(api: Api, request: Request) -> Reply:
    done = await api.operations.reload(_by(request))
    return Reply(200, b"", long=await rendered(_text(done)))


async def _order(api: Api, request: Request) -> Reply:
    wanted = replace(order_body.parse(request.body, time.time()), by=_by(request))
    done = await api.operations.order(wanted)
    told = {"at": wanted.at, "until": wanted.until, "clocks": done.clocks, "warnings": done.warnings, "left": done.left}
    return Reply(200, b"", long=await rendered(_text(told)))


async def _effect(api: Api, request: Request) -> Reply:
    """What the order in the body would do: nothing is done."""
    effect = await api.operations.effect(order_body.parse(request.body, time.time()))
    return Reply(200, b"", long=await rendered(_text(effect)))


async def _join(api: Api, request: Request) -> Reply:
    done = await api.operations.join(_registration(request))
    return Reply(200, b"", long=await rendered(_text(done)))


async def _leave(api: Api, request: Request) -> Reply:
    done = await api.operations.leave(_registration(request))
    return Reply(200, b"", long=await rendered(_text(done)))


def _registration(request: Request) -> JoinRequest:
    """Operators may register any address that a pool takes.  Raises Malformed."""
    wanted = join_body.parse(request.body, request.source)
    return replace(wanted, by=_by(request), source=None if request.is_operators else request.source)


async def _updates(api: Api, request: Request) -> Reply:
    return await _told(api, request, "updates", lambda: {"updates": api.operations.updates()})


async def _drop_updates(api: Api, request: Request) -> Reply:
    root = order_body.read_object(request.body, ("name", "type"), '{"name": "_acme-challenge.example.com"}')
    name, kind = root.get("name"), root.get("type")
    if not isinstance(name, str) or not isinstance(kind, str | None) or len(name) > order_body.LONGEST_NAME:
        raise Malformed("'name' is missing, or 'type' is no text", 'send {"name": "_acme-challenge.example.com"}')
    return json_reply(200, {"dropped": await api.operations.drop_updates(name, kind, _by(request))})


async def _told(api: Api, request: Request, key: Hashable, value: Callable[[], object]) -> Reply:
    """What takes long to tell, in its turn.  The same ``key`` must mean the same reply."""
    return Reply(200, b"", long=await api.replies.render(request.client, key, lambda: _text(value())))


def _text(value: object) -> Iterator[str]:
    yield from json_stream.pieces(value)
    yield "\n"


def _path(request: Request) -> str:
    return request.target.partition("?")[0]


def _pattern(request: Request) -> str | None:
    """What comes after the first part of the path.  Raises Malformed."""
    found = unquote(_path(request).removeprefix("/").partition("/")[2])
    order_body.check_patterns("the name", [found], order_body.LONGEST_NAME)
    return found or None


def _by(request: Request) -> str:
    """Who asks, by a name that people know."""
    if request.user is not None:
        return users.name(request.user)
    return "" if request.token is None else f"token {request.token}".rstrip()


_ROUTES: dict[str, dict[str, Route]] = {
    "/status": {"GET": _status},
    "/probes": {"GET": _probes},
    "/timeline": {"GET": _timeline},
    "/history": {"GET": _history},
    "/queries": {"GET": _queries},
    "/events": {"GET": _events},
    "/log-level": {"GET": _log_level, "PUT": _set_log_level},
    "/metrics": {"GET": _metrics},
    "/healthz": {"GET": _healthz},
    "/readyz": {"GET": _readyz},
    "/operator": {"GET": _operator, "POST": _operator},
    "/reload": {"POST": _reload},
    "/orders": {"POST": _order},
    "/orders/effect": {"POST": _effect},
    "/updates": {"GET": _updates, "DELETE": _drop_updates},
    REGISTRATIONS: {"POST": _join, "DELETE": _leave},
}
