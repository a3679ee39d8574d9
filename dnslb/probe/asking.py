"""A probe always has an outcome: even a bug of ours becomes one, and is logged once."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from dnslb.balance.health import Outcome, ProbeKey
from dnslb.balance.pool import Address, Check
from dnslb.probe import probe

Ask: TypeAlias = Callable[[Check, Address, Address | None, float], Awaitable[Outcome]]  # as ``probe``

_log = logging.getLogger("dnslb")


class Asking:
    """Makes single probes."""

    def __init__(self, ask: Ask = probe) -> None:
        self._ask = ask
        self._known_bugs: set[str] = set()

    async def outcome(self, key: ProbeKey) -> Outcome:
        """Probe the key once.  Never raises."""
        wanted, target = key
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            return await self._ask(wanted.check, target, wanted.source, wanted.timeout)
        except Exception as bug:
            place = traceback.extract_tb(bug.__traceback__)[-1]
            what = f"{type(bug).__name__} at {place.filename}:{place.lineno}"
            if what not in self._known_bugs:
                self._known_bugs.add(what)
                # Not the probe itself: its headers and arguments may be secrets.
                check = type(wanted.check).__name__
                _log.exception("a bug in dnslb: please report it with this probe of %s: %s", target, check)
            return Outcome(False, f"a bug in dnslb: {what}", loop.time() - started, "bug")
