"""The process of the transfers: publishes versions of zones, tells secondaries, and serves what they fetch.

It is forked from the parent, so that it shares the zones' memory, and takes from the workers the connections and
packets that are about transfers.  Nothing that it does keeps a worker or a probe waiting.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from time import time

from dnslb.answer.snapshot import RRsetKey
from dnslb.config.nameserver import Nameserver
from dnslb.dns.name import Name, closest
from dnslb.dns.zone import RRset
from dnslb.ipc.channel import Channel
from dnslb.transfer import tsig
from dnslb.transfer.access import Access
from dnslb.transfer.answering import Source, Updatable, Zones
from dnslb.transfer.assignment import Assignment
from dnslb.transfer.content import Content
from dnslb.transfer.exchange import Exchange, own_addresses
from dnslb.transfer.messages import Announced, Followed, Instruction, Notified, Published, Served, UpdateReply
from dnslb.transfer.notifier import Notifier
from dnslb.transfer.progress import Progress
from dnslb.transfer.publication import Publication
from dnslb.transfer.requests import Requests
from dnslb.transfer.updating import Updating

_GATHERING = 0.005       # seconds for the rest of a change to come, before it is published
_PAUSE = 1.0             # seconds from telling the parent that a zone has changed to telling it again
_NICE = 5                # answering and probing come first
_PARTING = 30.0          # seconds for transfers under way, when another process has taken over


def run(assignment: Assignment, parent: socket.socket) -> None:
    """The life of the process, from just after the fork.  ``parent`` is its end of the channel."""
    gc.freeze()
    gc.enable()
    with suppress(OSError):  # a filter for system calls may forbid it, as the one of our unit does
        os.nice(_NICE)
    asyncio.run(_Process(assignment).live(parent))


class _Process:
    """What the parent says, and what is told to it and to the secondaries."""

    def __init__(self, assignment: Assignment) -> None:
        keys = tsig.keyring(assignment.keys)
        self._assignment = assignment
        self._sources = {apex: _source(assignment, apex) for apex in assignment.policies}
        self._unknown: dict[Name, set[RRsetKey]] = {apex: set() for apex in assignment.policies}
        self._exchange = Exchange(keys)
        self._channel = Channel(self._receive)
        self._notifier = Notifier(self._exchange, self._follow)
        primaries = {apex: Access.of_primaries(some) for apex, some in assignment.primaries.items()}
        updatable = {apex: Updatable(assignment.zones[apex].soa, by) for apex, by in assignment.updates.items()}
        self._updating = Updating(self._channel.send)
        zones = Zones(self._sources, primaries, updatable)
        self._requests = Requests(zones, keys, assignment.udp, self._tell_notified, self._updating)
        self._changed = set(assignment.policies)  # zones of which there may be another version
        # Zones of which the parent has just been told, with who has said it since then.
        self._notified: dict[Name, IPv4Address | IPv6Address | None] = {}
        self._leaving = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def live(self, parent: socket.socket) -> None:
        await self._exchange.open(own_addresses(sock.getsockname()[0] for sock in self._assignment.udp))
        for apex, version in self._assignment.versions.items():
            self._notify(apex, version.serial)  # somebody may lack it since before our time
        # Before the channel is open: what the parent says there is newer.
        self._lay(self._assignment.served)
        self._channel.when_ended(self._leaving.set)
        await asyncio.get_running_loop().create_unix_connection(lambda: self._channel, sock=parent)
        self._requests.begin(self._assignment.inlet)
        await self._leaving.wait()
        await self._notifier.stop()
        await self._requests.finish(_PARTING)
        self._exchange.close()
        self._channel.close()

    def _receive(self, said: Served | Announced | UpdateReply | Instruction) -> None:
        match said:
            case Served():
                self._lay(said)
            case Announced(apex, serial):
                self._notify(apex, serial)
            case UpdateReply():
                self._updating.take(said)
            case Instruction.LEAVE:
                self._leaving.set()

    def _lay(self, served: Served) -> None:
        """From now on the pools serve this; it is published when it is due."""
        by_zone: dict[Name, dict[RRsetKey, RRset]] = {}
        for key, rrset in served.rrsets.items():
            apex = closest(key[0], self._assignment.zones)
            if apex in self._sources:
                by_zone.setdefault(apex, {})[key] = rrset
        for apex, rrsets in by_zone.items():
            self._unknown[apex] -= rrsets.keys()
            self._unknown[apex] |= served.unknown & rrsets.keys()
            self._sources[apex].publication.lay(rrsets)
        self._changed |= by_zone.keys()
        self._publish_in(_GATHERING)

    def _publish_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None and not self._timer.cancelled() and self._timer.when() <= loop.time() + seconds:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self._publish)

    def _publish(self) -> None:
        """Publish what is due, and come again when the next is."""
        self._timer = None
        now = time()
        for apex in list(self._changed):
            publication = self._sources[apex].publication
            # What nobody knows yet is not told to anybody: secondaries keep what they have.
            if not self._unknown[apex] and publication.earliest <= now:
                self._changed.discard(apex)
                self._publish_zone(apex, publication, now)
        waiting = [self._sources[apex].publication.earliest for apex in self._changed if not self._unknown[apex]]
        if waiting:
            self._publish_in(max(_GATHERING, min(waiting) - now))

    def _publish_zone(self, apex: Name, publication: Publication, now: float) -> None:
        is_first = publication.version is None
        version = publication.publish(now)
        if version is not None:
            step = version.steps[-1] if version.steps and not is_first else None
            soa = version.content.soa(version.serial)
            self._channel.send(Published(apex, soa, version.serial, now, version.content.laid, step))

    def _notify(self, apex: Name, serial: int) -> None:
        source = self._sources.get(apex)
        version = None if source is None else source.publication.version
        if version is not None and version.serial == serial:
            self._notifier.notify(apex, version.content.soa(serial), self._assignment.policies[apex].secondaries)

    def _follow(self, apex: Name, secondary: Nameserver, progress: Progress) -> None:
        self._channel.send(Followed(apex, secondary, progress))

    def _tell_notified(self, apex: Name, by: IPv4Address | IPv6Address) -> None:
        """At once, and then once a second and zone: whoever has a primary's address may say it often."""
        if apex in self._notified:
            self._notified[apex] = by
            return
        self._notified[apex] = None
        self._channel.send(Notified(apex, by))
        asyncio.get_running_loop().call_later(_PAUSE, self._tell_notified_again, apex)

    def _tell_notified_again(self, apex: Name) -> None:
        by = self._notified.pop(apex)
        if by is not None:
            self._tell_notified(apex, by)


def _source(assignment: Assignment, apex: Name) -> Source:
    content, is_replica = Content(assignment.zones[apex]), apex in assignment.primaries
    publication = Publication(content, assignment.ceilings, assignment.serials.get(apex), is_replica)
    if apex in assignment.versions:
        publication.inherit(assignment.versions[apex])
    return Source(publication, Access.of(assignment.policies[apex]))
