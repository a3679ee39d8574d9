"""What the shell completes: names and addresses, from the running server, else from the directory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from dnslb.admin import client

_PATIENCE = 1.0  # seconds for the server: somebody waits at the prompt
_OPTIONS = ("control", "servers", "token_file", "ca_file")
_DIRECTORIES = (Path("zones"), Path(), Path("/etc/dnslb/zones"))
_SHELLS = ("bash", "zsh", "fish")
_OWNER = re.compile(r"^([A-Za-z0-9*_][A-Za-z0-9._-]*|@)\s", re.MULTILINE)
_ADDRESS = re.compile(r"\s(?:A|AAAA)\s+([0-9A-Fa-f.:]+)", re.MULTILINE)


def names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Zones, pools and other names."""
    status = _status(ctx)
    known = _live_names(status) if status is not None else _read_names(_directory())
    return _matching(known, incomplete)


def pools(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of pools, and zones' if no server says which pools there are."""
    status = _status(ctx)
    known = {pool["owner"] for pool in status["pools"]} if status is not None else _read_names(_directory())
    return _matching(known, incomplete)


def targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of pools, and addresses; after a name its own addresses."""
    status = _status(ctx)
    if status is None:
        directory = _directory()
        return _matching({*_read_names(directory), *_read_addresses(directory)}, incomplete)
    named = {f"{word.rstrip('.').lower()}." for word in ctx.params.get("targets") or ()}
    own = [pool for pool in status["pools"] if pool["owner"].lower() in named] or status["pools"]
    addresses = {backend["address"] for pool in own for rrset in pool["rrsets"] for backend in rrset["backends"]}
    return _matching({*addresses, *(pool["owner"] for pool in status["pools"])}, incomplete)


def directories(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="dir")]


def script(shell: str) -> str:
    """What the shell runs at its start, so that it completes."""
    found = get_completion_class(shell)
    if found is None or shell not in _SHELLS:
        raise click.UsageError(f"{shell} is no shell that completes; write one of {', '.join(_SHELLS)}")
    from dnslb.cli import main  # noqa: PLC0415 - which has this command

    # That of the class itself would ask an installed bash how old it is.
    return ShellComplete.source(found(main, {}, "dnslb", "_DNSLB_COMPLETE"))


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print what makes the shell complete commands, options, names and addresses.

    Names and addresses come from the running server, else from the files in zones, in this directory, or in
    /etc/dnslb/zones.

    \b
    Example: dnslb completion bash > /etc/bash_completion.d/dnslb
             dnslb completion zsh > "${fpath[1]}/_dnslb"
             dnslb completion fish > ~/.config/fish/completions/dnslb.fish
    """
    click.echo(script(shell))


def _status(ctx: click.Context) -> dict[str, Any] | None:
    """Of the server that the command would ask; None if it does not answer at once."""
    from dnslb.cli.control import default  # noqa: PLC0415 - it takes a moment to import
    from dnslb.cli.nodes import places_of  # noqa: PLC0415

    try:
        place = places_of(*(ctx.params.get(key) for key in _OPTIONS))[0]
        status, found = client.ask(place or default(), "GET", "/status", patience=_PATIENCE)
    except (client.Unreachable, click.ClickException):
        return None
    return found if status == 200 and isinstance(found, dict) else None


def _live_names(status: dict[str, Any]) -> set[str]:
    return {*(zone["zone"] for zone in status["zones"]), *(pool["owner"] for pool in status["pools"])}


def _directory() -> Path:
    """Where zones are probably meant: what is typed behind the cursor is not known."""
    return next((place for place in _DIRECTORIES if any(place.glob("*.zone"))), _DIRECTORIES[0])


def _read_names(directory: Path) -> set[str]:
    """The zones by their files, and the owners in these that are plainly written."""
    found: set[str] = set()
    for path, text in _files(directory):
        zone = f"{path.stem.lower()}."
        found |= {zone, *(_whole(owner, zone) for owner in _OWNER.findall(text))}
    return found


def _read_addresses(directory: Path) -> set[str]:
    return {address for _, text in _files(directory) for address in _ADDRESS.findall(text)}


def _files(directory: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(directory.glob("*.zone"))[:100]:
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                yield path, file.read(1 << 20)
        except OSError:
            continue


def _whole(owner: str, zone: str) -> str:
    if owner == "@":
        return zone
    return owner.lower() if owner.endswith(".") else f"{owner.lower()}.{zone}"


def _matching(known: set[str], incomplete: str) -> list[CompletionItem]:
    word = incomplete.lower()
    return [CompletionItem(each) for each in sorted(known) if each.lower().startswith(word)]
