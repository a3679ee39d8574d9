"""``dnslb replay``: other settings, tried on the probes that a server has made."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from dnslb.balance.pool import Pool
from dnslb.balance.unsteady import Unsteady
from dnslb.cli import complete, option, report
from dnslb.cli.control import ask, clock, columns
from dnslb.cli.nodes import Place, server_options
from dnslb.config.policy.shares import parse_unsteady
from dnslb.dns import rrtype
from dnslb.simulation import record
from dnslb.simulation.record import Unreadable
from dnslb.simulation.replay import Records, Replayed, replay

_MOST = 64 << 20  # octets of a record
_MOST_SHOWN = 40   # absences of each

_INTERVAL = option.seconds(0.01, 3600.0)
_COUNT = click.IntRange(1, 1000)


@dataclass(frozen=True, slots=True)
class Judged:
    """What some settings make of the record."""

    title: str
    replayed: Replayed


@click.command("replay")
@click.argument("owner", metavar="NAME", shell_complete=complete.pools)
@click.argument("directory", type=click.Path(readable=False, path_type=Path), default=option.DIRECTORY)
@click.option(
    "--record", "files", type=click.Path(exists=True, dir_okay=False, path_type=Path), multiple=True, metavar="FILE",
    help="What GET /probes has told, once or often; may be repeated; default: what the server remembers.",
)  # fmt: skip
@click.option("--interval", type=_INTERVAL, metavar="DURATION", help="From probe to probe.")
@click.option("--fast-interval", type=_INTERVAL, metavar="DURATION", help="The same in doubt.")
@click.option("--down-interval", type=_INTERVAL, metavar="DURATION", help="The same while down.")
@click.option("--timeout", type=_INTERVAL, metavar="DURATION", help="Of a probe.")
@click.option("--fall", type=_COUNT, metavar="N", help="Failures in a row that take a backend out.")
@click.option("--rise", type=_COUNT, metavar="N", help="Successes in a row that bring it back.")
@click.option(
    "--unsteady", type=option.value(parse_unsteady, "{text} is no share of the last probes; write one as in 30% of 20"),
    metavar="SHARE", help="Of the last probes, that take it out too: '30% of 20'.",
)  # fmt: skip
@click.option(
    "--qps", type=option.number(0.001, 1e9), default="100", metavar="N",
    help="Clients that come per second, to all backends together; default: 100.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@server_options
def replay_(
    *, owner: str, directory: Path, files: tuple[Path, ...], as_json: bool, control: Place, **options: Any
) -> None:
    """Judge recorded probes of the pool NAME anew: by its policy in DIRECTORY (default: zones), and by the options.

    The verdicts are those of the server's own code.  It remembers the last 30 probes of each address; for more, append
    what GET /probes tells to a file now and then.

    \b
    Example: dnslb replay www.example.net --fall 2
             dnslb replay www.example.net --record probes.json --interval 2s --unsteady '30% of 20'
    """
    pool = report.pool_or_exit(owner, directory)
    if pool.probe is None:
        raise click.ClickException(f"{pool.owner} is not probed, so there is nothing to judge; give its pool a probe")
    records = _records(files, control, pool)
    version = min(each.address.version for each in pool.backends if each.target in records)
    qps = options.pop("qps")
    changed = {key: value for key, value in options.items() if value is not None}
    judged = [Judged("as written", replay(pool, version, records))]
    if changed:
        tried = replace(pool, probe=replace(pool.probe, **changed))
        judged.append(Judged(", ".join(_setting(*each) for each in changed.items()), replay(tried, version, records)))
    if as_json:
        click.echo(json.dumps(_object(judged, qps), indent=1))
    else:
        click.echo("\n".join([*_heading(pool, version, records), "", *_table(judged, qps), *_absences(judged)]))


def _records(files: tuple[Path, ...], control: Place, pool: Pool) -> Records:
    """Those of the pool; the command ends when there are none."""
    try:
        told = chain.from_iterable(record.replies(_text(path)) for path in files)
        asked = () if files else (ask(control, "GET", f"/probes/{quote(pool.owner, safe='')}"),)
        records = record.read(chain(told, asked), pool)
    except Unreadable as error:
        raise click.ClickException(f"{', '.join(map(str, files)) or 'the server'}: {error}") from None
    if not records:
        raise click.ClickException(f"nothing is recorded of the backends that {pool.owner} has in its policy")
    return records


def _text(path: Path) -> str:
    if path.stat().st_size > _MOST:
        raise click.ClickException(f"{path} is longer than {_MOST >> 20} MB; split it, oldest first")
    return path.read_text(encoding="utf-8", errors="replace")


def _setting(key: str, value: float | Unsteady) -> str:
    """As a policy would write it."""
    if isinstance(value, Unsteady):
        return f"{key}: {value.percent}% of {value.of}"
    return f"{key}: {value:.9g}{'' if isinstance(value, int) else 's'}"


def _heading(pool: Pool, version: int, records: Records) -> list[str]:
    seen = [each for record in records.values() for each in record]
    first, last = min(each.start for each in seen), max(each.start for each in seen)
    now = time.time()
    return [
        f"{pool.owner} {rrtype.address_text(version)}: {report.count(len(seen), 'probe')} of "
        f"{report.count(len(records), 'backend')}, "
        f"{clock(first, now)} to {clock(last, now)}; {sum(not each.ok for each in seen):,} failed",
    ]


def _table(judged: list[Judged], qps: float) -> list[str]:
    heading = ("settings", "taken out", "for", "of that failing", f"clients failed at {qps:.9g}/s")
    rows: list[tuple[str, ...]] = [heading]
    for title, found in ((each.title, each.replayed) for each in judged):
        times = report.count(len(found.absences), "time")
        rows.append((title, times, f"{found.away:.1f} s", f"{found.failing:.1f} s", f"{found.exposed * qps:,.0f}"))
    return columns(rows, indent="")


def _absences(judged: list[Judged]) -> Iterator[str]:
    now = time.time()
    for each in judged:
        found = each.replayed.absences
        rows: list[tuple[str, ...]] = [
            (clock(one.begin, now), str(one.address), f"out for {one.end - one.begin:.1f} s", one.reason)
            for one in found[:_MOST_SHOWN]
        ]
        if rows:
            yield from ("", each.title, *columns(rows))
        if len(found) > _MOST_SHOWN:
            yield f"  and {report.count(len(found) - _MOST_SHOWN, 'time')} more"


def _object(judged: list[Judged], qps: float) -> dict[str, Any]:
    return {"settings": [
        {
            "title": each.title,
            "away": each.replayed.away,
            "failing": each.replayed.failing,
            "clients_failed": each.replayed.exposed * qps,
            "absences": [asdict(one) | {"address": str(one.address)} for one in each.replayed.absences],
        }
        for each in judged
    ]}  # fmt: skip
