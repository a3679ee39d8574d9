"""How a probe would have to be set to detect a death in time.

Pure.  How long detection takes is ``Probe.detection``'s to say; here settings are tried against it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from math import ceil

from dnslb.balance.pool import Probe

SHORTEST = 0.1  # seconds: no interval or timeout below it is proposed


def settings_for(probe: Probe, detection: float) -> list[str]:
    """The changes to a probe, as its policy file would say them, each of which alone detects a death in that time."""
    # An interval below fast_interval would make no sense.
    least = SHORTEST if probe.fast_interval is None else probe.hurried
    lengths = {
        "interval": _longest(lambda one: replace(probe, interval=one), detection, least, probe.interval),
        "fast_interval": _longest(lambda one: replace(probe, fast_interval=one), detection, SHORTEST, probe.hurried),
        "timeout": _longest(lambda one: replace(probe, timeout=one), detection, SHORTEST, probe.timeout),
    }
    changes = [f"{setting}: {length:.9g}s" for setting, length in lengths.items() if length is not None]
    fall = _longest(lambda one: replace(probe, fall=int(one)), detection, 1, probe.fall, 1)
    return changes if fall is None else [*changes, f"fall: {fall:g}"]


def setting_for(probe: Probe, detection: float) -> str | None:
    """The one change to propose: a shorter interval, or, if the timeout is in the way, all lengths alike.

    In whole seconds, or tenths below one.  None: no change that makes sense will do.
    """
    least = max(SHORTEST, probe.timeout, probe.fast_interval or 0.0)
    interval = _longest_in_round_numbers(lambda one: replace(probe, interval=one), detection, least, probe.interval)
    if interval is not None:
        return f"interval: {interval:g}s"

    def alike(length: float) -> Probe:
        fast = None if probe.fast_interval is None else length
        return replace(probe, interval=length, fast_interval=fast, timeout=length)

    both = _longest_in_round_numbers(alike, detection, SHORTEST, detection)
    if both is None:
        return None
    fast = "" if probe.fast_interval is None else f", fast_interval: {both:g}s"
    return f"interval: {both:g}s{fast} and timeout: {min(both, probe.timeout):g}s"


def _longest_in_round_numbers(
    changed: Callable[[float], Probe], detection: float, least: float, below: float
) -> float | None:
    whole = _longest(changed, detection, least, below, 1)
    return whole if whole is not None else _longest(changed, detection, least, min(1.0, below), 10)


def _longest(
    changed: Callable[[float], Probe], detection: float, least: float, below: float, per_second: int = 100
) -> float | None:
    """The highest value in such parts of a second with which the probe detects a death in time."""
    parts = range(ceil(round(per_second * least, 6)), ceil(round(per_second * below, 6)))
    late = bisect_left(parts, True, key=lambda part: round(changed(part / per_second).detection - detection, 6) > 0)
    return parts[late - 1] / per_second if late else None
