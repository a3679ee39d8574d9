"""``dnslb init``: a directory to begin with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, TypeVar

import click

from dnslb.cli import report
from dnslb.config import beginning
from dnslb.config.beginning import SERVER, Wanted
from dnslb.config.directory import load
from dnslb.dns import name
from dnslb.dns.mistake import Mistaken
from dnslb.text.problem import has_errors

_T = TypeVar("_T")


def zone_name(text: str) -> str:
    """The name of a zone, as its files are called: small letters, without the last dot."""
    zone = _relative(text.rstrip("."))
    if "/" in zone or not zone or len(zone) > 250:
        raise click.BadParameter(f"{text!r} cannot be the name of a zone's file; write it as in example.com")
    return zone


def _owner(text: str) -> str:
    return text if text == "@" else _relative(text)


def _relative(text: str) -> str:
    if not text.isascii():
        raise click.BadParameter(f"{text!r} is not ASCII; write its A-labels (xn--…)")
    try:
        name.parse(text + ".", name.ROOT)
    except Mistaken as error:
        raise click.BadParameter(str(error)) from None
    if not all(octet.isalnum() or octet in "-_.*" for octet in text):
        raise click.BadParameter(f"{text!r} has other signs than letters, digits, hyphens and dots")
    return text.lower()


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text.strip())
    except ValueError:
        raise click.BadParameter(f"{text.strip()!r} is no address; write it as in 192.0.2.11 or 2001:db8::11") from None


def _addresses(text: str) -> list[IPv4Address | IPv6Address]:
    found = [_address(word) for word in text.replace(",", " ").split()]
    if not found:
        raise click.BadParameter("give one address at least")
    return found


@click.command()
@click.argument("directory", type=click.Path(readable=False, path_type=Path), default="zones")
@click.option("--zone", metavar="NAME", help="The zone to begin with, as in example.com.")
@click.option("--address", "addresses", metavar="ADDRESS", multiple=True, help="Of a server; may be repeated.")
@click.option("--name", "owner", metavar="NAME", default="www", show_default=True, help="They share it; @: the zone's.")
@click.option("--nameserver", metavar="ADDRESS", help="Where the world reaches this nameserver; default: 127.0.0.1.")
@click.option("--port", type=click.IntRange(1, 65535), default=80, show_default=True, help="To be probed.")
@click.option("--path", metavar="PATH", help="Probe by HTTP: what is asked for, as in /healthz; default: by TCP.")
def init(  # noqa: PLR0913, PLR0917 - each is an option
    directory: Path, zone: str | None, addresses: tuple[str, ...], owner: str, nameserver: str | None, port: int,
    path: str | None,
) -> None:  # fmt: skip
    """Make a zone, a probed pool on it and the server's settings in DIRECTORY (default: zones).

    On a terminal it asks for what is missing.  No file is ever overwritten.

    \b
    Example: dnslb init zones --zone example.com --address 192.0.2.11 --address 192.0.2.12
    """
    if path is not None and not path.startswith("/"):
        raise click.BadParameter(f"{path!r} is no path; begin it with a slash", param_hint="--path")
    servers = " ".join(addresses) if addresses else None
    wanted = Wanted(
        zone=_given("--zone", zone, "The zone (as in example.com)", zone_name),
        owner=_checked("--name", owner, _owner),
        addresses=_given("--address", servers, "Addresses of the servers", _addresses),
        nameserver=_checked("--nameserver", nameserver or "127.0.0.1", _address),
        port=port,
        path=path,
    )
    _refuse_twins(wanted)
    today = int(datetime.now(UTC).strftime("%Y%m%d01"))
    made = _write(directory, beginning.files(wanted, today))
    catalog, problems = load(directory)
    if has_errors(problems):
        _remove(made)
    report.accepted(catalog, problems)
    asked = wanted.zone if wanted.owner == "@" else f"{wanted.owner}.{wanted.zone}"
    endpoint = catalog.settings.listen[0]
    click.echo("\n".join(f"made {file}" for file in made))
    click.echo(f"\nnext: dnslb serve {directory}\n      dig @{endpoint.address} -p {endpoint.port} {asked}")


def _given(option: str, text: str | None, question: str, parse: Callable[[str], _T]) -> _T:
    """The value of an option, or what somebody at the terminal says."""
    if text is not None:
        return _checked(option, text, parse)
    if not sys.stdin.isatty():
        raise click.UsageError(f"{option} is missing; give it, or run the command on a terminal, where it asks")
    value: Any = click.prompt(question, value_proc=parse)
    return value  # type: ignore[no-any-return]  # click does not know what value_proc returns


def _checked(option: str, text: str, parse: Callable[[str], _T]) -> _T:
    try:
        return parse(text)
    except click.BadParameter as bad:
        bad.param_hint = option
        raise


def _refuse_twins(wanted: Wanted) -> None:
    if len(set(wanted.addresses)) < len(wanted.addresses):
        raise click.UsageError("an address is given twice; each server is named once")


def _write(directory: Path, files: Mapping[str, str]) -> list[Path]:
    """Those that are new: settings that are there already stay.  All or none."""
    paths = {directory / file: text for file, text in files.items()}
    paths = {path: text for path, text in paths.items() if path.name != SERVER or not path.exists()}
    there = [str(path) for path in paths if path.exists()]
    if there:
        raise click.ClickException(f"there is {' and '.join(there)} already; nothing was made, and nothing overwritten")
    made: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in paths.items():
            with path.open("x", encoding="utf-8") as out:
                made.append(path)
                out.write(text)
    except OSError as error:
        _remove(made)
        raise click.ClickException(f"{error.filename or directory} cannot be written: {error.strerror}") from None
    return made


def _remove(made: list[Path]) -> None:
    for path in made:
        path.unlink(missing_ok=True)
