"""The command line: parse arguments, call one function, map errors to exit codes."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from dnslb import __version__
from dnslb.system import collector

# The module of each command, and its name there.  It is imported when it is asked for: a server that starts need not
# wait for what its other commands are made of.
_COMMANDS = {
    "check": ("check", "check"),
    "demo": ("demo", "demo"),
    "completion": ("complete", "completion"),
    "drain": ("operate", "drain"),
    "events": ("history", "events"),
    "history": ("history", "history"),
    "import": ("import_", "import_"),
    "init": ("init", "init"),
    "join": ("join", "join"),
    "key": ("key", "key"),
    "leave": ("join", "leave"),
    "log-level": ("operate", "log_level"),
    "lookup": ("lookup", "lookup"),
    "maint": ("operate", "maint"),
    "queries": ("queries", "queries"),
    "ready": ("operate", "ready"),
    "reload": ("operate", "reload"),
    "replay": ("replay", "replay_"),
    "serve": ("serve", "serve"),
    "simulate": ("simulate", "simulate"),
    "status": ("status", "status"),
    "top": ("top", "top"),
    "ttl": ("ttl", "ttl"),
    "updates": ("updates", "updates"),
}


class Commands(click.Group):
    """Of those that have not been imported it holds the names."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for called in _COMMANDS:
            self.add_command(click.Command(called))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            module, function = _COMMANDS[cmd_name]
            # What is imported is no garbage, and making it would set the collector off again and again.
            with collector.paused():
                self.commands[cmd_name] = getattr(import_module(f"dnslb.cli.{module}"), function)
        return super().get_command(ctx, cmd_name)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dnslb")
def main() -> None:
    """An authoritative nameserver that balances load without a proxy.

    \b
    Example: dnslb serve zones, and in another shell
             dig @127.0.0.1 -p 5300 www.example.com
    """
