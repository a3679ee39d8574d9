"""A server that runs: configured, started, asked, its answers checked."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmark.processes import free_port, running
from benchmark.queries import QueryClass, Transport, packet
from benchmark.servers import Server, fill, find

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent          # where ``python -m dnslb`` finds the working tree
REPLY_TIMEOUT = 2.0         # seconds
START_TIMEOUT = 20.0        # seconds, and more for a large zone:
LOAD_SPEED = 500_000        # octets of zone file per second, at least


class RefusedError(Exception):
    """The run, or the server, says nothing about speed; the message says why."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where servers are set up."""

    directory: Path     # temporary; each server has a directory of its own in it
    zone: Path          # the zone file
    records: Path       # the zone file without what not all servers can read
    probe_port: int | None  # where backends accept; None: there are no pools
    python: str         # that runs dnslb
    core: int           # that servers are pinned to


@dataclass(frozen=True, slots=True)
class Ground:
    """What the servers of a bench run on."""

    python: str         # that runs dnslb
    core: int           # that servers are pinned to


@dataclass(frozen=True, slots=True)
class Target:
    server: Server
    pid: int
    port: int
    core: int


def ask(query: bytes, port: int, transport: Transport, timeout: float = REPLY_TIMEOUT) -> bytes:
    """The reply to one query, or OSError."""
    if transport is Transport.UDP:
        with socket.socket(type=socket.SOCK_DGRAM) as udp:
            udp.settimeout(timeout)
            udp.connect(("127.0.0.1", port))
            udp.send(query)
            return udp.recv(65535)
    with socket.create_connection(("127.0.0.1", port), timeout) as tcp, tcp.makefile("rb") as replies:
        tcp.sendall(len(query).to_bytes(2) + query)
        return replies.read(int.from_bytes(replies.read(2)))


def find_fault(target: Target, query_class: QueryClass, rng: Random, timeout: float = REPLY_TIMEOUT) -> str | None:
    """What the server answers wrongly in this class: ``question: fact``, or None."""
    for _, question in query_class.shares:
        query = rng.randbytes(2) + packet(question, query_class, rng)[2:]
        try:
            fault = target.server.fault(question, query, ask(query, target.port, query_class.transport, timeout))
        except OSError as error:
            fault = f"no reply ({error})"
        if fault:
            return f"{question}: {fault}"
    return None


def prepare(server: Server, site: Site, port: int) -> list[str]:
    """Write its files; the command that starts it, as often as one likes."""
    directory = site.directory / server.name
    directory.mkdir()
    values = {"directory": directory, "zones": site.zone.parent, "zone": site.zone, "port": port, "python": site.python,
              "records": site.records, "probe_port": site.probe_port}
    files = dict(server.files) | dict(server.pool_files if site.probe_port else ())
    for name, template in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(fill(template, **values))
    if server.source:
        compile_c(HERE / server.source, directory / server.name)
    command = [fill(word, **values) for word in server.command]
    command[0] = find(command[0]) or command[0]
    return command


def start(server: Server, site: Site, query_class: QueryClass, stack: ExitStack) -> Target:
    """Write its files, start it, wait until it answers the class rightly; RefusedError when it never does."""
    directory, port = site.directory / server.name, free_port()
    command = prepare(server, site, port)
    log = directory / "log"
    process = stack.enter_context(running(command, site.core, log, ROOT))
    target = Target(server, process.pid, port, site.core)
    try:
        wait_until_right(target, process, query_class, START_TIMEOUT + site.zone.stat().st_size / LOAD_SPEED)
    except RefusedError as error:
        raise RefusedError(f"{error}; {last_line(log) or 'it said nothing'}") from None
    return target


def wait_until_right(target: Target, process: subprocess.Popen[bytes], query_class: QueryClass, timeout: float) -> None:
    deadline, rng = time.monotonic() + timeout, Random(0)
    fault: str | None = "not asked"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RefusedError(f"it ended with status {process.returncode}")
        if (fault := find_fault(target, query_class, rng, timeout=0.5)) is None:
            return
        time.sleep(0.05)
    raise RefusedError(f"not ready after {timeout:.0f} s: {fault}")


def compile_c(source: Path, program: Path) -> None:
    try:
        subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", program, source],
                       check=True, timeout=60, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise RefusedError(f"{source.name} does not compile: {error.stderr.strip()[-200:]}") from None


def version(server: Server, python: str) -> str | None:
    """The version number that a server's own command prints; None when the command fails."""
    if not server.version:
        return ""
    command = [fill(word, python=python) for word in server.version]
    command[0] = find(command[0]) or command[0]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\d+\.\d+[\w.]*", done.stdout + done.stderr)
    return found[0] if found and "No module" not in done.stderr else None


def last_line(log: Path) -> str:
    """The last line that a server wrote: most likely why it did not start."""
    with contextlib.suppress(OSError):
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip()[-200:] if lines else ""
    return ""
