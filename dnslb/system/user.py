"""What root does in the place of an ordinary user, and where that is not needed.

Who may write in a directory may put a symbolic link in the place of anything there, at any moment.  So root changes
owners only where nobody else can write, and elsewhere acts as the user, who cannot do more than before.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dnslb.text.one_line import one_line

_MOST_LINKS = 40     # as many as the kernel follows
_OTHERS = 0o022      # may be written by others
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


_PASSWD = Path("/etc/passwd")
_MOST_USERS = 1 << 20  # octets of it that are looked at


class UnknownUser(Exception):
    """There is none of that name; the text says what to do."""


def name(uid: int) -> str:
    """By this machine's own list.  Directories of users (NSS) are not asked: they may take their time, or hang."""
    try:
        with _PASSWD.open("rb") as file:
            lines = file.read(_MOST_USERS).decode(errors="replace").splitlines()
    except OSError:
        lines = []
    entries = (line.split(":") for line in lines)
    found = next((entry[0] for entry in entries if entry[2:3] == [str(uid)]), "")
    return one_line(found) or f"uid {uid}"


def find(user: str) -> pwd.struct_passwd:
    """Raises UnknownUser."""
    try:
        return pwd.getpwnam(user)
    except (KeyError, ValueError):  # ValueError: a NUL, or octets that are no UTF-8
        raise UnknownUser(f"there is no user {user}; create it: adduser --system --group {user}") from None


@contextmanager
def acting_as(entry: pwd.struct_passwd) -> Iterator[None]:
    """For root: have the rights of that user in files, for a while.  The whole process has them."""
    uid, gid, groups = os.geteuid(), os.getegid(), os.getgroups()
    os.setgroups(os.getgrouplist(entry.pw_name, entry.pw_gid))
    os.setegid(entry.pw_gid)
    os.seteuid(entry.pw_uid)
    try:
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)
        os.setgroups(groups)


def is_roots(directory: Path) -> bool:
    """Whether nobody but root can change what is in the directory, or to which one the path leads.  Raises OSError."""
    left = deque(Path(os.path.abspath(directory)).parts[1:])
    here, links = Path("/"), 0
    while True:
        found = here.stat()
        # In a sticky one such as /tmp nobody can replace what is root's; but everybody can be first.
        is_open = found.st_mode & _OTHERS and not (found.st_mode & stat.S_ISVTX and left)
        if found.st_uid != 0 or is_open:
            return False
        if not left:
            return True
        part = left.popleft()
        if part == "..":
            here = here.parent
            continue
        entry = here / part
        found = entry.lstat()
        if found.st_uid != 0:
            return False
        if not stat.S_ISLNK(found.st_mode):
            here = entry
            continue
        links += 1
        if links > _MOST_LINKS:
            return False
        target = Path(os.readlink(entry))
        here = Path("/") if target.is_absolute() else here
        left.extendleft(reversed(target.parts[1:] if target.is_absolute() else target.parts))


def make_directory(directory: Path, mode: int, entry: pwd.struct_passwd) -> None:
    """Make it for that user, as root, with what is missing above it.  Raises OSError."""
    above = directory.parent
    while not above.exists():
        above = above.parent
    if not is_roots(above):
        with acting_as(entry):
            directory.mkdir(mode=mode, parents=True)
        return
    directory.mkdir(mode=mode, parents=True)
    descriptor = os.open(directory, _DIRECTORY)
    try:
        os.fchown(descriptor, entry.pw_uid, entry.pw_gid)
    finally:
        os.close(descriptor)
