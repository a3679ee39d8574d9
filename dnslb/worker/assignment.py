"""All that a worker is given when it is forked.  Values only."""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from dnslb.answer.snapshot import Question, RRsetKey, Serving
from dnslb.balance.near import Near
from dnslb.balance.rotation import Stand
from dnslb.config.clients import Clients
from dnslb.config.settings import Settings
from dnslb.dns.name import Name
from dnslb.dns.zone import RRset, Zone
from dnslb.ipc.forwarding import Inlet
from dnslb.ipc.sockets import Share


@dataclass(frozen=True, slots=True)
class Content:
    """What a worker answers from as it begins."""

    zones: Mapping[Name, Zone]
    near: Mapping[Name, Near]        # the clients that pools answer otherwise than others
    servings: Mapping[RRsetKey, Serving]  # what the pools serve
    questions: Sequence[Question]    # to be prepared for
    stands: Mapping[RRsetKey, Stand]      # where turns go on
    soas: Mapping[Name, RRset] = field(default_factory=dict)  # of zones whose serial is not the file's, by apex
    clients: Mapping[Name, Clients] = field(default_factory=dict)  # whom zones answer that do not answer all, by apex
    counted: Collection[RRsetKey] = ()  # for which is counted how often resolvers ask
    classes: Mapping[bytes, int] | None = None  # of resolvers, by network; None: no answer goes by that


@dataclass(frozen=True, slots=True)
class Assignment:
    """All that a worker is given when it is forked."""

    settings: Settings
    content: Content
    share: Share
    parent: socket.socket
    listener: socket.socket | None   # where another server can take over from us; None: we do not outlive the parent
    transfers: Inlet | None = None   # where what is about transfers goes; None: there are none
    query_log: int | None = None     # the pipe of who writes it
    cookie_secrets: tuple[bytes, ...] = ()  # the first makes cookies
