"""What Linux does to a process on request (prctl(2), capset(2)), and Python has no words for."""

from __future__ import annotations

import ctypes
import errno
import os

_SET_PDEATHSIG = 1
_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_SET_NO_NEW_PRIVS = 38
_CAP_AMBIENT = 47
_CAP_AMBIENT_CLEAR_ALL = 4

_CAPABILITIES_VERSION = 0x20080522  # of <linux/capability.h>: two words for each set

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(signal: int) -> None:
    """Have this process get the signal when its parent ends, however that ends.  Raises OSError."""
    _call(_SET_PDEATHSIG, signal)


def clear_ambient_capabilities() -> None:
    """From now on no program that we start has more rights than its user (capabilities(7)).  Raises OSError."""
    _call(_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL)


def drop_capabilities() -> None:
    """From now on this process has the rights of its user, and no more, also if that is root.  Raises OSError."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()))


def has_filters() -> bool:
    """Whether this kernel can filter the system calls of a process."""
    try:
        _call(_SET_SECCOMP, _SECCOMP_MODE_FILTER)
    except OSError as error:
        return error.errno == errno.EFAULT  # there is no program at address 0
    return False


def set_filter(program: bytes) -> None:
    """Have the kernel ask this program about each system call from now on (seccomp(2)).  Raises OSError."""
    octets = ctypes.create_string_buffer(program, len(program))
    head = _Filter(len(program) // 8, ctypes.addressof(octets))
    _call(_SET_NO_NEW_PRIVS, 1)
    _call(_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(head))


class _Filter(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_void_p))


def _call(option: int, *arguments: int) -> None:
    # Of each argument all the bits are looked at.
    four = (*arguments, 0, 0, 0)[:4]
    _check(_libc.prctl(option, *(ctypes.c_ulong(number) for number in four)))


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
