"""What the server measures, for Prometheus.  README.md holds the list.

It comes in pieces, between which the parent goes on with its work: probes must not wait for a scrape.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dnslb import __version__, exposition
from dnslb.balance import admin
from dnslb.balance.admin import Mode
from dnslb.balance.pool import Address
from dnslb.dns import name
from dnslb.dns.kind import NO_REPLY, kind
from dnslb.exposition import Sample, counter, gauge, labels
from dnslb.probe.schedule import Schedule
from dnslb.serve.generation import Generation
from dnslb.serve.ledger import Ledger
from dnslb.serve.operations import RRTYPES
from dnslb.serve.record import BOUNDS, Record, Records
from dnslb.serve.usage import usage
from dnslb.snapshot import KINDS

_ROWS = 500  # backends looked at in a row
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


@dataclass(frozen=True, slots=True)
class View:
    """All that is measured, where it stands."""

    pid: int
    started: float  # Unix time
    now: float
    generation: Generation
    ledger: Ledger
    records: Records
    schedule: Schedule
    reloads: Reloads


@dataclass(frozen=True, slots=True)
class _Row:
    """A backend."""

    labels: str
    up: bool | None
    mode: Mode
    weight: int
    share: float
    led: int
    record: Record | None


def pieces(view: View) -> Iterator[str]:
    """All metrics as text."""
    yield from _server(view)
    yield from _queries(view.ledger)
    yield from _catalog(view)
    rows: list[_Row] = []
    for some in _rows(view):
        rows += some
        yield ""
    yield from _backends(rows)
    yield from _probes(view, rows)


def _server(view: View) -> Iterator[str]:
    crew, ledger = view.generation.crew, view.ledger
    build = labels(version=__version__, python=platform.python_version())
    yield from gauge("dnslb_build_info", "Always 1; the labels tell the versions.", [(build, 1)])
    yield from gauge("dnslb_start_time_seconds", "Unix time of the start of the server.", [("", view.started)])
    yield from gauge("dnslb_generation", "Catalogs served up to now.", [("", ledger.generations)])
    yield from gauge("dnslb_workers", "Workers that should answer.", [("", crew.size)])
    yield from gauge("dnslb_workers_silent", "Workers that are not known to answer.", [("", len(crew.silent))])
    restarts = [("", ledger.restarts)]
    yield from counter("dnslb_worker_restarts_total", "Workers that died and were replaced.", restarts)
    processes = {"parent": view.pid} | {f"worker {number}": pid for number, pid in sorted(crew.pids.items())}
    usages = [(labels(process=process), usage(pid)) for process, pid in processes.items()]
    known = [(text, used) for text, used in usages if used is not None]
    meaning = "Memory of a process; workers share most of theirs with the parent."
    yield from gauge("dnslb_process_resident_memory_bytes", meaning, [(text, used.memory) for text, used in known])
    meaning = "CPU time that a process has used."
    yield from counter("dnslb_process_cpu_seconds_total", meaning, [(text, used.cpu) for text, used in known])
    yield from counter("dnslb_bugs_total", "Queries lost to a bug of dnslb.", [("", ledger.bugs)])


def _queries(ledger: Ledger) -> Iterator[str]:
    protocols = {"udp": ledger.udp, "tcp": ledger.tcp}
    queries, dropped, truncated = Counter[str](), Counter[str](), Counter[str]()
    replies = Counter({(protocol, *usual): 0 for protocol in protocols for usual in _USUAL})
    for protocol, heads in protocols.items():
        for head, count in heads.items():
            queries[protocol] += count
            if head == NO_REPLY:
                dropped[protocol] += count
                continue
            found = kind(head)
            replies[protocol, found.rcode, found.kind] += count
            truncated[protocol] += found.truncated * count

    def by_protocol(counts: Counter[str]) -> list[Sample]:
        return [(labels(protocol=protocol), counts[protocol]) for protocol in protocols]

    told = [
        (labels(protocol=protocol, rcode=rcode, kind=kind), count) for (protocol, rcode, kind), count in replies.items()
    ]
    yield from counter("dnslb_queries_total", "Queries that came in.", by_protocol(queries))
    yield from counter("dnslb_replies_total", "Replies by response code and kind.", told)
    yield from counter("dnslb_replies_truncated_total", "Replies with TC.", by_protocol(truncated))
    yield from counter("dnslb_queries_dropped_total", "Queries that got no reply.", by_protocol(dropped))
    yield from counter("dnslb_replies_packed_total", "Replies that were not found ready.", [("", ledger.packed)])
    yield from counter("dnslb_tcp_connections_total", "TCP connections accepted.", [("", ledger.accepted)])
    meaning = "TCP connections refused because of the limits."
    yield from counter("dnslb_tcp_connections_refused_total", meaning, [("", ledger.rejected)])
    now = sum(ledger.open.values())
    yield from gauge("dnslb_tcp_connections_open", "TCP connections open now.", [("", now)])


def _catalog(view: View) -> Iterator[str]:
    reloads = view.reloads
    ended = [(labels(result="success"), reloads.succeeded), (labels(result="refused"), reloads.refused)]
    yield from counter("dnslb_reloads_total", "Reloads by result.", ended)
    meaning = "1 unless the last reload was refused."
    yield from gauge("dnslb_last_reload_successful", meaning, [("", int(not reloads.is_refused))])
    meaning = "Unix time at which what is served was read."
    yield from gauge("dnslb_last_reload_success_timestamp_seconds", meaning, [("", reloads.loaded)])
    zones = [(name.text(apex), zone.serial) for apex, zone in view.generation.catalog.zones.items()]
    serials = ((labels(zone=zone), serial) for zone, serial in zones)
    yield from gauge("dnslb_zone_serial", "Serial of a zone.", serials)
    changed = ((labels(zone=zone), reloads.changed.get(zone, view.started)) for zone, _ in zones)
    meaning = "Unix time at which the present records of a zone were first read."
    yield from gauge("dnslb_zone_loaded_timestamp_seconds", meaning, changed)
    balancer = view.generation.balancer
    rrsets = [
        (labels(pool=pool.owner, type=RRTYPES[version]), *balancer.rrset(owner, version))
        for owner, pool in balancer.pools.items()
        for version in sorted(pool.zone_ttls)
    ]
    ttls = ((text, ttl.seconds) for text, _, ttl in rrsets)
    yield from gauge("dnslb_pool_ttl_seconds", "TTL in force.", ttls)
    opens = ((text, int(chosen.fails_open)) for text, chosen, _ in rrsets)
    yield from gauge("dnslb_pool_failing_open", "1 while no backend is up and all are handed out.", opens)


def _rows(view: View) -> Iterator[list[_Row]]:
    """The backends of all pools, some at a time."""
    balancer = view.generation.balancer
    rows: list[_Row] = []
    for owner, pool in balancer.pools.items():
        shares: dict[Address, float] = {}
        for version in pool.zone_ttls:
            chosen, _ = balancer.rrset(owner, version)
            total = sum(share.weight for share in chosen.shares)
            shares |= {share.address: share.weight / total for share in chosen.shares}
        for backend in pool.backends:
            address = backend.address
            key = (pool.probe, backend.target) if pool.probe is not None else None
            health = balancer.healths.get(key) if key else None
            rows.append(_Row(
                labels=labels(pool=pool.owner, address=str(address)),
                up=None if health is None else health.up,
                mode=admin.mode_for(balancer.orders, pool.owner, address, view.now),
                weight=backend.weight,
                share=shares.get(address, 0.0),
                led=view.ledger.led((owner, KINDS[address.version]), address.packed),
                record=view.records.get(key) if key else None,
            ))  # fmt: skip
            if len(rows) == _ROWS:
                yield rows
                rows = []
    yield rows


def _backends(rows: list[_Row]) -> Iterator[str]:
    ups = ((row.labels, int(row.up)) for row in rows if row.up is not None)
    yield from gauge("dnslb_backend_up", "1 when the verdict is up; absent without a probe.", ups)
    modes = ((f'{row.labels},mode="{row.mode.value}"', 1) for row in rows)
    yield from gauge("dnslb_backend_mode", "Always 1; the label tells the order: ready, drain or maint.", modes)
    yield from gauge("dnslb_backend_weight", "Weight of the policy.", ((row.labels, row.weight) for row in rows))
    handed_out = ((row.labels, int(row.share > 0)) for row in rows)
    yield from gauge("dnslb_backend_handed_out", "1 while it is in the answers.", handed_out)
    shares = ((row.labels, row.share) for row in rows)
    yield from gauge("dnslb_backend_share_ratio", "Share of the leading answers that it should have.", shares)
    led = ((row.labels, row.led) for row in rows)
    yield from counter("dnslb_backend_leading_answers_total", "Answers that it led.", led)


def _probes(view: View, rows: list[_Row]) -> Iterator[str]:
    yield from gauge("dnslb_probe_lag_seconds", "Seconds by which probes start late.", [("", view.schedule.lag)])
    yield from gauge("dnslb_probes_in_flight", "Probes under way.", [("", view.schedule.in_flight)])
    probed = [(row.labels, row.record) for row in rows if row.record is not None]
    changes = (
        (f'{text},to="{verdict}"', count)
        for text, record in probed
        for verdict, count in (("up", record.up), ("down", record.down))
    )
    yield from counter("dnslb_backend_verdict_changes_total", "Changes of the verdict.", changes)
    outcomes = (
        (f'{text},{labels(result="pass" if ok else "fail", reason=reason)}', count)
        for text, record in probed
        for (ok, reason), count in record.outcomes.items()
    )
    meaning = "Probes by result and reason; reasons beyond eight count as other."
    yield from counter("dnslb_backend_probes_total", meaning, outcomes)
    durations = ((text, record.buckets, record.seconds) for text, record in probed)
    yield from exposition.histogram("dnslb_backend_probe_duration_seconds", "Time that probes took.", BOUNDS, durations)
