"""The files that a master file includes, and how much of that there may be."""

from __future__ import annotations

from collections.abc import Callable
from posixpath import dirname, join, normpath

from dnslb.dns.mistake import Mistaken
from dnslb.system.file import MOST_ZONE

_MAX_DEPTH = 16             # files that include one another
_MAX_INCLUDES = 10_000      # in all: a file that includes twice one that includes twice one that … never ends
_BOM = b"\xef\xbb\xbf"


class Inclusions:
    """Knows which files are being read, and how much has been read in all."""

    def __init__(self, read: Callable[[str], bytes], octets: dict[str, bytes]) -> None:
        """``read`` gives the octets of an included file, or raises OSError; ``octets`` keeps those of every file."""
        self._read = read
        self._octets = octets
        self._open: list[str] = []          # files being read, the outermost first
        self._included = 0
        self._size = 0                      # octets read; a file counts as often as it is included

    def begin(self, path: str, octets: bytes) -> bytes:
        """Reading of the file begins.  Returns the octets to read, without a byte order mark."""
        octets = octets.removeprefix(_BOM)
        self._size += len(octets)
        self._octets[path] = octets
        self._open.append(path)
        return octets

    def end(self) -> None:
        """The file that was begun last is read."""
        self._open.pop()

    def find(self, target: str) -> tuple[str, bytes]:
        """Path and octets of a file to include; ``target`` is relative to the file being read.  Raises Mistaken."""
        # Words are Latin-1 here; file names of our time are UTF-8.
        target = target.encode("latin-1").decode(errors="replace")
        path = normpath(join(dirname(self._open[-1]), target))
        self._included += 1
        if not target or not path.isprintable():
            raise Mistaken("this is no file name", "write the name of a file", 1)
        if path in map(normpath, self._open):
            raise Mistaken(f"{path} includes itself", "remove the $INCLUDE that closes the loop", 1)
        if len(self._open) > _MAX_DEPTH:
            raise Mistaken(f"more than {_MAX_DEPTH} files include one another", "include from fewer levels", 1)
        if self._included > _MAX_INCLUDES:
            raise Mistaken(f"more than {_MAX_INCLUDES} inclusions", "put the records into fewer files", 1)
        # Once, so that places mean the same lines throughout, though somebody edits the file at this moment.
        octets = self._octets.get(path)
        if octets is None:
            octets = self._read_file(path)
        if self._size + len(octets) > MOST_ZONE:
            raise Mistaken(f"more than {MOST_ZONE >> 20} MB with all that is included", "split the zone", 1)
        return path, octets

    def _read_file(self, path: str) -> bytes:
        try:
            return self._read(path)
        except OSError as failure:
            reason = failure.strerror or type(failure).__name__
            raise Mistaken(f"{path} cannot be read: {reason}", "give a file that can", 1) from failure
