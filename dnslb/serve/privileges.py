"""From root to an ordinary user, for good."""

from __future__ import annotations

import os
import pwd


class CannotDrop(Exception):
    """The user does not exist, or we may not become it; the text says what to do."""


def drop(user: str) -> None:
    """Become ``user`` with its groups.  Nothing happens when we are that user already.  Raises CannotDrop."""
    try:
        entry = pwd.getpwnam(user)
    except (KeyError, ValueError):  # ValueError: a NUL, or octets that are no UTF-8
        raise CannotDrop(f"there is no user {user}; create it: adduser --system --group {user}") from None
    if os.getuid() == entry.pw_uid:
        return
    if os.getuid() != 0:
        raise CannotDrop(f"only root can become {user}; start as root, or leave `user` out")
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
