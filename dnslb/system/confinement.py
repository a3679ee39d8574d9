"""What the kernel lets a worker do: answer on the sockets that it has, and nothing else (seccomp(2)).

A list of the system calls that answering needs.  What is not on it is refused as if this kernel did not know it
(ENOSYS): libraries then do without, and whoever has got into a worker opens no file.  What no worker ever does, and
only an intruder would try (start a program, open or connect a socket, look into other processes), ends the worker with
SIGSYS; the parent logs that, and starts another.

Pure, but for ``confine``: the rules are a program for the kernel's filter (BPF).
"""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from dnslb.system import prctl

_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | errno.ENOSYS, 0x80000000  # <linux/seccomp.h>
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # <linux/bpf_common.h>
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16  # where they stand in struct seccomp_data
_X32 = 0x40000000                         # numbers of another ABI begin here, on x86 only
_EXECUTABLE = 4                           # PROT_EXEC: memory whose content is run
_X86_64 = 0xC000003E                      # AUDIT_ARCH_X86_64
_UNIX = 1                                 # AF_UNIX
_INSTRUCTION = struct.Struct("=HBBI")


@dataclass(frozen=True, slots=True)
class Machine:
    """The numbers of system calls, by name: those that answering needs, and those that only an intruder makes."""

    audit: int               # the kernel's name of the machine (<linux/audit.h>)
    allowed: dict[str, int]
    never: dict[str, int]

    @property
    def has_x32(self) -> bool:
        """Whether there is a second set of numbers, by which the first must not be passed by."""
        return self.audit == _X86_64


def _table(text: str) -> dict[str, int]:
    words = text.split()
    return {name: int(number) for name, number in zip(words[::2], words[1::2], strict=True)}


# From <asm/unistd_64.h> and <asm-generic/unistd.h>.
MACHINES = {
    "x86_64": Machine(_X86_64, _table("""
        recvmmsg 299 sendmmsg 307 epoll_wait 232 epoll_pwait 281 epoll_ctl 233 epoll_create1 291 accept4 288 close 3
        read 0 write 1 readv 19 writev 20 recvfrom 45 sendto 44 recvmsg 47 sendmsg 46 shutdown 48 socketpair 53
        getsockname 51 getpeername 52 setsockopt 54 getsockopt 55 fcntl 72 ioctl 16 fstat 5 lseek 8 poll 7 ppoll 271
        mmap 9 mprotect 10 munmap 11 mremap 25 brk 12 madvise 28 futex 202 getrandom 318 sched_yield 24 rseq 334
        clock_gettime 228 clock_getres 229 gettimeofday 96 time 201 nanosleep 35 clock_nanosleep 230 restart_syscall 219
        rt_sigaction 13 rt_sigprocmask 14 rt_sigreturn 15 sigaltstack 131 exit 60 exit_group 231
        getpid 39 getppid 110 gettid 186 getuid 102 geteuid 107 getgid 104 getegid 108 getrusage 98
    """), _table("""
        execve 59 execveat 322 fork 57 vfork 58 clone 56 clone3 435 ptrace 101 process_vm_readv 310
        process_vm_writev 311 socket 41 connect 42 bind 49 listen 50 io_uring_setup 425
    """)),
    "aarch64": Machine(0xC00000B7, _table("""
        recvmmsg 243 sendmmsg 269 epoll_pwait 22 epoll_ctl 21 epoll_create1 20 accept4 242 close 57
        read 63 write 64 readv 65 writev 66 recvfrom 207 sendto 206 recvmsg 212 sendmsg 211 shutdown 210 socketpair 199
        getsockname 204 getpeername 205 setsockopt 208 getsockopt 209 fcntl 25 ioctl 29 fstat 80 lseek 62 ppoll 73
        mmap 222 mprotect 226 munmap 215 mremap 216 brk 214 madvise 233 futex 98 getrandom 278 sched_yield 124 rseq 293
        clock_gettime 113 clock_getres 114 gettimeofday 169 nanosleep 101 clock_nanosleep 115 restart_syscall 128
        rt_sigaction 134 rt_sigprocmask 135 rt_sigreturn 139 sigaltstack 132 exit 93 exit_group 94
        getpid 172 getppid 173 gettid 178 getuid 174 geteuid 175 getgid 176 getegid 177 getrusage 165
    """), _table("""
        execve 221 execveat 281 clone 220 clone3 435 ptrace 117 process_vm_readv 270
        process_vm_writev 271 socket 198 connect 203 bind 200 listen 201 io_uring_setup 425
    """)),
}  # fmt: skip
_NO_CODE = ("mmap", "mprotect")  # allowed for memory that is not executed


def unavailable() -> str:
    """Why workers cannot be confined here; empty when they can."""
    if _machine() is None:
        return f"the system calls of {os.uname().machine} are not known to dnslb"
    return "" if prctl.has_filters() else "this kernel has no filter for system calls (CONFIG_SECCOMP_FILTER)"


def confine(connects: bool) -> None:
    """From now on this process may do what a worker does.  There is no way back.  Raises OSError.

    ``connects``: to Unix sockets too.  Where there is no filter, it still loses what root may do and others may not.
    """
    with suppress(PermissionError):  # the filter of our unit refuses that; ours makes them worth nothing
        prctl.drop_capabilities()
    machine = _machine()
    if machine is not None and prctl.has_filters():
        time.localtime()  # which reads a file, the first time
        prctl.set_filter(rules(machine, connects))


def rules(machine: Machine, connects: bool) -> bytes:
    """The program of the kernel's filter: an instruction of eight octets after the other."""
    allowed, never = dict(machine.allowed), dict(machine.never)
    without_code = [allowed.pop(name) for name in _NO_CODE]
    unix = [never.pop("socket")] if connects else []
    if connects:
        allowed["connect"] = never.pop("connect")
    return b"".join([
        _instruction(_LOAD, _MACHINE),
        # In a jump: how many instructions are passed over if it is so, and if it is not.
        _instruction(_EQUAL, machine.audit, 1, 0),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
        *((_instruction(_AT_LEAST, _X32, 0, 1), _instruction(_RETURN, _KILL)) if machine.has_x32 else ()),
        *_each(allowed.values(), _ALLOW),
        *_each(never.values(), _KILL),
        *_each_by(unix, 0, _EQUAL, _UNIX, (_ALLOW, _KILL)),
        *_each_by(without_code, 2, _ANY_BIT, _EXECUTABLE, (_REFUSE, _ALLOW)),
        _instruction(_RETURN, _REFUSE),
    ])  # fmt: skip


def _each(numbers: Iterable[int], verdict: int) -> Iterator[bytes]:
    """The verdict on these calls, whatever their arguments."""
    for number in numbers:
        yield _instruction(_EQUAL, number, 0, 1)
        yield _instruction(_RETURN, verdict)


def _each_by(
    numbers: Iterable[int], argument: int, test: int, value: int, verdicts: tuple[int, int]
) -> Iterator[bytes]:
    """The verdict on these calls by one of their arguments, of which the lower half says all: if so, and if not."""
    then, otherwise = verdicts
    for number in numbers:
        yield _instruction(_EQUAL, number, 0, 4)
        yield _instruction(_LOAD, _ARGUMENTS + 8 * argument)
        yield _instruction(test, value, 0, 1)
        yield _instruction(_RETURN, then)
        yield _instruction(_RETURN, otherwise)


def _instruction(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, yes, no, value)


def _machine() -> Machine | None:
    """Of this process, which need not be that of the kernel."""
    return MACHINES.get(os.uname().machine) if struct.calcsize("P") == 8 else None
