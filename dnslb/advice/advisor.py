"""Which TTL grants an operator's wishes, and what would have to change when none does.

Pure.  ``forecast`` has the formulas.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, floor, log10

from dnslb.advice.detection import settings_for
from dnslb.advice.forecast import Situation, authoritative_load, imbalance
from dnslb.advice.resolver import ANY, Resolver

LONGEST = 604_800  # seconds: the highest TTL that is thought of, a week

# Seconds that people write.
_ROUND = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 43200, 86400, 172_800, LONGEST)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator wants; None: no matter."""

    failover: float | None = None       # seconds from a backend's death to its last client, at worst
    max_load: float | None = None       # queries per second at the authoritative server
    max_imbalance: float | None = None  # coefficient of variation of the backends' shares in a window


@dataclass(frozen=True, slots=True)
class Conflict:
    """Wishes that no TTL grants."""

    fact: str
    remedies: tuple[str, ...]  # any one of them ends the conflict


@dataclass(frozen=True, slots=True)
class Advice:
    """The TTL to use, or why there is none."""

    ttl: int | None              # seconds; None with conflicts
    reasons: tuple[str, ...]
    conflicts: tuple[Conflict, ...]
    notes: tuple[str, ...]       # what the TTL does not decide


@dataclass(frozen=True, slots=True)
class _Limits:
    """The TTLs, in whole seconds, that each wish allows."""

    load: int       # at least
    failover: int   # at most
    imbalance: int  # at most

    @property
    def most(self) -> int:
        return min(self.failover, self.imbalance)


def advise(situation: Situation, wishes: Wishes) -> Advice:
    """The highest TTL that grants the wishes; with no failover wished for, about the time that detection takes.

    Below the detection time a lower TTL costs much load and gains little time.
    """
    limits = _Limits(
        load=_lowest_for_load(situation, wishes.max_load),
        failover=_highest_for_failover(situation, wishes.failover),
        imbalance=_highest_for_imbalance(situation, wishes.max_imbalance),
    )
    conflicts = tuple(_conflicts(situation, wishes, limits))
    reasons = tuple(_reasons(situation, wishes, limits))
    if conflicts:
        return Advice(None, reasons, conflicts, ())
    aim = limits.most if wishes.failover is not None else min(limits.most, max(1, floor(situation.probe.detection)))
    chosen = _round(aim, limits.load, limits.most)
    return Advice(chosen, reasons, (), tuple(_notes(situation, chosen)))


def _lowest_for_load(situation: Situation, max_load: float | None) -> int:
    if max_load is None:
        return 1
    # Q(T) falls with T, and is below R/T.
    most = ceil(situation.resolvers / max_load) + 1
    return 1 + bisect_left(range(1, most), True, key=lambda ttl: _load(situation, ttl) <= max_load)


def _highest_for_failover(situation: Situation, failover: float | None) -> int:
    if failover is None:
        return LONGEST
    return min(LONGEST, floor(round(failover - _overhead(situation), 6)))


def _highest_for_imbalance(situation: Situation, max_imbalance: float | None) -> int:
    if max_imbalance is None:
        return LONGEST
    return bisect_left(range(1, LONGEST + 1), True, key=lambda ttl: _cv(situation, ttl) > max_imbalance)


def _overhead(situation: Situation) -> float:
    """What failover takes beside the TTL."""
    return situation.probe.detection + situation.resolver.overtime + situation.client_cache + situation.client_timeout


def _load(situation: Situation, ttl: float) -> float:
    return authoritative_load(situation.rates, max(ttl, situation.lowest))


def _cv(situation: Situation, ttl: float) -> float:
    return imbalance(situation, max(ttl, situation.lowest))


def _conflicts(situation: Situation, wishes: Wishes, limits: _Limits) -> Iterator[Conflict]:
    if wishes.failover is not None:
        yield from _failover_conflicts(situation, wishes.failover, wishes.max_load, limits)
    if wishes.max_imbalance is not None:
        yield from _imbalance_conflicts(situation, wishes.max_imbalance, wishes.max_load, limits)


def _failover_conflicts(
    situation: Situation, failover: float, max_load: float | None, limits: _Limits
) -> Iterator[Conflict]:
    overhead = _overhead(situation)
    held = max(1.0, situation.resolver_minimum, situation.resolver.longest)
    if failover < overhead + held:
        parts = [f"detection {situation.probe.detection:.9g} s"]
        if situation.resolver.overtime:
            parts.append(f"a resolver's clock {situation.resolver.overtime:.9g} s")
        if situation.client_timeout:
            parts.append(f"clients' time-outs {situation.client_timeout:.9g} s")
        if situation.client_cache:
            parts.append(f"clients' caches {situation.client_cache:.9g} s")
        parts.append(f"resolvers' minimum {held:.9g} s" if held > 1 else "a TTL of 1 s")
        fact = f"failover in {failover:.9g} s cannot be: {', '.join(parts)}"
        yield Conflict(fact, _faster(situation, failover, max(held, limits.load)))
    elif max_load is not None and limits.load > limits.failover:
        fact = (
            f"a load of {max_load:.9g}/s needs a TTL of {limits.load} s or more, "
            f"failover in {failover:.9g} s one of {limits.failover} s or less"
        )
        allowed = f"max-load: {_up(_load(situation, limits.failover))}/s"
        yield Conflict(fact, (allowed, *_faster(situation, failover, limits.load)))


