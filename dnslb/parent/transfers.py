"""The process of the transfers as the parent sees it: kept alive, told what the pools serve, and asked how far it is.

It lives as long as a generation; what was published goes on from one to the next.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import ip_address

from dnslb.answer.copies import Copies
from dnslb.answer.snapshot import RRsetKey, Serving
from dnslb.balance import ttl
from dnslb.config.catalog import Catalog
from dnslb.config.nameserver import Nameserver, TransferPolicy
from dnslb.control.status import SecondaryStatus
from dnslb.dns import name, rrtype
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.dns.zone import RRset, Zone
from dnslb.ipc.forwarding import Inlet
from dnslb.parent.kept_process import KeptProcess
from dnslb.parent.workers import Workers
from dnslb.transfer.assignment import Assignment
from dnslb.transfer.catalog_zone import catalog_zone
from dnslb.transfer.content import Content
from dnslb.transfer.journal import Journal, serial_of
from dnslb.transfer.messages import (
    Announced,
    Followed,
    Notified,
    Published,
    Served,
    UpdateReply,
    UpdateRequest,
)
from dnslb.transfer.progress import Progress
from dnslb.transfer.publication import MOST_JOURNAL, Version

_LOOK = 1.0  # seconds from one look at secondaries that lag to the next

_log = logging.getLogger("dnslb")


async def _refuse(asked: UpdateRequest) -> tuple[int, str]:
    return rrtype.REFUSED, "there are no updates here"


class Transfers:
    """``inlet`` is where workers leave what is about transfers."""

    def __init__(
        self,
        udp: Sequence[socket.socket],
        notified: Callable[[Notified], None] = lambda said: None,
        update: Callable[[UpdateRequest], Awaitable[tuple[int, str]]] = _refuse,
    ) -> None:
        """``udp``: the sockets of one worker, by which requests over UDP are answered.

        ``notified`` is told when a primary says that a zone has changed.  ``update`` carries updates out.
        """
        self._update = update
        self._notified = notified
        self.inlet = Inlet()
        self.progress: dict[tuple[Name, Nameserver], Progress] = {}
        self.serials: dict[Name, int] = {}  # of the last versions, also of an earlier life of the server
        self._udp = udp
        self._versions: dict[Name, Version] = {}
        self._journals: dict[Name, Journal] = {}
        self._catalog: Catalog | None = None
        self._zones: Mapping[Name, Zone] = {}               # all that are served, and the one that lists them
        self._policies: Mapping[Name, TransferPolicy] = {}  # of those that are transferred
        self._workers: Workers | None = None
        self._copies = Copies()
        self._servings: dict[RRsetKey, Serving] = {}
        kept = [*self.inlet.descriptors, *(sock.fileno() for sock in udp)]
        self._process = KeptProcess("the transfers", self._work, self._receive, kept, update=self._take_update)
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def published(self) -> dict[Name, int]:
        """The serials of the last versions."""
        return {apex: version.serial for apex, version in self._versions.items()}

    def recall(self, serials: Mapping[str, int]) -> None:
        """An earlier life of the server has published these, by zone."""
        for zone, serial in serials.items():
            with suppress(Mistaken):  # somebody has edited the file
                self.serials.setdefault(name.fold(name.parse(zone, name.ROOT)), serial)

    def kept_serials(self) -> dict[str, int]:
        """The same of this life, and of the one before it."""
        return {name.text(apex): serial for apex, serial in self.serials.items()}

    def soas(self, catalog: Catalog) -> dict[Name, RRset]:
        """By zone, what workers answer from the first: serials must not run backwards while a version is made."""
        known = {apex: self.serials[apex] for apex in catalog.transfers if apex in self.serials}
        return {apex: Content(catalog.zones[apex]).soa(serial) for apex, serial in known.items()}

    def begin(
        self, catalog: Catalog, workers: Workers, servings: Mapping[RRsetKey, Serving], copies: Copies
    ) -> None:
        """From now on this generation answers, and is what travels.  ``copies`` are its drain clocks."""
        self._catalog, self._workers, self._servings, self._copies = catalog, workers, dict(servings), copies
        self._zones, self._policies = _travelling(catalog)
        wanted = {(apex, one) for apex, policy in self._policies.items() for one in policy.secondaries}
        self.progress = {place: progress for place, progress in self.progress.items() if place in wanted}
        self._versions = {apex: version for apex, version in self._versions.items() if apex in self._policies}
        if self._policies or catalog.replicas or catalog.updates:
            self._process.begin()
            self._look()
        else:
            self._process.leave()

    def status(self) -> Iterator[SecondaryStatus]:
        """Of every secondary of every zone, in their order."""
        for apex, policy in self._policies.items():
            for secondary in policy.secondaries:
                known = self.progress.get((apex, secondary), Progress())
                yield SecondaryStatus(
                    name.text(apex), str(secondary), known.serial, known.wanted, known.lags, known.since, known.error
                )

    def _look(self) -> None:
        """From now on, as long as there is a process."""
        if not self._process:
            return
        self._hold_back()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_LOOK, self._look)

    def serve(self, servings: Mapping[RRsetKey, Serving]) -> None:
        """From now on the pools serve this."""
        self._servings.update(servings)
        if self._process:
            self._process.send(_served(servings))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._workers = None
        await self._process.stop()

    def _work(self) -> Callable[[socket.socket], int]:
        """Of the next process."""
        if self._catalog is None:
            raise RuntimeError("nothing is transferred before the first generation")
        return partial(_work, self._assignment(self._catalog))

    def _assignment(self, catalog: Catalog) -> Assignment:
        ceilings = {
            (owner, rrtype.ADDRESS_TYPES[version]): ttl.bounds(pool, version).ceiling
            for owner, pool in catalog.pools.items() for version in pool.zone_ttls
        }  # fmt: skip
        return Assignment(
            zones=self._zones,
            policies=self._policies,
            primaries={apex: replica.primaries for apex, replica in catalog.replicas.items()},
            keys=catalog.keys,
            ceilings=ceilings,
            served=_served(self._servings),
            versions=self._versions,
            serials=self.serials,
            updates={apex: frozenset(grants) for apex, grants in catalog.updates.items()},
            inlet=self.inlet,
            udp=self._udp,
        )

    def _receive(self, said: Published | Followed | Notified) -> None:
        match said:
            case Notified():
                self._notified(said)
            case Published():
                self._keep(said)
                self._do(self._announce(said))
            case Followed(apex, secondary, progress):
                before = self.progress.get((apex, secondary))
                _tell(apex, secondary, before, progress)
                # What it has let go of just now, caches may have had from it until now.
                self._hold(apex, before)
                self.progress[apex, secondary] = progress

    def _take_update(self, asked: UpdateRequest, reply: Callable[[object], None]) -> None:
        async def carry_out() -> None:
            reply(UpdateReply(asked.number, *await self._update(asked)))

        self._do(carry_out())

    def _do(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _keep(self, said: Published) -> None:
        """The version, for the process that comes after this one."""
        journal = self._journals.setdefault(said.apex, Journal(MOST_JOURNAL))
        if said.step is None:
            journal.clear()
        else:
            journal.add(said.step)
        content = Content(self._zones[said.apex], said.laid)
        self._versions[said.apex] = Version(content, said.serial, said.at, tuple(journal.steps))
        self.serials[said.apex] = said.serial

    async def _announce(self, said: Published) -> None:
        """Secondaries are told when every worker answers with the new serial: they may ask any of them."""
        if self._workers is not None and self._catalog is not None:
            soas = {said.apex: said.soa} if said.apex in self._catalog.zones else {}
            await self._workers.in_force(self._workers.publish({}, soas))
            self._process.send(Announced(said.apex, serial_of(said.soa)))

    def _hold_back(self) -> None:
        """The drain clock of what some secondary still hands out begins when it has let go."""
        for (apex, _), progress in self.progress.items():
            if progress.lags:
                self._hold(apex, progress)

    def _hold(self, apex: Name, progress: Progress | None) -> None:
        """Somebody who is no further than that may hand out until now what later versions have not any more."""
        if progress is None or apex not in self._journals:
            return
        now, journal = time.time(), self._journals[apex]
        steps = None if progress.serial is None else journal.since(progress.serial)
        # Who has not told may be as far behind as anybody.
        for step in journal.steps if steps is None and progress.serial != journal.last else steps or ():
            for owner, rrset in step.change.removed:
                if rrset.rrtype in rrtype.ADDRESS_TYPES.values():
                    self._copies.hand_out((owner, rrset.rrtype), map(ip_address, rrset.rdatas), now + rrset.ttl)


def _travelling(catalog: Catalog) -> tuple[Mapping[Name, Zone], Mapping[Name, TransferPolicy]]:
    """All zones, and who may have which; with the one that lists the others, if there shall be one."""
    apex, general = catalog.settings.catalog_zone, catalog.settings.transfers
    if apex is None or not general or apex in catalog.zones:
        return catalog.zones, catalog.transfers
    listing = catalog_zone(apex, catalog.transfers)
    return {**catalog.zones, apex: listing}, {**catalog.transfers, apex: general}


def _tell(apex: Name, secondary: Nameserver, before: Progress | None, after: Progress) -> None:
    """A line when something is wrong with a secondary, and when that is over."""
    zone, was = name.text(apex), "" if before is None else before.error
    if after.error and after.error != was:
        _log.warning("%s: the secondary %s lags: %s", zone, secondary, after.error)
    elif was and not after.lags:
        _log.info("%s: the secondary %s has serial %d now", zone, secondary, after.serial)


def _served(servings: Mapping[RRsetKey, Serving]) -> Served:
    unknown = frozenset(key for key, serving in servings.items() if serving.withheld)
    return Served({key: serving.rrset for key, serving in servings.items()}, unknown)


def _work(assignment: Assignment, channel: socket.socket) -> int:
    """In the process: its whole life.  The exit status."""
    # Only here: the libraries of transfers would weigh on every worker.
    from dnslb.transfer import process  # noqa: PLC0415

    process.run(assignment, channel)
    return os.EX_OK
