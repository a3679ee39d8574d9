"""``dnslb check``: is this directory fit to be served?"""

from __future__ import annotations

from pathlib import Path

import click

from dnslb.advice import explain
from dnslb.cli import report
from dnslb.config.catalog import load
from dnslb.text.problem import has_errors


@click.command()
@click.argument("directory", type=click.Path(readable=False, path_type=Path), default="zones")
def check(directory: Path) -> None:
    """Read every file in DIRECTORY (default: zones) and report all mistakes at once.

    Exits with 0 when it can be served, with 1 when not.

    \b
    Example: dnslb check zones
    """
    catalog, problems = load(directory)
    for line in report.summary(catalog):
        click.echo(line)
    for pool in catalog.pools.values():
        click.echo("\n".join(("", *explain.lines(pool))))
    report.tell(problems)
    raise SystemExit(1 if has_errors(problems) else 0)
