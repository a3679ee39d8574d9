"""``dnslb reload``, ``drain``, ``maint``, ``ready`` and ``log-level``: change what a running server does."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import click

from dnslb import duration, moment
from dnslb.cli import report
from dnslb.cli.control import age, ask, clock, control_option
from dnslb.settings import LOG_LEVELS

_PATTERN = re.compile(r"[0-9.*?\[\]!-]+|[0-9a-f:.*?\[\]!-]*:[0-9a-f:.*?\[\]!-]*", re.ASCII | re.IGNORECASE)
_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.command()
@control_option
def reload(control: Path | None) -> None:
    """Let the running server read its files again; returns when every worker serves them.

    With any mistake in them nothing changes, all mistakes are printed, and the exit status is 1.
    An edit that is held because it takes much away is taken.

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


@click.command("log-level")
@control_option
@click.argument("level", type=click.Choice(LOG_LEVELS), required=False)
def log_level(level: str | None, control: Path | None) -> None:
    """Show the least level that the running server logs, or change it until it ends.

    debug adds the outcome of every probe.  Queries are never logged.

    \b
    Example: dnslb log-level debug
    """
    given = None if level is None else {"level": level}
    click.echo(ask(control, "GET" if level is None else "PUT", "/log-level", given)["level"])


def _duration(text: str) -> str:
    if duration.parse(text) is None:
        raise click.BadParameter(f"{text} is no duration; write a number and a unit: 90s, 30m, 2h")
    return text


def _moment(text: str) -> float:
    at = moment.parse(text, time.time())
    if at is None:
        raise click.BadParameter(f"{text} is no time; write 14:00 or 2026-11-20T14:00")
    return at


def _target_options(command: _Command) -> _Command:
    for option in (
        control_option,
        click.option("--reason", default="", metavar="TEXT", help="Shown in the status and in the history."),
        click.option("--at", type=_moment, metavar="TIME", help="14:00, or 2026-11-20T14:00; default: now."),
        click.argument("targets", metavar="[NAME]... ADDRESS...", nargs=-1, required=True),
    ):
        command = option(command)
    return command


def _end_options(command: _Command) -> _Command:
    for option in (
        click.option("--wait", is_flag=True, help="Return when the last cached copy has expired."),
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
def ready(**options: Any) -> None:
    """End drain and maint of the addresses; with NAME, under that name only.

    \b
    Example: dnslb ready 192.0.2.11
             dnslb ready '*'
    """
    _give("ready", **options, lasts=None, wait=False)


def _give(  # noqa: PLR0913 - the options of the commands
    mode: str,
    *,
    targets: tuple[str, ...],
    lasts: str | None,
    at: float | None,
    reason: str,
    wait: bool,
    control: Path | None,
) -> None:
    addresses = [target for target in targets if _is_address(target)]
    names = [target for target in targets if not _is_address(target)]
    if not addresses:
        raise click.UsageError(f"{targets[0]} is no address; write 192.0.2.11, or '*' for all of a name")
    given = {"mode": mode, "addresses": addresses, "names": names, "for": lasts, "at": at, "reason": reason}
    done = ask(control, "POST", "/orders", given)
    for warning in done["warnings"]:
        click.echo(warning, err=True)
    now = time.time()
    for one in done["clocks"]:
        click.echo(f"{one['owner']} {one['type']} {one['address']}: {_outcome(mode, at, one, now)}")
    expiries = [one["expires"] for one in done["clocks"] if one["expires"] is not None]
    if wait and expiries:
        time.sleep(max(0.0, max(expiries) - time.time()))
        click.echo(f"{clock(time.time(), now)}: no cache holds {'it' if len(expiries) == 1 else 'them'} any more")


def _outcome(mode: str, at: float | None, one: dict[str, Any], now: float) -> str:
    when = f" at {clock(at, now)}" if at is not None else ""
    text = f"{mode}{when}"
    if one["expires"] is not None:
        expires = one["expires"]
        text += f"; the last cached copy expires at {clock(expires, now)}, in {age(expires - now + 0.999)}"
    return f"{text} ({one['note']})" if one["note"] and one["note"] != "planned" else text


def _change(change: dict[str, Any]) -> str:
    if change["after"] is None:
        return "removed"
    if change["before"] is None:
        return f"added, serial {change['after']}"
    if not change["changed"]:
        return f"serial {change['after']}, unchanged"
    if change["before"] == change["after"]:
        return f"changed, serial {change['after']} not raised"
    return f"serial {change['before']} → {change['after']}"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return _PATTERN.fullmatch(text) is not None
    return True
