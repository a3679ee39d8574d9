"""The play as a story in plain lines, about a minute long, for those who only want to read it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from dnslb.cli.demonstration.play import Play
from dnslb.cli.demonstration.scene import ADDRESSES

PAUSE, SHORT_PAUSE = 8.0, 1.2   # seconds that a state is shown for
PATIENCE = 15.0                 # seconds that a verdict may take: twice what zones/example.net.yaml promises
STEP = 0.1
_, SECOND, THIRD = ADDRESSES


async def perform(play: Play, pause: float) -> None:
    """All acts, unless the play is ended before."""
    story = asyncio.create_task(acts(play, pause))
    ended = asyncio.create_task(play.ended.wait())
    await asyncio.wait([story, ended], return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    if story.done():
        story.result()
    story.cancel()


async def acts(play: Play, pause: float) -> None:
    tell(f"dnslb and three web servers run; {play.moment().question}")
    await show(play, pause)

    tell(f"\n{SECOND} is killed. Visitors whose answer it leads fail until dnslb notices; behind caches, a TTL longer:")
    await play.kill(SECOND)
    lost = await until(play, lambda: play.verdict(SECOND) == "down")
    await show(play, pause)

    tell(f"\n{SECOND} is started again, and comes back after two good probes:")
    await play.revive(SECOND)
    await until(play, lambda: play.verdict(SECOND) == "up")
    await show(play, pause)

    tell(f"\n{THIRD} is drained for a deploy: it gets nobody new, and nobody fails:")
    await play.drain_or_ready(THIRD)
    await until(play, lambda: play.verdict(THIRD) == "drain")
    await show(play, pause)

    tell(f"\n{THIRD} is ready again:")
    await play.drain_or_ready(THIRD)
    await until(play, lambda: play.verdict(THIRD) == "up")
    await show(play, pause)

    visitors = play.visitors
    tell(f"\n{visitors.visits} visits, {visitors.failed} failed; {lost} of these before {SECOND}'s death was noticed.")


async def until(play: Play, claim: Callable[[], bool]) -> int:
    """Return when the claim holds, and say how many visits failed meanwhile."""
    began, visits, failed = time.monotonic(), play.visitors.visits, play.visitors.failed
    while not claim() and time.monotonic() < began + PATIENCE:
        await asyncio.sleep(STEP)
    took = time.monotonic() - began
    visits, failed = play.visitors.visits - visits, play.visitors.failed - failed
    events(play)
    tell(f"          {took:.1f} s, in which {failed} of {visits} visits failed" if claim() else
         f"          not within {PATIENCE:.0f} s")
    return failed


async def show(play: Play, pause: float) -> None:
    """Who gets the traffic from now on."""
    # Visits under way still belong to what was before.
    await asyncio.sleep(STEP)
    began = time.monotonic()
    await asyncio.sleep(pause)
    recent = [visit for visit in play.visitors.recent if visit.at >= began]
    counts = Counter(visit.address for visit in recent)
    events(play)
    shares = "   ".join(f"{address} {counts[address] / max(1, len(recent)):4.0%}" for address in ADDRESSES)
    failed = sum(not visit.ok for visit in recent)
    tell(f"          {shares}   {failed} of {len(recent)} failed; TTL {play.rrset['ttl']} ({play.rrset['why']})")


def events(play: Play) -> None:
    """What has happened since, once."""
    for event in sorted(play.events, key=lambda event: event.at):
        tell(f"{event.clock}  {event.text}")
    play.events.clear()


def tell(text: str) -> None:
    print(text, flush=True)
