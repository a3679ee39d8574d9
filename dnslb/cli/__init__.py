"""The command line: parse arguments, call one function, map errors to exit codes."""

from __future__ import annotations

import click

from dnslb import __version__
from dnslb.cli.check import check
from dnslb.cli.import_ import import_
from dnslb.cli.init import init
from dnslb.cli.key import key
from dnslb.cli.lookup import lookup
from dnslb.cli.operate import drain, log_level, maint, ready, reload
from dnslb.cli.serve import serve
from dnslb.cli.status import history, status
from dnslb.cli.top import top
from dnslb.cli.ttl import ttl


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dnslb")
def main() -> None:
    """An authoritative nameserver that balances load without a proxy.

    \b
    Example: dnslb serve zones, and in another shell
             dig @127.0.0.1 -p 5300 www.example.com
    """


_COMMANDS = (
    init, import_, key, serve, check, lookup, ttl, status, top, reload, drain, maint, ready, history, log_level,
)  # fmt: skip
for command in _COMMANDS:
    main.add_command(command)
