"""What a command says of a catalog, and how it ends when the catalog is broken."""

from __future__ import annotations

from pathlib import Path

import click

from dnslb.balance.pool import Pool
from dnslb.config.catalog import Catalog
from dnslb.config.directory import load
from dnslb.dns import name
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.dns.zone import Zone
from dnslb.text.problem import Level, Problem, has_errors


def load_or_exit(directory: Path) -> Catalog:
    """The catalog; with errors in it, every problem is printed and the command exits with 1."""
    catalog, problems = load(directory)
    return accepted(catalog, problems)


def pool_or_exit(owner: str, directory: Path) -> Pool:
    """The pool of that name; the command ends when there is none."""
    try:
        wanted = name.fold(name.parse(owner, name.ROOT))
    except Mistaken as error:
        raise click.UsageError(str(error)) from None
    pools = load_or_exit(directory).pools
    if wanted not in pools:
        known = ", ".join(sorted(pool.owner for pool in pools.values())) or "none"
        raise click.ClickException(f"{owner} has no pool in {directory}; pools there: {known}")
    return pools[wanted]


def accepted(catalog: Catalog, problems: list[Problem]) -> Catalog:
    """The same, of one that was read."""
    tell(problems)
    if has_errors(problems):
        raise SystemExit(1)
    return catalog


def tell(problems: list[Problem]) -> None:
    """One line a problem; then, when there are several, how many."""
    for problem in problems:
        click.echo(problem, err=True)
    if len(problems) > 1:
        errors = sum(problem.level is Level.ERROR for problem in problems)
        click.echo(f"{count(errors, 'error')}, {count(len(problems) - errors, 'warning')}", err=True)


def summary(catalog: Catalog) -> list[str]:
    """One line a zone."""
    texts = {apex: _zone(zone) + _origin(catalog, apex) for apex, zone in catalog.zones.items()}
    texts |= {apex: f"nothing yet{_origin(catalog, apex)}" for apex in sorted(catalog.absent)}
    width = max((len(name.text(apex)) for apex in texts), default=0)
    return [f"{name.text(apex):<{width}}  {text}" for apex, text in texts.items()]


def _origin(catalog: Catalog, apex: Name) -> str:
    """Where it comes from, if not from a file."""
    replica = catalog.replicas.get(apex)
    return "" if replica is None else f", from {' or '.join(map(str, replica.primaries))}"


def _zone(zone: Zone) -> str:
    owners = [node for node in zone.nodes.values() if node]
    records = sum(len(rrset.rdatas) for node in owners for rrset in node)
    return f"serial {zone.serial}, {count(records, 'record')}, {count(len(owners), 'name')}"


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
