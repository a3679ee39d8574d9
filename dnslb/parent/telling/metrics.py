"""What the server measures, for Prometheus.  manual/monitoring.md holds the list.

It comes in pieces, between which the parent goes on with its work: probes must not wait for a scrape.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from dnslb import __version__
from dnslb.answer.served_pool import ServedPool
from dnslb.answer.served_pools import ServedPools
from dnslb.balance.load import Burden
from dnslb.balance.operator_order import Mode, mode_for
from dnslb.balance.pool import Backend
from dnslb.dns import name, rrtype
from dnslb.dns.name import Name
from dnslb.dns.reply_kind import NO_REPLY, UNSENT, classify
from dnslb.parent.generation import Generation
from dnslb.parent.inbound import Inbound
from dnslb.parent.probe_faults import ProbeFaults
from dnslb.parent.telling.probe_record import BOUNDS, ProbeRecord, ProbeRecords
from dnslb.parent.telling.totals import Totals
from dnslb.parent.transfers import Transfers
from dnslb.parent.updates import Updates
from dnslb.probe.schedule import Schedule
from dnslb.system.usage import usage
from dnslb.text.exposition import Family, Sample, counter, gauge, histogram, labels

_ROWS = 20    # backends looked at in a row
_LINES = 100  # samples of zones and pools in a piece
# Replies that are told of even before there are any: else the first ones would make no rate.
_USUAL = (
    ("NOERROR", "answer"), ("NOERROR", "nodata"), ("NOERROR", "referral"), ("NXDOMAIN", "nxdomain"),
    ("REFUSED", "refused"), ("FORMERR", "error"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reloads:
    """How they ended."""

    succeeded: int
    refused: int
    is_refused: bool             # the last one
    loaded: float                # Unix time of the last that succeeded, or of the start
    changed: Mapping[str, float]  # Unix time, by zone that is not as it was at the start
    needs_restart: bool          # for settings that the files have otherwise now


@dataclass(frozen=True, slots=True)
class View:
    """All that is measured, where it stands."""

    pid: int
    started: float  # Unix time
    now: float
    generation: Generation
    totals: Totals
    records: ProbeRecords
    faults: ProbeFaults
    schedule: Schedule
    reloads: Reloads
    transfers: Transfers
    updates: Updates
    inbound: Inbound


class _Row(NamedTuple):
    """A backend.  All that is done for each of them is kept cheap: there may be ten thousand."""

    labels: str
    up: bool | None
    mode: str
    weight: int
    share: float
    led: int
    record: ProbeRecord | None
    expires: float | None
    burden: Burden | None


_BUILD = gauge("dnslb_build_info", "Always 1; the labels tell the versions.")
_START = gauge("dnslb_start_time_seconds", "Unix time of the start of the server.")
_GENERATION = gauge("dnslb_generation", "Catalogs served up to now.")
_WORKERS = gauge("dnslb_workers", "Workers that should answer.")
_SILENT = gauge("dnslb_workers_silent", "Workers that are not known to answer.")
_RESTARTS = counter("dnslb_worker_restarts_total", "Workers that died and were replaced.")
_HUNG = counter("dnslb_workers_hung_total", "Workers that hung, were killed and replaced.")
_MEMORY = gauge("dnslb_process_resident_memory_bytes", "Memory of a process; workers share much of it with the parent.")
_CPU = counter("dnslb_process_cpu_seconds_total", "CPU time that a process has used.")
_BUGS = counter("dnslb_bugs_total", "Queries lost to a bug of dnslb.")

_QUERIES = counter("dnslb_queries_total", "Queries that came in.")
_REPLIES = counter("dnslb_replies_total", "Replies by response code and kind.")
_TRUNCATED = counter("dnslb_replies_truncated_total", "Replies with TC.")
_DROPPED = counter("dnslb_queries_dropped_total", "Queries that got no reply.")
_HELD = counter("dnslb_queries_held_total", "Queries that the rate limit held up: dropped, or told to come again.")
_UNSENT = counter("dnslb_replies_unsent_total", "Replies that the system did not take.")
_PACKED = counter("dnslb_replies_packed_total", "Replies that were not found ready.")
_RECORDED = counter("dnslb_query_records_total", "Records of queries written to dnstap and to the query log.")
_UNRECORDED = counter("dnslb_query_records_dropped_total", "Records of queries that nobody took in time.")
_CONNECTIONS = counter("dnslb_tcp_connections_total", "TCP connections accepted.")
_EVICTED = counter("dnslb_tcp_connections_evicted_total", "TCP connections closed to make room for new ones.")
_OPEN = gauge("dnslb_tcp_connections_open", "TCP connections open now.")

_RELOADS = counter("dnslb_reloads_total", "Reloads by result.")
_RELOADED = gauge("dnslb_last_reload_successful", "1 unless the last reload was refused.")
_RESTART = gauge("dnslb_restart_needed", "1 while the files say of a setting what only a start can change.")
_LOADED = gauge("dnslb_last_reload_success_timestamp_seconds", "Unix time at which what is served was read.")
_SERIAL = gauge("dnslb_zone_serial", "Serial of a zone.")
_ROTATED = gauge("dnslb_zone_rotated_names", "Names with several addresses and no policy: rotated, not probed.")
_ZONE = gauge("dnslb_zone_loaded_timestamp_seconds", "Unix time at which a zone was first read as it is now.")
_SECONDARY = gauge("dnslb_secondary_serial", "Serial that a secondary serves; absent before it has told.")
_BEHIND = gauge("dnslb_secondary_lag_seconds", "Seconds for which a secondary has lacked the last version of a zone.")
_UPDATES = counter("dnslb_updates_total", "Updates (RFC 2136) by the response code that they got.")
_UPDATED = gauge("dnslb_zone_updated_rrsets", "RRsets of a zone that are as updates say, and not as its file does.")
_REFRESHED = gauge(
    "dnslb_zone_refreshed_timestamp_seconds",
    "Unix time at which a primary said last that a zone is its last version; absent before it has come.",
)
_ZONE_EXPIRES = gauge(
    "dnslb_zone_expires_timestamp_seconds",
    "Unix time from which a zone of a primary is answered SERVFAIL unless it is heard; absent once it is.",
)
_NO_PRIMARY = gauge("dnslb_zone_refresh_failing", "1 while no primary of a zone gives what can be used.")
_ZONE_QUERIES = counter("dnslb_zone_queries_total", "Queries answered from a zone.")
_TTL = gauge("dnslb_pool_ttl_seconds", "TTL in force.")
_FAILS_OPEN = gauge("dnslb_pool_failing_open", "1 while none or too few backends are up and all are handed out.")
_JOINED = gauge("dnslb_pool_joined", "Backends that have joined the pool by themselves.")
_EMPTY = gauge("dnslb_pool_empty", "1 while no backend is available and the answer is empty.")

_RESOLVERS = gauge("dnslb_pool_resolvers", "Networks of resolvers whose hidden load is known.")
_HIDDEN = gauge("dnslb_pool_hidden_load_requests", "Requests a second hidden behind resolvers, by class of what is.")

_LAG = gauge("dnslb_probe_lag_seconds", "Seconds by which probes start late.")
_IN_FLIGHT = gauge("dnslb_probes_in_flight", "Probes under way.")
_NOT_MADE = counter("dnslb_probes_not_made_total", "Probes that could not be made, by our fault.")
_UP = gauge("dnslb_backend_up", "1 when the verdict is up; absent without a probe.")
_MODE = gauge("dnslb_backend_mode", "Always 1; the label tells the order: ready, drain or maint.")
_WEIGHT = gauge("dnslb_backend_weight", "Weight of the policy.")
_SHARE = gauge("dnslb_backend_share_ratio", "Share of the leading answers that it should have.")
_LOAD = gauge("dnslb_backend_load_ratio", "Smoothed load that it tells, 0 to 1; absent while it does not.")
_LEFT = gauge("dnslb_backend_weight_left_ratio", "Part of its weight that its load leaves; absent if nobody asks.")
_OVER = gauge("dnslb_backend_overloaded", "1 while it leads no more for its load; absent if nobody asks.")
_EXPIRES = gauge(
    "dnslb_backend_copies_expire_timestamp_seconds",
    "Unix time at which the last cached copy of it expires, or did; absent while it is handed out.",
)
_LED = counter("dnslb_backend_leading_answers_total", "Answers that it led.")
_CHANGES = counter("dnslb_backend_verdict_changes_total", "Changes of the verdict.")
_PROBES = counter("dnslb_backend_probes_total", "Probes by result and reason; reasons beyond eight count as other.")
_DURATION = histogram("dnslb_backend_probe_duration_seconds", "Time that probes took.")


def pieces(view: View) -> Iterator[str]:
    """All metrics as text."""
    for family, samples in (*_server(view), *_queries(view.totals), *_reloads(view.reloads)):
        yield family.head + family.lines(samples)
    zones = (*_zones(view), *_secondaries(view), *_replicas(view))
    for family, unmade in (*zones, *_pools(view.generation.balancer.served), *_hidden(view.totals)):
        yield family.head
        while some := list(islice(unmade, _LINES)):
            yield family.lines(some)
    yield from _rotated(view.generation)
    # A family must stand in one piece, but all that is told of a backend is looked up at once.
    texts: dict[Family, list[str]] = {}
    for rows in _rows(view):
        for family, text in _backends(rows):
            texts.setdefault(family, [family.head]).append(text)
        yield ""
    for found in texts.values():
        yield from found


def _server(view: View) -> list[tuple[Family, list[Sample]]]:
    workers, totals, schedule = view.generation.workers, view.totals, view.schedule
    processes = {"parent": view.pid} | {f"worker {number}": pid for number, pid in sorted(workers.pids.items())}
    usages = [(labels(process=process), usage(pid)) for process, pid in processes.items()]
    return [
        (_BUILD, [(labels(version=__version__, python=platform.python_version()), 1)]),
        (_START, [("", view.started)]),
        (_GENERATION, [("", totals.generations)]),
        (_WORKERS, [("", workers.size)]),
        (_SILENT, [("", len(workers.silent))]),
        (_RESTARTS, [("", totals.restarts)]),
        (_HUNG, [("", totals.hung)]),
        (_MEMORY, [(text, used.memory) for text, used in usages if used is not None]),
        (_CPU, [(text, used.cpu) for text, used in usages if used is not None]),
        (_BUGS, [("", totals.bugs)]),
        (_LAG, [("", schedule.lag)]),
        (_IN_FLIGHT, [("", schedule.in_flight)]),
        (_NOT_MADE, [(labels(reason=reason), count) for reason, count in sorted(view.faults.counts.items())]),
    ]


def _queries(totals: Totals) -> list[tuple[Family, list[Sample]]]:
    protocols = {"udp": totals.udp, "tcp": totals.tcp}
    replies = Counter({(protocol, *usual): 0 for protocol in protocols for usual in _USUAL})
    truncated = Counter[str]()
    for protocol, heads in protocols.items():
        for head, count in heads.items():
            if head not in (NO_REPLY, UNSENT):
                found = classify(head)
                replies[protocol, found.rcode, found.kind] += count
                truncated[protocol] += found.truncated * count
    return [
        (_QUERIES, [(labels(protocol=protocol), heads.total()) for protocol, heads in protocols.items()]),
        (_REPLIES, [
            (labels(protocol=protocol, rcode=rcode, kind=sort), count)
            for (protocol, rcode, sort), count in replies.items()
        ]),
        (_TRUNCATED, [(labels(protocol=protocol), truncated[protocol]) for protocol in protocols]),
        (_DROPPED, [(labels(protocol=protocol), heads[NO_REPLY]) for protocol, heads in protocols.items()]),
        (_HELD, [
            (labels(result="dropped"), totals.held - totals.put_off), (labels(result="put_off"), totals.put_off),
        ]),
        (_UNSENT, [(labels(protocol="udp"), totals.udp[UNSENT])]),
        (_PACKED, [("", totals.packed)]),
        (_RECORDED, [(labels(to=to), count) for to, count in totals.recorded.items()]),
        (_UNRECORDED, [(labels(to=to), count) for to, count in totals.unrecorded.items()]),
        (_CONNECTIONS, [("", totals.accepted)]),
        (_EVICTED, [("", totals.evicted)]),
        (_OPEN, [("", sum(totals.open.values()))]),
    ]  # fmt: skip


def _reloads(reloads: Reloads) -> list[tuple[Family, list[Sample]]]:
    return [
        (_RELOADS, [(labels(result="success"), reloads.succeeded), (labels(result="refused"), reloads.refused)]),
        (_RELOADED, [("", int(not reloads.is_refused))]),
        (_RESTART, [("", int(reloads.needs_restart))]),
        (_LOADED, [("", reloads.loaded)]),
    ]


def _zones(view: View) -> list[tuple[Family, Iterator[Sample]]]:
    zones, changed, serials = view.generation.catalog.zones, view.reloads.changed, view.transfers.published
    updates, changeable = view.updates, view.generation.catalog.updates
    told = [
        (_UPDATES, ((labels(rcode=rrtype.RCODES[rcode]), count) for rcode, count in updates.counts.items())),
        (_UPDATED, ((labels(zone=name.text(apex)), updates.number(apex)) for apex in changeable)),
    ]
    return [
        *(told if changeable else ()),
        (_SERIAL, ((labels(zone=name.text(apex)), serials.get(apex, zone.serial)) for apex, zone in zones.items())),
        (_ZONE_QUERIES, ((labels(zone=name.text(apex)), view.totals.zones[apex]) for apex in zones)),
        (_ZONE, ((labels(zone=zone), changed.get(zone, view.started)) for zone in map(name.text, zones))),
    ]


def _secondaries(view: View) -> list[tuple[Family, Iterator[Sample]]]:
    """Only where there are some."""
    known = [(labels(zone=one.zone, secondary=one.secondary), one) for one in view.transfers.status()]
    if not known:
        return []
    return [
        (_SECONDARY, ((text, one.serial) for text, one in known if one.serial is not None)),
        (_BEHIND, ((text, view.now - one.since if one.lags and one.since else 0) for text, one in known)),
    ]


def _replicas(view: View) -> list[tuple[Family, Iterator[Sample]]]:
    """Only where zones come from primaries."""
    known = [(labels(zone=one.zone), one) for one in view.inbound.status(view.generation.catalog)]
    if not known:
        return []
    return [
        (_REFRESHED, ((text, one.refreshed) for text, one in known if one.refreshed is not None)),
        (_ZONE_EXPIRES, ((text, one.expires) for text, one in known if one.expires is not None)),
        (_NO_PRIMARY, ((text, int(bool(one.error))) for text, one in known)),
    ]


def _rotated(generation: Generation) -> Iterator[str]:
    numbers: Counter[Name | None] = Counter(dict.fromkeys(generation.catalog.zones, 0))
    for owner in generation.rotated.several():
        if owner is None:
            yield ""
        else:
            numbers[generation.rotated.apex(owner)] += 1
    samples = iter([(labels(zone=name.text(apex)), number) for apex, number in numbers.items() if apex is not None])
    yield _ROTATED.head
    while some := list(islice(samples, _LINES)):
        yield _ROTATED.lines(some)


def _pools(served: ServedPools) -> list[tuple[Family, Iterator[Sample]]]:
    def rrsets() -> Iterator[tuple[str, ServedPool, int]]:
        for pool in list(served.values()):
            for version in sorted(pool.rrsets):
                yield labels(pool=pool.name, type=rrtype.address_text(version)), pool, version

    joinable = [pool for pool in served.values() if pool.pool.register is not None]
    joined = (
        (labels(pool=pool.name), sum(backend.joined is not None for backend in pool.pool.backends)) for pool in joinable
    )
    return [
        *([(_JOINED, joined)] if joinable else ()),
        (_TTL, ((text, pool.rrsets[version].ttl.seconds) for text, pool, version in rrsets())),
        (_FAILS_OPEN, ((text, int(pool.rrsets[version].selection.fails_open)) for text, pool, version in rrsets())),
        (_EMPTY, ((text, int(pool.is_empty(version))) for text, pool, version in rrsets())),
    ]


def _hidden(totals: Totals) -> list[tuple[Family, Iterator[Sample]]]:
    """Only where it is counted."""
    known = [
        (labels(pool=name.text(owner), type=rrtype.text(kind)), load) for (owner, kind), load in totals.loads.items()
    ]
    if not known:
        return []
    return [
        (_RESOLVERS, ((text, load.networks) for text, load in known)),
        (_HIDDEN, (
            (f'{text},class="{number}"', crowd.caches * crowd.load)
            for text, load in known
            for number, crowd in sorted(load.crowds.items())
        )),
    ]  # fmt: skip


def _rows(view: View) -> Iterator[list[_Row]]:
    """The backends of all pools, some at a time."""
    backends = _each(view)
    while rows := list(islice(backends, _ROWS)):
        yield rows
    # An empty one, so that every family is told of.
    yield []


def _each(view: View) -> Iterator[_Row]:
    for pool in list(view.generation.balancer.served.values()):
        owned = labels(pool=pool.name)
        for version in sorted(pool.rrsets):
            shares = pool.rrsets[version].shares()
            led = view.totals.led((pool.owner, rrtype.ADDRESS_TYPES[version]))
            for backend in pool.backends(version):
                share, answers = shares.get(backend.address, 0.0), led.get(backend.address.packed, 0)
                yield _row(view, pool, backend, owned, share, answers)


def _row(  # noqa: PLR0913, PLR0917 - what is known of an address lies in as many places
    view: View, pool: ServedPool, backend: Backend, owned: str, share: float, led: int
) -> _Row:
    balancer = view.generation.balancer
    record = health = None
    if pool.pool.probe is not None:
        key = (pool.pool.probe, backend.target)
        record, health = view.records.get(key), balancer.verdicts.healths.get(key)
    burden = pool.burdens.get(backend.target) if pool.burdens else None
    if burden is not None:
        health = burden.verdict or health
    up, orders = None if health is None else health.up, balancer.orders
    mode = mode_for(orders, pool.name, backend.address, view.now) if orders else Mode.READY
    expires = None if share else balancer.copies.last_copy(pool.owner, backend.address, view.now)
    text = f'{owned},address="{backend.address}"'
    return _Row(text, up, mode.value, backend.weight, share, led, record, expires, burden)


def _loads(laden: list[tuple[str, Burden]]) -> list[tuple[Family, str]]:
    """Only where somebody asks."""
    return [
        (_LOAD, _LOAD.lines((text, burden.load) for text, burden in laden if burden.is_known)),
        (_LEFT, _LEFT.lines((text, burden.left) for text, burden in laden)),
        (_OVER, _OVER.lines((text, int(burden.is_over)) for text, burden in laden)),
    ]


@lru_cache(maxsize=1000)
def _outcome(ok: bool, reason: str) -> str:
    return labels(result="pass" if ok else "fail", reason=reason)


def _backends(rows: list[_Row]) -> list[tuple[Family, str]]:
    """What is told of these backends."""
    probed = [(row.labels, row.record) for row in rows if row.record is not None]
    laden = [(row.labels, row.burden) for row in rows if row.burden is not None]
    return [
        (_UP, _UP.lines((row.labels, int(row.up)) for row in rows if row.up is not None)),
        (_MODE, _MODE.lines((f'{row.labels},mode="{row.mode}"', 1) for row in rows)),
        (_WEIGHT, _WEIGHT.lines((row.labels, row.weight) for row in rows)),
        (_SHARE, _SHARE.lines((row.labels, row.share) for row in rows)),
        *(_loads(laden) if laden else ()),
        (_EXPIRES, _EXPIRES.lines((row.labels, row.expires) for row in rows if row.expires is not None)),
        (_LED, _LED.lines((row.labels, row.led) for row in rows)),
        (_CHANGES, _CHANGES.lines((text, record.changes) for text, record in probed)),
        (_PROBES, _PROBES.lines(
            (f"{text},{_outcome(ok, reason)}", count)
            for text, record in probed
            for (ok, reason), count in record.outcomes.items()
        )),
        (_DURATION, _DURATION.histograms(
            BOUNDS, ((text, record.buckets, record.seconds) for text, record in probed)
        )),
    ]  # fmt: skip
