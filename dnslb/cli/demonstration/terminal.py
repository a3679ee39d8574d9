"""The terminal as a stage: the whole screen, keys at once, and everything as it was afterwards."""

from __future__ import annotations

import os
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# Of xterm and all that follow it: another screen to draw on, the cursor hidden; the first column; clearing.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _CLEAR_LINE = "\x1b[H", "\x1b[K"


@contextmanager
def stage() -> Iterator[None]:
    """Keys come one by one and unseen, Ctrl-C stays a signal; the screen is ours until the block ends."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    _write(_ENTER)
    try:
        yield
    finally:
        _write(_LEAVE)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def size() -> tuple[int, int]:
    """Columns and lines, also after the window has changed."""
    return os.get_terminal_size(sys.stdout.fileno())


def show(lines: Sequence[str]) -> None:
    """As many as the window has, in place of what was there.  Clearing all of it first would flicker."""
    _write(_HOME + "\n".join(_CLEAR_LINE + line for line in lines))


def keys() -> str:
    """What has been pressed since."""
    return os.read(sys.stdin.fileno(), 1024).decode(errors="replace")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
