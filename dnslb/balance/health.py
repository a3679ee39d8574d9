"""Probe outcomes become verdicts.

Pure: no sockets, no clock, no logging.  ``probe`` feeds it, ``selection`` and ``ttl`` read it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from dnslb.balance.pool import Address, Probe
from dnslb.balance.reading import Reading
from dnslb.balance.unsteady import Unsteady, failures

ProbeKey: TypeAlias = tuple[Probe, Address]  # a probe, and the target that it asks


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one probe."""

    ok: bool
    reason: str      # for a person: "status 503, expected 200-299"; of a success, "status 200"
    took: float      # seconds
    fault: str = ""  # what kept us from asking, in a word: then it says nothing of the target, and ``ok`` is False
    reading: Reading | None = None  # how busy the target says it is; None: it was not asked, or did not answer


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of one target."""

    up: bool = True
    streak: int = 0            # outcomes in a row against the verdict
    since: float = 0.0         # Unix time of the verdict
    reason: str = ""           # of the last outcome; and that it is unsteady, while that holds it down
    recovered: bool = False    # whether it came up from down, rather than being up from the start
    recent: int = 0            # the last outcomes, for ``probe.unsteady``
    unsteady: bool = False     # down since too many of those failed


NOT_YET = Health(up=False)  # of a target that has to pass a probe before it counts as up: nothing is wrong with it


def first(outcome: Outcome, now: float, before: Health | None = None) -> Health:
    """The verdict of the first probe of all: it counts at once, whatever ``rise`` and ``fall`` say.

    ``before`` was known when somebody looked last.  A target that was up then and is up now, has been up since.
    """
    if before is not None and before.up and outcome.ok:
        return replace(before, streak=0, reason=outcome.reason)
    return Health(up=outcome.ok, since=now, reason=outcome.reason)


def observe(health: Health, outcome: Outcome, probe: Probe, now: float) -> Health:
    """The verdict after one more outcome: ``fall`` failures in a row to go down, ``rise`` successes to return.

    Beside that, ``unsteady`` takes it down, and holds it down.
    """
    if probe.unsteady is not None:
        return _observe_all(health, outcome, probe, probe.unsteady, now)
    if outcome.ok == health.up:
        return replace(health, streak=0, reason=outcome.reason)
    streak = health.streak + 1
    if streak < (probe.fall if health.up else probe.rise):
        return replace(health, streak=streak, reason=outcome.reason)
    return Health(up=outcome.ok, since=now, reason=outcome.reason, recovered=outcome.ok)


def _observe_all(health: Health, outcome: Outcome, probe: Probe, unsteady: Unsteady, now: float) -> Health:
    """The same with an eye on the last outcomes, in a row or not."""
    is_outage = not health.up and not health.unsteady and not outcome.ok
    recent = health.recent if is_outage else unsteady.record(health.recent, outcome.ok)
    streak = 0 if outcome.ok == health.up else health.streak + 1
    told = f"unsteady: {failures(recent)} of the last {unsteady.of} probes failed; {outcome.reason}"
    reason = told if health.unsteady else outcome.reason
    seen = replace(health, streak=streak, reason=reason, recent=recent)
    if health.up:
        if failures(recent) >= unsteady.most and not outcome.ok:
            return Health(up=False, since=now, reason=told, recent=recent, unsteady=True)
        is_over = streak >= probe.fall
    else:
        is_over = streak >= probe.rise and (not health.unsteady or unsteady.has_settled(recent))
    if not is_over:
        return seen
    return Health(up=outcome.ok, since=now, reason=outcome.reason, recovered=outcome.ok, recent=recent)


def pause(health: Health, probe: Probe) -> float:
    """Seconds until the next probe starts, counted from the start of the last."""
    if health.streak and probe.fast_interval is not None:
        return probe.fast_interval
    if not health.up and probe.down_interval is not None:
        return probe.down_interval
    return probe.interval


def flips_in(health: Health, probe: Probe) -> float:
    """Seconds after which the verdict may change at the earliest, if every outcome from now on is against it."""
    # After a reload with a lower fall or rise, the streak may be long enough already: the next outcome tells.
    needed = max(1, (probe.fall if health.up else probe.rise) - health.streak)
    if probe.unsteady is not None:
        needed = _needed(health, needed, probe.unsteady)
    in_doubt = replace(health, streak=1)
    return pause(health, probe) + (needed - 1) * pause(in_doubt, probe)


def _needed(health: Health, needed: int, unsteady: Unsteady) -> int:
    """So many outcomes against the verdict change it, where ``needed`` would by their being in a row."""
    recent, number = health.recent, 0
    if health.up:
        while number < needed and (not number or failures(recent) < unsteady.most):
            recent, number = unsteady.record(recent, ok=False), number + 1
        return number
    while health.unsteady and (number < needed or not unsteady.has_settled(recent)):
        recent, number = unsteady.record(recent, ok=True), number + 1
    return max(needed, number)
