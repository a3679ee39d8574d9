"""The exec probe against programs that pass, fail, hang, fork, flood or do not exist."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import tracemalloc
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from dnslb.balance.health import Outcome
from dnslb.balance.pool import Address, ExecCheck
from dnslb.probe import probe

AMPLE = 20.0  # seconds
HOME = IPv4Address("127.0.1.11")


def run(*command: str, address: Address = HOME, timeout: float = AMPLE) -> Outcome:
    return asyncio.run(probe(ExecCheck(command), address, None, timeout))


def sh(script: str, timeout: float = AMPLE) -> Outcome:
    return run("/bin/sh", "-c", script, timeout=timeout)


@pytest.mark.parametrize(("script", "ok", "reason"), [
    ("true",                                True,  "exit status 0"),
    ("echo OK - fine; echo more",           True,  "exit status 0: OK - fine"),
    ("echo; echo WARNING >&2; exit 1",      False, "exit status 1: WARNING"),
    ("echo CRITICAL - no route; exit 2",    False, "exit status 2: CRITICAL - no route"),
    ("kill -SEGV $$",                       False, "killed by SIGSEGV"),
    ("kill -40 $$",                         False, "killed by signal 40"),
    (r"printf 'a\033[2J\000\377b'; exit 3", False, "exit status 3: a\ufffd[2J\ufffd\ufffdb"),
    ("printf %0999d 0; exit 4",             False, f"exit status 4: {'0' * 200}..."),
    ("cat; exit 5",                         False, "exit status 5"),
    ("exec >&- 2>&-; exit 6",               False, "exit status 6"),
    ("yes | head -c 900000; exit 7",        False, "exit status 7: y"),
])  # fmt: skip
def test_the_exit_status_decides(script: str, ok: bool, reason: str) -> None:
    outcome = sh(script)
    assert (outcome.ok, outcome.reason) == (ok, reason)


def test_a_program_that_is_missing() -> None:
    assert run("/nonexistent/check").reason == "cannot run /nonexistent/check: no such file or directory"
    assert run("no-such-program").reason == "cannot run no-such-program: no such file or directory"


def test_a_program_that_cannot_be_run(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    assert run(str(plain)).reason == f"cannot run {plain}: not executable"
    plain.chmod(0o755)
    assert run(str(plain)).ok
    plain.write_bytes(b"\0\1\2\3")
    assert run(str(plain)).reason == f"cannot run {plain}: exec format error"
    assert run(str(plain), "a\0b").reason == f"cannot run '{plain}': embedded null byte"


def test_the_address_is_told_without_a_shell() -> None:
    say = 'echo "$1 $DNSLB_ADDRESS"'
    outcome = run("/bin/sh", "-c", say, "sh", "[{address}]; exit 9", address=IPv6Address("2001:db8::1"))
    assert outcome.reason == "exit status 0: [2001:db8::1]; exit 9 2001:db8::1"


def test_the_environment_is_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    outcome = run("/usr/bin/env", "-0")
    names = {pair.partition("=")[0] for pair in outcome.reason.removeprefix("exit status 0: ").split("\ufffd") if pair}
    assert names == {"PATH", "DNSLB_ADDRESS"}


def living(marker: str) -> list[str]:
    """Processes with the marker among their arguments."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if marker.encode() in (process / "cmdline").read_bytes():
                    found.append(process.name)
            except OSError:
                continue
    return found


async def gone(marker: str) -> bool:
    for _ in range(200):
        if not living(marker):
            return True
        await asyncio.sleep(0.02)
    return False


@pytest.mark.parametrize("script", [
    "sleep {n}",
    "exec sleep {n}",
    "sleep {n} & sleep {n} & wait",
    "(sleep {n} | sleep {n}) & sleep {n}",
    "trap '' TERM INT HUP; sleep {n}; sleep {n}",
])
def test_a_program_that_hangs_is_killed_with_its_children(script: str) -> None:
    marker = f"{3600 + os.getpid()}.{abs(hash(script)) % 10**6}"

    async def main() -> tuple[Outcome, bool]:
        command = ("/bin/sh", "-c", script.format(n=marker))
        outcome = await probe(ExecCheck(command), HOME, None, 0.3)
        return outcome, await gone(marker)

    outcome, none_left = asyncio.run(main())
    assert (outcome.ok, outcome.reason) == (False, "no exit within 0.3 s")
    assert outcome.took < 3
    assert none_left


def test_a_child_that_keeps_the_pipe_open_keeps_nobody_waiting() -> None:
    marker = f"{3600 + os.getpid()}.77"

    async def main() -> tuple[Outcome, bool]:
        command = ("/bin/sh", "-c", f"sleep {marker} & echo WARNING; exit 1")
        return await probe(ExecCheck(command), HOME, None, AMPLE), await gone(marker)

    outcome, none_left = asyncio.run(main())
    assert (outcome.ok, outcome.reason) == (False, "exit status 1: WARNING")
    assert outcome.took < AMPLE / 2
    assert none_left


def test_a_flood_of_output_is_stopped_and_does_not_grow_memory() -> None:
    sh("true")
    tracemalloc.start()
    outcome = sh("yes CRITICAL")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (outcome.ok, outcome.reason) == (False, "more than 1 MB of output: CRITICAL")
    assert outcome.took < AMPLE
    assert peak < 1 << 20


def test_a_dropped_probe_leaves_no_program_and_no_file() -> None:
    marker = f"{3600 + os.getpid()}.78"

    async def main() -> tuple[bool, int, int]:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            task = asyncio.create_task(probe(ExecCheck(("/bin/sleep", marker)), HOME, None, AMPLE))
            await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        none_left = await gone(marker)
        await asyncio.sleep(0.05)
        return none_left, before, len(os.listdir("/proc/self/fd"))

    none_left, before, after = asyncio.run(main())
    assert none_left
    assert after <= before


def test_a_program_that_we_cannot_watch_is_not_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    files = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "pidfd_open", refuse)
    outcome = run("/bin/sleep", "31.4159")
    assert (outcome.ok, outcome.reason) == (False, "dnslb has too many open files")
    assert not living("31.4159")
    assert len(os.listdir("/proc/self/fd")) == files


def test_a_program_that_wants_all_memory_gets_a_part_of_it() -> None:
    """512 MB that it writes to; what is reserved only does not count, as Go and Java do it."""
    reserved = "import mmap; mmap.mmap(-1, 8 << 30, prot=mmap.PROT_READ)"
    assert run(sys.executable, "-c", reserved).ok
    assert run(sys.executable, "-c", "bytearray(300 << 20)").ok
    greedy = "try: bytearray(600 << 20)\nexcept MemoryError: raise SystemExit('no memory')"
    assert run(sys.executable, "-c", greedy).reason == "exit status 1: no memory"
