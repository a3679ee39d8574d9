"""What a service manager is told: that we are ready, reload, stop, and that we are alive (sd_notify(3)).

Without a manager that wants to know, nothing happens.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress

_MICROSECONDS = 1_000_000

_log = logging.getLogger("dnslb")


class Service:
    """``interval`` is how often the manager wants to hear that we are alive, in seconds; None: never."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Takes what is ours out of the environment: no program that we start may speak for us."""
        place = environment.pop("NOTIFY_SOCKET", "")
        micros, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        # What another process is to be given that goes on with our work.
        self.environment = {"NOTIFY_SOCKET": place, "WATCHDOG_USEC": micros} if place else {}
        # A name that begins with @ is abstract: its first octet is 0 (unix(7)).
        self._place = f"\0{place[1:]}" if place.startswith("@") else place
        is_ours = place and micros.isascii() and micros.isdigit() and int(micros) and pid in ("", str(os.getpid()))
        self.interval = int(micros) / _MICROSECONDS / 2 if is_ours else None

    def ready(self, status: str) -> None:
        self._say("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """``ready`` must follow, whatever comes of it."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._say("RELOADING=1", f"MONOTONIC_USEC={now}")

    async def keep_alive(self, answer: Callable[[], Awaitable[None]]) -> None:
        """Say that we are alive, at every interval, as long as this loop turns and ``answer`` returns in time."""
        while self.interval is not None:
            await asyncio.sleep(self.interval)
            try:
                async with asyncio.timeout(self.interval):
                    await answer()
            except TimeoutError:
                _log.error("a worker does not answer: the service manager is not told that we are alive")
            else:
                self._say("WATCHDOG=1")

    def succeeded_by(self, pid: int) -> None:
        """Another process goes on with our work.  It must say ``ready`` itself."""
        self._say(f"MAINPID={pid}")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    def _say(self, *lines: str) -> None:
        if not self._place:
            return
        # A manager that does not listen is no reason to stop.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto("\n".join(lines).encode(), self._place)
