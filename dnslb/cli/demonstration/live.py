"""The play on the whole screen, with the audience at the keys."""

from __future__ import annotations

import asyncio
import os
import sys

from dnslb.cli.demonstration import picture, terminal
from dnslb.cli.demonstration.play import Play
from dnslb.cli.demonstration.scene import ADDRESSES

FRAME = 0.2     # seconds between pictures
WHICH = "drain, or end the drain of: 1 2 3   (any other key: none)"


async def perform(play: Play) -> None:
    """Until q, or until the play is ended from elsewhere."""
    pressed: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    with terminal.stage():
        loop.add_reader(sys.stdin, lambda: listen(play, pressed))
        audience = loop.create_task(obey(play, pressed))
        try:
            while not play.ended.is_set() and not audience.done():
                show(play)
                await asyncio.wait([audience], timeout=FRAME)
            if audience.done():
                audience.result()
        finally:
            loop.remove_reader(sys.stdin)
            audience.cancel()


def listen(play: Play, pressed: asyncio.Queue[str]) -> None:
    keys = terminal.keys()
    for key in keys:
        pressed.put_nowait(key)
    if not keys:    # the terminal is gone
        play.ended.set()


async def obey(play: Play, pressed: asyncio.Queue[str]) -> None:
    """One key after the other, until q."""
    while True:
        match await pressed.get():
            case "1" | "2" | "3" as key:
                await play.kill_or_revive(ADDRESSES[int(key) - 1])
            case "d":
                play.prompt = WHICH
                which = await pressed.get()
                play.prompt = picture.KEYS
                if which in ("1", "2", "3"):
                    await play.drain_or_ready(ADDRESSES[int(which) - 1])
            case "c":
                play.visitors.caching = not play.visitors.caching
            case "q":
                return


def show(play: Play) -> None:
    width, height = terminal.size()
    write = picture.plain if "NO_COLOR" in os.environ else picture.colored
    terminal.show([write(line) for line in picture.draw(play.moment(), width, height)])
