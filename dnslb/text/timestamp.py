"""Points in time as operators write them: ``14:00``, ``2026-11-20T14:00``, with or without an offset from UTC."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_TIME_OF_DAY = re.compile(r"(\d{1,2}):(\d{2})", re.ASCII)
LATEST = 253_402_214_400.0  # the last day of the year 9999, which no time zone moves out of the calendar


def parse(text: str, now: float) -> float | None:
    """Unix time; None when the text is no time.  A time of day is the next one after ``now``, by the local clock."""
    try:
        if match := _TIME_OF_DAY.fullmatch(text):
            today = datetime.fromtimestamp(now)
            moment = today.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
            return (moment if moment.timestamp() > now else moment + timedelta(days=1)).timestamp()
        unix = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return unix if 0 <= unix < LATEST else None
