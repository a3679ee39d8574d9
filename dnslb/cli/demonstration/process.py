"""The programs of the demonstration: start, wait until ready, kill, end.

Each runs in a session of its own, so that Ctrl-C reaches only us, who then end them all by their ids.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import dnslb

_MODULES = Path(dnslb.__file__).parent.parent  # where Python finds us
_STARTING = 15.0  # seconds that a program may take until it is ready
_STOPPING = 10.0  # seconds from SIGTERM to SIGKILL


class NotStarted(Exception):
    """A part of the demonstration is not there; the text is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Process:
    """One running program, with its children."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def has_ended(self) -> bool:
        return self.popen.poll() is not None

    def kill(self) -> None:
        """SIGKILL: its sockets are closed by the kernel, connections to it are refused."""
        self.popen.kill()
        self.popen.wait()

    def await_ready(self, is_ready: Callable[[], bool]) -> None:
        """Return when it is ready.  Raises NotStarted, with the program's own last words."""
        deadline = time.monotonic() + _STARTING
        while not is_ready():
            if self.has_ended:
                raise NotStarted(f"{self.name} ended with status {self.popen.returncode}: {last_words(self.log)}")
            if time.monotonic() > deadline:
                raise NotStarted(f"{self.name} is not ready after {_STARTING:g} s: {last_words(self.log)}")
            time.sleep(0.02)


def last_words(log: Path) -> str:
    """The last line of a program's log: most likely why it did not start."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[-300:] if lines else "it said nothing"


@contextmanager
def running(name: str, command: Sequence[object], directory: Path) -> Iterator[Process]:
    """The command, with its log and all that it keeps in the directory, until the block ends.  Raises NotStarted."""
    log = directory / f"{name}.log"
    kept = dict.fromkeys(("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "HOME"), str(directory))
    path = os.pathsep.join(filter(None, (str(_MODULES), os.environ.get("PYTHONPATH"))))
    environment = os.environ | kept | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        try:
            popen = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                cwd=directory, env=environment, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise NotStarted(f"{name} cannot be started: {error.strerror}: {command[0]}") from None
    try:
        yield Process(name, popen, log)
    finally:
        _stop(popen)


def _stop(popen: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the program, then SIGKILL to what is left of its process group."""
    popen.terminate()
    with suppress(subprocess.TimeoutExpired):
        popen.wait(_STOPPING)
    with suppress(ProcessLookupError):
        os.killpg(popen.pid, signal.SIGKILL)
    popen.wait(_STOPPING)


def accepts(address: str, port: int) -> bool:
    """Whether a TCP connection is accepted."""
    with suppress(OSError), socket.create_connection((address, port), 0.5):
        return True
    return False


def free_port(address: str, usual: int) -> int:
    """The usual port if it is free for UDP and TCP at the moment of asking, else another.  Raises NotStarted."""
    for wanted in (usual, *[0] * 100):
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp, suppress(OSError):
            udp.bind((address, wanted))
            port = int(udp.getsockname()[1])
            tcp.bind((address, port))
            return port
    raise NotStarted(f"no port is free on {address}: end what listens there (ss -lntup)")
