"""A server as a tree of processes: start it, read what it has used, stop it.

Linux only: everything is read from /proc and from the kernel's process clocks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
STOP_TIMEOUT = 10.0  # seconds from SIGTERM to SIGKILL; PowerDNS takes its time


class ServerStoppedError(Exception):
    """A server, or a process of it, is gone that should be there."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What each process of a server holds and has used so far, by process id."""

    cpu: dict[int, float]       # seconds, all threads
    resident: dict[int, int]    # bytes; pages that processes share count once for each

    def cpu_since(self, before: Usage) -> float:
        """CPU seconds since ``before``, or ServerStoppedError when a process took its count away with it."""
        if gone := before.cpu.keys() - self.cpu.keys():
            raise ServerStoppedError(f"process {', '.join(map(str, sorted(gone)))} ended during the measurement")
        return sum(self.cpu.values()) - sum(before.cpu.values())


def census() -> dict[int, tuple[int, int]]:
    """Parent and session of every living process."""
    kin = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended between the listing and the reading
                # The command name, in parentheses, may itself hold blanks and parentheses.
                state, parent, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if state != "Z":
                    kin[int(entry.name)] = int(parent), int(session)
    return kin


def tree(root: int) -> set[int]:
    """The process, its descendants, and whoever else is in the session that it leads."""
    kin = census()
    members = {pid for pid, (_, session) in kin.items() if root in (pid, session)}
    while more := {pid for pid, (parent, _) in kin.items() if parent in members} - members:
        members |= more
    return members


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads, also of those that have ended, in ns steps (clock_getcpuclockid(3))."""
    # schedstat would forget the threads that end: PowerDNS has one for each TCP connection.
    return time.clock_gettime(~pid << 3 | 2)


def usage(root: int) -> Usage:
    cpu, resident = {}, {}
    for pid in tree(root):
        with contextlib.suppress(OSError):
            cpu[pid] = cpu_seconds(pid)
            resident[pid] = int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE
    return Usage(cpu, resident)


def core_seconds(core: int) -> float:
    """How long a core has been busy, whoever kept it busy: interrupts count, idle, waiting and stolen time do not."""
    for line in (PROC / "stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, _, _, irq, softirq = map(int, ticks[:7])
            return (user + nice + system + irq + softirq) / TICK
    return 0.0


def free_port() -> int:
    """A port of 127.0.0.1 that is free for UDP and TCP, at the moment of asking."""
    for _ in range(100):
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):
                tcp.bind(udp.getsockname())
                return int(udp.getsockname()[1])
    raise OSError("no port of 127.0.0.1 is free for both UDP and TCP")


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the leader, then SIGKILL to every process of the tree that is left."""
    members = tree(process.pid)
    process.terminate()
    process.send_signal(signal.SIGCONT)  # a process that was suspended could not end
    deadline = time.monotonic() + STOP_TIMEOUT
    while time.monotonic() < deadline and (process.poll() is None or members & census().keys()):
        time.sleep(0.02)
    for pid in members & census().keys():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(STOP_TIMEOUT)


@contextlib.contextmanager
def running(command: list[str], core: int | None, log: Path, cwd: Path, **variables: str,
            ) -> Iterator[subprocess.Popen[bytes]]:
    """The command, pinned to one core if one is given, in a session of its own, until the block ends."""
    # What dnslb would keep in the user's directories goes where it is thrown away.
    own = {name: str(log.parent) for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "HOME")}
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    with log.open("wb") as output:
        process = subprocess.Popen([*pinned, *command], stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=output, cwd=cwd, env=os.environ | own | variables, start_new_session=True)
    try:
        yield process
    finally:
        stop(process)
