"""The tcp probe: a connection is accepted."""

from __future__ import annotations

from functools import partial

from dnslb.balance.health import Outcome
from dnslb.balance.pool import Address, TcpCheck
from dnslb.probe.outcome import Progress, judge
from dnslb.probe.sockets import connect_tcp


async def probe(check: TcpCheck, address: Address, source: Address | None, timeout: float) -> Outcome:
    """Connect and close; nothing is sent."""
    return await judge(partial(_attempt, check, address, source), timeout)


async def _attempt(check: TcpCheck, address: Address, source: Address | None, progress: Progress) -> str:
    sock = await connect_tcp(address, check.port, source)
    sock.close()
    return "connected"
