"""Sleeping until a time of the wall clock, which can be set, and goes on while the machine sleeps.

The loop's clock does neither.  So whoever waits for a Unix time looks at the wall clock now and then, and waits again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVarTuple

_SOONEST, _LATEST = 0.01, 60.0  # seconds from now to a look

_Arguments = TypeVarTuple("_Arguments")


def look_in(
    seconds: float, look: Callable[[*_Arguments], object], *arguments: *_Arguments
) -> asyncio.TimerHandle:
    """Call ``look`` when it should be time, or in a minute if that is sooner: it sees then whether it is."""
    return asyncio.get_running_loop().call_later(min(max(_SOONEST, seconds), _LATEST), look, *arguments)
