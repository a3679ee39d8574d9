"""What the log says of pools: verdicts, who is down from the start, and answers that are empty or fail open.

Of what very many pools have in common, some are told of one by one, and then how many more there are.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from dnslb.answer.served_pool import ServedPool
from dnslb.balance.health import Health
from dnslb.balance.pool import Backend, Pool
from dnslb.balance.selection import Selection
from dnslb.balance.verdicts import Finding
from dnslb.dns import rrtype
from dnslb.dns.name import Name
from dnslb.parent.bounded_log import BoundedLog, Kind

_NAMED = 4  # backends in one line

_BEGIN_DOWN = Kind(logging.WARNING, "down", "%d more begin with backends that are down")
_FAILS_OPEN = Kind(logging.ERROR, "fails open", "%d more fail open: none or too few of their backends are up")
_EMPTY = Kind(logging.ERROR, "empty", "%d more answers are empty (NODATA): no backend is available")
_NORMAL = Kind(logging.INFO, "back to normal", "%d more are back to normal")

_log = logging.getLogger("dnslb")


class PoolLog:
    """``tell`` is called when a pool was worked out, and ``finish`` when all that happened at once has been told."""

    def __init__(self) -> None:
        self._lines = BoundedLog()
        self._verdicts: dict[Name, list[tuple[Finding, Sequence[Backend]]]] = {}  # changed, and not told yet
        self._troubled: dict[Name, frozenset[int]] = {}  # IP versions of which it was said that all is not well

    def follow(self, old: PoolLog, pool: ServedPool) -> None:
        """After a reload, nothing is told again of what is served as it was."""
        if troubled := old._troubled.get(pool.owner, frozenset()) & pool.judgement.served:
            self._troubled[pool.owner] = troubled

    def note_verdict(self, pool: ServedPool, backends: Sequence[Backend], finding: Finding) -> None:
        """A verdict on these backends has changed.  It is told with what it does to the answers."""
        self._verdicts.setdefault(pool.owner, []).append((finding, backends))

    def tell(self, pool: ServedPool) -> None:
        for version in pool.begin_serving():
            self._tell_who_is_down(pool, version)
        for finding, backends in self._verdicts.pop(pool.owner, ()):
            self._tell_verdict(pool, backends, finding)
        self._tell_trouble(pool)

    def tell_not_judged(self, opened: Sequence[tuple[ServedPool, Sequence[Backend]]], seconds: float) -> None:
        """These backends count as up, since no probe has judged them in time."""
        called = [f"{_called(pool)} {backend.address}" for pool, backends in opened for backend in backends]
        if called:
            _log.warning(
                "%d backends of %d pools are not judged after %g s, and count as up: %s",
                len(called), len(opened), seconds, _some(called),
            )  # fmt: skip

    def finish(self) -> None:
        self._lines.finish()

    def _tell_who_is_down(self, pool: ServedPool, version: int) -> None:
        """One line for an RRset that begins with a backend down."""
        healths = pool.judgement.known()
        down = [
            f"{backend.address} ({_why_down(health, pool.pool)})"
            for backend in pool.backends(version)
            if (health := healths.get(backend.target)) is not None and not health.up
        ]
        if down and self._lines.admits(_BEGIN_DOWN):
            fields = {"what": "down", "owner": pool.name}
            _write(logging.WARNING, pool, version, f"down from the start: {_some(down)}", fields)

    def _tell_verdict(self, pool: ServedPool, backends: Sequence[Backend], finding: Finding) -> None:
        """One line for each backend."""
        target, health = finding.key[1], finding.after
        level, what = (logging.INFO, "up") if health.up else (logging.WARNING, "down")
        if not self._lines.admits(Kind(level, what, f"{target} is {what} for %d more pools", str(target))):
            return
        for backend in backends:
            fields = {"what": what, "owner": pool.name, "address": str(backend.address)}
            _write(level, pool, backend.address.version, f"{backend.address} {what} ({_why(finding)})", fields)

    def _tell_trouble(self, pool: ServedPool) -> None:
        """One line when an RRset begins to fail open or to be empty, and one when that is over."""
        known = self._troubled.get(pool.owner, frozenset())
        for version, served in pool.rrsets.items():
            chosen = served.selection
            is_troubled = chosen.fails_open or not chosen.shares
            if pool.is_withheld(version) or is_troubled == (version in known):
                continue
            self._troubled[pool.owner] = known = known ^ {version}
            kind = _FAILS_OPEN if chosen.fails_open else _EMPTY if is_troubled else _NORMAL
            if self._lines.admits(kind):
                fields = {"what": kind.what, "owner": pool.name}
                about = f"{_called(pool)} {rrtype.address_text(version)}"
                _log.log(kind.level, "%s: %s", about, _condition(pool, version), extra=fields)


def _why(finding: Finding) -> str:
    """What probes have shown to change a verdict."""
    (probe, _), health = finding.key, finding.after
    if finding.is_first:
        return "its first probe passed" if health.up else f"its first probe failed: {health.reason}"
    if health.up:
        return f"{probe.rise} of {probe.rise} probes passed"
    if health.unsteady:
        return health.reason
    return f"{probe.fall} of {probe.fall} probes failed: {health.reason}"


def _why_down(health: Health, pool: Pool) -> str:
    """The reason is that of the last probe, which may have passed: then it is not why."""
    if health.streak and pool.probe is not None:
        return f"only {health.streak} of {pool.probe.rise} probes passed"
    return health.reason


def _condition(pool: ServedPool, version: int) -> str:
    """How an RRset is served."""
    chosen = pool.rrsets[version].selection
    count = len(chosen.shares)
    if chosen.fails_open:
        few = f"only {chosen.up} of {count}" if chosen.up else "no backend is"
        return f"{few} up: all {count} are handed out (fail open)"
    if not count:
        return "no backend is available: the answer is empty (NODATA)"
    return f"back to normal: serving {count} of {len(pool.backends(version))}"


def _despite(chosen: Selection) -> str:
    if not chosen.fails_open:
        return ""
    return f" though only {chosen.up} {'is' if chosen.up == 1 else 'are'} up" if chosen.up else " though none is up"


def _called(pool: ServedPool) -> str:
    """Its name, as people write it."""
    return pool.name.removesuffix(".") or "."


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return f"{', '.join(texts[:_NAMED])}{more}"


def _write(level: int, pool: ServedPool, version: int, fact: str, fields: Mapping[str, str]) -> None:
    """One line, which ends with what is served now."""
    served = pool.rrsets[version]
    _log.log(
        level, "%s: %s; serving %d of %d%s, ttl %d",
        _called(pool), fact, len(served.selection.shares), len(pool.backends(version)),
        _despite(served.selection), served.ttl.seconds, extra=fields,
    )  # fmt: skip
