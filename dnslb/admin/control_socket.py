"""The control socket: its path, its permissions, and whose it is."""

from __future__ import annotations

import logging
import os
import pwd
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dnslb.system import user as users
from dnslb.system.user import UnknownUser

_MODE = 0o660
_BACKLOG = 64
_LONGEST = 2.0  # seconds for a server to accept a connection
SYSTEM = Path("/run/dnslb/control.sock")

_log = logging.getLogger("dnslb")


class CannotControl(Exception):
    """The socket is another server's, or cannot be made; the text says what to do."""


def default_path(environment: Mapping[str, str]) -> Path:
    """Without ``--control``: by $XDG_RUNTIME_DIR, else where services have it.  A relative one is ignored."""
    base = environment.get("XDG_RUNTIME_DIR", "")
    return Path(base, "dnslb.sock") if os.path.isabs(base) else SYSTEM


class ControlSocket:
    """The control socket, from before privileges are dropped to the end."""

    def __init__(
        self,
        given: Path | None,
        environment: Mapping[str, str],
        user: str | None,
        inherited: socket.socket | None = None,
    ) -> None:
        """Take the given path, or the default one, for ``user``.  Raises CannotControl.

        The default one is not insisted on: without permission there is no socket, and a warning.  An ``inherited``
        socket listens there already.
        """
        self.path = given or default_path(environment)
        self.sock = inherited
        if inherited is not None:
            return
        try:
            self.sock = _listen(self.path, user, given is None)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            if given is not None:
                raise CannotControl(f"cannot make the control socket {given}: {reason}; give another path") from None
            _log.warning("no control socket: %s: %s; give --control PATH", self.path, reason)

    def listen_beside(self, path: Path, user: str | None) -> socket.socket | None:
        """Make one more socket with the same permissions.  None if that fails, with a warning."""
        try:
            return _listen(path, user, make_directory=False)
        except OSError as error:
            _log.warning("nobody can take over: %s: %s", path, (error.strerror or str(error)).lower())
            return None

    def close(self) -> None:
        """Remove the socket; the directory stays."""
        if self.sock is None:
            return
        self.sock.close()
        # After a drop of privileges we may not be allowed to: a dead socket is replaced at the next start.
        with suppress(OSError):
            self.path.unlink()


def _listen(path: Path, user: str | None, make_directory: bool) -> socket.socket:
    entry = _entry(user)
    if make_directory and not path.parent.exists():
        if entry is None:
            path.parent.mkdir(mode=0o755)
        else:
            users.make_directory(path.parent, 0o755, entry)
    if entry is None:
        return _bind(path)
    if not users.is_roots(path.parent):
        # Whoever can write there could put a link to any file in the place of the socket.
        with users.acting_as(entry):
            return _bind(path)
    sock = _bind(path)
    os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    return sock


def _bind(path: Path) -> socket.socket:
    if path.is_socket():
        if _is_alive(path):
            raise CannotControl(f"another dnslb listens on {path}; stop it, or give --control PATH or --takeover")
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Whoever may connect must be known before anybody can.
    umask = os.umask(0o777 & ~_MODE)
    try:
        sock.bind(os.fspath(path))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(umask)
    return sock


def _is_alive(path: Path) -> bool:
    """Whether a server listens there.  One that is too busy to accept does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_LONGEST)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except (BlockingIOError, TimeoutError):
            return True
    return True


def _entry(user: str | None) -> pwd.struct_passwd | None:
    """Of the user that root is to become."""
    if user is None or os.getuid() != 0:
        return None
    try:
        return users.find(user)
    except UnknownUser:  # told when privileges are dropped
        return None
