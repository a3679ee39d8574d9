"""``dnslb check``: is this directory fit to be served?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

from dnslb.advice import explain
from dnslb.cli import report
from dnslb.config import state_directory
from dnslb.config.catalog import Catalog
from dnslb.config.directory import load
from dnslb.dns import name
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
    for line in _updated(catalog):
        click.echo(line)
    for pool in catalog.pools.values():
        click.echo("\n".join(("", *explain.lines(pool))))
    report.tell(problems)
    raise SystemExit(1 if has_errors(problems) else 0)


def _updated(catalog: Catalog) -> Iterator[str]:
    """What updates have changed in zones, where the server keeps that, if this user may read it."""
    if not catalog.updates:
        return
    from dnslb.parent import update_journal  # noqa: PLC0415 - it takes a moment to import

    path = state_directory.default_directory(catalog.settings.state, os.environ, os.getuid()) / update_journal.NAME
    if os.access(path, os.R_OK):
        for apex, overlay in update_journal.load(path).items():
            number = sum(map(len, overlay.owners.values()))
            if apex in catalog.updates and number:
                yield f"{name.text(apex)}  {report.count(number, 'RRset')} by updates, in {path}"
