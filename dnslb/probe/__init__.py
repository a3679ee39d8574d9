"""Probes: one kind per file, and the schedule that runs them.

``probe`` is the only entry.  It asks one target once and never raises for anything that the target does.
"""

from __future__ import annotations

from dnslb.balance.health import Outcome
from dnslb.balance.pool import Address, AgentCheck, Check, DnsCheck, ExecCheck, HttpCheck, TcpCheck
from dnslb.probe import agent, dns, http, program, tcp


async def probe(check: Check, address: Address, source: Address | None, timeout: float) -> Outcome:
    """Ask the target once, from ``source`` if given.  The outcome is there after ``timeout`` seconds at the latest."""
    match check:
        case TcpCheck():
            return await tcp.probe(check, address, source, timeout)
        case HttpCheck():
            return await http.probe(check, address, source, timeout)
        case DnsCheck():
            return await dns.probe(check, address, source, timeout)
        case ExecCheck():
            return await program.probe(check, address, source, timeout)
        case AgentCheck():
            return await agent.probe(check, address, source, timeout)
