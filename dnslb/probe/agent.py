"""An agent is asked what its backend can take: it says a line as soon as it is connected to (HAProxy's agent-check)."""

from __future__ import annotations

from functools import partial

from dnslb.balance import reading
from dnslb.balance.health import Outcome
from dnslb.balance.pool import Address, AgentCheck
from dnslb.probe.outcome import Failed, Progress, judge
from dnslb.probe.sockets import connect_tcp, receive

_MOST = 1024  # octets of a line


async def probe(check: AgentCheck, address: Address, source: Address | None, timeout: float) -> Outcome:
    """Connect and listen; nothing is sent.  It passes when it says what an agent may say."""
    return await judge(partial(_attempt, check, address, source), timeout)


async def _attempt(check: AgentCheck, address: Address, source: Address | None, progress: Progress) -> str:
    octets = b""
    with await connect_tcp(address, check.port, source) as sock:
        progress.lacks = "line"
        while not (b"\n" in octets or b"\r" in octets):
            if len(octets) > _MOST:
                raise Failed(f"a line of more than {_MOST} octets")
            more = await receive(sock)
            if not more:
                break
            octets += more
    # A line that its connection ends is one, too.
    if not octets:
        raise Failed("closed the connection without a line")
    said = reading.of_agent(octets.replace(b"\r", b"\n").partition(b"\n")[0])
    if said.fault:
        raise Failed(said.fault)
    progress.reading = said
    return said.said
