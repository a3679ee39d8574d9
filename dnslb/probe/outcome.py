"""What happened to a probe becomes an outcome, with a reason that a person understands.

Every kind of probe is an attempt: it returns why the target passes, or raises ``Failed`` or ``OSError``.

**Whose fault it is.**  A target answers for what it did or left undone once we had asked it.  What kept us from asking
is ours, and tells nothing of it; that is

- all that the system refuses before anything could have been heard (a socket, the source address, a port, a route,
  the packet filter's permission), but for a refused connection and an unreachable host: those are known by somebody's
  word or silence.  A network that a router calls unreachable is the target's; one that this machine has no route to is
  not.  ``ours`` goes round these calls;
- too many open files and too little memory, whenever they come;
- a program that cannot be started, and settings that cannot be followed: a CA file that cannot be read, a request that
  cannot be written.  A program that ends badly speaks for the target.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dnslb.balance.health import Outcome
from dnslb.balance.reading import Reading

_MOST_SHOWN = 200  # characters of foreign text in a reason
_STALL = 0.01      # seconds: coming later than that, the loop has not turned

_ERRNO = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "reset by the peer",
    errno.EPIPE: "reset by the peer",
    errno.ECONNABORTED: "reset by the peer",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "network unreachable",
    errno.ETIMEDOUT: "no answer, the kernel gave up",
    errno.EADDRNOTAVAIL: "the source address is not on this machine, or it has no free port",
    errno.EACCES: "not permitted on this machine",
    errno.EPERM: "not permitted on this machine, perhaps by its packet filter",
    errno.EMFILE: "dnslb has too many open files",
    errno.ENFILE: "this machine has too many open files",
    errno.EADDRINUSE: "this machine has no free port",
    errno.EAFNOSUPPORT: "this machine has no IPv6",
    errno.ENETDOWN: "the network interface is down",
}
# Of the target, even when the system says so at once: a reset came back, or the neighbour has been silent before.
_HEARD = frozenset({
    errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.EHOSTUNREACH, errno.EHOSTDOWN,
    errno.ETIMEDOUT,
})  # fmt: skip
_FAULTS = {
    errno.EMFILE: "descriptors",
    errno.ENFILE: "descriptors",
    errno.ENOBUFS: "memory",
    errno.ENOMEM: "memory",
    errno.EADDRNOTAVAIL: "source",
    errno.EADDRINUSE: "source",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
}
_ALWAYS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Failed(Exception):
    """The target does not pass.  The message is the reason."""


class NotMade(Failed):
    """The target was not asked, and that is our fault.  The message is the reason, ``fault`` is it in a word."""

    def __init__(self, fault: str, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault


@contextmanager
def ours() -> Iterator[None]:
    """Goes round calls that cannot have reached the target yet.  Raises NotMade if they fail for a reason of ours."""
    try:
        yield
    except OSError as error:
        if error.errno in _HEARD or isinstance(error, (BlockingIOError, TimeoutError)):
            raise
        raise NotMade(_FAULTS.get(error.errno or 0, "network"), explain(error)) from None


@dataclass(slots=True)
class Progress:
    """How far an attempt has come: this becomes the reason if it runs out of time."""

    lacks: str = "connection"   # "no ... within 2 s"
    known: str | None = None    # a reason that holds already; time only kept us from looking closer
    passes: str = ""            # why it passes already; all else is only to hear more
    reading: Reading | None = None  # how busy the target says it is


async def judge(attempt: Callable[[Progress], Awaitable[str]], timeout: float) -> Outcome:
    """The outcome of the attempt, which gets ``timeout`` seconds for everything it does.

    A stall of our own loop, or of the whole machine, is not charged to it: else one stall would fail every target.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    progress = Progress()
    ok, fault = False, ""
    try:
        async with asyncio.timeout(None) as limit:
            timer = loop.call_at(started + timeout, _expire, limit, started + timeout, timeout)
            try:
                reason = await attempt(progress)
                ok = True
            finally:
                timer.cancel()
    except NotMade as failure:
        reason, fault = str(failure), failure.fault
    except Failed as failure:
        reason = str(failure)
    except OSError as error:  # and TimeoutError, which carries an errno only when it comes from the kernel
        overdue = isinstance(error, TimeoutError) and error.errno is None
        reason = progress.known or f"no {progress.lacks} within {timeout:g} s" if overdue else explain(error)
        fault = shortage(error)
    if progress.passes and not ok:
        progress.reading = Reading(fault=reason)
        ok, reason, fault = True, progress.passes, ""
    return Outcome(ok, reason, loop.time() - started, fault, progress.reading)


def _expire(limit: asyncio.Timeout, deadline: float, timeout: float) -> None:
    """End the attempt; but when we come late, first hear what came while we were deaf."""
    now = asyncio.get_running_loop().time()
    late = now - deadline
    limit.reschedule(now + min(late, timeout) if late > _STALL else now)


def shortage(error: OSError, otherwise: str = "") -> str:
    """The word for our fault if we are short of files or memory, which may happen at any time; else ``otherwise``."""
    return _FAULTS[error.errno] if error.errno in _ALWAYS else otherwise


def explain(error: OSError) -> str:
    """What the system's error means, in words."""
    known = _ERRNO.get(error.errno or 0)
    return known or (os.strerror(error.errno).lower() if error.errno else error.strerror or str(error))


def printable(text: str, most: int = _MOST_SHOWN) -> str:
    """Foreign text, fit for one line of a log: no control characters, at most so many characters."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:most])
    return shown if len(text) <= most else f"{shown}..."
