"""``dnslb import``: begin with what another server is told."""

from __future__ import annotations

from pathlib import Path

import click

from dnslb.cli import report
from dnslb.cli.init import zone_name
from dnslb.config.catalog import load
from dnslb.migrate import haproxy, imported, named_conf
from dnslb.migrate.imported import Imported, Unreadable
from dnslb.system import file
from dnslb.text.problem import has_errors

_REPORT = "import.txt"


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("directory", type=click.Path(readable=False, path_type=Path), default="zones")
@click.option("--from", "kind", type=click.Choice(["bind", "haproxy"]), help="What SOURCE is; default: by its name.")
@click.option("--zone", metavar="NAME", help="The zone for the pools out of a haproxy.cfg, as in example.com.")
def import_(source: Path, directory: Path, kind: str | None, zone: str | None) -> None:
    """Make DIRECTORY (default: zones) out of SOURCE, a named.conf or a haproxy.cfg.

    It must be new or empty.  Everything in SOURCE is reported: what it became, or why it has no equivalent; the report
    is kept in DIRECTORY too, as import.txt.

    \b
    Example: dnslb import /etc/bind/named.conf zones
    """
    kind = kind or ("haproxy" if source.suffix == ".cfg" else "bind")
    try:
        read = _from_haproxy(source, zone) if kind == "haproxy" else named_conf.read(source, _read)
    except Unreadable as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{source} cannot be read: {error.strerror}") from None
    lines = imported.lines(read.remarks)
    click.echo("\n".join(lines))
    if not any(name.endswith(".zone") for name in read.files):
        raise click.ClickException(f"{source} has no zone that could be taken; nothing was made")
    _write(directory, {**read.files, _REPORT: ("\n".join(lines) + "\n").encode()})
    catalog, problems = load(directory)
    click.echo("\n".join(["", f"made {directory}:", *(f"  {line}" for line in report.summary(catalog))]))
    report.tell(problems)
    if has_errors(problems):
        raise SystemExit(1)
    click.echo(f"\nnext: dnslb check {directory}\n      dnslb serve {directory}")


def _from_haproxy(source: Path, zone: str | None) -> Imported:
    """Raises OSError and Unreadable."""
    if zone is None:
        raise click.UsageError("--zone is missing; name the zone that the backends' names shall be in")
    return haproxy.read(_read(str(source)).decode(errors="replace"), str(source), zone_name(zone))


def _read(path: str) -> bytes:
    return file.read(path, file.MOST_ZONE)


def _write(directory: Path, files: dict[str, bytes]) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise click.ClickException(f"{directory} is not empty; give a new directory: nothing is overwritten")
        for name, octets in files.items():
            (directory / name).write_bytes(octets)
    except OSError as error:
        raise click.ClickException(f"{error.filename or directory} cannot be written: {error.strerror}") from None
