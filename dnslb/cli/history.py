"""``dnslb history`` and ``dnslb events``: what has changed, and what does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from dnslb.admin import follower
from dnslb.admin.client import Local, Unreachable
from dnslb.admin.follower import Lost, Refused
from dnslb.cli import complete
from dnslb.cli.control import NoServer, NoSuchName, ask, clock, columns, default, is_address
from dnslb.cli.nodes import Place, server_options, stream_options
from dnslb.control.change import KINDS
from dnslb.text import duration, timestamp

_DAY = 86400.0  # seconds
_WORDS = ("up", "down", "drain", "maint", "ready", *KINDS["backend"], *KINDS)


def _since(text: str) -> float:
    """Unix time, that is past."""
    now = time.time()
    ago = duration.parse(text)
    at = timestamp.parse(text, now) if ago is None else now - ago
    if at is None:
        raise click.BadParameter(f"{text} is no time; write 2h for the last two hours, 14:00 or 2026-11-20T14:00")
    # A time of day is the last one, not the next.
    return at - _DAY if at > now and len(text) <= len("14:00") else at


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which changes are asked for."""

    names: tuple[str, ...]       # patterns, in lower case
    addresses: tuple[str, ...]   # patterns
    held: Collection[str]        # the addresses that those names have now: an order may be for these under all names
    kinds: tuple[str, ...]
    since: float

    def includes(self, change: dict[str, Any]) -> bool:
        return (
            change["at"] >= self.since
            and (not self.kinds or _is_of(change["what"], self.kinds))
            and (not self.addresses or any(fnmatchcase(change["address"], each) for each in self.addresses))
            and (not self.names or self._is_about_a_name(change))
        )

    def _is_about_a_name(self, change: dict[str, Any]) -> bool:
        if change["owner"] is None:
            return change["address"] in self.held
        return any(fnmatchcase(change["owner"].lower(), each) for each in self.names)


@click.command()
@click.argument("targets", metavar="[NAME]... [ADDRESS]...", nargs=-1, shell_complete=complete.targets)
@click.option("--since", type=_since, metavar="TIME", help="2h for the last two hours, 14:00 or 2026-11-20T14:00.")
@click.option(
    "--kind", "kinds", type=click.Choice(_WORDS), metavar="KIND", multiple=True,
    help=f"Of this kind only: {', '.join(_WORDS)}; may be repeated.",
)  # fmt: skip
@click.option("--follow", is_flag=True, help="Go on with what changes from now on, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it, for programs.")
@server_options
def history(  # noqa: PLR0913 - the options of the command
    *,
    targets: tuple[str, ...],
    since: float | None,
    kinds: tuple[str, ...],
    follow: bool,
    as_json: bool,
    control: Place,
) -> None:
    """Show the last 1,000 changes of verdicts and orders, reloads, starts and stops, oldest first.

    With NAME or ADDRESS, of these only; both may be patterns.  They survive a restart of the server.

    \b
    Example: dnslb history www.example.net --since 2h
             dnslb history '192.0.2.*' --kind verdict --follow
    """
    wanted = _wanted(control, targets, kinds, since or 0.0)
    changes = [change for change in ask(control, "GET", "/history")["changes"] if wanted.includes(change)]
    if not follow:
        click.echo(json.dumps({"changes": changes}, indent=1) if as_json else "\n".join(_lines(changes)), nl=True)
        return
    tell = _tell_json if as_json else _tell
    for change in changes:
        tell(change)
    _follow(control, wanted, tell)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print each as one line of JSON, for programs.")
@stream_options
def events(as_json: bool, control: Place) -> None:
    """Print each change as it comes, until Ctrl-C; also over a restart of the server.

    \b
    Example: dnslb events --json
    """
    _follow(control, Wanted((), (), (), (), 0.0), _tell_json if as_json else _tell)


def _wanted(control: Place, targets: tuple[str, ...], kinds: tuple[str, ...], since: float) -> Wanted:
    addresses = tuple(target for target in targets if is_address(target))
    named = [target for target in targets if not is_address(target)]
    names = tuple(each.lower() if each.endswith((".", "*")) else f"{each.lower()}." for each in named)
    return Wanted(names, addresses, set(_held(control, named)), kinds, since)


def _held(control: Place, names: list[str]) -> Iterator[str]:
    """The addresses that the names have now; those of names that are gone are not known."""
    for each in names:
        try:
            found = ask(control, "GET", f"/status/{quote(each, safe='')}")
        except NoSuchName:
            continue
        for pool in found["pools"]:
            yield from (backend["address"] for rrset in pool["rrsets"] for backend in rrset["backends"])


def _is_of(what: str, kinds: Collection[str]) -> bool:
    return any(what in KINDS.get(kind, (kind, f"{kind} planned")) for kind in kinds)


def _follow(control: Place, wanted: Wanted, tell: Callable[[dict[str, Any]], None]) -> None:
    place = default() if control is None else control
    server = Local(place) if isinstance(place, Path) else place
    try:
        for found in follower.follow(server, lambda text: click.echo(text, err=True)):
            if isinstance(found, Lost):
                click.echo(f"{found.number} changes were too many at once, and are lost", err=True)
            elif wanted.includes(found):
                tell(found)
    except (Unreachable, Refused) as error:
        raise NoServer(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(0) from None


def _tell(change: dict[str, Any]) -> None:
    at, about, address, what, reason = _cells(change)
    click.echo(f"{at}  {about:<24}  {address:<15}  {what:<13}  {reason}".rstrip())


def _tell_json(change: dict[str, Any]) -> None:
    click.echo(json.dumps(change))


def _lines(changes: list[dict[str, Any]]) -> list[str]:
    return columns([_cells(change) for change in changes], indent="") if changes else ["nothing has changed"]


def _cells(change: dict[str, Any]) -> tuple[str, ...]:
    # A change of no address is one of the server itself.
    about = str(change["owner"] or ("all names" if change["address"] else "the server"))
    reason = ", ".join(filter(None, (change["reason"], f"by {change['by']}" if change["by"] else "")))
    return clock(change["at"], time.time()), about, change["address"], change["what"], reason
