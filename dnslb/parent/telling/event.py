"""What a hook is told of a change: one JSON object in one line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from ipaddress import ip_address

from dnslb.answer.served_pool import ServedPool
from dnslb.control.change import Change
from dnslb.dns import name, rrtype
from dnslb.parent.balancer import Balancer

MOST_ANSWERS = 100  # pools told of in one event


def encode(change: Change, server: str, balancer: Balancer) -> bytes:
    """The change, and what the pools concerned serve now."""
    event = {
        "at": change.at,
        "what": change.what,
        "owner": change.owner,
        "address": change.address or None,
        "reason": change.reason,
        "by": change.by or None,
        "server": server,
        "answers": _answers(change, balancer) if change.address else [],
    }
    return json.dumps(event).encode() + b"\n"


def _answers(change: Change, balancer: Balancer) -> list[dict[str, object]]:
    address = ip_address(change.address)
    # Thousands of pools may have the address, and thousands of changes come in one moment.
    pools = balancer.served.holding(address)[:MOST_ANSWERS] if change.owner is None else _named(change.owner, balancer)
    answers = []
    for pool in pools:
        served = pool.rrsets.get(address.version)
        if served is not None:
            answers.append({
                "owner": pool.name,
                "type": rrtype.address_text(address.version),
                "serving": len(served.selection.shares),
                "of": len(pool.backends(address.version)),
                "ttl": served.ttl.seconds,
                "fails_open": served.selection.fails_open,
            })
    return answers


def _named(owner: str, balancer: Balancer) -> Sequence[ServedPool]:
    """The pool of that name, if there is one still."""
    found = balancer.served.get(name.fold(name.parse(owner, name.ROOT)))
    return [] if found is None else [found]
