"""``dnslb reload``, ``drain``, ``maint``, ``ready`` and ``log-level``: change what a running server does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from dnslb.cli import complete, report, wait
from dnslb.cli.control import age, ask, clock, is_address
from dnslb.cli.nodes import Place, server_options
from dnslb.config.settings import LOG_LEVELS
from dnslb.text import duration, timestamp

_MOST_LEFT = 10     # RRsets of which is said what is left
_INTERRUPTED = 130  # the exit status of who was ended by Ctrl-C


@click.command()
@server_options
def reload(control: Place) -> None:
    """Let the running server read its files again; returns when every worker serves them.

    With any mistake in them nothing changes, all mistakes are printed, and the exit status is 1.
    An edit that is held because it may be half-written is taken.

    \b
    Example: dnslb reload
    """
    done = ask(control, "POST", "/reload")
    for warning in done["warnings"]:
        click.echo(warning, err=True)
    width = max((len(change["zone"]) for change in done["zones"]), default=0)
    for change in done["zones"]:
        click.echo(f"{change['zone']:<{width}}  {_change(change)}")
    click.echo(f"{report.count(done['pools'], 'pool')}{'' if done['pools_changed'] else ', unchanged'}")
    for change in done["changes"]:
        click.echo(f"  {change}")
    if done["settings"]:
        click.echo(f"settings: {', '.join(done['settings'])}")
    if done["restart"]:
        click.echo(f"{', '.join(done['restart'])}: what the files say now holds when dnslb is started again", err=True)


@click.command("log-level")
@server_options
@click.argument("level", type=click.Choice(LOG_LEVELS), required=False)
def log_level(level: str | None, control: Place) -> None:
    """Show the least level that the running server logs, or change it until it ends.

    debug adds the outcome of every probe.  Queries have a log of their own: `query_log` in dnslb.yaml.

    \b
    Example: dnslb log-level debug
    """
    given = None if level is None else {"level": level}
    click.echo(ask(control, "GET" if level is None else "PUT", "/log-level", given)["level"])


def _duration(text: str) -> str:
    seconds = duration.parse(text)
    if seconds is None:
        raise click.BadParameter(f"{text} is no duration; write a number and a unit: 90s, 30m, 2h")
    if seconds == 0:
        raise click.BadParameter(f"{text} is no time at all; give more, or leave it out: then there is no end")
    return text


def _moment(text: str) -> float:
    now = time.time()
    at = timestamp.parse(text, now)
    if at is None:
        raise click.BadParameter(f"{text} is no time; write 14:00 or 2026-11-20T14:00")
    if at <= now:
        raise click.BadParameter(f"{text} is in the past; leave it out for now")
    return at


def _target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        server_options,
        click.option("--reason", default="", metavar="TEXT", help="Shown in the status and in the history."),
        click.option("--at", type=_moment, metavar="TIME", help="14:00, or 2026-11-20T14:00; default: now."),
        click.argument(
            "targets", metavar="[NAME]... ADDRESS...", nargs=-1, required=True, shell_complete=complete.targets
        ),
    ):
        command = option(command)
    return command


def _end_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--wait", "waits", is_flag=True, help="Return when the last cached copy has expired."),
        click.option("--force", is_flag=True, help="Even if less is left than a pool's min_ready."),
        click.option("--for", "lasts", type=_duration, metavar="DURATION", help="Ready again after so long."),
    ):
        command = option(command)
    return command


@click.command()
@_target_options
@_end_options
def drain(**options: Any) -> None:
    """Hand the addresses out no more, and go on probing them.

    Returns when no worker hands them out, and prints when the last cached copy expires.
    With NAME, under that name only.  Both may be patterns: '192.0.2.*', '*.example.net'.
    With --at, TTLs fall ahead of that time, so that caches let go in time.
    With --wait it exits with 1 when the order ends before, or the server.
    What would leave a pool less than its min_ready is refused, unless with --force.

    \b
    Example: dnslb drain 192.0.2.11 --for 30m --reason "new kernel" --wait
             dnslb drain www.example.net 192.0.2.11 --at 14:00
    """
    _give("drain", **options)


@click.command()
@_target_options
@_end_options
def maint(**options: Any) -> None:
    """As drain, and stop probing the addresses.

    \b
    Example: dnslb maint 192.0.2.11 --for 2h
    """
    _give("maint", **options)


@click.command()
@_target_options
@click.option("--now", "at_once", is_flag=True, help="Do not wait for a probe to pass.")
def ready(**options: Any) -> None:
    """End drain and maint of the addresses; with NAME, under that name only.

    What was not probed meanwhile is handed out when its first probe passes, or when nothing else is up.  With --now it
    is at once, until a probe fails; so are new backends that have not passed yet.

    \b
    Example: dnslb ready 192.0.2.11
             dnslb ready '*'
    """
    _give("ready", **options, lasts=None, waits=False)


def _give(  # noqa: PLR0913 - the options of the commands
    mode: str,
    *,
    targets: tuple[str, ...],
    lasts: str | None,
    at: float | None,
    reason: str,
    waits: bool,
    control: Place,
    at_once: bool = False,
    force: bool = False,
) -> None:
    if "" in targets:
        raise click.UsageError("a name or an address is empty; leave it out, or write '*' for all")
    addresses = [target for target in targets if is_address(target)]
    names = [target for target in targets if not is_address(target)]
    if not addresses:
        raise click.UsageError(f"{targets[0]} is no address; write 192.0.2.11, or '*' for all of a name")
    given = {"mode": mode, "addresses": addresses, "for": lasts, "at": at, "reason": reason}
    if names:  # without the key: under every name
        given["names"] = names
    if at_once:
        given["now"] = True
    if force:
        given["force"] = True
    try:
        done = ask(control, "POST", "/orders", given)
    except KeyboardInterrupt:
        click.echo("\nwhether the order stands is not known: see `dnslb status`", err=True)
        raise SystemExit(_INTERRUPTED) from None
    try:
        _tell(mode, at, done)
        if waits:
            _wait(control, wait.awaited(done, names))
    except KeyboardInterrupt:
        click.echo("\nthe order stands: `dnslb status` shows the drain clock, `dnslb ready` ends it", err=True)
        raise SystemExit(_INTERRUPTED) from None


def _tell(mode: str, at: float | None, done: dict[str, Any]) -> None:
    """What the order has done."""
    for warning in done["warnings"]:
        click.echo(warning, err=True)
    now = time.time()
    for one in done["clocks"]:
        click.echo(f"{one['owner']} {one['type']} {one['address']}: {_outcome(mode, at, one, now)}")
    for line in _left(done.get("left", [])) if len(done["clocks"]) > 1 else ():
        click.echo(line)
    if not any(one["changed"] for one in done["clocks"]):
        click.echo("nothing has changed")


def _left(left: list[dict[str, Any]]) -> list[str]:
    """What an order of many addresses leaves of each RRset; of many, those with the least."""
    told = [
        f"left: {one['owner']} {one['type']} {one['backends']} of {one['of']} backends up and ready,"
        f" {one['percent']:.0f}% of the weight"
        for one in left[:_MOST_LEFT]
    ]
    if len(left) > _MOST_LEFT:
        told.append(f"left: of {len(left) - _MOST_LEFT:,} others {left[_MOST_LEFT]['percent']:.0f}% or more")
    return told


def _wait(control: Place, awaited: list[wait.Awaited]) -> None:
    try:
        at = wait.wait(lambda path: ask(control, "GET", path), awaited)
    except wait.Failed as failed:
        raise click.ClickException(str(failed)) from None
    click.echo(f"{clock(at, at)}: no cache holds {'it' if len(awaited) == 1 else 'them'} any more")


def _outcome(mode: str, at: float | None, one: dict[str, Any], now: float) -> str:
    when = f" at {clock(at, now)}" if at is not None else ""
    text = f"{mode}{when}"
    expires = one["expires"]
    if expires is not None and expires > now:
        text += f"; the last cached copy expires at {clock(expires, now)}, in {age(expires - now + 0.999)}"
    elif expires is not None:
        text += f"; no cache holds it since {clock(expires, now)}"
    notes = [one["note"]] if one["note"] and one["note"] != "planned" else []
    notes += [] if one["changed"] else ["as before"]
    return f"{text} ({'; '.join(notes)})" if notes else text


def _change(change: dict[str, Any]) -> str:
    if change["after"] is None:
        return "removed"
    if change["before"] is None:
        return f"added, serial {change['after']}"
    if not change["changed"]:
        return f"serial {change['after']}, unchanged"
    if change["before"] == change["after"]:
        return f"changed, serial {change['after']} not raised; {_records(change)}"
    return f"serial {change['before']} → {change['after']}; {_records(change)}"


def _records(change: dict[str, Any]) -> str:
    if not change["added"] and not change["gone"]:
        return "no record added or gone"
    return f"{report.count(change['added'], 'record')} added, {change['gone']:,} gone"
