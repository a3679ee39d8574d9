"""Look-ups at a steady pace, from this process: what a resolver says, and how long it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from comparison.dnslb import owner
from comparison.experiment import Lab
from comparison.load import VoidError
from comparison.statistics import percentile
from comparison.stub import LookupFailedError, Resolver


@dataclass(frozen=True, slots=True)
class Sight:
    """One reply of a resolver."""

    asked: float                # on the monotonic clock
    at: float
    addresses: tuple[str, ...]
    problem: str                # in place of addresses
    late: float = 0.0           # seconds by which it was asked later than it should: our own lag


@dataclass(frozen=True, slots=True)
class Pace:
    """Look-ups per second, from when to when on the monotonic clock."""

    rate: float
    begin: float
    end: float


async def look(resolver: Resolver, label: str, patience: float = 1.0, due: float | None = None) -> Sight:
    """Ask once; it should have been at ``due``."""
    asked = time.monotonic()
    late = 0.0 if due is None else max(0.0, asked - due)
    try:
        answer = await resolver.ask(owner(label), 1, patience)
    except LookupFailedError as failure:
        return Sight(asked, time.monotonic(), (), str(failure), late)
    return Sight(asked, time.monotonic(), answer.addresses, "", late)


async def watch(resolver: Resolver, label: str, pace: Pace, into: list[Sight], patience: float = 1.0) -> None:
    """Ask at that pace, whatever has become of earlier questions."""
    tasks = []
    for number in range(int((pace.end - pace.begin) * pace.rate)):
        due = pace.begin + number / pace.rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        tasks.append(asyncio.create_task(look(resolver, label, patience, due)))
    into += [await task for task in tasks]


def note_lag(lab: Lab, sights: Iterable[Sight], limit: float) -> None:
    """Keep the 99th percentile of our own lag.  Raises VoidError when it is above the limit; never in short."""
    lag = percentile([sight.late for sight in sights], 0.99)
    lab.lags.append(lag)
    if lag > limit and not lab.quick:
        raise VoidError(f"void: look-ups were late by {lag * 1000:.1f} ms (99th percentile; ≤ {limit * 1000:.0f})")
