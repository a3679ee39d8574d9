"""The reload: everything is read aside, and with any mistake nothing changes.

How the last one ended is kept here for the status, and how all have ended for the metrics.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from dnslb.config.catalog import Catalog
from dnslb.config.files import Fingerprint
from dnslb.config.settings import Settings
from dnslb.control.change import Change
from dnslb.control.errors import NotReloaded
from dnslb.control.reload import Refusal, Reloaded
from dnslb.parent import difference, held_edit, reading
from dnslb.parent.file_warnings import FileWarnings
from dnslb.parent.generations import Generations
from dnslb.parent.reading import NotAnswered, Reading
from dnslb.parent.service import Service
from dnslb.parent.state_file import StateTaken
from dnslb.parent.telling.metrics import Reloads
from dnslb.parent.watch import Watch
from dnslb.parent.workers import WorkersFailed
from dnslb.system import logs
from dnslb.system.pace import gently
from dnslb.text.problem import Level, Problem, has_errors

_UPDATED = 0.5  # seconds from one generation that answers by updates to the next
_SHOWN = 3  # mistakes, in the event of a refused reload
_NOT_RELOADED = {"what": "not reloaded"}

_log = logging.getLogger("dnslb")


class Reloader:
    """``running`` are the settings with which the server was started; some hold until it is started again."""

    def __init__(
        self, directory: Path, generations: Generations, watch: Watch, service: Service, running: Settings
    ) -> None:
        self.directory = directory
        self.loaded = time.time()              # when what is served was read
        self.refused: Refusal | None = None    # since then
        self.waiting: tuple[str, ...] = ()     # settings that the files have otherwise now
        self.warnings = FileWarnings()
        self.zone_changes: dict[str, str] = {}  # what the last reload that changed a zone did to it
        self._generations = generations
        self._watch = watch
        self._service = service
        self._running = running
        self.lock = asyncio.Lock()             # one catalog after the other, wherever it comes from
        self._by = ""                          # who has asked for what is being done
        self._succeeded = self._refusals = 0
        self._changed: dict[str, float] = {}   # when a zone's present records were read, if not at the start

    @property
    def reloads(self) -> Reloads:
        """How they have ended up to now."""
        is_refused, waits = self.refused is not None, bool(self.waiting)
        return Reloads(self._succeeded, self._refusals, is_refused, self.loaded, self._changed, waits)

    @property
    def summary(self) -> str:
        """The server's state in a line, for the service manager."""
        catalog, refused = self._generations.current.catalog, self.refused
        served = f"{len(catalog.zones)} zones, {len(catalog.pools)} pools"
        if refused is None:
            return served
        what = "reload refused at" if refused.until is None else "edit held since"
        return f"{served}; {what} {_time(refused.at)}: {refused.fact}"

    async def reload(self, by: str = "") -> Reloaded:
        """Read everything, and return when every worker serves it.  Raises NotReloaded."""
        async with self.lock:
            self._by = by
            with self._announced():
                return await self._take(await self._read())

    async def reload_when_edited(self) -> None:
        """Wait for an edit, and take it unless it may be half of one and is not known to be meant."""
        meant = await self._watch.edit(lambda: self._generations.current.settings)
        async with self.lock:
            self._by = ""
            if not self._watch.is_up_to_date:
                with self._announced(), suppress(NotReloaded):  # it is in the log, and in the status
                    await self._take_or_hold(await self._read(), meant)

    async def serve_updates(self) -> None:
        """Wait for updates, and answer by them."""
        await self._generations.updates.changed.wait()
        began = time.monotonic()
        async with self.lock:
            with suppress(WorkersFailed):  # it is in the log, and tried again
                await self._generations.begin(self._generations.read)
        await asyncio.sleep(max(_UPDATED, time.monotonic() - began))

    @contextmanager
    def _announced(self) -> Iterator[None]:
        """To the service manager."""
        self._service.reloading()
        try:
            yield
        finally:
            self._service.ready(self.summary)

    async def _read(self) -> Reading:
        """Raises NotReloaded."""
        current = self._generations.current
        try:
            state = self._generations.memory.file.directory
            return await reading.read(self.directory, state, current.catalog.sources, current.settings.settle)
        except NotAnswered as error:
            self._watch.resume()
            raise self._failed(str(error), ()) from None

    async def _take_or_hold(self, found: Reading, meant: Fingerprint | None) -> None:
        """Raises NotReloaded."""
        current = self._generations.current
        lost = held_edit.losses(current.catalog, found.catalog)
        if not lost or not current.settings.confirm or meant == found.catalog.fingerprint or has_errors(found.problems):
            await self._take(found)
        else:
            self._hold(found, lost)

    def _hold(self, found: Reading, lost: tuple[str, ...]) -> None:
        current = self._generations.current
        until = time.time() + current.settings.confirm
        self._watch.hold(found.catalog.fingerprint, current.catalog.sources | found.catalog.sources)
        fact = "this may be half of an edit"
        self._refuse(fact, "reload to take it", lost, until)
        logs.always(
            logging.WARNING, "not reloaded: %s: %s; the old data go on being served until %s, or until dnslb reload",
            fact, _some(lost), _time(until), extra=_NOT_RELOADED,
        )  # fmt: skip

    async def _take(self, found: Reading) -> Reloaded:
        """Raises NotReloaded."""
        was, before = self._generations.current.catalog, self._generations.current.settings
        try:
            warnings = self.warnings.report(found.problems)
            self._reject_mistakes(found.problems)
            await self._begin(found)
            return await self._report(was, before, warnings)
        finally:
            # Only now: the process that watches is to share the memory of the new zones, not keep the old.
            self._watch.expect_edit(found.catalog.fingerprint, was.sources | found.catalog.sources)

    def _reject_mistakes(self, problems: list[Problem]) -> None:
        """Raises NotReloaded."""
        if has_errors(problems):
            # At whatever level is logged.
            for problem in problems:
                if problem.level is Level.ERROR:
                    _log.error("%s", problem)
            _log.error("not reloaded: see the lines above; the old data go on being served", extra=_NOT_RELOADED)
            raise self._refuse("the files have mistakes", "mend them and reload", tuple(map(str, problems)))

    async def _begin(self, found: Reading) -> None:
        """Raises NotReloaded."""
        try:
            if found.catalog.needs_state:
                self._generations.memory.file.take()
            gc.freeze()
            await self._generations.begin(found.catalog)
        except (StateTaken, WorkersFailed) as error:
            raise self._failed(str(error), tuple(map(str, found.problems))) from None
        self.loaded, self.refused = time.time(), None
        self._succeeded += 1
        self.warnings.keep_only(found.problems)

    async def _report(self, was: Catalog, before: Settings, warnings: tuple[str, ...]) -> Reloaded:
        """What the reload has changed, once it is served."""
        catalog, now = self._generations.current.catalog, self._generations.current.settings
        zones = tuple([zone async for some in gently(difference.zones(was, catalog)) for zone in some if zone])
        pools = tuple([pool async for some in gently(difference.pools(was, catalog)) for pool in some if pool])
        settings = difference.settings(before, now)
        text = difference.text(zones, pools, settings)
        by = f", by {self._by}" if self._by else ""
        _log.info("reloaded %s: %s%s", self.directory, text, by, extra={"what": "reloaded", "by": self._by or None})
        self._wait_for_start(difference.waiting(self._running, now))
        self._generations.hooks.replace(now.on_change)
        self._generations.memory.remember(Change(self.loaded, None, "", "reloaded", text, self._by))
        changed = [zone for zone in zones if zone.changed]
        self._changed |= {zone.zone: self.loaded for zone in changed}
        self.zone_changes |= {zone.zone: difference.zone_text(zone) for zone in changed if zone.after is not None}
        return Reloaded(zones, len(catalog.pools), bool(pools), warnings, pools, settings, self.waiting)

    def note(self, zone: str, change: str) -> None:
        """That has become of a zone without a reload: another version has come."""
        self._changed[zone] = time.time()
        self.zone_changes[zone] = change

    def _wait_for_start(self, keys: tuple[str, ...]) -> None:
        """These settings change only at a start."""
        if keys and keys != self.waiting:
            _log.warning("%s: what the files say now holds when dnslb is started again", ", ".join(keys))
        self.waiting = keys

    def _failed(self, fact: str, problems: tuple[str, ...]) -> NotReloaded:
        _log.error("not reloaded: %s; the old data go on being served", fact, extra=_NOT_RELOADED)
        return self._refuse(fact, "reload again when that is mended", problems)

    def _refuse(self, fact: str, remedy: str, problems: tuple[str, ...], until: float | None = None) -> NotReloaded:
        self._refusals += 1
        self.refused = Refusal(time.time(), fact, problems, until)
        reason = ": ".join(filter(None, (fact, _some(problems))))
        told = Change(self.refused.at, None, "", "not reloaded", reason, self._by)
        self._generations.hooks.tell(told)
        # Everybody may read the history, and mistakes quote the files that they are in.
        self._generations.memory.record(replace(told, reason=fact if until is None else reason))
        return NotReloaded(fact, remedy, problems)


def _some(problems: tuple[str, ...]) -> str:
    more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join(problems[:_SHOWN]) + more


def _time(unix: float) -> str:
    """Local time of the day."""
    return time.strftime("%H:%M:%S", time.localtime(unix))
