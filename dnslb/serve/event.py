"""What a hook is told of a change: one JSON object in one line."""

from __future__ import annotations

import json
from ipaddress import ip_address

from dnslb.operations import Change
from dnslb.serve.balancer import Balancer

_RRTYPES = {4: "A", 6: "AAAA"}


def encode(change: Change, server: str, balancer: Balancer) -> bytes:
    """The change, and what the pools concerned serve now."""
    event = {
        "at": change.at,
        "what": change.what,
        "owner": change.owner,
        "address": change.address or None,
        "reason": change.reason,
        "server": server,
        "answers": _answers(change, balancer) if change.address else [],
    }
    return json.dumps(event).encode() + b"\n"


def _answers(change: Change, balancer: Balancer) -> list[dict[str, object]]:
    address = ip_address(change.address)
    answers = []
    for owner, pool in balancer.holding(address):
        if change.owner in (None, pool.owner):
            selection, ttl = balancer.rrset(owner, address.version)
            answers.append({
                "owner": pool.owner,
                "type": _RRTYPES[address.version],
                "serving": len(selection.shares),
                "of": sum(backend.address.version == address.version for backend in pool.backends),
                "ttl": ttl.seconds,
                "fails_open": selection.fails_open,
            })
    return answers
