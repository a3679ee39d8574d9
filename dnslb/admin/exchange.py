"""The requests of operators and the replies to them, whatever they are about."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Hashable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from dnslb.admin.render_queue import Body
from dnslb.balance.pool import Address


@dataclass(frozen=True, slots=True)
class Request:
    """A request, and what is known of whoever sent it."""

    method: str
    target: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)  # by names in lower case
    client: Hashable = None  # who asks
    is_trusted: bool = True  # came by the socket, or with a token
    user: int | None = None  # who has connected to the socket
    token: str | None = None  # the name of the token that it came with, which may have none
    source: Address | None = None  # from which it came, over TCP
    is_operators: bool = True  # came by the socket, or with a token that allows everything


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply with a short body, or with a long one that is sent piece by piece."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    long: Body | None = None  # instead of the body
    stream: AsyncGenerator[str, None] | None = None  # instead of the body: it goes on until one of the two leaves


class Refusal(Enum):
    """Why an operator is refused, by the words of the metric."""

    TOKEN = "token"    # a wrong one
    EVICTED = "crowd"  # a connection that went for a new one
    BUSY = "busy"      # too much is being worked out
    SLOW = "slow"      # the request, or the taking of the reply


def failure(status: int, fact: str, remedy: str) -> Reply:
    """The reply to a request that was not carried out: what is wrong, and what to do."""
    return json_reply(status, {"error": fact, "remedy": remedy})


def json_reply(status: int, value: Any) -> Reply:
    """A reply whose body is the value as JSON."""
    return Reply(status, json.dumps(value, allow_nan=False).encode() + b"\n")
