"""A program exits with status 0: the exec probe, and whatever else is a program to run.

No shell.  The program runs in a session of its own and is killed with its children as soon as the outcome is known;
a child that opens another session escapes.  Its output is read to the end but kept only as far as a reason needs it.
We wait for the program itself, never for its children.  No threads: the parent forks workers.
Its memory is bounded, except for one that runs as somebody else (setuid).
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from dnslb.balance.health import Outcome
from dnslb.balance.pool import Address, ExecCheck
from dnslb.probe.outcome import Failed, NotMade, Progress, explain, judge, printable, shortage

_KEPT = 4096      # octets of the output
_MOST = 1 << 20   # octets of output, beyond which the program is killed
_CHUNK = 65536
_MEMORY = 512 << 20  # octets that a process may write to: what is only reserved does not count (setrlimit(2))


async def probe(check: ExecCheck, address: Address, source: Address | None, timeout: float) -> Outcome:
    """Run the program once.  ``source`` has no meaning for it."""
    command = [argument.replace("{address}", str(address)) for argument in check.command]
    return await judge(partial(attempt, command, {"DNSLB_ADDRESS": str(address)}, b""), timeout)


async def attempt(command: Sequence[str], environment: Mapping[str, str], said: bytes, progress: Progress) -> str:
    """Run the program once; the reason why it passes.  Raises Failed and OSError."""
    progress.lacks = "exit"
    status, output = await run(command, environment, said)
    ending = _ending(status) + _first_line(output)
    if status:
        raise Failed(ending)
    return ending


async def run(command: Sequence[str], environment: Mapping[str, str], said: bytes) -> tuple[int, bytes]:
    """The exit status and what it wrote first, of a program that gets ``said`` on its standard input.

    Of our environment it gets PATH, and nothing else.  Cancelled, it kills the program.  Raises Failed and OSError.
    """
    running = _Run(_start(command, environment, said))
    try:
        status = await running.ended
    finally:
        running.stop()
    return status, bytes(running.output)


def _start(command: Sequence[str], environment: Mapping[str, str], said: bytes) -> subprocess.Popen[bytes]:
    try:
        # A file in memory rather than a pipe: nobody has to wait until the program reads it.
        with open(os.memfd_create("stdin"), "w+b") as stdin:
            stdin.write(said)
            stdin.seek(0)
            return subprocess.Popen(
                command,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), **environment},
                start_new_session=True,
            )
    except OSError as error:
        why = "not executable" if isinstance(error, PermissionError) else explain(error)
        raise NotMade(shortage(error, "program"), f"cannot run {command[0]}: {why}") from None
    except ValueError as error:  # a NUL in an argument, or a character that the file system's encoding lacks
        raise NotMade("program", f"cannot run {command[0]!r}: {error}") from None


class _Run:
    """A running program.  ``ended`` becomes its exit status, negative for a signal."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # it was started with a pipe
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._pipe = process.stdout
        self._count = 0
        self.output = bytearray()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        with suppress(OSError):  # it has ended, or is setuid
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
        try:
            self._pidfd = os.pidfd_open(process.pid)
        except OSError:  # too many open files
            self._pipe.close()
            self._kill()
            process.wait()
            raise
        os.set_blocking(self._pipe.fileno(), False)
        self._loop.add_reader(self._pipe, self._read_output)
        self._loop.add_reader(self._pidfd, self._reap)

    def stop(self) -> None:
        """Read no more of its output, and kill it if it still runs.  ``_reap`` collects its status once it is dead."""
        if not self._pipe.closed:
            self._loop.remove_reader(self._pipe)
            self._pipe.close()
        if self._process.returncode is None:
            self._kill()

    def _read_output(self) -> None:
        try:
            said = os.read(self._pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return
        if not said:
            self._loop.remove_reader(self._pipe)
            return
        self._count += len(said)
        self.output += said[: _KEPT - len(self.output)]
        if self._count > _MOST and not self.ended.done():
            self.ended.set_exception(Failed(f"more than {_MOST >> 20} MB of output{_first_line(self.output)}"))

    def _reap(self) -> None:
        """Called when the program itself has ended: until now its number is its own, so its children die first."""
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._kill()
        status = self._process.wait()
        if not self._pipe.closed:
            self._read_output()
        if not self.ended.done():
            self.ended.set_result(status)

    def _kill(self) -> None:
        # A program that runs as somebody else (setuid) cannot be killed by us.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    known = -status in signal.valid_signals()
    return f"killed by {signal.Signals(-status).name if known and -status < 32 else f'signal {-status}'}"


def _first_line(output: bytes | bytearray) -> str:
    """What the program said, to follow the reason."""
    lines = output.decode(errors="replace").strip().splitlines()
    return f": {printable(lines[0])}" if lines else ""
