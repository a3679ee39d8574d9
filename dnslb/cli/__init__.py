"""The command line: parse arguments, call one function, map errors to exit codes."""

from __future__ import annotations

import click

from dnslb import __version__
from dnslb.cli.check import check
from dnslb.cli.lookup import lookup
from dnslb.cli.serve import serve
from dnslb.cli.ttl import ttl


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dnslb")
def main() -> None:
    """An authoritative nameserver that balances load without a proxy.

    \b
    Example: dnslb serve zones, and in another shell
             dig @127.0.0.1 -p 5300 www.example.com
    """


main.add_command(serve)
main.add_command(check)
main.add_command(lookup)
main.add_command(ttl)
