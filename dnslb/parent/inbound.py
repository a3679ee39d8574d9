"""The process that brings zones from primaries, as the parent sees it: kept alive, and told what to bring.

It lives from the first generation with such zones to the last; what has come waits here until it is taken.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

from dnslb.config.catalog import Catalog
from dnslb.config.nameserver import Nameserver
from dnslb.control.status import ReplicaStatus
from dnslb.dns import name
from dnslb.dns.name import Name
from dnslb.dns.zone import Zone
from dnslb.parent.kept_process import KeptProcess
from dnslb.transfer.messages import Arrived, Asked, Expired, Follow, Following, Notified, Taken
from dnslb.transfer.standing import Standing

_QUIET = 60.0    # seconds from one line about a zone to the next
_SETTLED = 10.0  # seconds after which the end of trouble is told of: what comes and goes is told of once a minute

_log = logging.getLogger("dnslb")


class Inbound:
    """``news`` is set when something has come, or has expired."""

    def __init__(self, udp: Sequence[socket.socket]) -> None:
        """``udp``: of the addresses by which primaries know us."""
        self.arrived: dict[Name, Nameserver] = {}  # and from whom
        self.expired: set[Name] = set()
        self.news = asyncio.Event()
        self._standings: dict[Name, Standing] = {}
        self._troubles: dict[Name, float] = {}  # of which the log was told, and when
        self._hosts = [str(sock.getsockname()[0]) for sock in udp]
        self._catalog: Catalog | None = None
        self._told: Follow | None = None
        self._process = KeptProcess("the primaries", self._work, self._receive, begun=self._begin)

    def follow(self, catalog: Catalog) -> None:
        """From now on the zones of this catalog are brought that come from primaries."""
        self._catalog = catalog
        for told in (self._standings, self._troubles):
            for apex in told.keys() - catalog.replicas.keys():
                del told[apex]
        if not catalog.replicas:
            self._process.leave()
        elif self._process:
            self._tell()
        else:
            self._process.begin()

    def notify(self, said: Notified) -> None:
        """A primary says that a zone has changed."""
        self._process.send(said)

    def decide(self, apex: Name, error: str = "") -> None:
        """What has come is answered from; or why not."""
        self._process.send(Taken(apex, error))

    def status(self, catalog: Catalog) -> Iterator[ReplicaStatus]:
        """Of every zone that comes from primaries."""
        for apex, replica in catalog.replicas.items():
            zone, standing = catalog.zones.get(apex), self._standings.get(apex, Standing(refreshed=replica.refreshed))
            yield ReplicaStatus(
                name.text(apex),
                tuple(map(str, replica.primaries)),
                None if zone is None else zone.serial,
                standing.primary,
                standing.refreshed,
                None if zone is None else standing.expires or replica.expires(zone),
                standing.error,
            )

    async def stop(self) -> None:
        await self._process.stop()

    def _work(self) -> Callable[[socket.socket], int]:
        """Of the next process."""
        return partial(_work, () if self._catalog is None else self._catalog.zones.values(), self._hosts)

    def _begin(self) -> None:
        """It knows of nothing yet."""
        self._told = None
        self._tell()

    def _tell(self) -> None:
        """The process, if it is news to it."""
        catalog = self._catalog
        if catalog is None:
            return
        zones = {
            apex: Following(one.primaries, one.path, one.candidate, apex in catalog.zones)
            for apex, one in catalog.replicas.items()
        }
        following = Follow(zones, catalog.keys)
        if following != self._told:
            self._told = following
            self._process.send(following)

    def _receive(self, said: Arrived | Asked | Expired) -> None:
        match said:
            case Arrived(apex, primary):
                self.arrived[apex] = primary
                self.news.set()
            case Expired(apex):
                self.expired.add(apex)
                self.news.set()
            case Asked(apex, standing):
                self._tell_trouble(apex, self._standings.get(apex, Standing()), standing)
                self._standings[apex] = standing

    def _tell_trouble(self, apex: Name, before: Standing, after: Standing) -> None:
        """A line when something is wrong, and when that is over; a primary may find another fault every second."""
        told, now = self._troubles.get(apex), time.monotonic()
        if after.error and after.error != before.error and (told is None or now - told >= _QUIET):
            self._troubles[apex] = now
            _log.warning("%s: no primary gives what can be used: %s", name.text(apex), after.error)
        elif told is not None and not after.error and now - told >= _SETTLED:
            del self._troubles[apex]
            _log.info("%s: the primary %s gives it again", name.text(apex), after.primary)


def _work(zones: Collection[Zone], hosts: Sequence[str], channel: socket.socket) -> int:
    """In the process: its whole life.  The exit status."""
    # Only here: the libraries of transfers would weigh on every worker.
    from dnslb.transfer import inbound  # noqa: PLC0415

    inbound.run(zones, hosts, channel)
    return os.EX_OK
