"""Whether the other end of a channel is silent, and whether a silent process hangs or only has much to do.

Pure: the time, and what the system tells of the process, are arguments.
"""

from __future__ import annotations

from dnslb.system.usage import Usage

# Seconds.  Of a longer pause between two looks no more is counted: then it was we who did not listen.
_LONGEST_STEP = 0.5
_AT_WORK = frozenset("RD")  # runs, or would if it got a processor; waits for memory from a disk (proc_pid_stat(5))
_PATIENCE = 4               # times as long as an idle one, a silent process that works is waited for


class Silence:
    """For how many seconds the other end has sent nothing, while we were there to receive it."""

    __slots__ = ("_looked", "seconds")

    def __init__(self, now: float) -> None:
        self.seconds = 0.0
        self._looked = now

    def end(self) -> None:
        """A message has come."""
        self.seconds = 0.0

    def look(self, now: float) -> float:
        """To be called again and again.  By how many seconds this call has added to the silence."""
        step = min(now - self._looked, _LONGEST_STEP)
        self._looked = now
        self.seconds += step
        return step


class Heartbeat:
    """Whether a process that owes us a message is alive."""

    __slots__ = ("_cpu", "idle", "silence")

    def __init__(self, now: float) -> None:
        self.silence = Silence(now)
        self.idle = 0.0              # seconds of silence since it was last seen to work
        self._cpu: float | None = None

    def reset(self) -> None:
        """A message has come."""
        self.silence.end()
        self.idle = 0.0
        self._cpu = None

    def look(self, now: float, usage: Usage | None) -> None:
        """To be called again and again while a message is owed."""
        step = self.silence.look(now)
        if usage is None:
            return
        works = usage.state in _AT_WORK or (self._cpu is not None and usage.cpu > self._cpu)
        self.idle = 0.0 if works else self.idle + step
        self._cpu = usage.cpu

    def rest(self, now: float) -> None:
        """To be called again and again while no message is owed."""
        self.silence.look(now)
        self.reset()

    def has_stopped(self, patience: float) -> bool:
        """Whether it is not worth waiting for any longer; ``patience`` is in seconds."""
        return self.idle >= patience or self.silence.seconds >= _PATIENCE * patience
