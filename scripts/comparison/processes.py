"""The programs of an experiment: start, wait until ready, kill, suspend, count their CPU time.

Every program runs in a session of its own, so that Ctrl-C reaches only us, who then stop them all by their ids.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.processes import cpu_seconds, running, tree

from dnslb.cli.demonstration.process import last_words

ROOT = Path(__file__).resolve().parent.parent.parent
MODULES = f"{ROOT / 'scripts'}:{ROOT}"    # where Python finds ours
PORTS = range(20000, 30000)     # below the ephemeral ports: no connection is given one of these by chance
STARTING = 15.0                 # seconds that a program may take until it is ready
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


class NotStartedError(Exception):
    """A part of an experiment is not there; the text is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program that an experiment needs, or would like to have."""

    name: str       # as people call it
    command: str
    package: str    # of Debian

    def path(self) -> str | None:
        # Nameservers and proxies are in sbin, which is not in everybody's PATH.
        return shutil.which(self.command) or shutil.which(self.command, path=SBIN)

    def missing(self) -> str | None:
        """What to do about its absence; None when it is there."""
        return None if self.path() else f"{self.name} is missing: apt-get install {self.package}"

    def __str__(self) -> str:
        path = self.path()
        if path is None:
            raise NotStartedError(self.missing())
        return path


@dataclass(frozen=True, slots=True)
class Process:
    """One running program, with its children."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def has_ended(self) -> bool:
        return self.popen.poll() is not None

    def kill(self) -> None:
        """SIGKILL: its sockets are closed by the kernel, connections to it are refused."""
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()

    def suspend(self) -> None:
        """SIGSTOP: its sockets stay; the kernel accepts connections that nobody answers."""
        self.popen.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.popen.send_signal(signal.SIGCONT)

    def last_words(self) -> str:
        return last_words(self.log)


class Meter:
    """CPU seconds of some processes and of the children that they have now; cheap to read."""

    def __init__(self, *processes: Process) -> None:
        self._members = [pid for process in processes for pid in tree(process.pid)]

    def read(self) -> float:
        return sum(cpu_seconds(pid) for pid in self._members)


def spawn(name: str, command: Sequence[object], directory: Path, stack: contextlib.ExitStack) -> Process:
    """Start the command; the stack stops it.  Raises NotStartedError."""
    log = directory / f"{name}.log"
    with contextlib.suppress(FileNotFoundError):    # a second life of the same program
        log.unlink()
    try:
        popen = stack.enter_context(running(
            [str(word) for word in command], None, log, directory, PYTHONPATH=MODULES, PYTHONUNBUFFERED="1"))
    except OSError as error:
        raise NotStartedError(f"{name} cannot be started: {error.strerror}: {command[0]}") from None
    return Process(name, popen, log)


def await_ready(process: Process, is_ready: Callable[[], bool], seconds: float = STARTING) -> None:
    """Return when it is ready.  Raises NotStartedError, with the program's own last words."""
    deadline = time.monotonic() + seconds
    while not is_ready():
        if process.has_ended:
            status = process.popen.returncode
            raise NotStartedError(f"{process.name} ended with status {status}: {process.last_words()}")
        if time.monotonic() > deadline:
            raise NotStartedError(f"{process.name} is not ready after {seconds:g} s: {process.last_words()}")
        time.sleep(0.02)


def accepts(address: str, port: int) -> bool:
    """Whether a TCP connection is accepted."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), 0.5):
        return True
    return False


def free_port(addresses: Sequence[str]) -> int:
    """A port that is free on all the addresses, for UDP and TCP, at the moment of asking."""
    # Not from an experiment's seed: two runs at once must not meet.
    for port in random.SystemRandom().sample(PORTS, 200):
        if all(is_free(address, port) for address in addresses):
            return port
    raise NotStartedError(f"no port of {PORTS.start} to {PORTS.stop} is free on {', '.join(addresses)}")


def is_free(address: str, port: int) -> bool:
    with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        try:
            udp.bind((address, port))
            tcp.bind((address, port))
        except OSError:
            return False
    return True
