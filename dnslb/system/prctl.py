"""Two things that Linux does to a process on request (prctl(2)), and Python has no words for."""

from __future__ import annotations

import ctypes
import os

_SET_PDEATHSIG = 1
_CAP_AMBIENT = 47
_CAP_AMBIENT_CLEAR_ALL = 4

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(signal: int) -> None:
    """Have this process get the signal when its parent ends, however that ends.  Raises OSError."""
    _call(_SET_PDEATHSIG, signal)


def clear_ambient_capabilities() -> None:
    """From now on no program that we start has more rights than its user (capabilities(7)).  Raises OSError."""
    _call(_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL)


def _call(option: int, argument: int) -> None:
    # Of each argument all the bits are looked at.
    arguments = (ctypes.c_ulong(number) for number in (argument, 0, 0, 0))
    if _libc.prctl(option, *arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
