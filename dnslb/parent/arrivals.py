"""What has come from primaries is taken: read aside and checked, and then answered from, as an edited file is.

No edit is read with it: that of an operator may be half of one.
"""

from __future__ import annotations

import asyncio
import logging
import time

from dnslb.config.catalog import Catalog
from dnslb.config.nameserver import Nameserver
from dnslb.dns import name
from dnslb.dns.name import Name
from dnslb.parent import reading
from dnslb.parent.generations import Generations
from dnslb.parent.reading import NotAnswered, Reading
from dnslb.parent.reload import Reloader
from dnslb.parent.workers import WorkersFailed
from dnslb.text.problem import Level

_PAUSE = 1.0  # seconds from one generation for this reason to the next, at least: what comes meanwhile is for that
_REST = 2.0   # times as long as the last one took, if that is more: it takes a processor from the workers

_SHOWN = 3     # warnings of a zone
_LINES = 10    # of one zone
_MINUTE = 60.0  # seconds

_log = logging.getLogger("dnslb")


class Arrivals:
    """``take`` is called again and again."""

    def __init__(self, generations: Generations, reloader: Reloader) -> None:
        self._generations = generations
        self._reloader = reloader
        self._misfits: dict[Name, frozenset[str]] = {}  # facts that do not fit, of which the log was told
        self._lines: dict[Name, tuple[float, int]] = {}  # that it had of a zone since when, by the monotonic clock

    async def take(self) -> None:
        """Wait until something has come or has expired, and have the workers answer accordingly."""
        inbound = self._generations.inbound
        await inbound.news.wait()
        began = time.monotonic()
        async with self._reloader.lock:
            inbound.news.clear()
            arrived, inbound.arrived = inbound.arrived, {}
            expired, inbound.expired = inbound.expired, set()
            await self._take(arrived, expired)
        took = time.monotonic() - began
        await asyncio.sleep(max(_PAUSE - took, _REST * took))

    async def _take(self, arrived: dict[Name, Nameserver], expired: set[Name]) -> None:
        was = self._generations.read
        catalog = was.without(expired) if expired & was.zones.keys() else was
        wanted = {apex: primary for apex, primary in arrived.items() if apex in was.replicas}
        try:
            found = await reading.receive(catalog, list(wanted)) if wanted else Reading(catalog, [])
            if found.catalog.zones:
                catalog = catalog.with_received(found.catalog)
            if catalog is not was:
                await self._generations.begin(catalog)
        except (NotAnswered, WorkersFailed) as error:
            for apex in arrived:
                self._generations.inbound.decide(apex, str(error))
            return
        for apex in found.catalog.zones:
            self._warn(apex, was, found)
        for apex in expired & was.zones.keys():
            self._reloader.note(name.text(apex), "expired")
            _log.error("%s has expired: no primary was heard for too long; SERVFAIL is answered", name.text(apex))
        for apex, primary in wanted.items():
            self._tell(apex, primary, was, found)

    def _warn(self, apex: Name, was: Catalog, found: Reading) -> None:
        """What does not fit in a policy any more; a few lines a minute, since a primary may make more every second.

        What is wrong with the zone is told when it comes for the first time; later ``dnslb check`` tells it.
        """
        replica = was.replicas[apex]
        misfits = [one for one in found.problems if one.file == replica.policy]
        new = [one for one in misfits if one.fact not in self._misfits.get(apex, ())]
        if apex not in was.zones:
            new += [one for one in found.problems if one.file == replica.path][:_SHOWN]
        self._misfits[apex] = frozenset(one.fact for one in misfits)
        for problem in new:
            if self._admits(apex):
                _log.warning("%s", problem)

    def _admits(self, apex: Name) -> bool:
        """Whether one more line of the zone is to be written."""
        now = time.monotonic()
        since, lines = self._lines.get(apex, (now, 0))
        self._lines[apex] = (now, 1) if now - since >= _MINUTE else (since, lines + 1)
        return self._lines[apex][1] <= _LINES

    def _tell(self, apex: Name, primary: Nameserver, was: Catalog, found: Reading) -> None:
        """Of one zone: the process that has brought it, and the log."""
        if apex not in found.catalog.zones:
            path = was.replicas[apex].path
            errors = [one for one in found.problems if one.file == path and one.level is Level.ERROR]
            more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
            fact = errors[0].fact if errors else "it cannot be read"
            self._generations.inbound.decide(apex, f"what comes has mistakes: {fact}{more}")
            return
        serial, old = found.catalog.zones[apex].serial, was.zones.get(apex)
        change = f"serial {serial if old is None else f'{old.serial} → {serial}'}, from {primary}"
        self._reloader.note(name.text(apex), change)
        _log.info("%s: %s", name.text(apex), change)
        self._generations.inbound.decide(apex)
