"""What a process uses, as the system tells."""

from __future__ import annotations

import os
from dataclasses import dataclass

_PAGE = os.sysconf("SC_PAGE_SIZE")   # octets
_TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds


@dataclass(frozen=True, slots=True)
class Usage:
    memory: int  # octets resident, those shared with other processes included
    cpu: float   # seconds
    state: str   # one letter: R runs, S waits, D waits for a disk, T is stopped (proc_pid_stat(5))


def usage(pid: int) -> Usage | None:
    """None when the process has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name of the program, in brackets, may hold anything (proc_pid_stat(5)).
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    cpu = (int(fields[11]) + int(fields[12])) * _TICK
    return Usage(memory=int(fields[21]) * _PAGE, cpu=cpu, state=fields[0].decode())
