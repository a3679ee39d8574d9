"""``dnslb top``: the status, live."""

from __future__ import annotations

import itertools
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import click

from dnslb.cli import report
from dnslb.cli.control import age, ask, clock
from dnslb.cli.nodes import Place, server_options
from dnslb.cli.status import lines as status_lines

_ALTERNATE, _ORDINARY = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # screens of a terminal; without a cursor
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


@click.command()
@click.argument("pattern", metavar="[NAME]", required=False)
@click.option("--interval", type=click.FloatRange(0.1, 3600), default=1.0, help="Seconds; default: 1.")
@click.option("--count", type=click.IntRange(1), help="End after so many looks; default: at Ctrl-C.")
@server_options
def top(pattern: str | None, interval: float, count: int | None, control: Place) -> None:
    """Show the status of the running server, live, until Ctrl-C.

    NAME is a pool, or a pattern such as '*.example.net'.  What does not fit the screen is left out.

    \b
    Example: dnslb top '*.example.net'
    """
    target = "/status" if pattern is None else f"/status/{quote(pattern, safe='')}"
    before = ask(control, "GET", target)
    with screen() as draw:
        draw([_activity(before, before), *status_lines(before)])
        for _ in itertools.repeat(None) if count is None else range(count - 1):
            time.sleep(interval)
            try:
                found = ask(control, "GET", target)
            except click.ClickException as error:  # it is being started anew
                draw([error.message])
                continue
            draw([_activity(found, before), *status_lines(found)])
            before = found


def _activity(found: dict[str, Any], before: dict[str, Any]) -> str:
    """What the server has been doing since the last look."""
    server = found["server"]
    rate = ""
    if found["now"] > before["now"] and before["server"]["started"] == server["started"]:
        rate = f"{(server['queries'] - before['server']['queries']) / (found['now'] - before['now']):,.0f} queries/s, "
    restarts = f", {report.count(server['restarts'], 'restart')} of them" if server["restarts"] else ""
    workers = report.count(server["workers"], "worker")
    return f"{clock(found['now'], found['now'])}  {rate}{workers}{restarts}, up {age(found['now'] - server['started'])}"


@contextmanager
def screen() -> Iterator[Callable[[list[str]], None]]:
    """What draws lines: on a terminal over the last ones, elsewhere below them."""
    if not sys.stdout.isatty():
        yield lambda lines: click.echo("\n".join((*lines, "")))
        return
    sys.stdout.write(_ALTERNATE)
    try:
        yield _overwrite
    finally:
        sys.stdout.write(_ORDINARY)
        sys.stdout.flush()


def _overwrite(lines: list[str]) -> None:
    width, height = shutil.get_terminal_size()
    shown = lines if len(lines) <= height else [*lines[: height - 1], f"… {len(lines) - height + 1} more lines"]
    sys.stdout.write(_HOME + f"{_REST_OF_LINE}\r\n".join(line[:width] for line in shown))
    sys.stdout.write(_REST_OF_LINE + _REST_OF_SCREEN)
    sys.stdout.flush()
