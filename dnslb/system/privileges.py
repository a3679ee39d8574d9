"""From root to an ordinary user, for good."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

from dnslb.system import prctl
from dnslb.system import user as users
from dnslb.system.user import UnknownUser

_log = logging.getLogger("dnslb")


class CannotDrop(Exception):
    """The user does not exist, or we may not become it; the text says what to do."""


def make_for(user: str, directory: Path) -> None:
    """Make the directory for ``user`` to write in, if we are root and it is not there yet.  Raises CannotDrop."""
    if os.getuid() != 0 or directory.exists():
        return
    try:
        users.make_directory(directory, 0o750, users.find(user))
    except UnknownUser as error:
        raise CannotDrop(str(error)) from None
    except OSError as error:
        raise CannotDrop(f"{directory} cannot be made for {user}: {(error.strerror or str(error)).lower()}") from None


def drop(user: str) -> None:
    """Become ``user`` with its groups.  Nothing happens when we are that user already.  Raises CannotDrop."""
    try:
        entry = users.find(user)
    except UnknownUser as error:
        raise CannotDrop(str(error)) from None
    if os.getuid() == entry.pw_uid:
        return
    if os.getuid() != 0:
        raise CannotDrop(f"only root can become {user}; start as root, or leave `user` out")
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def keep_nothing() -> None:
    """The right to open low ports, which a service manager may have given us, has served: we give it up.

    No probe or hook inherits it either.  Root stays root: what its probes need, nobody knows.
    """
    try:
        prctl.clear_ambient_capabilities()
    except OSError as error:
        _log.warning("probes and hooks may have rights that they do not need: %s", error.strerror)
    # The filter of our unit refuses it, since systemd counts the call as one of root's.
    with suppress(PermissionError):
        if os.geteuid() != 0:
            prctl.drop_capabilities()
