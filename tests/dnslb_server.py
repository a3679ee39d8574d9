"""dnslb as people run it: a real process, asked over real sockets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import dns.message
import pytest
from peers import STARTING, STOPPING, Address, free_port, running, wait_until_serving, zone_files

from dnslb.admin import client

_FORKED = 0.01      # seconds for a process to begin a session of its own
_ON_ITS_WAY = 0.05  # seconds for what is decided to reach the workers

DNSLB = (sys.executable, "-m", "dnslb")

ZONE = f"""\
$TTL 300
@       SOA     ns1 hostmaster 2026112001 3600 900 1209600 60
        NS      ns1
ns1     A       192.0.2.53
$GENERATE 1-4   www 30 A 192.0.2.$
$GENERATE 1-4   www 30 AAAA 2001:db8::$
$GENERATE 1-4   api 30 A 192.0.2.$
$GENERATE 1-100 many 30 A 192.0.2.$
$GENERATE 1-250 large 30 TXT "$ {'x' * 200}"
"""


@contextmanager
def serving(zones: Path, directory: Path) -> Iterator[tuple[Address, Address]]:
    """``dnslb serve`` over the zones of a directory, with one worker: its IPv4 and IPv6 addresses.

    ``directory`` takes the log.  Ends the process, and with it the worker, on the way out.
    """
    port = free_port()
    command = [
        *(*DNSLB, "serve", str(zones), "--workers", "1"),
        *("--listen", f"127.0.0.1:{port}", "--listen", f"[::1]:{port}"),
        *("--state", str(directory / "state"), "--control", str(directory / "control")),
    ]
    addresses = Address("127.0.0.1", port), Address("::1", port)
    with running(command, directory / "dnslb.log") as process:
        for address in addresses:
            wait_until_serving(process, address, list(zone_files(zones)))
        yield addresses


@dataclass(frozen=True, slots=True)
class Server:
    """A running ``dnslb serve``, in a session of its own."""

    popen: subprocess.Popen[bytes]
    stdout: Path
    stderr: Path

    @property
    def parent(self) -> int:
        return self.popen.pid

    @property
    def said(self) -> str:
        return self.stdout.read_text()

    @property
    def log(self) -> str:
        return self.stderr.read_text()

    def processes(self) -> list[int]:
        """Every living process of the server, the parent too, in the order of their ids; also when the parent died."""
        return in_session(self.parent)

    def workers(self) -> list[int]:
        """Not other children, which begin a session of their own in their first moment."""
        found = self.processes()
        time.sleep(_FORKED)
        return [pid for pid in self.processes() if pid in found and pid != self.parent]

    def ends_within(self, seconds: float) -> int:
        """The exit status; the test fails when any process is left after that time."""
        status = self.popen.wait(seconds)
        eventually(lambda: not self.processes(), f"processes {self.processes()} are left", seconds)
        return status


@contextmanager
def started(
    directory: Path, *options: str, zone: str = ZONE, judged: bool = True, under: Sequence[str] = ()
) -> Iterator[Server]:
    """``dnslb serve`` with these options over ``example.test`` in ``directory``, from its announcement on.

    And, unless the test is about that, from when every backend has been probed.  ``under`` is the start of the command,
    for what runs it in another way.  Ends it on the way out, and fails when that leaves a process behind.
    """
    zones = directory / "zones"
    if not zones.exists():
        zones.mkdir()
        (zones / "example.test.zone").write_text(zone)
    kept = ("--state", str(directory / "state"), "--control", str(directory / "control"))
    with launched([*under, *DNSLB, "serve", str(zones), *kept, *options], directory) as server:
        eventually(lambda: "try: dig" in server.said or server.popen.poll() is not None, "no announcement", STARTING)
        if server.popen.poll() is not None:
            pytest.fail(f"dnslb ended with status {server.popen.returncode}\n{server.log}")
        if judged:
            eventually(lambda: are_judged(directory / "control"), "no verdicts", STARTING)
            time.sleep(_ON_ITS_WAY)
        yield server


def are_judged(control: Path) -> bool:
    """Whether every backend has been probed that can be; also when the server cannot be asked there."""
    try:
        _, found = client.ask(control, "GET", "/status")
    except client.Unreachable:
        return True
    rrsets = [rrset for pool in found["pools"] for rrset in pool["rrsets"]]
    backends = [backend for rrset in rrsets for backend in rrset["backends"]]
    return not any(rrset["withheld"] for rrset in rrsets) and not any(
        backend["unsure"] and backend["mode"] != "maint" and "cannot" not in backend["unsure"] for backend in backends
    )


@contextmanager
def launched(command: Sequence[str], directory: Path) -> Iterator[Server]:
    """The command in a session of its own; what is left of it is ended on the way out, and must be nothing."""
    server_files = directory / "stdout", directory / "stderr"
    with server_files[0].open("wb") as stdout, server_files[1].open("wb") as stderr:
        popen = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
        )
    server = Server(popen, *server_files)
    try:
        yield server
    finally:
        popen.terminate()
        try:
            popen.wait(STOPPING)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()
        left = server.processes()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert not left, f"processes {left} were left behind\n{server.log}"


def eventually(claim: Callable[[], bool], otherwise: str, seconds: float = 5.0) -> None:
    """Return when the claim holds; fail the test when it still does not after that time."""
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            pytest.fail(otherwise)
        time.sleep(0.01)


def question(name: str, rrtype: str = "A", number: int = 0) -> bytes:
    """A plain query packet with that id."""
    query = dns.message.make_query(f"{name}.example.test.", rrtype, use_edns=False)
    query.id = number
    return query.to_wire()


def resident(pid: int) -> int:
    """Octets of memory that the process has resident."""
    return int(status_field(pid, "VmRSS").split()[0]) * 1024


def status_field(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{field}:"))


def in_session(leader: int) -> list[int]:
    """Every living process in the session that the leader began, in the order of their ids."""
    return [pid for pid in _pids() if _is_alive_in_session(pid, leader)]


def _pids() -> list[int]:
    return sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit())


def _is_alive_in_session(pid: int, session: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    state, _, _, its_session, *_ = stat.rpartition(")")[2].split()
    return state != "Z" and int(its_session) == session
