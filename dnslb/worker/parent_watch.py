"""A worker's watch over its parent: without it nobody knows which backends live, and answers must say so.

Pools then have their lowest TTL, and a note for clients, until the parent is heard again.  No answer is held back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import islice

from dnslb.answer.snapshot import RRsetKey, Serving
from dnslb.ipc.heartbeat import Silence

INTERVAL = 1.0  # seconds from one word of the parent to the next, at most
_MISSED = 3     # of them: then the parent hangs or is gone
_LOOK = 0.5     # seconds from one look to the next
_PIECE = 16     # servings that are changed in one turn of the loop, between which packets are answered
_NOTE = "health is not known at present: this is the last known answer"

_log = logging.getLogger("dnslb")


class ParentWatch:
    """``apply`` puts servings in force; ``name`` is the worker's, for the log."""

    def __init__(
        self, name: str, servings: Mapping[RRsetKey, Serving], apply: Callable[[Mapping[RRsetKey, Serving]], None]
    ) -> None:
        self._name = name
        self._servings = dict(servings)    # by the parent's word
        self._apply = apply
        self._silence = Silence(time.monotonic())
        self._is_alone = False
        self._lowered: set[RRsetKey] = set()

    def reset(self) -> None:
        """The parent has said something."""
        self._silence.end()

    def record(self, servings: Mapping[RRsetKey, Serving]) -> None:
        """The parent wants the pools to serve this."""
        self._servings.update(servings)
        self._lowered.difference_update(servings)

    async def run(self) -> None:
        """Watch over the parent until cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            self._silence.look(time.monotonic())
            is_alone = self._silence.seconds >= _MISSED * INTERVAL
            if is_alone != self._is_alone:
                self._is_alone = is_alone
                if is_alone:
                    _log.error(
                        "%s: the parent has said nothing for %.0f s: pools are answered with their lowest TTL",
                        self._name, self._silence.seconds,
                    )  # fmt: skip
                else:
                    _log.warning("%s: the parent is heard again: pools are answered with their own TTLs", self._name)
            if is_alone:
                await self._change(self._servings.keys() - self._lowered)
            else:
                await self._change(set(self._lowered))

    async def _change(self, keys: Iterable[RRsetKey]) -> None:
        """Lower these, or raise them again, in pieces; what the parent says meanwhile stands."""
        rest = iter(keys)
        while piece := list(islice(rest, _PIECE)):
            if self._is_alone:
                self._apply({key: _lowered(self._servings[key]) for key in piece})
                self._lowered.update(piece)
            else:
                self._apply({key: self._servings[key] for key in piece if key in self._lowered})
                self._lowered.difference_update(piece)
            await asyncio.sleep(0)
            if self._is_alone and self._silence.seconds == 0:
                return


def _lowered(serving: Serving) -> Serving:
    ttl = min(serving.rrset.ttl, serving.floor)
    return replace(serving, rrset=serving.rrset._replace(ttl=ttl), note=_NOTE, terms=())
