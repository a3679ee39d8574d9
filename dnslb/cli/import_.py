"""``dnslb import``: begin with what another server is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from dnslb.cli import report
from dnslb.cli.init import zone_name
from dnslb.config import keys
from dnslb.config.directory import load
from dnslb.config.keys import TsigKey
from dnslb.config.settings import parse_endpoint
from dnslb.dns import name
from dnslb.dns.mistake import Mistaken
from dnslb.migrate import haproxy, imported, named_conf
from dnslb.migrate import primary as fetched
from dnslb.migrate.imported import Imported, Unreadable
from dnslb.system import file
from dnslb.text.problem import has_errors

_REPORT = "import.txt"


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("directory", type=click.Path(readable=False, path_type=Path), default="zones")
@click.option("--from", "kind", type=click.Choice(["bind", "haproxy", "primary"]),
              help="What SOURCE is; default: by its name.")
@click.option("--zone", "zones", metavar="NAME", multiple=True,
              help="The zone for the pools out of a haproxy.cfg; or one to be fetched, may be repeated.")
@click.option("--key", type=click.Path(path_type=Path), help="The file with the TSIG key that the primary asks for.")
def import_(source: Path, directory: Path, kind: str | None, zones: tuple[str, ...], key: Path | None) -> None:
    """Make DIRECTORY (default: zones) out of SOURCE: a named.conf, a haproxy.cfg, or the address of a nameserver.

    It must be new or empty.  Everything in SOURCE is reported: what it became, or why it has no equivalent; the report
    is kept in DIRECTORY too, as import.txt.  From a nameserver zones are fetched by AXFR.

    \b
    Example: dnslb import /etc/bind/named.conf zones
             dnslb import 192.0.2.53 zones --zone example.com --key fleet.key
    """
    kind = kind or _kind(source)
    try:
        match kind:
            case "haproxy":
                read = _from_haproxy(source, zones)
            case "primary":
                read = _from_primary(source, zones, key)
            case _:
                read = named_conf.read(source, _read)
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
    # Who names zones wants all of them.
    if has_errors(problems) or (kind == "primary" and not all(remark.is_taken for remark in read.remarks)):
        raise SystemExit(1)
    click.echo(f"\nnext: dnslb check {directory}\n      dnslb serve {directory}")


def _kind(source: Path) -> str:
    if source.suffix == ".cfg":
        return "haproxy"
    return "primary" if parse_endpoint(str(source)) and not source.exists() else "bind"


def _from_haproxy(source: Path, zones: Sequence[str]) -> Imported:
    """Raises OSError and Unreadable."""
    if len(zones) != 1:
        raise click.UsageError("--zone is to be given once; name the zone that the backends' names shall be in")
    return haproxy.read(_read(str(source)).decode(errors="replace"), str(source), zone_name(zones[0]))


def _from_primary(source: Path, zones: Sequence[str], key: Path | None) -> Imported:
    """Raises OSError and Unreadable."""
    primary = parse_endpoint(str(source))
    if primary is None:
        raise click.UsageError(f"{source} is no address; write it as 192.0.2.53 or [2001:db8::53]:5300")
    if not zones:
        raise click.UsageError("--zone is missing; name the zones that shall be fetched")
    names = dict.fromkeys(_zone(zone) for zone in zones)
    return fetched.read(primary, [*names], None if key is None else _tsig_key(key))


def _zone(text: str) -> str:
    try:
        return name.text(name.fold(name.parse(text.rstrip(".") + ".", name.ROOT))).rstrip(".")
    except Mistaken as error:
        raise click.UsageError(str(error)) from None


def _tsig_key(path: Path) -> TsigKey:
    try:
        return keys.read(file.read_secret(path).decode(errors="replace"), str(path))
    except OSError as error:
        raise click.ClickException(f"the key {path} cannot be read: {error.strerror}") from None
    except Mistaken as error:
        raise click.ClickException(f"{path}: {error}") from None


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
