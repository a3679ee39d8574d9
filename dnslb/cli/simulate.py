"""``dnslb simulate``: a policy tried before it is used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

import click

from dnslb.advice.forecast import effective_resolvers
from dnslb.balance.pool import Pool
from dnslb.cli import option, report
from dnslb.dns import name, rrtype
from dnslb.dns.mistake import Mistaken
from dnslb.simulation.demand import Demand
from dnslb.simulation.trial import Extent, Trial
from dnslb.simulation.variant import BUSY, OFTEN, Variant, attempts, capacities, fitting, variants, weighted

MOST_RESOLVERS = 100_000
_MOST_WORK = 2e8       # queries and windows of backends: beyond it a run would take hours
_MOST_WINDOWS = 5e6    # of all backends, in one run: some 200 MB
_LIMITS = (0.9, 0.98)  # of utilisation, for which the papers give probabilities
_STEP = 0.02           # of utilisation, a column of the picture
_BLOCKS = " ▁▂▃▄▅▆▇█"

_DURATION = option.seconds(0.0, 86400.0)
_RATE = option.number(0.001, 1e6)


@click.command()
@click.argument("policy", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("owner", metavar="[NAME]", required=False)
@click.option("--qps", type=_RATE, default="100", metavar="N", help="Sessions that begin per second; default: 100.")
@click.option("--session", type=_DURATION, default="5m", metavar="DURATION", help="That one lasts; default: 5m.")
@click.option("--requests", type=_RATE, default="20", metavar="N", help="In a session; default: 20.")
@click.option(
    "--resolvers", type=click.IntRange(1, MOST_RESOLVERS), default=100, metavar="N",
    help="That clients look names up at; default: 100.",
)  # fmt: skip
@click.option(
    "--zipf", type=option.number(0.0, 10.0), default="1", metavar="S",
    help="Skew of the resolvers' shares of the sessions, 0 for equal ones; default: 1.",
)  # fmt: skip
@click.option(
    "--resolver-min-ttl", type=_DURATION, default="0s", metavar="DURATION", help="To which resolvers raise lower TTLs."
)
@click.option(
    "--heterogeneity", type=option.percent(0, 99), metavar="SHARE",
    help="By how much the weakest backend is behind the strongest; default: capacities are as the weights.",
)  # fmt: skip
@click.option(
    "--utilisation", type=option.percent(1, 200), default="67%", metavar="SHARE",
    help="Of all backends together; default: 67%.",
)  # fmt: skip
@click.option(
    "--window", type=option.seconds(0.1, 3600.0), default="8s", metavar="DURATION",
    help="Over which a backend's utilisation is measured; default: 8s.",
)  # fmt: skip
@click.option(
    "--span", type=option.seconds(1.0, 86400.0), default="1h", metavar="DURATION", help="To simulate; default: 1h."
)
@click.option(
    "--deaths", type=click.IntRange(0, 1000), default=5, metavar="N", help="Of backends, after that; default: 5."
)
@click.option("--seeds", type=click.IntRange(1, 1000), default=3, metavar="N", help="Runs of it all; default: 3.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def simulate(policy: Path, owner: str | None, as_json: bool, **options: Any) -> None:
    """Try the POLICY file of a zone in a simulation, beside other ways to hand its pool out.

    The zone file is in the same directory.  NAME is needed when the policy has several pools.
    The answers are those of the server's own code; clients, resolvers and backends are made up.

    \b
    Example: dnslb simulate zones/example.net.yaml
             dnslb simulate zones/example.net.yaml --resolvers 10000 --heterogeneity 35%
    """
    pool = _pool(policy, owner)
    version = min(pool.zone_ttls)
    demand = Demand(
        options["qps"], options["resolvers"], options["zipf"], options["session"], options["requests"],
        options["utilisation"], options["window"], options["resolver_min_ttl"],
    )  # fmt: skip
    extent = Extent(options["span"], options["deaths"] if pool.probe is not None else 0, options["seeds"])
    if (unlike := options["heterogeneity"]) is not None:
        pool = weighted(pool, version, unlike)
    able = capacities(pool, version)
    _refuse_if_long(demand, extent, len(able))
    tried = []
    if not as_json:
        click.echo("\n".join([*_heading(pool, version, len(able), demand, extent), "", *_ROWS_HEAD]))
    for way, trial in attempts(variants(pool), version, able, demand, extent):
        tried.append((way, trial))
        if not as_json:
            click.echo(_row(_cells(way, trial)))
    if as_json:
        click.echo(json.dumps(_object(pool, demand, extent, tried), indent=2))
    else:
        click.echo("\n".join(["", *_picture(tried), "", *_words(pool, tried)]))


def _pool(policy: Path, owner: str | None) -> Pool:
    """The pool of that name; the command ends when there is none."""
    pools = report.load_or_exit(policy.parent).pools
    try:
        apex = name.fold(name.parse(policy.stem, name.ROOT))
        wanted = None if owner is None else name.fold(name.parse(owner, name.ROOT))
    except Mistaken as error:
        raise click.UsageError(str(error)) from None
    if wanted is not None and wanted in pools:
        return pools[wanted]
    own = [pool for at, pool in pools.items() if wanted is None and name.is_at_or_below(at, apex)]
    if len(own) == 1:
        return own[0]
    known = ", ".join(sorted(pool.owner for pool in pools.values())) or "none"
    raise click.ClickException(f"which pool is to be tried?  Write the NAME after {policy}; pools there: {known}")


def _refuse_if_long(demand: Demand, extent: Extent, backends: int) -> None:
    """The command ends when it would not within minutes, or would fill the memory."""
    seconds = extent.span + 2 * demand.session
    windows = backends * seconds / demand.window
    queries = (seconds + 100 * extent.deaths) * min(demand.rate, float(demand.resolvers))
    if extent.seeds * (queries + windows) > _MOST_WORK or windows > _MOST_WINDOWS:
        raise click.ClickException(
            f"{extent.seeds} times {extent.span:g} s with {demand.resolvers:,} resolvers and {backends:,} backends"
            " would take hours, or too much memory; lower --span, --seeds, --qps or --resolvers, or raise --window"
        )


def _heading(pool: Pool, version: int, backends: int, demand: Demand, extent: Extent) -> list[str]:
    rates = demand.rates
    shares = tuple(rate / demand.rate for rate in rates)
    able = capacities(pool, version).values()
    weakest = int(100 * (1 - min(able) / max(able)) + 1e-9)
    return [
        f"pool      {pool.owner} {rrtype.address_text(version)}: {report.count(backends, 'backend')}, "
        f"the weakest {weakest}% behind the strongest; {demand.utilisation:.0%} busy on average",
        f"clients   {demand.rate:,.9g} sessions/s of {demand.session:.9g} s at "
        f"{report.count(demand.resolvers, 'resolver')}, Zipf {demand.skew:g} "
        f"(as uneven as {effective_resolvers(shares):.3g} equal ones)",
        f"measured  {extent.span:.9g} s in windows of {demand.window:.9g} s, "
        f"then {report.count(extent.deaths, 'death')}; {report.count(extent.seeds, 'run')}",
    ]


_TITLE = 34  # columns
_ROWS_HEAD = [
    f"{'':<{_TITLE}}  queries/s  busiest backend is below     failover          failed per",
    f"{'':<{_TITLE}}       here     90%  (worst run)    98%    mean s  worst s   1,000 rps",
]


def _row(cells: tuple[str, ...]) -> str:
    title, queries, often, worst, very, mean, last, failed = cells
    return (
        f"{title:<{_TITLE}}  {queries:>9}  {often:>6}  {worst:>11}  {very:>5}"
        f"  {mean:>8}  {last:>7}  {failed:>10}".rstrip()
    )


def _cells(way: Variant, trial: Trial) -> tuple[str, ...]:
    lasts = [each.last for each in trial.failovers]
    failed = [each.failed for each in trial.failovers]
    often, very = _LIMITS
    return (
        _title(way),
        "" if way.pool is None else f"{trial.queries:,.2f}",
        f"{trial.below(often):.1%}",
        f"{min(trial.below_by_seed(often)):.1%}",
        f"{trial.below(very):.1%}",
        *((f"{fmean(lasts):.1f}", f"{max(lasts):.1f}", f"{fmean(failed):,.0f}") if lasts else ("", "", "")),
    )


def _title(way: Variant) -> str:
    return f"{way.title} (as written)" if way.is_written and way.title != "as written" else way.title


def _picture(tried: list[tuple[Variant, Trial]]) -> Iterator[str]:
    """Of each way the distribution of the busiest backend's utilisation: a block for each probability to be below."""
    least = min(trial.peaks[len(trial.peaks) // 100] for _, trial in tried)
    columns = round((1 - (begin := int(least / 0.1) / 10)) / _STEP)
    limits = [begin + _STEP * (column + 1) for column in range(columns)]
    yield "how often the busiest backend is less busy than"
    yield f"{'':<{_TITLE}}  {f'{begin:.0%}':<{columns - 4}}{'100%'}"
    for way, trial in tried:
        blocks = (_BLOCKS[round((len(_BLOCKS) - 1) * trial.below(limit))] for limit in limits)
        yield f"{_title(way):<{_TITLE}}  {''.join(blocks)}".rstrip()


def _words(pool: Pool, tried: list[tuple[Variant, Trial]]) -> Iterator[str]:
    fits = fitting(tried)
    what = f"the busiest backend below {BUSY:.0%} in {OFTEN:.0%} of the windows"
    yield f"none of these keeps {what}" if fits is None else f"the simplest that keeps {what}: {fits.title}"
    if pool.probe is None:
        yield "  note: the pool has no probe, so a dead backend is handed out for ever"
    yield "  note: sessions keep the address that they have begun with; an L7 balancer chooses anew for each request"
    yield "  note: failover counts clients who try no other address; many do, when the answer has several"


def _object(pool: Pool, demand: Demand, extent: Extent, tried: list[tuple[Variant, Trial]]) -> dict[str, Any]:
    return {
        "pool": pool.owner,
        "demand": asdict(demand),
        "extent": asdict(extent),
        "variants": [_variant(way, trial) for way, trial in tried],
    }


def _variant(way: Variant, trial: Trial) -> dict[str, Any]:
    return {
        "title": way.title,
        "as_written": way.is_written,
        "queries": None if way.pool is None else trial.queries,
        "below": {f"{limit:g}": trial.below(limit) for limit in _LIMITS},
        "below_by_seed": {f"{limit:g}": trial.below_by_seed(limit) for limit in _LIMITS},
        "quantiles": [trial.peaks[min(len(trial.peaks) - 1, len(trial.peaks) * part // 100)] for part in range(101)],
        "failovers": [{key: value if isfinite(value) else None for key, value in asdict(each).items()}
                      for each in trial.failovers],
    }  # fmt: skip
