"""What is wrong with a pool whose answers go by hidden load.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Collection

from dnslb.balance import ttl
from dnslb.balance.pool import Pool
from dnslb.balance.rotation import RRsetOrder
from dnslb.config.policy.setting import PolicySettings
from dnslb.text.document import Document
from dnslb.text.problem import Level

_FIXED = {RRsetOrder.NONE, RRsetOrder.STICKY}  # a resolver has one leader, whatever its TTL


def check_hidden(document: Document, pool: Pool, settings: PolicySettings, own: Collection[str]) -> None:
    """``settings``: the pool's own over the defaults; ``own``: the keys that it has itself."""
    if pool.order is RRsetOrder.LEAST_ASSIGNED and not pool.is_single:
        fact = "least_assigned needs answers: 1: of several addresses a resolver chooses for itself"
        document.report(settings["order"].node, fact, "add answers: 1, or write another order")
    bounds = settings["ttl"].value if "ttl" in settings else {}
    if not pool.ttl.is_adaptive:
        if "mean" in bounds:
            fact = "mean is of no use without adaptive"
            document.report(bounds["mean"].node, fact, "add adaptive: load, or remove it")
        return
    node = bounds["adaptive"].node
    if not pool.is_single:
        fact = "adaptive: load needs answers: 1: all records of a reply have one TTL (RFC 2181 §5.2)"
        document.report(node, fact, "add answers: 1, or remove adaptive")
    elif pool.order in _FIXED:
        fact = f"order: {pool.order.value} leaves a resolver with one address, so its TTL evens out nothing"
        document.report(node, fact, "write order: cyclic, or remove adaptive")
    for version in sorted(pool.zone_ttls) if "ttl" in own else ():
        limits = ttl.bounds(pool, version)
        if limits.floor == limits.ceiling:
            fact = f"the TTL of {pool.owner} is {limits.ceiling}s at least and at most: there is nothing to adapt"
            remedy = "raise the zone file's TTL, max or failover, or lower min"
            document.report(node, fact, remedy, Level.WARNING)
            break
        if pool.ttl.mean is not None and not limits.floor <= pool.ttl.mean <= limits.ceiling:
            fact = f"mean {pool.ttl.mean}s is not between {limits.floor}s and {limits.ceiling}s ({limits.why})"
            document.report(bounds["mean"].node, fact, "write one between these, or change them", Level.WARNING)
            break
