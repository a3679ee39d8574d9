"""Whether a worker can be counted on, and whether it hangs.

Reads no clock, and asks nobody: the time, and what the system tells of the worker, are arguments.
"""

from __future__ import annotations

import logging

from dnslb.config.settings import Settings
from dnslb.ipc.heartbeat import Heartbeat
from dnslb.system.usage import Usage
from dnslb.worker.messages import Counts

LOOK = 0.25          # seconds from one look to the next
FIRST_READY = 60.0   # seconds for a worker to come up
_DOUBT = 0.5         # of the time after which a silent worker is replaced: from then on it is not counted on

_log = logging.getLogger("dnslb")


class Liveness:
    """Of one worker.  ``name`` is for the log."""

    def __init__(self, name: str, settings: Settings, now: float) -> None:
        self.name = name
        self.is_up = False        # it has answered once
        self.is_asked = False     # for its counts, and has not told
        self.is_doubted = False   # silent for so long that it is not counted on
        self.is_hanging = False   # and is not waited for any longer
        self._settings = settings
        self._heartbeat = Heartbeat(now)
        self._stalled = 0.0       # seconds that TCP connections have waited for it, and it has accepted none
        self._has_open = False    # TCP connections, when it last told

    @property
    def is_known(self) -> bool:
        """Whether it is known to answer."""
        return self.is_up and not self.is_doubted

    def end_silence(self) -> None:
        """It has said something."""
        self._heartbeat.reset()
        if self.is_doubted and not self.is_hanging:
            self.is_doubted = False
            _log.info("%s answers again", self.name)

    def take_counts(self, counts: Counts) -> None:
        """It has told what it was asked for."""
        self.is_asked = False
        self._has_open = counts.open > 0
        if counts.accepted or counts.evicted or counts.tcp:
            self._stalled = 0.0

    def look(self, now: float, usage: Usage | None, connections_wait: bool) -> str | None:
        """Called again and again.  By what it is seen to hang, once; None while it is not.

        What it had to say must be heard before.
        """
        if self.is_up and not self.is_asked:
            self._heartbeat.rest(now)
        else:
            self._heartbeat.look(now, usage)
        fact = self._silent() or self._stalls(connections_wait)
        if fact is not None:
            self.is_doubted = self.is_hanging = True
        return fact

    def _silent(self) -> str | None:
        timeout, silence = self._settings.worker_timeout, self._heartbeat.silence.seconds
        if self.is_known and silence >= _DOUBT * timeout:
            self.is_doubted = True
            _log.warning("%s has said nothing for %.1f s", self.name, silence)
        # What it is born with may take it a while.
        has_stopped = self._heartbeat.has_stopped(timeout) if self.is_up else self._heartbeat.idle >= timeout
        return f"it has said nothing for {silence:.0f} s" if has_stopped or silence >= FIRST_READY else None

    def _stalls(self, connections_wait: bool) -> str | None:
        self._stalled = self._stalled + LOOK if connections_wait else 0.0
        # One that is out of descriptors gets some back when its connections have been idle for too long.
        patience = self._settings.worker_timeout + (self._settings.tcp_idle if self._has_open else 0.0)
        if self.is_up and self._stalled >= patience:
            return f"TCP connections wait, and it has accepted none for {self._stalled:.0f} s"
        return None
