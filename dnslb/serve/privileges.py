"""From root to an ordinary user, for good."""

from __future__ import annotations

import os
import pwd
from pathlib import Path


class CannotDrop(Exception):
    """The user does not exist, or we may not become it; the text says what to do."""


def make_for(user: str, directory: Path) -> None:
    """Make the directory for ``user`` to write in, if we are root and it is not there yet.  Raises CannotDrop."""
    if os.getuid() != 0 or directory.exists():
        return
    entry = _entry(user)
    try:
        directory.mkdir(mode=0o750, parents=True)
        os.chown(directory, entry.pw_uid, entry.pw_gid)
    except OSError as error:
        raise CannotDrop(f"{directory} cannot be made for {user}: {(error.strerror or str(error)).lower()}") from None


def drop(user: str) -> None:
    """Become ``user`` with its groups.  Nothing happens when we are that user already.  Raises CannotDrop."""
    entry = _entry(user)
    if os.getuid() == entry.pw_uid:
        return
    if os.getuid() != 0:
        raise CannotDrop(f"only root can become {user}; start as root, or leave `user` out")
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _entry(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except (KeyError, ValueError):  # ValueError: a NUL, or octets that are no UTF-8
        raise CannotDrop(f"there is no user {user}; create it: adduser --system --group {user}") from None
