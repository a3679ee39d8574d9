"""What can be asked of a running server.

``parent`` answers, ``admin`` carries it over a socket; neither knows the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Protocol

from dnslb.control.change import Change, Event
from dnslb.control.effect import Effect
from dnslb.control.lookup import Lookup
from dnslb.control.order import OrderRequest, OrderResult
from dnslb.control.registration import Gone, Joined, JoinRequest
from dnslb.control.reload import Reloaded
from dnslb.control.status import ProbeStatus, Status
from dnslb.control.timeline import Timeline
from dnslb.control.top import TopQueries
from dnslb.control.updated import UpdatedRRset
from dnslb.dns.name import Name


class Operations(Protocol):
    """A running server."""

    def status(self, pattern: str | None) -> Status:
        """All pools, or those whose names match.  Its ``pools`` raise Unknown when none does."""

    async def reload(self, by: str) -> Reloaded:
        """Read everything again, and return when every worker serves it.  Raises NotReloaded.

        ``by`` is who asks for it; empty: nobody knows.
        """

    async def order(self, wanted: OrderRequest) -> OrderResult:
        """Give the order, and return when every worker acts by it.  Raises Rejected, Unknown, Delayed."""

    async def effect(self, wanted: OrderRequest) -> Effect:
        """What the order would do; nothing is done.  Raises Rejected, Unknown."""

    async def join(self, wanted: JoinRequest) -> Joined:
        """Let a backend join a pool, or renew its lease.  Raises Rejected, Unknown."""

    async def leave(self, wanted: JoinRequest) -> Gone:
        """Take it out again, and return when no worker hands it out.  Raises Rejected, Unknown, Delayed."""

    def updates(self) -> Iterable[UpdatedRRset]:
        """What updates have changed in zones."""

    async def drop_updates(self, name: str, kind: str | None, by: str) -> int:
        """Serve what the zone files say of the name again, of one type or all: the number of RRsets.

        Raises Rejected, Unknown.
        """

    def timeline(self, pattern: str | None) -> Timeline:
        """The last hour, of all pools or of those whose names match.  Its ``rrsets`` raise Unknown when none does."""

    def history(self) -> tuple[Change, ...]:
        """The last changes, oldest first; also those of earlier lives of the server."""

    def lookup(self, name: Name, kind: int, client: bytes) -> Lookup:
        """What the question would be answered with now.  ``client``: its packed address, or nothing."""

    def follow(self, last: str | None) -> AsyncIterator[Event | None]:
        """Each change that comes from now on, or after the event with that id.  None: nothing has come for a while."""

    def probes(self, pattern: str | None) -> Iterable[ProbeStatus | None]:
        """The last probes of all pools, or of those whose names match.  Raises Unknown when none does."""

    async def top(self) -> TopQueries:
        """What is asked most.  It is counted from the first time that this is asked, and for a while after the last."""

    def metrics(self) -> Iterator[str]:
        """All that is measured, in Prometheus' text format: in pieces, between which the server may go on."""

    def silent(self) -> tuple[int, ...]:
        """The numbers of the workers that are not known to answer."""
