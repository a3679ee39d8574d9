"""``dnslb ttl``: which TTL to use, and what each would do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import click

from dnslb.advice import forecast, resolver
from dnslb.advice.advisor import LONGEST, Advice, Wishes, advise
from dnslb.advice.forecast import Forecast, Situation
from dnslb.balance.pool import Pool, Probe, TcpCheck
from dnslb.balance.ttl import bounds
from dnslb.cli import complete, option, report
from dnslb.simulation import variant
from dnslb.simulation.demand import Demand
from dnslb.simulation.trial import Extent, Trial
from dnslb.simulation.variant import Variant
from dnslb.text import duration

TTLS = (0, 1, 2, 5, 10, 15, 30, 60, 120, 300)
MOST_RESOLVERS = 100_000
MOST = 1e9  # look-ups or queries per second

_EXTENT = Extent(span=1200.0, deaths=0, seeds=2)  # of a simulation

Tried: TypeAlias = list[tuple[Variant, Trial]]

_HEADINGS = (
    ("TTL", ""),
    ("queries/s", "here"),
    ("hits", "%"),
    ("failover", "mean s"),
    ("", "worst s"),
    ("failed per", "1,000 rps"),
    ("imbalance", "CV"),
    ("", "max/mean"),
    ("", "Jain"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What to forecast, and what is wished for."""

    situation: Situation
    wishes: Wishes
    ttls: tuple[int, ...]


def _ttl(text: str) -> int:
    """Whole seconds; without a unit too, as in zone files."""
    seconds = float(text) if text.isascii() and text.isdigit() and len(text) < 10 else duration.parse(text)
    if seconds is None or seconds != int(seconds):
        raise click.BadParameter(f"{text} is no TTL; write whole seconds: 30s, 5m")
    if seconds > LONGEST:
        raise click.BadParameter(f"{text} is out of range; write 0s to {LONGEST // 3600}h")
    return int(seconds)


_DURATION = option.seconds(0.0, LONGEST)
_INTERVAL = option.seconds(0.01, LONGEST)
_RATE = option.number(0.001, MOST)
_COUNT = click.IntRange(1, 1000)


