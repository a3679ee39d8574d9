"""What a worker may do, as the kernel sees to it; and what becomes of one that does more."""

from __future__ import annotations

import mmap
import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from dnslb_server import eventually, started, status_field
from peers import free_port
from test_processes import answers

from dnslb.system import confinement, prctl, privileges
from dnslb.system.confinement import MACHINES, confine, rules

SYSTEM = Path("/usr/include")
NOBODY = 65534
needs_filters = pytest.mark.skipif(bool(confinement.unavailable()), reason="no filter for system calls here")


@pytest.mark.parametrize(("machine", "header", "pattern"), [
    ("x86_64", "x86_64-linux-gnu/asm/unistd_64.h", r"#define __NR_(\w+) (\d+)$"),
    ("aarch64", "asm-generic/unistd.h", r"#define __NR(?:3264)?_(\w+) (\d+)$"),
])  # fmt: skip
def test_the_numbers_are_those_of_the_kernels_headers(machine: str, header: str, pattern: str) -> None:
    path = SYSTEM / header
    if not path.exists():
        pytest.skip(f"{path} is missing: apt-get install linux-libc-dev")
    known = {name: int(number) for name, number in re.findall(pattern, path.read_text(), re.MULTILINE)}
    ours = MACHINES[machine].allowed | MACHINES[machine].never
    assert {name: known.get(name) for name in ours} == ours


@pytest.mark.parametrize("connects", [False, True])
@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_a_program_for_the_kernel_is_not_too_long(machine: confinement.Machine, connects: bool) -> None:
    program = rules(machine, connects)
    assert len(program) % 8 == 0 and len(program) // 8 <= 4096  # BPF_MAXINSNS


def ending(act: Callable[[], object], connects: bool = False, confined: bool = True) -> int:
    """How a process ends that does this: its exit status is the error that it gets, or 0."""
    pid = os.fork()
    if pid == 0:
        status = 255
        try:
            if confined:
                confine(connects)
            act()
            status = 0
        except OSError as error:
            status = error.errno or 254
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


REFUSED, KILLED, DONE = 38, -signal.SIGSYS, 0  # ENOSYS


@needs_filters
@pytest.mark.parametrize(("act", "alone", "with_dnstap"), [
    (lambda: os.open("/etc/passwd", os.O_RDONLY),         REFUSED, REFUSED),
    (lambda: os.stat("/etc/passwd"),                      REFUSED, REFUSED),
    (lambda: os.unlink("/nonexistent"),                   REFUSED, REFUSED),
    (lambda: os.kill(os.getppid(), 0),                    REFUSED, REFUSED),
    (lambda: os.setuid(0),                                REFUSED, REFUSED),
    (lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_EXEC),    REFUSED, REFUSED),
    (lambda: mmap.mmap(-1, 4096),                         DONE,    DONE),
    (socket.socketpair,                                   DONE,    DONE),
    (lambda: os.write(2, b""),                            DONE,    DONE),
    (lambda: os.execv("/bin/true", ["true"]),             KILLED,  KILLED),
    (os.fork,                                             KILLED,  KILLED),
    (lambda: socket.socket(socket.AF_INET),               KILLED,  KILLED),
    (lambda: socket.socket(socket.AF_PACKET),             KILLED,  KILLED),
    (lambda: socket.socket(socket.AF_UNIX),               KILLED,  DONE),
    (prctl.drop_capabilities,                             REFUSED, REFUSED),
])  # fmt: skip
def test_what_a_confined_process_may_do(act: Callable[[], object], alone: int, with_dnstap: int) -> None:
    assert (ending(act), ending(act, connects=True)) == (alone, with_dnstap)


@needs_filters
def test_workers_are_confined_and_have_no_rights_of_roots(tmp_path: Path) -> None:
    with started(tmp_path, "--workers", "2", "--listen", f"127.0.0.1:{free_port()}") as server:
        assert len(server.workers()) == 2
        for pid in server.workers():
            assert status_field(pid, "Seccomp") == "2"
            assert status_field(pid, "NoNewPrivs") == "1"
            assert {int(status_field(pid, f"Cap{which}"), 16) for which in ("Eff", "Prm", "Inh", "Amb")} == {0}
        # Its probes may be setuid, and it reads the files of an edit.
        assert status_field(server.parent, "NoNewPrivs") == "0"


# What Python runs first in every process: a worker in which an intruder has come in by a packet.
BROKEN_INTO = """\
import os, socket
try:
    from dnslb.answer.responder import Responder
except ImportError:
    pass
else:
    plain = Responder.reply
    def reply(self, query, client):
        if b"intruder" in query:
            {act}
        return plain(self, query, client)
    Responder.reply = reply
"""


WITHOUT_FILTERS = """\
try:
    from dnslb.system import prctl
    prctl.has_filters = lambda: False
except ImportError:
    pass
"""


def intrude(port: int) -> None:
    query = b"\0\0\0\0\0\1\0\0\0\0\0\0\x08intruder\x07example\4test\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(query, ("127.0.0.1", port))


@needs_filters
@pytest.mark.parametrize(("act", "said"), [
    ("os.system('touch {treasure}')", "was killed by SIGSYS: it began what no worker does; please report it"),
    ("socket.socket()", "was killed by SIGSYS: it began what no worker does"),
    ("open('{treasure}', 'w')", "Function not implemented"),
])  # fmt: skip
def test_who_has_got_into_a_worker_gets_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str, said: str
) -> None:
    treasure, port = tmp_path / "treasure", free_port()
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(BROKEN_INTO.format(act=act.format(treasure=treasure)))
    monkeypatch.setenv("PYTHONPATH", f"{hook}:{os.environ.get('PYTHONPATH', '')}")
    with started(tmp_path, "--workers", "1", "--listen", f"127.0.0.1:{port}") as server:
        intrude(port)
        eventually(lambda: said in server.log, f"it is not logged: {server.log}")
        eventually(lambda: answers(port), "nobody answers any more")
        assert not treasure.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can lend a right")
def test_what_a_service_manager_lends_is_given_back() -> None:
    keep_capabilities = 8  # PR_SET_KEEPCAPS

    def rights() -> set[int]:
        return {int(status_field(os.getpid(), f"Cap{which}"), 16) for which in ("Eff", "Prm", "Inh", "Amb")}

    def start() -> None:
        prctl._call(keep_capabilities, 1)
        os.setuid(NOBODY)
        assert rights() != {0}
        privileges.keep_nothing()
        assert rights() == {0}

    assert ending(start, confined=False) == DONE


def test_where_the_kernel_cannot_the_log_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(WITHOUT_FILTERS)
    monkeypatch.setenv("PYTHONPATH", f"{hook}:{os.environ.get('PYTHONPATH', '')}")
    port = free_port()
    with started(tmp_path, "--workers", "1", "--listen", f"127.0.0.1:{port}") as server:
        assert answers(port)
        assert server.log.count("workers may do all that their user may: this kernel has no filter") == 1
        assert status_field(server.workers()[0], "Seccomp") == "0"
