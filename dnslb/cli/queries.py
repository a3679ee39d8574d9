"""``dnslb queries``: what is asked most at the moment, and who asks most."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from dnslb.cli import option, report
from dnslb.cli.control import ask, columns
from dnslb.cli.nodes import Place, server_options
from dnslb.cli.terminal import full_screen

_INTERVAL = option.seconds(0.1, 10)  # workers remember at least so much
_TARGET = "/queries"
_PAUSE = 1.0  # seconds from one look to the next


@click.command()
@click.option("--interval", type=_INTERVAL, default="3s", metavar="DURATION", help="To count for first; default: 3s.")
@click.option("--limit", type=click.IntRange(1, 100), default=10, help="So many names, and clients; default: 10.")
@click.option("--follow", is_flag=True, help="Show it again every second, until q or Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it, for programs.")
@server_options
def queries(interval: float, limit: int, follow: bool, as_json: bool, control: Place) -> None:
    """Show which names are asked most at the moment, and by whom.

    Workers count for this only while somebody asks, so the first look takes some seconds.  With a ~ a count may be too
    high: there were more names, or clients, than are counted one by one.

    \b
    Example: dnslb queries
    """
    ask(control, "GET", _TARGET)
    time.sleep(interval)
    found = ask(control, "GET", _TARGET)
    if not follow:
        click.echo(json.dumps(found, indent=1) if as_json else "\n".join(lines(found, limit)))
        return
    try:
        _follow(found, lambda: ask(control, "GET", _TARGET), limit)
    except KeyboardInterrupt:
        raise SystemExit(0) from None


def _follow(found: dict[str, Any], look: Callable[[], dict[str, Any]], limit: int) -> None:
    """On a terminal over the last look, elsewhere below it."""
    if not sys.stdout.isatty():
        while True:
            click.echo("\n".join((*lines(found, limit), "")))
            time.sleep(_PAUSE)
            found = look()
    with full_screen() as terminal:
        while True:
            terminal.draw([[("", line)] for line in lines(found, limit)])
            if "q" in terminal.keys(_PAUSE):
                return
            found = look()


def lines(found: dict[str, Any], limit: int) -> list[str]:
    """The counts, for a person."""
    total, seconds = found["queries"], found["seconds"]
    rate = f"{total / seconds:,.0f}/s" if seconds else "0/s"
    queries = "1 query" if total == 1 else f"{total:,} queries"
    told = [f"{queries} in {seconds:.0f} s: {rate}, {report.count(found['workers'], 'worker')}"]
    if not total:
        return told
    names = [(one["name"], one["type"], *_count(one, total)) for one in found["names"][:limit]]
    clients = [(one["client"], *_count(one, total)) for one in found["clients"][:limit]]
    told += ["", *columns([("name", "type", "queries", "share"), *names], indent="")]
    told += ["", *columns([("client", "queries", "share"), *clients], indent="")]
    return told


def _count(one: dict[str, Any], total: int) -> tuple[str, str]:
    """So many, and what part of all."""
    mark = "~" if one["error"] else ""
    return f"{mark}{one['queries']:,}", f"{mark}{one['queries'] / total:.0%}"