@click.command()
@click.argument("owner", metavar="[NAME]", required=False, shell_complete=complete.pools)
@click.argument("directory", type=click.Path(readable=False, path_type=Path), default=option.DIRECTORY)
@click.option("--zones", type=click.Path(readable=False, path_type=Path), hidden=True, help="As DIRECTORY.")
@click.option("--interval", type=_INTERVAL, metavar="DURATION", help="From probe to probe; default: 5s.")
@click.option("--fast-interval", type=_INTERVAL, metavar="DURATION", help="The same in doubt; default: --interval.")
@click.option("--fall", type=_COUNT, metavar="N", help="Failures in a row that take a backend out; default: 3.")
@click.option("--rise", type=_COUNT, metavar="N", help="Successes in a row that bring it back; default: 2.")
@click.option("--timeout", type=_INTERVAL, metavar="DURATION", help="Of a probe; default: 2s.")
@click.option("--backends", type=_COUNT, metavar="N", help="Addresses in the pool; default: 4.")
@click.option("--mode", type=click.Choice(["full", "single"]), help="All addresses in a reply, or one; default: full.")
@click.option("--qps", type=_RATE, default="100", metavar="N", help="Look-ups per second, in all; default: 100.")
@click.option(
    "--resolvers",
    type=click.IntRange(1, MOST_RESOLVERS),
    default=100,
    metavar="N",
    help="That clients look names up at; default: 100.",
)
@click.option(
    "--zipf",
    type=option.number(0.0, 10.0),
    default="1",
    metavar="S",
    help="Skew of the resolvers' shares of the look-ups, 0 for equal ones; default: 1.",
)
@click.option(
    "--window", type=_INTERVAL, default="60s", metavar="DURATION", help="Over which shares are compared; default: 60s."
)
@click.option(
    "--resolver",
    type=click.Choice(list(resolver.KINDS)),
    default="any",
    help="Of which kind they are, as measured; default: any, at its worst.",
)
@click.option(
    "--resolver-min-ttl", type=_DURATION, default="0s", metavar="DURATION", help="To which resolvers raise lower TTLs."
)
@click.option(
    "--client-cache",
    type=_DURATION,
    default="0s",
    metavar="DURATION",
    help="Kept by clients whatever the TTL: 60s in browsers, 30s in Java.",
)
@click.option(
    "--client-timeout",
    type=_DURATION,
    default="0s",
    metavar="DURATION",
    help="That clients wait for a backend that is silent; default: 0s, not counted.",
)
@click.option("--failover", type=_DURATION, metavar="DURATION", help="Wanted: then no client goes to a dead backend.")
@click.option("--max-load", type=_RATE, metavar="N", help="Wanted: at most so many queries per second arrive here.")
@click.option(
    "--max-imbalance",
    type=option.number(0.0, 1000.0),
    metavar="CV",
    help="Wanted: a coefficient of variation of the backends' shares of at most CV.",
)
@click.option(
    "--ttl",
    "ttls",
    type=_ttl,
    multiple=True,
    metavar="DURATION",
    help="A row of the table: 30s, 5m; may be repeated.",
)
@click.option(
    "--heterogeneity",
    type=option.percent(0, 99),
    metavar="SHARE",
    help="By how much the weakest backend is behind the strongest: say also which way to hand the pool out fits.",
)
@click.option(
    "--utilisation",
    type=option.percent(1, 200),
    default="67%",
    metavar="SHARE",
    help="Of all backends together, for --heterogeneity; default: 67%.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def ttl(owner: str | None, directory: Path, zones: Path | None, as_json: bool, **options: Any) -> None:
    """Say what TTLs do, and which one to use.

    With NAME, probe, backends, answers and promised failover are those of its pool in DIRECTORY (default: zones);
    options override them.
    With --heterogeneity a simulation tells which way to hand it out keeps the busiest backend below 90 %.
    Exits with 1 when no TTL grants all that is wanted.

    \b
    Example: dnslb ttl --interval 2s --timeout 1s --failover 30s --max-load 10
             dnslb ttl --backends 7 --resolvers 20 --zipf 1 --heterogeneity 35%
             dnslb ttl www.example.com --qps 2000
    """
    given = {key: value for key, value in options.items() if value not in (None, ())}
    asked = _asked(given) if owner is None else asked_of_pool(report.pool_or_exit(owner, zones or directory), given)
    advice = advise(asked.situation, asked.wishes)
    rows = [forecast.forecast(asked.situation, seconds) for seconds in asked.ttls]
    unlike, tried = given.get("heterogeneity"), []
    if unlike is not None and advice.ttl is not None:
        tried = _tried(asked.situation, advice.ttl, unlike, given["utilisation"])
    if as_json:
        click.echo(json.dumps(_object(asked, rows, advice) | ({"ways": _ways(tried)} if tried else {}), indent=2))
    else:
        lines = [*_heading(asked.situation), "", *_table(rows), "", *_words(advice)]
        click.echo("\n".join([*lines, "", *_fitting(tried, unlike)] if tried else lines))
    raise SystemExit(1 if advice.conflicts else 0)


def asked_of_pool(pool: Pool, given: dict[str, Any]) -> Asked:
    """What the options mean for a pool: for its A records, or AAAA if it has no A.  Backups take no part."""
    version = min(pool.zone_ttls)
    if pool.probe is None:
        raise click.ClickException(f"{pool.owner} is not probed, so no death is noticed; give its pool a probe")
    probed = [one for one in pool.backends if one.address.version == version and not one.backup]
    backends = given.get("backends", max(1, len(probed)))
    situation = _situation(pool.probe, backends, min(pool.answers or backends, backends), given)
    limits = bounds(pool, version)
    rows = given.get("ttls") or {*TTLS, limits.floor, limits.ceiling}
    return Asked(situation, _wishes({"failover": pool.ttl.failover, **given}), tuple(sorted(set(rows))))


def _asked(given: dict[str, Any]) -> Asked:
    backends = given.get("backends", 4)
    situation = _situation(Probe(TcpCheck(80)), backends, backends, given)
    return Asked(situation, _wishes(given), tuple(sorted(set(given.get("ttls", TTLS)))))


def _situation(probe: Probe, backends: int, answers: int, given: dict[str, Any]) -> Situation:
    settings = ("interval", "fast_interval", "fall", "rise", "timeout")
    mode = given.get("mode")
    return Situation(
        probe=replace(probe, **{key: given[key] for key in settings if key in given}),
        backends=backends,
        answers={"full": backends, "single": 1}.get(mode, answers) if mode else answers,
        rate=given["qps"],
        resolvers=given["resolvers"],
        skew=given["zipf"],
        window=given["window"],
        resolver=resolver.KINDS[given["resolver"]],
        resolver_minimum=given["resolver_min_ttl"],
        client_cache=given["client_cache"],
        client_timeout=given["client_timeout"],
    )


def _wishes(given: dict[str, Any]) -> Wishes:
    return Wishes(given.get("failover"), given.get("max_load"), given.get("max_imbalance"))


def _heading(situation: Situation) -> list[str]:
    probe = situation.probe
    every = f"every {probe.interval:g} s"
    if probe.fast_interval is not None:
        every += f", {probe.fast_interval:g} s after a failure"
    replies = "all" if situation.answers == situation.backends else str(situation.answers)
    lines = [
        f"pool       {report.count(situation.backends, 'backend')}, {replies} in each reply",
        f"probe      {every}, timeout {probe.timeout:g} s, down after {probe.fall}",
        f"detection  refused: mean {forecast.detection_mean_killed(probe):g} s, "
        f"worst {forecast.detection_worst_killed(probe):g} s; "
        f"hung: mean {forecast.detection_mean_hang(probe):g} s, worst {forecast.detection_worst_hang(probe):g} s",
        f"return     worst {forecast.recovery_worst(probe):g} s, up after {probe.rise}",
        f"clients    {situation.rate:,.9g} look-ups/s at {report.count(situation.resolvers, 'resolver')}, "
        f"Zipf {situation.skew:g} (as uneven as {forecast.effective_resolvers(situation.shares):.3g} equal ones); "
        f"shares over {situation.window:g} s",
    ]
    held = [] if situation.resolver is resolver.ANY else [f"the resolvers are {situation.resolver.title}"]
    if situation.resolver_minimum:
        held.append(f"resolvers hold records {situation.resolver_minimum:g} s or longer")
    if situation.client_cache:
        held.append(f"clients hold addresses {situation.client_cache:g} s")
    if situation.client_timeout:
        held.append(f"clients wait {situation.client_timeout:g} s for a silent backend")
    if held:
        lines.append(f"caches     {', '.join(held)}")
    return lines


def _table(rows: list[Forecast]) -> list[str]:
    cells = [[heading[line] for heading in _HEADINGS] for line in (0, 1)] + [_cells(row) for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADINGS))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _cells(row: Forecast) -> list[str]:
    return [
        str(row.ttl),
        f"{row.load:,.1f}",
        f"{100 * row.hit_rate:.1f}",
        f"{row.failover_mean:.1f}",
        f"{row.failover_worst:.9g}",
        f"{row.failed:,.0f}",
        f"{row.cv:.3f}",
        f"{row.max_over_mean:.2f}",
        f"{row.jain:.3f}",
    ]