def _faster(situation: Situation, failover: float, ttl: float) -> tuple[str, ...]:
    """What leaves room for such a TTL."""
    overhead = _overhead(situation)
    detection = failover - (overhead - situation.probe.detection) - ttl
    return (f"failover: {ceil(round(overhead + ttl, 6))}s", *settings_for(situation.probe, detection))


def _imbalance_conflicts(
    situation: Situation, max_imbalance: float, max_load: float | None, limits: _Limits
) -> Iterator[Conflict]:
    if limits.imbalance < 1:
        cv = _cv(situation, 1)
        fact = f"an imbalance of {max_imbalance:.9g} cannot be: at a TTL of 1 s it is {cv:.2g}"
        yield Conflict(fact, _more_even(situation, max_imbalance, limits.load))
    elif max_load is not None and limits.load > limits.imbalance:
        fact = (
            f"a load of {max_load:.9g}/s needs a TTL of {limits.load} s or more, "
            f"an imbalance of {max_imbalance:.9g} one of {limits.imbalance} s or less"
        )
        allowed = f"max-load: {_up(_load(situation, limits.imbalance))}/s"
        yield Conflict(fact, (allowed, *_more_even(situation, max_imbalance, limits.load)))


def _more_even(situation: Situation, max_imbalance: float, ttl: int) -> tuple[str, ...]:
    """What brings the imbalance down to the limit at such a TTL."""
    remedies = [f"max-imbalance: {_up(_cv(situation, ttl))}"]
    whole = replace(situation, answers=situation.backends)
    if situation.answers < situation.backends and _cv(whole, ttl) <= max_imbalance:
        remedies.append("mode: full")
    windows = range(ceil(situation.window), LONGEST)
    longer = bisect_left(windows, True, key=lambda window: _cv(replace(situation, window=window), ttl) <= max_imbalance)
    if longer < len(windows):
        remedies.append(f"window: {windows[longer]}s")
    return tuple(remedies)


def _reasons(situation: Situation, wishes: Wishes, limits: _Limits) -> Iterator[str]:
    if wishes.failover is not None:
        yield f"failover in {wishes.failover:.9g} s leaves a TTL of {max(0, limits.failover)} s or less"
    else:
        yield f"detection takes {situation.probe.detection:.9g} s at worst; a TTL far below it gains little"
    if wishes.max_load is not None:
        yield f"a load of {wishes.max_load:.9g}/s needs a TTL of {limits.load} s or more"
    if wishes.max_imbalance is not None and limits.imbalance < LONGEST:
        yield f"an imbalance of {wishes.max_imbalance:.9g} allows a TTL of {limits.imbalance} s or less"


def _notes(situation: Situation, ttl: int) -> Iterator[str]:
    detection = situation.probe.detection
    if ttl < situation.resolver_minimum:
        yield f"resolvers hold records {situation.resolver_minimum:.9g} s: a lower TTL does not shorten that"
    elif ttl < situation.resolver.longest:
        kind = "some resolvers (Knot's)" if situation.resolver is ANY else situation.resolver.title
        yield f"{kind} may hold records {situation.resolver.longest:.9g} s: a lower TTL does not shorten that"
    if ttl < situation.client_cache:
        yield f"clients hold addresses {situation.client_cache:.9g} s: a lower TTL does not shorten that"
    elif not situation.client_cache:
        yield "browsers hold addresses 60 s, whatever the TTL: --client-cache 60s counts it in"
    if ttl < detection / 2:
        yield f"detection ({detection:.9g} s) takes longer than the TTL: faster probes gain more than a lower TTL"
    if situation.answers < situation.backends:
        yield "a resolver's clients share what it cached: few resolvers make uneven shares"
    else:
        yield _on_order(situation.resolver)
    yield "resolvers that serve stale records (serve-expired) may hand out a dead backend after all"


def _on_order(resolver: Resolver) -> str:
    """What becomes of the order of a whole RRset."""
    if resolver is ANY:
        return "most resolvers reorder a whole RRset, so weights need --mode single (answers: 1)"
    if resolver.keeps_order:
        return f"{resolver.title} keeps the order of a whole RRset: for a TTL all its clients begin with one address"
    return f"{resolver.title} reorders a whole RRset, so weights need --mode single (answers: 1)"


def _round(aim: int, least: int, most: int) -> int:
    """A number that people write, at or below the aim if it may be so low, else above; the nearest allowed if none."""
    below = [number for number in _ROUND if least <= number <= aim]
    above = [number for number in _ROUND if max(aim, least) <= number <= most]
    if below:
        return below[-1]
    return above[0] if above else min(max(aim, least), most)


def _up(value: float) -> str:
    """Three significant digits, none rounded down."""
    scale = 10.0 ** (2 - floor(log10(value)))
    return f"{ceil(value * scale - 1e-6) / scale:.9g}"
