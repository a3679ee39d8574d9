"""``dnslb serve``: run the nameserver."""

from __future__ import annotations

import gc
import logging
import os
from contextlib import suppress
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from dnslb import __version__
from dnslb.admin import address, server
from dnslb.admin.control_socket import CannotControl, ControlSocket, default_path
from dnslb.admin.guard import Guard
from dnslb.admin.server import Listener
from dnslb.balance.rotation import RRsetOrder
from dnslb.cli import option, report
from dnslb.config.catalog import Catalog, load
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
    Endpoint,
    Settings,
    is_short_text,
    parse_endpoint,
    parse_host,
)
from dnslb.dns import name, rrtype
from dnslb.dns.zone import find
from dnslb.ipc import takeover as takeovers
from dnslb.ipc.inherited import Inherited
from dnslb.ipc.sockets import CannotListen
from dnslb.ipc.takeover import CannotTakeOver
from dnslb.parent import parent
from dnslb.parent.reading import Reading
from dnslb.parent.state_file import StateTaken
from dnslb.parent.workers import WorkersFailed
from dnslb.system import logs
from dnslb.system.privileges import CannotDrop
from dnslb.text.problem import Level, Problem, has_errors


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


_log = logging.getLogger("dnslb")
_IDLE = option.seconds(LEAST_IDLE, MOST_IDLE)
_TIMEOUT = option.seconds(LEAST_TIMEOUT, MOST_TIMEOUT)
_GRACE = option.seconds(0.0, MOST_GRACE)
_CONTROL = "control"  # among the sockets where operators come in
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
@click.option("--order", type=click.Choice([order.value for order in RRsetOrder]), help="Of the addresses in a reply.")
@click.option("--server-id", type=_short_text, metavar="TEXT", help="Tell NSID and CH TXT id.server queries this name.")
@click.option("--server-version", type=_short_text, metavar="TEXT", help="Tell CH TXT version.bind queries this text.")
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
    catalog, problems = load(directory)
    override = partial(_overridden, options)
    settings = override(catalog.settings)
    logs.begin(settings.log_format, settings.log_level, os.environ.get("JOURNAL_STREAM"))
    is_json = settings.log_format == "json"
    if is_json:
        _log_problems(problems)
    else:
        report.accepted(catalog, problems)
    # Now, not when the workers have been forked: walking all zones would copy the memory that they share.
    announcement = _announcement(directory, catalog, settings)
    try:
        inherited = _from_server(settings) if takeover else Inherited()
        # Before privileges are dropped: the user may not be allowed to make it.
        control = ControlSocket(settings.control, os.environ, settings.user, inherited.admin_sockets.get(_CONTROL))
        try:
            if not inherited.is_from_parent:
                inherited = _from_workers(control, settings)
            serve_operators = partial(server.serve, _listeners(control, settings, inherited))
            announce = partial(_announce, settings.log_format, announcement)
            parent.run(directory, Reading(catalog, problems), override, inherited, announce, serve_operators)
        finally:
            _leave(control, inherited)
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


def _from_server(settings: Settings) -> Inherited:
    """What the living server hands over, if there is one.  Raises CannotTakeOver."""
    inherited = takeovers.ask(takeovers.path_beside(settings.control or default_path(os.environ)), 1)
    if inherited.is_from_parent:
        return inherited
    # Workers without a parent are asked once the control socket is ours: then nobody else asks them.
    inherited.decline()
    return Inherited()


def _from_workers(control: ControlSocket, settings: Settings) -> Inherited:
    """What workers hand over whose server is gone, and where others will be able to ask us.  Raises CannotTakeOver."""
    if control.sock is None:
        return Inherited()
    path = takeovers.path_beside(control.path)
    inherited = takeovers.ask(path)
    if inherited.is_from_parent:
        inherited.decline()
        raise CannotTakeOver(f"another dnslb listens on {path}; stop it, or give --takeover")
    if inherited.listener is None:
        inherited.listener = control.listen_beside(path, settings.user)
    return inherited


def _leave(control: ControlSocket, inherited: Inherited) -> None:
    """Nobody can reach us any more.

    Who has taken over from us, or goes on because we have not taken over, is reached in the same places.
    """
    if inherited.listener is not None:
        inherited.listener.close()
    if inherited.is_handed_on or (inherited.is_from_parent and inherited.predecessors):
        return
    if inherited.listener is not None and not inherited.predecessors:
        with suppress(OSError):
            takeovers.path_beside(control.path).unlink()
    control.close()


def _listeners(control: ControlSocket, settings: Settings, inherited: Inherited) -> list[Listener]:
    """Where operators come in.  Raises CannotControl."""
    listeners, socks = [], {}
    if control.sock is not None:
        listeners.append(Listener(control.sock))
        socks[_CONTROL] = control.sock
    if settings.admin is not None:
        tokens = () if settings.admin_token_file is None else address.read_tokens(settings.admin_token_file)
        name = f"admin {settings.admin}"
        socks[name] = inherited.admin_sockets.get(name) or address.listen(settings.admin)
        listeners.append(Listener(socks[name], Guard(tokens, settings.admin_hosts)))
    inherited.adopt(socks)
    return listeners


def _overridden(options: dict[str, Any], settings: Settings) -> Settings:
    given = {key: value for key, value in options.items() if value not in (None, ())}
    if "listen" in given:
        given["listen"] = tuple(dict.fromkeys(given["listen"]))  # the same address twice is one
    if "order" in given:
        given["order"] = RRsetOrder(given["order"])
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