def _words(advice: Advice) -> list[str]:
    if advice.ttl is None:
        lines = ["no TTL grants all that is wanted"]
        for conflict in advice.conflicts:
            lines += [f"  conflict: {conflict.fact}", f"    change one: {', or '.join(conflict.remedies)}"]
        return lines
    reasons = [f"  because {reason}" for reason in advice.reasons]
    return [f"use a TTL of {advice.ttl} s", *reasons, *(f"  note: {note}" for note in advice.notes)]


def _tried(situation: Situation, ttl: int, heterogeneity: float, utilisation: float) -> Tried:
    """Ways to hand such a pool out, in a simulation that takes a second or two."""
    demand = Demand(
        situation.rate, situation.resolvers, situation.skew, utilisation=utilisation, resolver_minimum=situation.lowest
    )
    pool = variant.made_up(situation.probe, situation.backends, ttl, heterogeneity)
    return list(variant.attempts(variant.variants(pool), 4, variant.capacities(pool, 4), demand, _EXTENT))


def _fitting(tried: Tried, heterogeneity: float | None) -> Iterator[str]:
    yield f"backends up to {heterogeneity or 0:.0%} behind the strongest; the busiest is below {variant.BUSY:.0%}"
    width = max(len(way.title) for way, _ in tried)
    for way, trial in tried:
        yield f"  {way.title:<{width}}  {trial.below(variant.BUSY):6.1%} of the time"
    fits = variant.fitting(tried)
    if fits is None:
        yield f"none of these is below it {variant.OFTEN:.0%} of the time"
    else:
        yield f"the simplest that is so {variant.OFTEN:.0%} of the time: {fits.title}"


def _ways(tried: Tried) -> dict[str, float]:
    """By title, P(max utilisation < 0.9)."""
    return {way.title: trial.below(variant.BUSY) for way, trial in tried}


def _object(asked: Asked, rows: list[Forecast], advice: Advice) -> dict[str, Any]:
    situation = asked.situation
    probe = asdict(situation.probe)
    keys = ("interval", "fast_interval", "fall", "rise", "timeout")
    return {
        "situation": asdict(situation) | {"probe": {key: probe[key] for key in keys}},
        "wishes": asdict(asked.wishes),
        "detection": {
            "refused": {
                "mean": forecast.detection_mean_killed(situation.probe),
                "worst": forecast.detection_worst_killed(situation.probe),
            },
            "hung": {
                "mean": forecast.detection_mean_hang(situation.probe),
                "worst": forecast.detection_worst_hang(situation.probe),
            },
        },
        "recovery_worst": forecast.recovery_worst(situation.probe),
        "effective_resolvers": forecast.effective_resolvers(situation.shares),
        "ttls": [asdict(row) for row in rows],
        "advice": asdict(advice),
    }
