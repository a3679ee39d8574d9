"""A terminal in full screen: lines in colours out, keys in (ECMA-48)."""

from __future__ import annotations

import os
import re
import select
import shutil
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # another screen, without a cursor; and back
_HOME, _REST_OF_LINE, _REST_OF_SCREEN, _PLAIN = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[0m"
_STYLES = {
    "": "", "bold": "\x1b[1m", "dim": "\x1b[2m", "good": "\x1b[32m", "bad": "\x1b[1;31m", "warned": "\x1b[33m",
    "chosen": "\x1b[7m",
}  # fmt: skip
_COLOURS = {"good", "warned"}  # that say nothing but a colour
_KEY = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Za-z]|.", re.DOTALL)
_NAMED = {
    "\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down", "\x1b[5~": "page up", "\x1b[6~": "page down",
    "\x1b": "escape", "\r": "enter", "\n": "enter", "\x7f": "erase", "\x08": "erase",
}  # fmt: skip

Line: TypeAlias = Sequence[tuple[str, str]]  # pieces: a style and a text


class Terminal:
    """``keys`` are read from standard input if that is a terminal too."""

    def __init__(self) -> None:
        self._has_keys = sys.stdin.isatty()
        self._has_colours = not os.environ.get("NO_COLOR")  # https://no-color.org

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        return shutil.get_terminal_size()

    def draw(self, lines: Sequence[Line]) -> None:
        """In the place of the last ones.  What does not fit is cut off."""
        width, height = self.size
        shown = [self._text(line, width) for line in lines[:height]]
        sys.stdout.write(_HOME + f"{_REST_OF_LINE}\r\n".join(shown) + _REST_OF_LINE + _REST_OF_SCREEN)
        sys.stdout.flush()

    def keys(self, seconds: float) -> list[str]:
        """The keys that are pressed within that time: characters, or names such as ``up``; at once when there are."""
        if not self._has_keys:
            time.sleep(seconds)
            return []
        descriptor = sys.stdin.fileno()
        if not select.select([descriptor], [], [], seconds)[0]:
            return []
        text = os.read(descriptor, 1024).decode(errors="replace")
        return [_NAMED.get(key, key) for key in _KEY.findall(text)]

    def _text(self, line: Line, width: int) -> str:
        told, left = [], width
        for style, text in line:
            # What a backend says may hold orders to the terminal.
            piece = "".join(each if each.isprintable() else "?" for each in text[:left])
            left -= len(piece)
            begin = _STYLES[style] if self._has_colours or style not in _COLOURS else ""
            told.append(f"{begin}{piece}{_PLAIN}" if begin else piece)
        return "".join(told)


@contextmanager
def full_screen() -> Iterator[Terminal]:
    """The terminal, which is as it was before in the end."""
    before = termios.tcgetattr(sys.stdin.fileno()) if sys.stdin.isatty() else None
    if before is not None:
        tty.setcbreak(sys.stdin.fileno())
    sys.stdout.write(_ENTER)
    try:
        yield Terminal()
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        if before is not None:
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)
