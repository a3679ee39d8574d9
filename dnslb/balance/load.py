"""How busy a backend says it is, and what that leaves of its weight.

Pure: no clock, no I/O, no logging.  ``probe`` brings readings, ``burdens`` keeps what they make of each backend, and
``selection`` weighs by it.

**The weight that is left** is ``1 - load``, in twentieths: 20 when it is idle, and 1, which are 5 %, when it has all
that it can take.  Never less: who gets nothing can never show that it is well again.  And never more than the policy
says: a lie draws no more than the weight that was given.

**It does not swing.**  What a name server says is heard late: caches go on handing out what it said a TTL ago.  Who
answers by each reading sends all new clients to whoever was idle then, and they arrive together (Mitzenmacher, "How
useful is old information?", IEEE TPDS 11(1), 2000).  So the load is smoothed (a first-order low pass), with a time
constant of twice the age that information has: the TTL in force and the time from one asking to the next.  Of what a
reading says less than dt/(2 (TTL + interval)) is believed, and never more than half.  The twentieth is changed when the
smoothed load is more than 0.6 of one away.  The first reading of all counts whole.

**Overload** sheds: above the watermark a backend leads no more, and again when its smoothed load is five points below.

**Silence** says nothing: after ``fall`` askings in a row that brought nothing, the load drifts to the mean of the
others of the pool, so that the share becomes the configured one.  Not to idle: an agent that is too busy to answer
would draw more clients by that.

**Words** of an agent are HAProxy's.  What takes out counts at once; what brings back, after ``rise`` readings in a row.

**Flapping** ends: each time that a backend is taken out, or falls silent, within ten minutes of the last it takes twice
as many readings to bring it back, up to 32 times ``rise``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from math import expm1

from dnslb.balance.health import Health, Outcome, first
from dnslb.balance.health import observe as judge
from dnslb.balance.pool import Probe
from dnslb.balance.reading import NOTHING, Reading

STEPS = 20             # in which the weight that is left is counted
_ROUNDS = 2            # of the age of what is known: the time constant
_MOST_BELIEVED = 0.5   # of one reading
_STICKS = 0.6          # of a step: so far the smoothed load goes from it before another takes its place
_RELIEF = 0.05         # so far under the watermark an overloaded backend is, when it leads again
_STEADY = 600.0        # seconds after which a backend that is well is not held to flap
_MOST_DOUBLED = 5      # times that ``rise`` is


class Standing(IntEnum):
    """What an agent's words make of its backend; the higher, the worse."""

    UP = 0
    DRAIN = 1  # handed out only when nothing else is up, as with weight 0
    DOWN = 2   # not handed out, as if a probe had found it down


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast, and how far, a reading moves a burden."""

    probe: Probe            # that brings the readings: ``interval``, ``fall`` and ``rise``
    ttl: int                # seconds, in force
    overload: float | None  # from this load on, 0 to 1, the backend sheds; None: never
    rest: float             # the load that one is taken to have which says nothing


@dataclass(frozen=True, slots=True)
class Burden:
    """What is made of one backend's readings."""

    load: float = 0.0               # smoothed, 0 to 1
    steps: int = STEPS              # of the weight, that are left
    told: Reading = NOTHING         # what it has said of each thing last
    source: Health | None = None    # whether it tells, judged like a backend by its probes; None: not asked yet
    standing: Standing = Standing.UP
    returning: int = 0              # readings in a row that are better than the standing
    is_over: bool = False           # the watermark
    at: float = 0.0                 # Unix time of the last asking
    since: float = 0.0              # Unix time of the standing
    flaps: int = 0                  # times that it was taken out or fell silent, since it was well for long

    @property
    def is_known(self) -> bool:
        """Whether its load is gone by."""
        return self.source is not None and self.source.up and self.told.load is not None

    @property
    def left(self) -> float:
        """The part of its weight."""
        return self.steps / STEPS

    @property
    def verdict(self) -> Health | None:
        """That it is down, if its agent says so."""
        is_down = self.standing is Standing.DOWN
        return Health(up=False, since=self.since, reason=f"its agent says {self.told.said}") if is_down else None

    def why(self) -> str:
        """In words, for a person."""
        if self.standing is not Standing.UP:
            return f"{self.standing.name.lower()}, its agent says {self.told.said}"
        if self.source is not None and not self.source.up:
            return f"unknown: {self.source.reason}"
        over = ", overloaded" if self.is_over else ""
        return f"{self.load:.0%}{over}" if self.is_known else "unknown"


NOBODY = Burden()


def observe(burden: Burden, reading: Reading, pace: Pace, now: float) -> Burden:
    """The burden after one more asking.  ``now`` is Unix time."""
    heard = Outcome(not reading.fault, reading.fault or "tells", 0.0)
    is_first = burden.source is None
    rise = pace.probe.rise << min(max(0, burden.flaps - 1), _MOST_DOUBLED)
    probe = pace.probe if rise == pace.probe.rise else replace(pace.probe, rise=rise)
    source = first(heard, now) if burden.source is None else judge(burden.source, heard, probe, now)
    told = burden.told.updated(reading) if source.up else Reading(said=burden.told.said)
    target = told.load if told.load is not None else pace.rest
    believed = 1.0 if is_first else _believed(now - burden.at, damping(pace.probe, pace.ttl))
    load = min(1.0, max(0.0, burden.load + believed * (target - burden.load)))
    standing, returning = _standing(burden, told, rise if source.up else 1)
    steps, is_over = _steps(load, burden.steps), _is_over(burden, load, pace)
    since = burden.since if standing is burden.standing else now
    flaps = _flaps(burden, standing, source, now)
    return Burden(load, steps, told, source, standing, returning, is_over, now, since, flaps)


def relieved(burden: Burden) -> Burden:
    """The same without what the agent's words take out: the operator has said otherwise."""
    return replace(burden, standing=Standing.UP)


def damping(probe: Probe, ttl: int) -> float:
    """The time constant of the smoothing, in seconds, for readings by this probe and this TTL."""
    return _ROUNDS * (ttl + probe.interval)


def _believed(seconds: float, constant: float) -> float:
    """The part of the way to a reading that is gone, so long after the last.  A clock may be set back."""
    return min(_MOST_BELIEVED, -expm1(-max(0.0, seconds) / constant))


def _steps(load: float, before: int) -> int:
    wanted = STEPS * (1 - load)
    return before if abs(wanted - before) <= _STICKS else min(STEPS, max(1, round(wanted)))


def _is_over(burden: Burden, load: float, pace: Pace) -> bool:
    if pace.overload is None:
        return False
    return load >= pace.overload - (_RELIEF if burden.is_over else 0.0)


def _flaps(burden: Burden, standing: Standing, source: Health, now: float) -> int:
    was_heard = burden.source is None or burden.source.up
    if standing > burden.standing or source.up < was_heard:
        return burden.flaps + 1
    is_well = standing is Standing.UP and source.up
    return 0 if is_well and now - max(burden.since, source.since) > _STEADY else burden.flaps


def _standing(burden: Burden, told: Reading, rise: int) -> tuple[Standing, int]:
    """The standing, and how many readings in a row were better than it."""
    wanted = Standing.UP
    if told.operating in ("down", "fail", "stopped") or told.admin == "maint":
        wanted = Standing.DOWN
    elif told.admin == "drain" or told.is_zero:
        wanted = Standing.DRAIN
    returning = burden.returning + 1 if wanted < burden.standing else 0
    return (wanted, 0) if wanted >= burden.standing or returning >= rise else (burden.standing, returning)
