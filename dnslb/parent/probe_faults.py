"""Probes that could not be made, by no fault of their targets: counted, and told when that begins and when it ends."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection

from dnslb.balance.health import Outcome, ProbeKey

# In the words of ``Outcome.fault``.
KINDS = ("bug", "descriptors", "memory", "network", "permission", "program", "setting", "source")

_log = logging.getLogger("dnslb")


class ProbeFaults:
    """``counts`` are of the probes not made, by kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        self._standing: dict[ProbeKey, str] = {}
        self._suffering: Counter[str] = Counter()  # targets, by kind
        self._missed: Counter[str] = Counter()     # probes, since the kind began

    def record_fault(self, key: ProbeKey, outcome: Outcome) -> None:
        """One more probe could not be made."""
        kind = outcome.fault
        self.counts[kind] += 1
        self._missed[kind] += 1
        if self._standing.get(key) == kind:
            return
        if not self._suffering[kind]:
            _log.error(
                "cannot probe %s: %s; that is our fault, and verdicts stay; more of this kind (%s) is only counted",
                key[1], outcome.reason, kind, extra={"what": "cannot probe", "address": str(key[1])},
            )  # fmt: skip
        self._suffering[kind] += 1
        self._end(key)
        self._standing[key] = kind

    def record_probe(self, key: ProbeKey) -> None:
        """The target was probed."""
        if key in self._standing:
            self._end(key)

    def forget(self, key: ProbeKey) -> None:
        """It is probed no more."""
        self._end(key)

    def keep(self, keys: Collection[ProbeKey]) -> None:
        """Forget what is probed no more."""
        for key in self._standing.keys() - keys:
            self._end(key)

    def _end(self, key: ProbeKey) -> None:
        kind = self._standing.pop(key, None)
        if kind is None:
            return
        self._suffering[kind] -= 1
        if not self._suffering[kind]:
            missed = self._missed.pop(kind)
            _log.info("probes are made again (%s): %d were not", kind, missed, extra={"what": "probes again"})
