"""``dnslb serve``: run the nameserver."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from dnslb import __version__, logs
from dnslb.admin import address, server
from dnslb.admin.guard import Guard
from dnslb.admin.place import CannotControl, Place
from dnslb.admin.server import Door
from dnslb.balance.order import Order
from dnslb.catalog import Catalog
from dnslb.cli import option, report
from dnslb.dns import name, rrtype
from dnslb.dns.zone import find
from dnslb.serve import parent
from dnslb.serve.crew import WorkersFailed
from dnslb.serve.keeper import StateTaken
from dnslb.serve.privileges import CannotDrop
from dnslb.serve.sockets import CannotListen
from dnslb.settings import (
    ADMIN_PORT,
    LEAST_IDLE,
    LOG_FORMATS,
    LOG_LEVELS,
    MOST_CONNECTIONS,
    MOST_IDLE,
    MOST_WORKERS,
    Endpoint,
    Settings,
    is_short_text,
    parse_endpoint,
    parse_host,
)


def _endpoint(text: str) -> Endpoint:
    endpoint = parse_endpoint(text)
    if endpoint is None:
        raise click.BadParameter(f"{text} is no address and port; write 192.0.2.1:53 or [2001:db8::1]:53")
    return endpoint


def _admin(text: str) -> Endpoint:
    endpoint = parse_endpoint(text, ADMIN_PORT)
    if endpoint is None:
        raise click.BadParameter(f"{text} is no address and port; write 127.0.0.1:{ADMIN_PORT} or [::1]:{ADMIN_PORT}")
    return endpoint


def _host(text: str) -> str:
    host = parse_host(text)
    if host is None:
        raise click.BadParameter(f"{text} is no host name; write it without port, as in ns1.example.com")
    return host


def _short_text(text: str) -> str:
    if not is_short_text(text):
        raise click.BadParameter("the text is no UTF-8 or longer than 255 octets; shorten it")
    return text


_IDLE = option.seconds(LEAST_IDLE, MOST_IDLE)
_CONNECTIONS = click.IntRange(1, MOST_CONNECTIONS)


@click.command()
@click.argument("directory", type=click.Path(readable=False, path_type=Path), default="zones")
@click.option(
    "--listen",
    type=_endpoint,
    metavar="ADDR:PORT",
    multiple=True,
    help="Answer here, over UDP and TCP; may be repeated.",
)
@click.option(
    "--workers", type=click.IntRange(1, MOST_WORKERS), help="Processes that answer; default: one per CPU, at most 4."
)
@click.option("--user", help="Become this user once the ports are open.")
@click.option("--order", type=click.Choice([order.value for order in Order]), help="Of the addresses in a reply.")
@click.option("--server-id", type=_short_text, metavar="TEXT", help="Tell NSID and CH TXT id.server queries this name.")
@click.option("--server-version", type=_short_text, metavar="TEXT", help="Tell CH TXT version.bind queries this text.")
@click.option("--tcp-connections", type=_CONNECTIONS, help="TCP connections open at once, in all.")
@click.option("--tcp-per-client", type=_CONNECTIONS, help="TCP connections open at once, for one client.")
@click.option("--tcp-idle", type=_IDLE, metavar="DURATION", help="Close a connection after so long without a query.")
@click.option("--watch/--no-watch", default=None, help="Read edited files at once; default: --watch.")
@click.option("--state", type=click.Path(path_type=Path), help="Keep verdicts and orders in this directory.")
@click.option("--control", type=click.Path(path_type=Path), help="Listen to commands on this socket.")
@click.option("--admin", type=_admin, metavar="ADDR:PORT", help="Status page and API over TCP; default: off.")
@click.option(
    "--admin-hosts",
    type=_host,
    metavar="NAME",
    multiple=True,
    help="A name by which --admin may be asked; may be repeated.",
)
@click.option(
    "--admin-token-file",
    type=click.Path(path_type=Path),
    help="The token in this file lets more than read over --admin.",
)
@click.option("--log-format", type=click.Choice(LOG_FORMATS), help="Of the log, on stderr; default: text.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), help="The least that is logged; default: info.")
def serve(directory: Path, **options: Any) -> None:
    """Serve the zones in DIRECTORY (default: zones) until Ctrl-C.

    Options override DIRECTORY/dnslb.yaml; without either the server answers on 127.0.0.1:5300.
    Edited files are read at once, or on SIGHUP; with a mistake in them the old data go on being served.

    \b
    Example: dnslb serve zones --listen 127.0.0.1:5300 --listen [::1]:5300 --workers 2
    """
    catalog = report.load_or_exit(directory)
    override = partial(_overridden, options)
    settings = override(catalog.settings)
    logs.begin(settings.log_format, settings.log_level, os.environ.get("JOURNAL_STREAM"))
    # Now, not when the workers have been forked: walking all zones would copy the memory that they share.
    announce = partial(click.echo, _announcement(directory, catalog, settings))
    try:
        # Before privileges are dropped: the user may not be allowed to make it.
        place = Place(settings.control, os.environ, settings.user)
        try:
            parent.run(directory, catalog, override, announce, partial(server.serve, _doors(place, settings)))
        finally:
            place.leave()
    except (CannotControl, CannotListen, CannotDrop, StateTaken, WorkersFailed) as error:
        raise click.ClickException(str(error)) from None


def _doors(place: Place, settings: Settings) -> list[Door]:
    """Where operators come in.  Raises CannotControl."""
    doors = [] if place.sock is None else [Door(place.sock)]
    if settings.admin is not None:
        token = None if settings.admin_token_file is None else address.read_token(settings.admin_token_file)
        doors.append(Door(address.listen(settings.admin), Guard(token, settings.admin_hosts)))
    return doors


def _overridden(options: dict[str, Any], settings: Settings) -> Settings:
    given = {key: value for key, value in options.items() if value not in (None, ())}
    if "listen" in given:
        given["listen"] = tuple(dict.fromkeys(given["listen"]))  # the same address twice is one
    if "order" in given:
        given["order"] = Order(given["order"])
    return replace(settings, **given)


def _announcement(directory: Path, catalog: Catalog, settings: Settings) -> str:
    """What is served where, and a question to try."""
    places = ", ".join(map(str, settings.listen))
    workers = report.count(parent.worker_count(settings), "worker")
    endpoint, admin = _from_here(settings.listen[0]), settings.admin
    return "\n".join((
        f"dnslb {__version__} serves {directory} on {places} (UDP and TCP), {workers}",
        *(f"  {line}" for line in report.summary(catalog)),
        *((f"status page: http://{_from_here(admin)}/",) if admin is not None else ()),
        f"try: dig @{endpoint.address} -p {endpoint.port} {_example(catalog)}",
    ))


def _from_here(endpoint: Endpoint) -> Endpoint:
    """How to reach it from this machine."""
    if not endpoint.address.is_unspecified:
        return endpoint
    return Endpoint(ip_address("::1" if endpoint.address.version == 6 else "127.0.0.1"), endpoint.port)


def _example(catalog: Catalog) -> str:
    """A question worth asking: for the name with the most addresses."""
    sizes = {
        owner: sum(len(rrset.rdatas) for rrset in node if rrset.rrtype in (rrtype.A, rrtype.AAAA))
        for zone in catalog.zones.values()
        for owner, node in zone.nodes.items()
        if find(node, rrtype.A) is not None and not name.is_wildcard(owner)
    }
    if not sizes:
        return f"{name.text(next(iter(catalog.zones)))} SOA"
    return name.text(max(sizes, key=lambda owner: sizes[owner]))
