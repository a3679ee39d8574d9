"""``--wait``: ask the server until no cache holds what was taken out, or until that will not come true."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import quote

import click

from dnslb.cli.control import clock

Ask: TypeAlias = Callable[[str], Any]  # the server, for what is at a path

_PACE = 1.0     # seconds from one question to the next,
_SHARE = 10.0   # and so many times as long as the last answer took: a long one is worked out anew for us
_RETRY = 1.0    # seconds after which a server is asked once more that did not answer: it may be handing over
_REACH = 1.0    # seconds after its time within which a planned order reaches every worker


@dataclass(frozen=True, slots=True)
class Awaited:
    """One address in one RRset, as the server has told what the order does to it."""

    owner: str
    type: str
    address: str
    scope: str | None       # the name that the order is for; None: all
    since: float            # when it was given, by which it is known from others
    at: float | None
    until: float | None
    expires: float | None   # when the last cached copy does; None: it is handed out
    note: str

    def __str__(self) -> str:
        return f"{self.owner} {self.type} {self.address}"


class Failed(Exception):
    """What is waited for will not come true; the text says why, in one line."""


def awaited(done: dict[str, Any], names: list[str]) -> list[Awaited]:
    """What the reply to an order says is to be waited for."""
    return [
        Awaited(
            one["owner"], one["type"], one["address"], one["owner"] if names else None, one["since"],
            done["at"], done["until"], one["expires"], one["note"],
        )
        for one in done["clocks"]
    ]  # fmt: skip


def wait(ask: Ask, all_awaited: list[Awaited]) -> float:
    """Return when no cache holds any of them, by the server's clock: the time then.  Raises Failed."""
    for one in all_awaited:
        if one.expires is None:
            raise Failed(f"{one} is {one.note or 'still handed out'}")
    owners = {one.owner for one in all_awaited}
    path = f"/status/{quote(owners.pop(), safe='')}" if len(owners) == 1 else "/status"
    while True:
        began = time.monotonic()
        found = _asked(ask, path)
        left = _left(ask, found, all_awaited)
        if left <= 0:
            return float(found["now"])
        time.sleep(min(left, max(_PACE, _SHARE * (time.monotonic() - began))))


def _asked(ask: Ask, path: str) -> Any:
    """Raises Failed when the server has gone."""
    try:
        return ask(path)
    except click.ClickException:
        time.sleep(_RETRY)
    try:
        return ask(path)
    except click.ClickException as error:
        raise Failed(f"{error.message}; whether the order stands is not known") from None


def _left(ask: Ask, found: dict[str, Any], all_awaited: list[Awaited]) -> float:
    """Seconds until no cache holds any of them, if nothing changes.  Raises Failed."""
    now = found["now"]
    standing = {(order["owner"], order["address"]): order for order in found["orders"]}
    backends = {
        (pool["owner"], rrset["type"], backend["address"]): backend
        for pool in found["pools"]
        for rrset in pool["rrsets"]
        for backend in rrset["backends"]
    }
    left = 0.0
    for one in all_awaited:
        order = standing.get((one.scope, one.address))
        if order is None or order["since"] != one.since:
            raise Failed(f"{one}: {_what_became(ask, one, order, now)}")
        backend = backends.get((one.owner, one.type, one.address))
        if backend is None:
            raise Failed(f"{one} is in no pool any more: whether it is handed out is not known")
        begins = 0.0 if one.at is None else one.at + _REACH
        if backend["handed_out"] and now >= begins:
            raise Failed(f"{one} is handed out again")
        left = max(left, begins - now, (one.expires or 0.0) - now, (backend["expires"] or 0.0) - now)
    return left


def _what_became(ask: Ask, one: Awaited, order: dict[str, Any] | None, now: float) -> str:
    """Of the order that does not stand any more."""
    copies = f"; its copies would have expired at {clock(one.expires or now, now)}"
    if one.until is not None and one.until <= now:
        return f"the order was over at {clock(one.until, now)}{copies}"
    if order is not None:
        return f"another order has replaced this one{_by(order)}: {order['mode']}{copies}"
    changes = [
        change
        for change in _asked(ask, "/history")["changes"]
        if change["address"] == one.address and change["owner"] in (None, one.owner) and change["at"] > one.since
    ]
    return f"the order was ended{_by(changes[-1]) if changes else ''}{copies}"


def _by(given: dict[str, Any]) -> str:
    return f" by {given['by']}" if given["by"] else ""
