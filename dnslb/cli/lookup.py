"""``dnslb lookup``: what would be answered, without a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from random import Random

import click

from dnslb.answer.served import at_rest
from dnslb.answer.snapshot import NOT_OURS, Key, Serving, Snapshot
from dnslb.balance.pool import Pool
from dnslb.cli import report
from dnslb.dns import name, rdata, rrtype
from dnslb.dns.answer import Answer, Placed
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name


@click.command()
@click.argument("owner", metavar="NAME")
@click.argument("wanted", metavar="[TYPE]", default="A")
@click.option(
    "--zones",
    "directory",
    type=click.Path(readable=False, path_type=Path),
    default="zones",
    help="The directory to read; default: zones.",
)
@click.option("--client", metavar="ADDRESS", help="Who asks; near clients may get another number of addresses.")
def lookup(owner: str, wanted: str, directory: Path, client: str | None) -> None:
    """Print what would be answered to a question for NAME and TYPE, as dig prints it.

    Of a pool, it is the first answer while every backend is up; `dnslb status` tells what a running server does.

    \b
    Example: dnslb lookup www.example.com AAAA
    """
    wanted_type = rrtype.parse(wanted)
    if wanted_type is None:
        raise click.UsageError(f"{wanted} is no record type; write A, AAAA, MX … or TYPE65280")
    if not owner.isascii():
        raise click.UsageError("the name is not ASCII; write its A-labels (xn--…), or its octets as \\DDD")
    try:
        asked = name.parse(owner, name.ROOT)
    except Mistaken as error:
        raise click.UsageError(str(error)) from None
    who = b"" if client is None else _packed(client)
    catalog = report.load_or_exit(directory)
    servings = at_rest(catalog.pools)
    snapshot = Snapshot(catalog.zones, catalog.settings.order, Random(), servings)
    # The responder refuses these by type, whatever the zone holds.
    if wanted_type in (rrtype.AXFR, rrtype.IXFR):
        answer = NOT_OURS
    else:
        answer = snapshot.plain(name.fold(asked), wanted_type.to_bytes(2) + rrtype.IN.to_bytes(2))
        answer = _windowed(answer, catalog.pools, servings, who)
    click.echo("\n".join(_dig(asked, wanted_type, answer)))


def _packed(client: str) -> bytes:
    try:
        return ip_address(client).packed
    except ValueError:
        raise click.UsageError(f"{client} is no address; write an IPv4 or IPv6 address") from None


def _windowed(answer: Answer, pools: Mapping[Name, Pool], servings: Mapping[Key, Serving], client: bytes) -> Answer:
    """With so many of the pool's addresses as a reply to the client has."""
    if answer.turning is None or answer.turning not in servings or not answer.answer:
        return answer
    near = pools[answer.turning[0]].near
    most = servings[answer.turning].rotation.answers
    if near is not None and near.include(client):
        most = near.answers
    *chain, (owner, rrset) = answer.answer
    shown = rrset._replace(rdatas=rrset.rdatas[:most])
    return replace(answer, answer=(*chain, Placed(owner, shown)))


def _dig(asked: Name, wanted_type: int, answer: Answer) -> list[str]:
    sections = {
        "ANSWER": answer.answer,
        "AUTHORITY": answer.authority,
        "ADDITIONAL": (*answer.glue, *answer.additional),
    }
    counts = ", ".join(f"{title}: {_records(section)}" for title, section in sections.items())
    lines = [
        f";; ->>HEADER<<- opcode: QUERY, status: {rrtype.RCODES[answer.rcode]}",
        f";; flags: qr{' aa' if answer.authoritative else ''}; QUERY: 1, {counts}",
        "",
        ";; QUESTION SECTION:",
        _columns(f";{name.text(asked)}", "", wanted_type, ""),
    ]
    for title, section in sections.items():
        if section:
            lines += ["", f";; {title} SECTION:", *_rows(section)]
    return lines


def _records(section: tuple[Placed, ...]) -> int:
    return sum(len(placed.rrset.rdatas) for placed in section)


def _rows(section: tuple[Placed, ...]) -> list[str]:
    return [
        _columns(name.text(owner), str(rrset.ttl), rrset.rrtype, rdata.text(rrset.rrtype, record))
        for owner, rrset in section
        for record in rrset.rdatas
    ]


def _columns(owner: str, ttl: str, number: int, record: str) -> str:
    return f"{owner:<23} {ttl:<7} IN      {rrtype.text(number):<7} {record}".rstrip()
