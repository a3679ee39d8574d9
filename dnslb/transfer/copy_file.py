"""The last copy of a zone that comes from a primary, as a master file: a record a line, the SOA first.

Its time of change is when a primary said last that it was current, so that nothing else need be kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TextIO

from dnslb.dns import name, rdata, rrtype
from dnslb.dns.mistake import Mistaken

_CODE = "latin-1"        # as master files are read; what is beyond ASCII is escaped
_MODE = 0o640
_DIRECTORY_MODE = 0o750
_LONGEST = 1 << 13       # characters of the line of an SOA
_PART = ".part"


@dataclass(frozen=True, slots=True)
class Copy:
    """What is held of a zone."""

    soa: bytes        # the data of the record
    refreshed: float  # Unix time


def look(path: str) -> Copy | None:
    """What there is; None when it cannot be used."""
    try:
        with open(path, encoding=_CODE) as lines:
            words = lines.readline(_LONGEST).split()
            refreshed = os.fstat(lines.fileno()).st_mtime
        return Copy(rdata.parse(rrtype.SOA, words[4:], name.ROOT), refreshed) if words[3:4] == ["SOA"] else None
    except (OSError, Mistaken):
        return None


def lines(path: str) -> Iterator[str]:
    """Of the file.  Raises OSError."""
    with open(path, encoding=_CODE) as found:
        yield from found


def refresh(path: str, now: float) -> None:
    """A primary says that it is current.  Raises OSError."""
    os.utime(path, (now, now))


@contextmanager
def written(path: str) -> Iterator[TextIO]:
    """The new file, which is there, whole, once all was written to it without an error.  Raises OSError."""
    # Two processes may write for a moment, when one server takes over from another.
    part = f"{path}.{os.getpid()}{_PART}"
    os.makedirs(os.path.dirname(path), _DIRECTORY_MODE, exist_ok=True)
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE), "w", encoding=_CODE) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        _remove(part)
        raise


def clear(paths: Iterable[str]) -> None:
    """Remove what a life of the server has left behind that was killed while it wrote such files."""
    for directory in {os.path.dirname(path) for path in paths}:
        try:
            entries = os.listdir(directory)
        except OSError:
            continue
        for entry in entries:
            if entry.endswith(_PART):
                _remove(os.path.join(directory, entry))


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
