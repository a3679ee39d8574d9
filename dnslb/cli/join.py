"""``dnslb join`` and ``dnslb leave``: a server enters a pool when it starts, and goes when it ends."""

from __future__ import annotations

import random
import signal
import time
from types import FrameType
from typing import Any, NoReturn

import click

from dnslb.cli.control import NoServer, age, ask, clock
from dnslb.cli.nodes import Place, server_options, stream_options

_RENEWALS = 3.0     # in a lease: two may fail
_SPREAD = 0.1       # of the time between them, at random: a fleet that started together need not ask together
_RETRY = 2.0        # seconds from a try that failed to the next


@click.command()
@click.argument("name")
@click.option("--address", metavar="ADDRESS", help="Of the server; default: the one that asks.")
@click.option("--weight", type=click.IntRange(0, 256), default=1, show_default=True, help="As in a policy.")
@click.option("--stay", is_flag=True, help="Renew the lease until ended by a signal; then leave as with --wait.")
@stream_options
def join(control: Place, *, stay: bool, **wanted: Any) -> None:
    """Let a server join the pool NAME, whose policy must say `register:`; again, to renew its lease.

    The server is handed out when a probe has passed, and leaves when its lease ends.
    The token needs the role register.  With --stay the command goes on until SIGTERM, whatever becomes of dnslb; then
    it leaves, and ends when the last cached copy has expired.  A second signal ends it at once.

    \b
    Example: dnslb join www.example.com --server https://ns1.example.com --token-file join.token --stay
    """
    if stay:
        _stay(control, wanted)
    _tell(ask(control, "POST", "/backends", wanted))


@click.command()
@click.argument("name")
@click.option("--address", metavar="ADDRESS", help="Of the server; default: the one that asks.")
@click.option("--wait", "waits", is_flag=True, help="Return when the last cached copy has expired.")
@server_options
def leave(control: Place, *, waits: bool, **wanted: Any) -> None:
    """Take a server that has joined the pool NAME out of it.

    Returns when no worker hands it out; clients go on coming until the last cached copy expires.

    \b
    Example: dnslb leave www.example.com --server https://ns1.example.com --token-file join.token --wait
    """
    _leave(control, wanted, waits)


def _leave(control: Place, wanted: dict[str, Any], waits: bool) -> None:
    done = ask(control, "DELETE", "/backends", {key: wanted[key] for key in ("name", "address")})
    now = done["now"]
    left = max(0.0, done["expires"] - now)
    last = f"the last cached copy expires at {clock(done['expires'], now)}, in {age(left + 0.999)}"
    click.echo(f"{done['owner']} {done['address']}: left; {last if left else 'no cache holds it'}")
    if waits:
        time.sleep(left)


def _stay(control: Place, wanted: dict[str, Any]) -> NoReturn:
    """Who has been let in once goes on asking, whatever the answer: a policy may be mended, a server started again."""
    signal.signal(signal.SIGTERM, _interrupt)
    pause, has_joined, is_news = 0.0, False, True
    try:
        while True:
            time.sleep(pause)
            try:
                done = ask(control, "POST", "/backends", wanted)
            except click.ClickException as error:
                if not (has_joined or isinstance(error, NoServer)):
                    raise
                if pause != _RETRY:
                    click.echo(f"not joined, trying on: {error.message}", err=True)
                pause, is_news = _RETRY, True
                continue
            if is_news:
                _tell(done)
            pause, has_joined, is_news = done["lease"] / _RENEWALS * random.uniform(1 - _SPREAD, 1), True, False
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if has_joined:
            _leave(control, wanted, waits=True)
    raise SystemExit(0)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _tell(done: dict[str, Any]) -> None:
    called = f"{done['owner']} {done['address']}"
    if done["until"] is None:
        click.echo(f"{called}: the zone file lists it: nothing to do")
    else:
        until = clock(done["until"], time.time())
        click.echo(f"{called}: joined until {until}, unless renewed; handed out when a probe has passed")
