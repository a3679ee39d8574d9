"""What a pool does, in a few lines for a person.

Pure: text out, nothing printed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from dnslb.advice.forecast import failover_worst
from dnslb.advice.resolver import ANY
from dnslb.balance import hidden_load, near
from dnslb.balance.load import damping
from dnslb.balance.pool import (
    AgentCheck,
    AllDown,
    Backend,
    Check,
    DnsCheck,
    ExecCheck,
    HttpCheck,
    JoinPolicy,
    Least,
    Load,
    OnReturn,
    Pool,
    Probe,
    TcpCheck,
)
from dnslb.balance.ttl import bounds
from dnslb.dns import rrtype

MOST_NAMED = 4  # backends

# Chromium and Firefox hold every address so long; some resolvers are set to, too.
_HELD = 60


def lines(pool: Pool) -> list[str]:
    """The pool's name, then its backends, probe, order and TTLs, and how soon a dead backend is left alone."""
    rows = [("backends", _backends(pool)), ("probe", _probe(pool.probe)), ("order", _order(pool)), ("ttl", _ttls(pool))]
    rows[3:3] = [("near", text) for text in _near(pool)]
    if pool.register is not None and pool.probe is not None:
        rows.append(("join", _join(pool.register)))
    rows += [("orders", text) for text in _safety(pool)]
    if pool.load is not None:
        rows.append(("load", _load(pool, pool.load)))
    if pool.probe is not None:
        rows.append(("death", _death(pool, pool.probe)))
    if pool.delay:
        rows.append(("travels", f"to the zone's secondaries within {pool.delay:g} s (BIND looks at 20 zones a second)"))
    rows.append(("nodata", _nodata(pool)))
    return [pool.owner, *(f"  {title:<8}  {text}" for title, text in rows)]


def _backends(pool: Pool) -> str:
    named = [_backend(backend) for backend in pool.backends[:MOST_NAMED]]
    if len(pool.backends) > MOST_NAMED:
        named.append("…")
    return f"{len(pool.backends):,}: {', '.join(named)}"


def _backend(backend: Backend) -> str:
    facts = []
    if backend.weight != 1:
        facts.append(f"weight {backend.weight}")
    if backend.backup:
        facts.append("backup")
    if backend.probe_address is not None:
        facts.append(f"probed at {backend.probe_address}")
    return f"{backend.address} ({', '.join(facts)})" if facts else str(backend.address)


def _probe(probe: Probe | None) -> str:
    if probe is None:
        return "none; every backend counts as up"
    pace = [f"every {probe.interval:.9g} s"]
    if probe.fast_interval is not None:
        pace.append(f"{probe.fast_interval:.9g} s in doubt")
    if probe.down_interval is not None:
        pace.append(f"{probe.down_interval:.9g} s while down")
    text = f"{_check(probe.check)} {', '.join(pace)}, down after {probe.fall}, up after {probe.rise}"
    if probe.unsteady is not None:
        most = probe.unsteady.most
        text += f"; unsteady, so down too, after {most} of the last {probe.unsteady.of}"
    return text


def _check(check: Check) -> str:
    match check:
        case TcpCheck(port):
            return f"tcp on port {port}"
        case HttpCheck():
            method = "" if check.method == "GET" else f"{check.method} "
            host = "" if check.host is None else f" of {check.host}"
            return f"{'https' if check.tls else 'http'} {method}{check.path}{host} on port {check.port}"
        case DnsCheck():
            return f"dns {check.name} {check.rrtype} on port {check.port}"
        case ExecCheck(command):
            return f"exec {command[0]}"
        case AgentCheck(port):
            return f"agent on port {port}"


def _load(pool: Pool, load: Load) -> str:
    """Who tells it, and how fast that moves weights."""
    check, every = load.told_by.check, f"every {load.told_by.interval:.9g} s"
    told = f"{_check(check)}, {every}"
    if isinstance(check, HttpCheck) and check.gauge is not None:
        full = "" if check.gauge.full == 1 else f", {check.gauge.full:.9g} is full"
        told = f"{check.gauge.name}{full}, " + (f"with each {told}" if load.told_by == pool.probe else f"from {told}")
    longest = max((bounds(pool, version).ceiling for version in pool.zone_ttls), default=0)
    sheds = "" if load.overload is None else f"; leads no more from {load.overload}% on"
    return f"{told}; smoothed over {damping(load.told_by, longest):.9g} s at the longest TTL{sheds}"


