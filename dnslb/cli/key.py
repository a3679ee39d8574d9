"""``dnslb key``: a new TSIG key."""

from __future__ import annotations

import os
from pathlib import Path
from secrets import token_bytes

import click

from dnslb.config import keys
from dnslb.config.keys import LENGTHS, TsigKey
from dnslb.config.transfers import key_name


@click.command()
@click.argument("name")
@click.option("--algorithm", type=click.Choice(list(LENGTHS)), default="hmac-sha256", help="Default: hmac-sha256.")
@click.option("--output", type=click.Path(path_type=Path), help="Write it there, readable for nobody else.")
def key(name: str, algorithm: str, output: Path | None) -> None:
    """Make a TSIG key, as a file that BIND reads too.  It authenticates zone transfers (RFC 8945).

    \b
    Example: dnslb key fleet --output /etc/dnslb/fleet.key
    """
    absolute = key_name(name)
    if absolute is None or absolute == "." or not name.isascii():
        raise click.BadParameter(f"{name!r} is no name of a key; write letters, digits, hyphens and dots")
    text = keys.text(TsigKey(absolute, algorithm, token_bytes(LENGTHS[algorithm])))
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise click.ClickException(f"{output} cannot be made: {error.strerror}") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    click.echo(f"made {output}; give it to dnslb.yaml and to the secondaries: keys: {{{name}: {output.resolve()}}}")
