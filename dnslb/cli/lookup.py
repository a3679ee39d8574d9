"""``dnslb lookup``: what would be answered, without a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random

import click

from dnslb.cli import report
from dnslb.dns import name, rdata, rrtype
from dnslb.dns.answer import Answer, Placed
from dnslb.dns.name import BadName, Name
from dnslb.serve.balancer import at_rest
from dnslb.snapshot import NOT_OURS, Key, Serving, Snapshot


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
def lookup(owner: str, wanted: str, directory: Path) -> None:
    """Print what would be answered to a question for NAME and TYPE, as dig prints it.

    Of a pool, it is the first answer while every backend is up; `dnslb status` tells what a running server does.

    \b
    Example: dnslb lookup www.example.com AAAA
    """
    kind = rrtype.parse(wanted)
    if kind is None:
        raise click.UsageError(f"{wanted} is no record type; write A, AAAA, MX … or TYPE65280")
    if not owner.isascii():
        raise click.UsageError("the name is not ASCII; write its A-labels (xn--…), or its octets as \\DDD")
    try:
        asked = name.parse(owner, name.ROOT)
    except BadName as bad:
        raise click.UsageError(str(bad)) from None
    catalog = report.load_or_exit(directory)
    servings = at_rest(catalog.pools)
    snapshot = Snapshot(catalog.zones, catalog.settings.order, Random(), servings)
    # The responder refuses these by type, whatever the zone holds.
    if kind in (rrtype.AXFR, rrtype.IXFR):
        answer = NOT_OURS
    else:
        answer = _windowed(snapshot.plain(name.fold(asked), kind.to_bytes(2) + rrtype.IN.to_bytes(2)), servings)
    click.echo("\n".join(_dig(asked, kind, answer)))


def _windowed(answer: Answer, servings: Mapping[Key, Serving]) -> Answer:
    """With so many of the pool's addresses as a reply has."""
    serving = servings.get(answer.turning) if answer.turning is not None else None
    if serving is None or not answer.answer:
        return answer
    *chain, (owner, rrset) = answer.answer
    shown = rrset._replace(rdatas=rrset.rdatas[: serving.rotation.answers])
    return replace(answer, answer=(*chain, Placed(owner, shown)))


def _dig(asked: Name, kind: int, answer: Answer) -> list[str]:
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
        _columns(f";{name.text(asked)}", "", kind, ""),
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


def _columns(owner: str, ttl: str, kind: int, record: str) -> str:
    return f"{owner:<23} {ttl:<7} IN      {rrtype.text(kind):<7} {record}".rstrip()
