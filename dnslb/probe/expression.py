"""Regular expressions over what a target sent, in a bounded time.

A search that backtracks can take hours, holds Python's lock all the while, and cannot always be interrupted; so it
happens in a process of its own, which the kernel ends after 0.1 s of processor time (see ``searcher``).  Each
expression has its own process, started when first needed: a bad one spoils no other's probes.
"""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

from dnslb.probe.outcome import Failed, NotMade, explain, shortage

_MOST = 16  # living processes, unless more are at work; the one unused for longest ends first
_PROGRAM = Path(__file__).with_name("searcher.py")

_searchers: dict[tuple[asyncio.AbstractEventLoop, str], _Searcher] = {}  # the least recently used first


async def search(expression: str, text: bytes) -> bool:
    """Whether the expression is found in the text (UTF-8, read with replacement characters).

    Raises Failed when that is not known after 0.1 s of processor time.
    """
    key = asyncio.get_running_loop(), expression
    _searchers[key] = searcher = _searchers.pop(key, None) or _Searcher(expression)
    idle = [key for key, other in _searchers.items() if other.is_idle and other is not searcher]
    for other in idle[: max(0, len(_searchers) - _MOST)]:
        _searchers.pop(other).close()
    return await searcher.search(text)


class _Searcher:
    """The process for one expression."""

    def __init__(self, expression: str) -> None:
        try:
            re.compile(expression)
        except re.error as error:
            raise NotMade("setting", f"the regular expression is broken: {error}") from None
        self._expression = expression.encode(errors="surrogatepass")
        self._searching = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    @property
    def is_idle(self) -> bool:
        return not self._searching.locked()

    async def search(self, text: bytes) -> bool:
        async with self._searching:
            answer, status = b"", 0
            try:
                answer = await self._exchange(text)
            except ConnectionError:
                pass  # it died while we wrote
            finally:
                # After anything but an answer it is dead, or would answer late.
                if not answer:
                    status = self.close()
        if answer:
            return answer == b"+"
        if status == -signal.SIGVTALRM:
            raise Failed("the regular expression takes more than 0.1 s for this body; simplify its repetitions")
        raise NotMade("program", f"the search for the regular expression ended with status {status}")

    async def _exchange(self, text: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        if self._process is not None and self._process.poll() is not None:
            self.close()  # somebody has killed it since
        channel = self._channel or await self._start()
        await loop.sock_sendall(channel, struct.pack("!I", len(text)) + text)
        return await loop.sock_recv(channel, 1)

    async def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self._channel = ours
        ours.setblocking(False)
        command = [sys.executable, "-I", "-S", str(_PROGRAM)]
        try:
            with theirs:
                pipe = theirs.fileno()
                self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd="/", env={})
        except OSError as error:
            fault = shortage(error, "program")
            raise NotMade(fault, f"cannot start the search for the regular expression: {explain(error)}") from None
        await asyncio.get_running_loop().sock_sendall(ours, struct.pack("!I", len(self._expression)) + self._expression)
        return ours

    def close(self) -> int:
        """End the process, if it has not ended, and return its status; the next search starts another."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        process, self._process = self._process, None
        if process is None:
            return 0
        process.kill()
        return process.wait()
