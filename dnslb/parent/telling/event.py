"""What a hook is told of a change: one JSON object in one line."""

from __future__ import annotations

import json
from ipaddress import ip_address

from dnslb.balance.pool import Pool
from dnslb.control.change import Change
from dnslb.dns import name, rrtype
from dnslb.dns.name import Name
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
    pools = balancer.holding(address)[:MOST_ANSWERS] if change.owner is None else _named(change.owner, balancer)
    answers = []
    for owner, pool in pools:
        if address.version in pool.zone_ttls:
            selection, ttl = balancer.rrset(owner, address.version)
            answers.append({
                "owner": pool.owner,
                "type": rrtype.address_text(address.version),
                "serving": len(selection.shares),
                "of": sum(backend.address.version == address.version for backend in pool.backends),
                "ttl": ttl.seconds,
                "fails_open": selection.fails_open,
            })
    return answers


def _named(owner: str, balancer: Balancer) -> list[tuple[Name, Pool]]:
    """The pool of that name, if there is one still."""
    key = name.fold(name.parse(owner, name.ROOT))
    try:
        return [(key, balancer.pool(key))]
    except KeyError:
        return []
