"""``dnslb serve``: run the nameserver."""

from __future__ import annotations

import gc
import logging
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from dnslb.admin import server
from dnslb.admin.control_socket import CannotControl
from dnslb.balance.rotation import PLAIN_ORDERS, RRsetOrder
from dnslb.cli import announcement, entrances, option, report
from dnslb.config.directory import load
from dnslb.config.settings import (
    ADMIN_PORT,
    LEAST_IDLE,
    LEAST_TIMEOUT,
    LOG_FORMATS,
    LOG_LEVELS,
    MOST_CONNECTIONS,
    MOST_GRACE,
    MOST_IDLE,
    MOST_TIMEOUT,
    MOST_WORKERS,
    Settings,
    is_short_text,
    parse_endpoint,
    parse_host,
)
from dnslb.ipc.sockets import CannotListen
from dnslb.ipc.takeover import CannotTakeOver
from dnslb.parent import parent
from dnslb.parent.reading import Reading
from dnslb.parent.state_file import StateTaken
from dnslb.parent.workers import WorkersFailed
from dnslb.system import logs
from dnslb.system.privileges import CannotDrop
from dnslb.text.problem import Level, Problem, has_errors

_log = logging.getLogger("dnslb")
_IDLE = option.seconds(LEAST_IDLE, MOST_IDLE)
_TIMEOUT = option.seconds(LEAST_TIMEOUT, MOST_TIMEOUT)
_GRACE = option.seconds(0.0, MOST_GRACE)
_ADDRESS = option.value(parse_endpoint, "{text} is no address and port; write 192.0.2.1:53 or [2001:db8::1]:53")
_ADMIN = option.value(
    partial(parse_endpoint, default=ADMIN_PORT),
    f"{{text}} is no address and port; write 127.0.0.1:{ADMIN_PORT} or [::1]:{ADMIN_PORT}",
)
_HOST = option.value(parse_host, "{text} is no host name; write it without port, as in ns1.example.com")
_TEXT = option.value(
    lambda text: text if is_short_text(text) else None, "the text is no UTF-8 or longer than 255 octets; shorten it"
)
_CONNECTIONS = click.IntRange(1, MOST_CONNECTIONS)


@click.command()
@click.argument("directory", type=click.Path(readable=False, path_type=Path), default="zones")
@click.option(
    "--listen",
    type=_ADDRESS,
    metavar="ADDR:PORT",
    multiple=True,
    help="Answer here, over UDP and TCP; may be repeated.",
)
@click.option(
    "--workers", type=click.IntRange(1, MOST_WORKERS), help="Processes that answer; default: one per CPU, at most 4."
)
@click.option("--user", help="Become this user once the ports are open.")
@click.option("--order", type=click.Choice(PLAIN_ORDERS), help="Of the addresses in a reply.")
@click.option("--server-id", type=_TEXT, metavar="TEXT", help="Tell NSID and CH TXT id.server queries this name.")
@click.option("--server-version", type=_TEXT, metavar="TEXT", help="Tell CH TXT version.bind queries this text.")
@click.option("--tcp-connections", type=_CONNECTIONS, help="TCP connections open at once, in all.")
@click.option("--tcp-per-client", type=_CONNECTIONS, help="TCP connections open at once, for one client.")
@click.option("--tcp-idle", type=_IDLE, metavar="DURATION", help="Close a connection after so long without a query.")
@click.option("--worker-timeout", type=_TIMEOUT, metavar="DURATION", help="Replace a worker that is silent so long.")
@click.option(
    "--orphan-grace", type=_GRACE, metavar="DURATION", help="Workers without a parent go on answering for so long."
)
@click.option("--watch/--no-watch", default=None, help="Read edited files at once; default: --watch.")
@click.option("--state", type=click.Path(path_type=Path), help="Keep verdicts and orders in this directory.")
@click.option("--control", type=click.Path(path_type=Path), help="Listen to commands on this socket.")
@click.option("--admin", type=_ADMIN, metavar="ADDR:PORT", help="Status page and API over TCP; default: off.")
@click.option(
    "--admin-hosts",
    type=_HOST,
    metavar="NAME",
    multiple=True,
    help="A name by which --admin may be asked; may be repeated.",
)
@click.option(
    "--admin-token-file",
    type=click.Path(path_type=Path),
    help="The token in this file lets more than read over --admin.",
)
@click.option("--takeover", is_flag=True, help="Replace the server that is there, and lose nothing.")
@click.option("--log-format", type=click.Choice(LOG_FORMATS), help="Of the log, on stderr; default: text.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), help="The least that is logged; default: info.")
def serve(directory: Path, takeover: bool, **options: Any) -> None:
    """Serve the zones in DIRECTORY (default: zones) until Ctrl-C.

    Options override DIRECTORY/dnslb.yaml; without either the server answers on 127.0.0.1:5300.
    Edited files are read at once, or on SIGHUP; with a mistake in them the old data go on being served.

    \b
    Example: dnslb serve zones --listen 127.0.0.1:5300 --listen [::1]:5300 --workers 2
    """
    gc.freeze()  # the program itself: before the workers are forked, all else is walked for garbage
    catalog, problems = load(directory, state=options["state"])
    override = partial(_overridden, options)
    settings = override(catalog.settings)
    logs.begin(settings.log_format, settings.log_level, os.environ.get("JOURNAL_STREAM"))
    is_json = settings.log_format == "json"
    if is_json:
        _log_problems(problems)
    else:
        report.accepted(catalog, problems)
    # Now, not when the workers have been forked: walking all zones would copy the memory that they share.
    text = announcement.text(directory, catalog, settings)
    try:
        with entrances.opened(settings, takeover) as (inherited, listeners):
            announce = partial(_announce, settings.log_format, text)
            found, operators = Reading(catalog, problems), partial(server.serve, listeners)
            parent.run(directory, found, override, inherited, announce, operators)
    except (CannotControl, CannotListen, CannotDrop, CannotTakeOver, StateTaken, WorkersFailed) as error:
        if not is_json:
            raise click.ClickException(str(error)) from None
        _log.error("%s", error)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        # Before the loop has taken the signal over.
        raise SystemExit(1) from None


def _log_problems(problems: list[Problem]) -> None:
    """Exits with 1 if there are errors among them."""
    for problem in problems:
        _log.log(logging.ERROR if problem.level is Level.ERROR else logging.WARNING, "%s", problem)
    if has_errors(problems):
        raise SystemExit(1)


def _announce(format: str, text: str) -> None:
    click.echo(logs.announced(format, text))


def _overridden(options: dict[str, Any], settings: Settings) -> Settings:
    given = {key: value for key, value in options.items() if value not in (None, ())}
    if "listen" in given:
        given["listen"] = tuple(dict.fromkeys(given["listen"]))  # the same address twice is one
    if "order" in given:
        given["order"] = RRsetOrder(given["order"])
    return replace(settings, **given)
