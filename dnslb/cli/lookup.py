"""``dnslb lookup``: what would be answered, without a server or by a running one."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from dnslb.admin.json_stream import fields
from dnslb.answer.served import at_rest
from dnslb.cli import complete, option, report
from dnslb.cli.control import ask
from dnslb.cli.nodes import Place, server_options
from dnslb.dns import name, rrtype
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.parent.telling.lookup import lookup as looked_up

_SECTIONS = ("answer", "authority", "additional")


@click.command()
@click.argument("owner", metavar="NAME", shell_complete=complete.names)
@click.argument("words", metavar="[TYPE] [DIRECTORY]", nargs=-1, shell_complete=complete.directories)
@click.option("--zones", "directory", type=click.Path(path_type=Path), hidden=True, help="As DIRECTORY.")
@click.option("--client", metavar="ADDRESS", help="Who asks; near clients may get another number of addresses.")
@click.option("--live", is_flag=True, help="Ask the running server what it answers at the moment.")
@server_options
def lookup(  # noqa: PLR0913 - the options of the command
    *, owner: str, words: tuple[str, ...], directory: Path | None, client: str | None, live: bool, control: Place
) -> None:
    """Print what would be answered to a question for NAME and TYPE (default: A), as dig prints it.

    Of a pool in DIRECTORY (default: zones), it is the first answer while every backend is up; with --live, the first
    one by what the running server knows: who is up, what is drained, the TTL in force.

    \b
    Example: dnslb lookup www.example.com AAAA zones
             dnslb lookup www.example.com --live
    """
    wanted_type, given = _meant(words)
    if not owner.isascii():
        raise click.UsageError("the name is not ASCII; write its A-labels (xn--…), or its octets as \\DDD")
    try:
        asked = name.parse(owner, name.ROOT)
    except Mistaken as error:
        raise click.UsageError(str(error)) from None
    who = b"" if client is None else _packed(client)
    if not live:
        found = _at_rest(given or directory or Path(option.DIRECTORY), asked, wanted_type, who)
    elif given or directory:
        raise click.UsageError("--live asks the server, which has a directory of its own; leave DIRECTORY out")
    else:
        target = f"/lookup/{quote(owner, safe='')}/{rrtype.text(wanted_type)}"
        found = ask(control, "GET", target if client is None else f"{target}/{quote(client, safe='')}")
    click.echo("\n".join(_dig(asked, wanted_type, found)))
    if found["withheld"]:
        click.echo("queries for it get no reply yet: its backends are not judged", err=True)


def _meant(words: tuple[str, ...]) -> tuple[int, Path | None]:
    """Type and directory: a word that is no type is a directory, if there is one or it has a slash."""
    wanted, directory = None, None
    for word in words:
        number = rrtype.parse(word)
        if number is not None and wanted is None:
            wanted = number
        elif directory is None and ("/" in word or Path(word).is_dir()):
            directory = Path(word)
        else:
            raise click.UsageError(f"{word} is no record type; write A, AAAA, MX … or TYPE65280")
    return rrtype.A if wanted is None else wanted, directory


def _packed(client: str) -> bytes:
    try:
        return ip_address(client).packed
    except ValueError:
        raise click.UsageError(f"{client} is no address; write an IPv4 or IPv6 address") from None


def _at_rest(directory: Path, asked: Name, wanted_type: int, client: bytes) -> dict[str, Any]:
    catalog = report.load_or_exit(directory)
    servings = at_rest(catalog.pools)

    def served(owner: Name) -> dict[Any, Any]:
        return {key: serving for key, serving in servings.items() if key[0] == owner}

    found = fields(looked_up(catalog.zones, catalog.pools, served, (asked, wanted_type), client))
    return found | {section: [fields(record) for record in found[section]] for section in _SECTIONS}


def _dig(asked: Name, wanted_type: int, found: dict[str, Any]) -> list[str]:
    counts = ", ".join(f"{title.upper()}: {len(found[title])}" for title in _SECTIONS)
    lines = [
        f";; ->>HEADER<<- opcode: QUERY, status: {found['rcode']}",
        f";; flags: qr{' aa' if found['authoritative'] else ''}; QUERY: 1, {counts}",
        "",
        ";; QUESTION SECTION:",
        _columns(f";{name.text(asked)}", "", rrtype.text(wanted_type), ""),
    ]
    for title in _SECTIONS:
        if found[title]:
            lines += ["", f";; {title.upper()} SECTION:"]
            lines += [_columns(one["owner"], str(one["ttl"]), one["type"], one["data"]) for one in found[title]]
    return lines


def _columns(owner: str, ttl: str, kind: str, record: str) -> str:
    return f"{owner:<23} {ttl:<7} IN      {kind:<7} {record}".rstrip()