def _order(pool: Pool) -> str:
    many = f"{_most(pool.answers)} in a reply"
    if pool.near is not None:
        many = f"{_most(pool.near.answers)} in a reply to near clients, {_most(pool.answers)} to others"
    none_up = "all of them" if pool.when_all_down is AllDown.ALL else "no address"
    slowly = f"; a recovered one takes {pool.slowstart:.9g} s to its full share" if pool.slowstart else ""
    few = f"; all of them when less than {pool.fail_open_below}% is up" if pool.fail_open_below else ""
    return f"{pool.order.value}, {many}; {none_up} when none is up{few}{slowly}"


def _join(policy: JoinPolicy) -> str:
    networks = ", ".join(map(str, policy.networks[:MOST_NAMED])) + (", …" if len(policy.networks) > MOST_NAMED else "")
    whose = "any address" if policy.others else "its own address"
    return f"{policy.limit} more at most, each for {whose} in {networks}; renewed within {policy.lease:.9g} s"


def _safety(pool: Pool) -> Iterator[str]:
    """What has to be said by hand."""
    if pool.min_ready != Least():
        least = pool.min_ready
        what = f"{least} of the weight" if least.percent else f"{least} backend{'' if least.backends == 1 else 's'}"
        yield f"what would leave less than {what} up and ready needs --force"
    if pool.on_return is OnReturn.MANUAL and pool.probe is not None:
        yield "who was down returns by `dnslb ready` only"


def _most(answers: int | None) -> str:
    return "all" if answers is None else f"at most {answers}"


def _near(pool: Pool) -> Iterator[str]:
    """Who they are; and what to write, if they do not get what they should."""
    addresses = [backend.address for backend in pool.backends]
    if pool.near is not None:
        named = [str(network) for network in islice(near.neighbourhoods(addresses), MOST_NAMED + 1)]
        if len(named) > MOST_NAMED:
            named[MOST_NAMED:] = ["…"]
        if any(map(near.is_private, addresses)):
            named.append("any private network")
        if pool.near.named != near.Networks():
            named.append("near_networks")
        yield f"clients in {', '.join(named)}"
    answers = pool.answers if pool.near is None else pool.near.answers
    if answers != 1 and near.are_sorted(addresses):
        yield (
            "in their own subnet a client with glibc uses only the address most like its own (RFC 6724 rule 9);"
            f" to spread clients there, write answers: {{near: 1, far: {pool.answers or 'all'}}}"
        )


def _ttls(pool: Pool) -> str:
    return ", ".join(f"{rrtype.address_text(version)} {_range(pool, version)}" for version in sorted(pool.zone_ttls))


def _range(pool: Pool, version: int) -> str:
    limits = bounds(pool, version)
    numbers = str(limits.floor) if limits.floor == limits.ceiling else f"{limits.floor} to {limits.ceiling}"
    text = f"{numbers} s ({limits.why})"
    if not pool.ttl.is_adaptive:
        return text
    mean = hidden_load.limits(pool, version, limits.ceiling).mean
    return f"{text}, by what is hidden behind a resolver: as many queries as with {mean} s"


def _nodata(pool: Pool) -> str:
    """How long the answer "no such record" is kept: for other types, and for a pool that answers it when none is up."""
    also = ", or of none up," if pool.when_all_down is AllDown.NONE else ""
    return f"an answer of no such type{also} is kept {pool.negative_ttl} s (the zone's SOA)"


def _death(pool: Pool, probe: Probe) -> str:
    """The worst case, for the RRset that is cached longest."""
    longest = max((bounds(pool, version).ceiling for version in pool.zone_ttls), default=0)
    last = failover_worst(probe, longest, 0.0) + pool.delay
    text = f"noticed within {probe.detection:.9g} s, last client after {last:.9g} s"
    if longest < ANY.longest:
        text += f", as some resolvers hold records {ANY.longest:.9g} s at least"
    if longest < _HELD:
        held = failover_worst(probe, _HELD, 0.0) + pool.delay
        text += f" ({held:.9g} s where caches hold {_HELD} s)"
    return text
