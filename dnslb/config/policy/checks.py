"""What is wrong with a pool as a whole, though every value of it can be read.

An error is what cannot be served as written; a warning, what will not do in real life what was probably meant.
Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor
from typing import TypeAlias

from dnslb.advice.detection import setting_for
from dnslb.balance import selection, ttl
from dnslb.balance.pool import Address, AllDown, Backend, ExecCheck, HttpCheck, Pool, Probe
from dnslb.balance.rotation import SLOTS, RRsetOrder
from dnslb.config.policy.hidden import check_hidden
from dnslb.config.policy.joining import check_register
from dnslb.config.policy.probes import Draft
from dnslb.config.policy.safety import check_safety, check_unsteady
from dnslb.config.policy.setting import PolicySettings
from dnslb.text.document import Document
from dnslb.text.problem import Level
from dnslb.text.yaml_tree import Node

# The backends of each IP version that the pool has: A and AAAA are balanced apart.
_Families: TypeAlias = Mapping[int, list[Backend]]

# What acts on the leader of a reply alone does nothing where leaders are exchanged.
_RESHUFFLE = "resolvers and clients reshuffle the addresses of a reply"
_MOST_MISPLACED = 0.05  # of all answers: what rounding may take from one backend and give to another, unsaid
_LEAST_SLOTS = 10       # for each backend of a sticky pool: with fewer, their shares differ by half and more


@dataclass(frozen=True, slots=True)
class Written:
    """Where the parts of a pool stand in the file."""

    key: Node                          # the pool's owner
    settings: PolicySettings                # the pool's own over the defaults
    own: Collection[str]                    # the keys that the pool itself has
    draft: Draft | None                     # its probe
    backends: Node                     # the mapping, or the key of a pool that has none
    overrides: Mapping[Address, PolicySettings]  # what is written of its backends


def check(document: Document, pool: Pool, written: Written) -> None:
    """Report everything that is wrong with the pool."""
    families = _families(pool)
    _check_backends(document, pool, families, written)
    _check_weights(document, pool, families, written)
    _check_sticky(document, pool, families, written)
    _check_near(document, pool, written)
    _check_slowstart(document, pool, written)
    check_hidden(document, pool, written.settings, written.own)
    _check_load(document, pool, written)
    _check_promise(document, pool, written)
    check_safety(document, pool, written.settings, written.own)
    check_register(document, pool, written.settings, written.own)
    _check_ttl(document, pool, written)
    if pool.probe is not None and written.draft is not None:
        _check_probe(document, pool.probe, written.draft)
        _check_source(document, pool, pool.probe, written)


def _warn(document: Document, node: Node, fact: str, remedy: str) -> None:
    document.report(node, fact, remedy, Level.WARNING)


def _families(pool: Pool) -> _Families:
    families: dict[int, list[Backend]] = {}
    for backend in pool.backends:
        families.setdefault(backend.address.version, []).append(backend)
    return families


def _check_backends(document: Document, pool: Pool, families: _Families, written: Written) -> None:
    for version, backends in families.items():
        regular = [backend for backend in backends if not backend.backup]
        if not regular:
            fact = f"every IPv{version} backend of {pool.owner} is a backup"
            document.report(written.backends, fact, "leave one that is not")
        elif not sum(backend.weight for backend in regular):
            fact = f"the weights of the IPv{version} backends of {pool.owner} sum to zero"
            document.report(written.backends, fact, "give a weight above 0 to one that is no backup")
    if len(pool.backends) == 1 and pool.register is None:
        fact = f"{pool.owner} has one backend, so there is nothing to balance"
        _warn(document, written.key, fact, "add addresses to the zone file, or remove the pool")
    if pool.probe is None:
        for override in written.overrides.values():
            if "probe_address" in override:
                node = override["probe_address"].node
                _warn(document, node, "probe_address is of no use without a probe", "add probe:, or remove it")


def _check_weights(document: Document, pool: Pool, families: _Families, written: Written) -> None:
    weights = [
        tuple([backend.weight for backend in backends if backend.weight and not backend.backup])
        for backends in families.values()
    ]
    if all(len(set(each)) <= 1 for each in weights):
        return
    node = next(override["weight"].node for override in written.overrides.values() if "weight" in override)
    misplaced = max(map(_misplaced, weights))
    if pool.order is RRsetOrder.NONE:
        _warn(document, node, "order: none has one leader, so weights do nothing", "write another order")
    elif not pool.is_single:
        _warn(document, node, f"weights without answers: 1 do next to nothing: {_RESHUFFLE}", "add answers: 1")
    elif misplaced > _MOST_MISPLACED:
        fact = f"a cycle of {selection.MOST_TURNS} turns is too short for these weights"
        fact += f": {misplaced:.0%} of the answers go astray"
        _warn(document, node, fact, "write weights with a smaller sum, or use fewer backends")


@lru_cache(maxsize=256)  # of ten thousand pools most have the same few
def _misplaced(weights: tuple[int, ...]) -> float:
    """The part of all answers that another backend gets than the weights say, when all are up."""
    turns = selection.quantise(weights)
    pairs = zip(weights, turns, strict=True)
    return sum(abs(weight / sum(weights) - turn / sum(turns)) for weight, turn in pairs) / 2


def _check_sticky(document: Document, pool: Pool, families: _Families, written: Written) -> None:
    if pool.order is not RRsetOrder.STICKY:
        return
    node = written.settings["order"].node
    most = max(map(len, families.values()))
    if not pool.is_single:
        _warn(document, node, f"sticky without answers: 1 holds no client: {_RESHUFFLE}", "add answers: 1")
    elif most * _LEAST_SLOTS > SLOTS:
        fact = f"sticky divides the clients into {SLOTS} parts: of {most} backends some get far more than others"
        _warn(document, node, fact, f"use at most {SLOTS // _LEAST_SLOTS} backends, or another order")


def _check_near(document: Document, pool: Pool, written: Written) -> None:
    # As a default it is meant for the pools that it is of use to.
    if "near_networks" in written.own and pool.near is None:
        node = written.settings["near_networks"].node
        fact = "near_networks is of no use when all clients get as many answers"
        _warn(document, node, fact, "add answers: {near: 1, far: all}, or remove it")


def _check_slowstart(document: Document, pool: Pool, written: Written) -> None:
    if not pool.slowstart:
        return
    node = written.settings["slowstart"].node
    # As a default it is meant for the pools that it is of use to.
    if pool.probe is None:
        if "slowstart" in written.own:
            _warn(document, node, "slowstart is of no use without a probe", "add probe:, or remove it")
    elif pool.order is RRsetOrder.NONE:
        if "slowstart" in written.own:
            _warn(document, node, "order: none has one leader, so slowstart does nothing", "write another order")
    elif not pool.is_single:
        _warn(document, node, f"slowstart without answers: 1 does next to nothing: {_RESHUFFLE}", "add answers: 1")


def _check_load(document: Document, pool: Pool, written: Written) -> None:
    if pool.load is None or written.draft is None:
        return
    node = written.draft.settings["load"].node
    if pool.order is RRsetOrder.NONE:
        _warn(document, node, "order: none has one leader, so load does nothing", "write another order")
    elif not pool.is_single:
        _warn(document, node, f"load without answers: 1 does next to nothing: {_RESHUFFLE}", "add answers: 1")


def _check_promise(document: Document, pool: Pool, written: Written) -> None:
    """Whether detection leaves a TTL within the promised failover time (the rule is in ``ttl``)."""
    promise = pool.ttl.failover
    if promise is None:
        return
    bounds = written.settings["ttl"].value
    probe = pool.probe
    if probe is None:
        fact = f"{pool.owner} promises failover in {promise:g}s, but has no probe to notice a death"
        document.report(bounds["failover"].node, fact, "add probe:, or remove failover")
        return
    # The zone file's TTL wins over `min`.
    least = max(min(pool.ttl.min, max(pool.zone_ttls.values(), default=0)), 1)
    left = promise - probe.detection - ttl.OVERTIME
    if round(left, 6) >= least:
        return
    fact = (
        f"{pool.owner} promises failover in {promise:g}s, but detection takes up to {probe.detection:g}s, the TTL is"
        f" at least {least}s, and resolvers add {ttl.OVERTIME}s"
    )
    faster = setting_for(probe, promise - least - ttl.OVERTIME)
    remedies = [faster] if faster is not None else []
    if left >= 1:
        remedies.append(f"min: {floor(left)}s")
    remedies.append(f"failover: {ceil(round(probe.detection + least + ttl.OVERTIME, 6))}s")
    document.report(bounds["failover"].node, fact, f"{' or '.join(remedies)} would keep it")


def _check_ttl(document: Document, pool: Pool, written: Written) -> None:
    bounds = written.settings["ttl"].value if "ttl" in written.settings else {}
    lowest = min(pool.zone_ttls.values(), default=pool.ttl.min)
    if "min" in bounds and pool.ttl.min > lowest:
        fact = f"{pool.owner} has a TTL of {lowest}s in the zone file, which wins over min {pool.ttl.min}s"
        _warn(document, bounds["min"].node, fact, "raise the zone file's TTL, or lower this")
    highest = max(pool.zone_ttls.values(), default=0)
    # As a default it is meant for the pools that have a higher one; `ttl: 30s` has been told of as `min`.
    if "ttl" in written.own and "max" in bounds and bounds["max"].value > max(highest, pool.ttl.min):
        fact = f"{pool.owner} has a TTL of {highest}s in the zone file, which wins over max {bounds['max'].value}s"
        _warn(document, bounds["max"].node, fact, "raise the zone file's TTL, or lower this")
    if pool.when_all_down is AllDown.NONE and pool.probe is not None:
        ceiling = min((ttl.bounds(pool, version).ceiling for version in pool.zone_ttls), default=pool.negative_ttl)
        if pool.negative_ttl > ceiling:
            fact = (
                f"when {pool.owner} is down, resolvers keep the NODATA for {pool.negative_ttl}s,"
                f" its addresses for at most {ceiling}s: it outlives the outage"
            )
            remedy = f"write {ceiling} as the MINIMUM of the zone's SOA (RFC 2308 §5), or all"
            _warn(document, written.settings["when_all_down"].node, fact, remedy)


def _check_probe(document: Document, probe: Probe, draft: Draft) -> None:
    settings = draft.settings
    written = [key for key in ("interval", "fast_interval", "down_interval") if key in settings]
    intervals = {"interval": probe.interval, **{key: settings[key].value for key in written}}
    shortest = min(intervals, key=lambda key: intervals[key])
    if "timeout" in settings and probe.timeout > intervals[shortest]:
        fact = f"the timeout {probe.timeout:g}s is longer than {shortest} {intervals[shortest]:g}s"
        fact += ": a probe that hangs delays the next"
        remedy = f"write at most timeout: {intervals[shortest]:g}s"
        _warn(document, settings["timeout"].node, fact, remedy)
    if probe.fast_interval is not None and probe.fast_interval > probe.interval:
        fact = f"fast_interval {probe.fast_interval:g}s is slower than interval {probe.interval:g}s"
        _warn(document, settings["fast_interval"].node, fact, "exchange them, or remove fast_interval")
    check_unsteady(document, probe, settings)
    match probe.check:
        case HttpCheck(tls=True, verify=False) as checked:
            fact = "verify: false takes any certificate, an expired or foreign one too"
            if checked.ca_file is not None:
                fact += ", and leaves ca_file unread"
            _warn(document, settings["verify"].node, fact, "give the authority in ca_file: instead")
        case ExecCheck(command) if not any("{address}" in word for word in command):
            fact = "the program is not told which address to check"
            _warn(document, settings["exec"].node, fact, 'add "{address}" to its arguments')


def _check_source(document: Document, pool: Pool, probe: Probe, written: Written) -> None:
    """Whether every backend can be probed from the source.  A program gets no source, so it may be any."""
    if probe.source is None or isinstance(probe.check, ExecCheck) or written.draft is None:
        return
    other = [backend.target for backend in pool.backends if backend.target.version != probe.source.version]
    if other:
        fact = f"from source {probe.source} nothing reaches {other[0]}, a backend of {pool.owner}"
        remedy = f"remove source, or give the backend an IPv{probe.source.version} probe_address"
        document.report(written.draft.settings["source"].node, fact, remedy)
