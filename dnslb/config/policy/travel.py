"""Pools that also travel to secondaries: what cannot, and whether their promise leaves the time for it.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil

from dnslb.balance import ttl
from dnslb.balance.pool import Pool
from dnslb.balance.rotation import RRsetOrder
from dnslb.text.document import Document
from dnslb.text.problem import Level
from dnslb.text.yaml_tree import Node

DELAY = 2.0  # seconds in which a change is promised to be at all secondaries: 1 for the next version, 1 for them
_MOST_NAMED = 4
_TRAVELS = {RRsetOrder.CYCLIC, RRsetOrder.NONE, RRsetOrder.RANDOM}  # what secondaries can do by themselves


def travelling(document: Document, node: Node | None, pools: Sequence[Pool]) -> list[Pool]:
    """The pools, with the time that their changes take; ``node`` is where it is reported what cannot travel."""
    if node is not None:
        _report_left_behind(document, node, pools)
        for pool in pools:
            _check_promise(document, node, pool)
    return [replace(pool, delay=DELAY) for pool in pools]


def _report_left_behind(document: Document, node: Node, pools: Sequence[Pool]) -> None:
    told = [f"{pool.owner} ({', '.join(words)})" for pool in pools if (words := list(_left_behind(pool)))]
    if told:
        more = f" and {len(told) - _MOST_NAMED} more" if len(told) > _MOST_NAMED else ""
        fact = f"secondaries hand out whole sets in an order of theirs, without {'; '.join(told[:_MOST_NAMED])}{more}"
        remedy = "let them rotate: round-robin (NSD), answer-rotation (Knot), rrset-order cyclic (BIND)"
        document.report(node, fact, remedy, Level.WARNING)


def _left_behind(pool: Pool) -> Iterator[str]:
    if len({backend.weight for backend in pool.backends}) > 1:
        yield "weights"
    if pool.answers is not None or pool.near is not None:
        yield "answers"
    if pool.ttl.is_adaptive:
        yield "ttl: {adaptive: load}"
    if pool.order not in _TRAVELS:
        yield f"order: {pool.order.value}"


def _check_promise(document: Document, node: Node, pool: Pool) -> None:
    """That it can be kept here, is checked already."""
    promise, probe = pool.ttl.failover, pool.probe
    if promise is None or probe is None:
        return
    least = max(min(pool.ttl.min, max(pool.zone_ttls.values(), default=0)), 1)
    needed = probe.detection + least + ttl.OVERTIME
    if needed <= promise < needed + DELAY:
        fact = f"{pool.owner} promises failover in {promise:g}s, and leaves no {DELAY:g}s for changes to travel"
        document.report(node, fact, f"failover: {ceil(round(needed + DELAY, 6))}s would keep it")
