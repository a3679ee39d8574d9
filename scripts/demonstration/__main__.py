#!/usr/bin/env python3
"""dnslb at work, in one terminal: three web servers, dnslb that probes them, and visitors who resolve and fetch.

    scripts/demo                on the whole screen: kill and revive servers with 1 2 3, drain with d, quit with q
    scripts/demo --script       a story of about a minute, in plain lines (also when there is no terminal)
    scripts/demo --script --quick

Everything is real and separate: the web servers are processes on 127.0.1.11 to 13 port 8080, dnslb serves zones/ on
port 5300 (another if that is taken) with a state of its own, which is thrown away.  Nothing is left running.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import ExitStack

from comparison.processes import NotStartedError

from demonstration import live, story
from demonstration.play import Play
from demonstration.scene import Scene

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description="Three web servers, dnslb and visitors: see who gets the traffic.",
        epilog="Keys: 1 2 3 kill or revive a server, d drain one, c visitors share a cached answer, q quit.")
    parser.add_argument("--script", action="store_true", help="tell a story in plain lines, instead of a live screen")
    parser.add_argument("--quick", action="store_true", help="the story with short pauses, in about fifteen seconds")
    return parser.parse_args()


async def perform(scene: Scene, pause: float | None) -> str | None:
    """The story with such pauses, or live when there are none; until its end or a signal.  The fault that ended it."""
    play = await Play.begin(scene)
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, play.ended.set)
    async with asyncio.TaskGroup() as group:
        around = [group.create_task(play.watch()), group.create_task(play.visitors.come())]
        await (live.perform(play) if pause is None else story.perform(play, pause))
        for task in around:
            task.cancel()
    return play.fault


def stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    options = arguments()
    for number in SIGNALS:
        signal.signal(number, stop)     # until the play listens to them itself
    is_live = sys.stdin.isatty() and sys.stdout.isatty() and not options.script and not options.quick
    pause = None if is_live else story.SHORT_PAUSE if options.quick else story.PAUSE
    with ExitStack() as stack:
        try:
            sys.exit(asyncio.run(perform(Scene.start(stack), pause)))
        except NotStartedError as error:
            sys.exit(str(error))
        except KeyboardInterrupt:
            sys.exit(130)
        finally:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)   # a second Ctrl-C must not stop the stopping


if __name__ == "__main__":
    main()
