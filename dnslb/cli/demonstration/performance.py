"""The demonstration from its beginning to its end, whatever ends it.  Nothing is left running."""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack

from dnslb.cli.demonstration import live, story
from dnslb.cli.demonstration.play import Play
from dnslb.cli.demonstration.scene import Scene

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def perform(pause: float | None) -> str | None:
    """The story with such pauses in seconds, or live when there are none.  The fault that ended it.

    Raises NotStarted, and KeyboardInterrupt for any signal until the play listens to them itself.
    """
    for number in _SIGNALS:
        signal.signal(number, _stop)
    with ExitStack() as stack:
        try:
            return asyncio.run(_play(Scene.start(stack), pause))
        finally:
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not stop the stopping


async def _play(scene: Scene, pause: float | None) -> str | None:
    """Until its end or a signal."""
    play = await Play.begin(scene)
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, play.ended.set)
    async with asyncio.TaskGroup() as group:
        around = [group.create_task(play.watch()), group.create_task(play.visitors.come())]
        await (live.perform(play) if pause is None else story.perform(play, pause))
        for task in around:
            task.cancel()
    return play.fault


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt
