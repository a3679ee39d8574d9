"""Probe outcomes become verdicts.

Pure: no sockets, no clock, no logging.  ``probe`` feeds it, ``selection`` and ``ttl`` read it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from dnslb.balance.pool import Address, Probe

ProbeKey: TypeAlias = tuple[Probe, Address]  # a probe, and the target that it asks


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one probe."""

    ok: bool
    reason: str      # for a person: "status 503, expected 200-299"; of a success, "status 200"
    took: float      # seconds
    fault: str = ""  # what kept us from asking, in a word: then it says nothing of the target, and ``ok`` is False


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of one target."""

    up: bool = True
    streak: int = 0            # outcomes in a row against the verdict
    since: float = 0.0         # Unix time of the verdict
    reason: str = ""           # of the last outcome
    recovered: bool = False    # whether it came up from down, rather than being up from the start


def first(outcome: Outcome, now: float, before: Health | None = None) -> Health:
    """The verdict of the first probe of all: it counts at once, whatever ``rise`` and ``fall`` say.

    ``before`` was known when somebody looked last.  A target that was up then and is up now, has been up since.
    """
    if before is not None and before.up and outcome.ok:
        return replace(before, streak=0, reason=outcome.reason)
    return Health(up=outcome.ok, since=now, reason=outcome.reason)


def observe(health: Health, outcome: Outcome, probe: Probe, now: float) -> Health:
    """The verdict after one more outcome: ``fall`` failures in a row to go down, ``rise`` successes to return."""
    if outcome.ok == health.up:
        return replace(health, streak=0, reason=outcome.reason)
    streak = health.streak + 1
    if streak < (probe.fall if health.up else probe.rise):
        return replace(health, streak=streak, reason=outcome.reason)
    return Health(up=outcome.ok, since=now, reason=outcome.reason, recovered=outcome.ok)


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
    in_doubt = replace(health, streak=1)
    return pause(health, probe) + (needed - 1) * pause(in_doubt, probe)
