"""``dnslb updates``: what others have changed in zones, by updates (RFC 2136), and back to the files."""

from __future__ import annotations

import json
from typing import Any

import click

from dnslb.cli import report
from dnslb.cli.control import ask
from dnslb.cli.nodes import Place, server_options


@click.command()
@click.option("--drop", metavar="NAME", help="Serve what the file says of NAME again; of a zone's name, all of it.")
@click.option("--type", "kind", metavar="TYPE", help="With --drop: of this type only.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it, for programs.")
@server_options
def updates(drop: str | None, kind: str | None, as_json: bool, control: Place) -> None:
    """Show what updates (RFC 2136) have changed in zones, above their files; or drop it.

    \b
    Example: dnslb updates
             dnslb updates --drop _acme-challenge.example.com
    """
    if kind is not None and drop is None:
        raise click.UsageError("--type is for --drop NAME; give that too")
    if drop is not None:
        done = ask(control, "DELETE", "/updates", {"name": drop} | ({} if kind is None else {"type": kind}))
        click.echo(f"{report.count(done['dropped'], 'RRset')} as in the zone file again")
        return
    found = ask(control, "GET", "/updates")["updates"]
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        click.echo("\n".join(line for one in found for line in _lines(one)) or "zones are as their files say")


def _lines(one: dict[str, Any]) -> list[str]:
    ttl = "" if one["ttl"] is None else f" {one['ttl']}"
    told = [f"{one['owner']}{ttl} {one['type']} {data}" for data in one["added"]]
    told += [f"removed: {one['owner']} {one['type']} {data}" for data in one["removed"]]
    return told or [f"{one['owner']}{ttl} {one['type']}: another TTL"]
