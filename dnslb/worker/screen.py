"""Queries of clients who are not to be answered are refused.  There is a screen only where somebody is not."""

from __future__ import annotations

from collections.abc import Mapping

from dnslb.answer.reply_opt import host
from dnslb.answer.responder import Responder, refused
from dnslb.config.clients import Clients
from dnslb.dns.name import Name, starts

_QUESTION = 10  # where it begins in a query after the id


class Screen:
    """``respond`` is that of the responder behind it, for those who are admitted."""

    def __init__(self, responder: Responder, clients: Clients, zones: Mapping[Name, Clients | None]) -> None:
        """``zones``: every one of the server by its apex, with those that it answers; None: all."""
        self._responder = responder
        self._clients = clients
        self._zones = zones

    def respond(self, query: bytes, client: bytes) -> bytes | None:
        """From the octets of a query after its id, and its socket address, to those of the reply after its id."""
        address = host(client)
        own = self._own(query)
        if self._clients.admit(address) and (own is None or own.admit(address)):
            return self._responder.find(query, client)
        return refused(self._responder.opts, query, client)

    def recall(self, query: bytes, client: bytes) -> bytes | None:
        """The same for queries that come one by one."""
        return self._responder.opts.completed(self.respond(query, client))

    def _own(self, query: bytes) -> Clients | None:
        """Those of the zone that is asked."""
        name = query[_QUESTION : query.find(b"\0", _QUESTION) + 1].lower()
        for at in starts(name) or ():
            if name[at:] in self._zones:
                return self._zones[name[at:]]
        return None
