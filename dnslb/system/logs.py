"""The log on standard error: as text, as text for systemd's journal, or as JSON; and its level.

A line may bring fields with it, as ``extra``: ``what`` has happened to which ``owner`` and ``address``.
Nobody waits for whoever reads the log: lines that find no room are lost, and counted.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType

from dnslb.system.standard_error import StandardError
from dnslb.text.one_line import one_line

_FIELDS = ("what", "owner", "address", "by")
# The journal's own levels (sd-daemon(3)), which are those of syslog (RFC 5424 §6.2.1).
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))

_log = logging.getLogger("dnslb")


def begin(format: str, level: str, journal: str | None) -> None:
    """Log in this format.  ``journal`` is $JOURNAL_STREAM: text that goes there needs no time, but a priority."""
    # What no line shows need not be found out: there may be thousands at once (Python's logging HOWTO, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    handler = _Handler(StandardError())
    if format == "json":
        handler.setFormatter(_Json())
        # Whatever comes out is such a line.
        logging.captureWarnings(True)
        sys.excepthook = _tell_bug
        threading.excepthook = lambda said: _log.critical("a bug in dnslb: %s", said.exc_value)
        sys.unraisablehook = lambda said: _log.error("a bug in dnslb: %s: %s", said.err_msg, said.exc_value)
    elif journal is not None and journal == _stream():
        handler.setFormatter(_Journal("%(message)s"))
    else:
        handler.setFormatter(_Text("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    set_level(level)


def announced(format: str, text: str) -> str:
    """What is told on standard output, as lines of the log if that is for programs."""
    if format != "json":
        return text
    told = (logging.LogRecord("dnslb", logging.INFO, "", 0, "%s", (line,), None) for line in text.splitlines())
    return "\n".join(map(_Json().format, told))


def _tell_bug(kind: type[BaseException], bug: BaseException, trace: TracebackType | None) -> None:
    """What nobody has caught is a line of the log too."""
    _log.critical("a bug in dnslb: please report it", exc_info=(kind, bug, trace))


def level() -> str:
    """The least that is logged."""
    return logging.getLevelName(_log.getEffectiveLevel()).lower()


def set_level(level: str) -> None:
    """For this process, and those that it forks later."""
    _log.setLevel(level.upper())


def always(level: int, message: str, *args: object, extra: Mapping[str, object]) -> None:
    """Log a line of this level even if only what is worse is to be logged."""
    _log.handle(_log.makeRecord(_log.name, level, "", 0, message, args, None, extra=extra))


class _Handler(logging.StreamHandler[StandardError]):
    """Says how many lines are lost once one is written again."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        if not self.stream.lost:
            return line
        told = "%d lines of the log are lost: nobody has read it"
        note = logging.LogRecord(_log.name, logging.WARNING, "", 0, told, (self.stream.lost,), None)
        return f"{super().format(note)}\n{line}"


class _Text(logging.Formatter):
    """A message is one line, whatever names and texts are in it; only a traceback has more."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = one_line(record.message)
        return super().formatMessage(record)


class _Json(_Text):
    """One object in a line.  The time is RFC 3339's, in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        fields = {key: getattr(record, key) for key in _FIELDS if hasattr(record, key)}
        line = {"at": at, "level": record.levelname.lower(), "message": super().format(record), **fields}
        return json.dumps(line, ensure_ascii=False)


class _Journal(_Text):
    """A priority before every line, also of a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next((number for least, number in _PRIORITIES if record.levelno >= least), 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def _stream() -> str | None:
    """Standard error, as $JOURNAL_STREAM names it."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except OSError:
        return None
    return f"{found.st_dev}:{found.st_ino}"
