"""``dnslb demo``: see it at work, in one terminal."""

from __future__ import annotations

import sys

import click

from dnslb.cli.demonstration import performance, story
from dnslb.cli.demonstration.process import NotStarted


@click.command()
@click.option("--script", is_flag=True, help="Tell a story of a minute in plain lines; also without a terminal.")
@click.option("--quick", is_flag=True, help="The story with short pauses, in fifteen seconds.")
def demo(script: bool, quick: bool) -> None:
    """Three web servers, dnslb that probes them, and visitors: kill one, and see it leave the answers.

    All are processes of their own: the web servers on 127.0.1.11 to 13, port 8080, and dnslb on 127.0.0.1, port 5300
    if that is free.  Nothing is left running.

    Keys: 1 2 3 kill or revive a server, d drain one, c visitors share a cached answer, q quit.

    \b
    Example: dnslb demo
             dnslb demo --quick
    """
    is_live = sys.stdin.isatty() and sys.stdout.isatty() and not script and not quick
    pause = None if is_live else story.SHORT_PAUSE if quick else story.PAUSE
    try:
        fault = performance.perform(pause)
    except NotStarted as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    if fault is not None:
        raise click.ClickException(fault)
