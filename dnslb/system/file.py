"""Files that somebody else has written: read whole, or not at all.

Regular files only: a FIFO would keep us waiting for ever, a device has no end, and some do things when they are opened.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from pathlib import Path
from stat import S_IROTH, S_ISDIR, S_ISREG

MOST_ZONE = 256 << 20    # octets of a zone, with all that it includes: some six million records
MOST_POLICY = 8 << 20    # of a YAML file
MOST_STATE = 64 << 20    # of the state file: 300,000 verdicts
MOST_SECRET = 64 << 10   # of a file with a token
MOST_CERTIFICATES = 4 << 20  # of a file of authorities: twenty times what a browser trusts

_CHUNK = 1 << 20
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class TooLarge(OSError):
    """It is a file, and has more octets than it may."""


def opened(path: str | os.PathLike[str]) -> int:
    """A descriptor to read the regular file by.  Raises OSError."""
    # Looked at before, since opening a device may do something; and after, since it may be another by then.
    _refuse_special(os.stat(path))
    descriptor = os.open(path, _FLAGS)
    try:
        _refuse_special(os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read(path: str | os.PathLike[str], most: int) -> bytes:
    """The octets of the regular file, at most so many.  Raises OSError, with the reason as its ``strerror``."""
    descriptor = opened(path)
    try:
        return read_opened(descriptor, most)
    finally:
        os.close(descriptor)


def read_opened(descriptor: int, most: int) -> bytes:
    """All of a regular file.  Raises OSError."""
    size = os.fstat(descriptor).st_size
    if size > most:
        raise _too_large(most)
    # It may grow meanwhile, and what the kernel makes up (/proc) claims to be empty.
    pieces, left = [], most + 1
    while left and (piece := os.read(descriptor, min(left, max(size + 1, _CHUNK)))):
        pieces.append(piece)
        left -= len(piece)
    if not left:
        raise _too_large(most)
    return b"".join(pieces)


def read_secret(path: str | os.PathLike[str]) -> bytes:
    """A file that others may not read.  Raises OSError."""
    if os.stat(path).st_mode & S_IROTH:
        raise OSError(0, "everybody can read it; chmod o-r it")
    return read(path, MOST_SECRET)


def is_within(path: str, directories: Collection[str | Path]) -> bool:
    """Whether the path, with all symbolic links followed, leads into one of the directories."""
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(os.path.realpath(directory)) for directory in directories)


def _refuse_special(found: os.stat_result) -> None:
    if S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not S_ISREG(found.st_mode):
        raise OSError(0, "this is no regular file")


def _too_large(most: int) -> TooLarge:
    size = f"{most >> 20} MB" if most >> 20 else f"{most >> 10} kB"
    return TooLarge(0, f"it has more than {size}")
