"""Who reads the log may stop reading: nothing waits for that, and how much is lost is told."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

# Prints when it has come through, and when it has written one line more.
WRITER = """
import logging, sys
from dnslb.system import logs
logs.begin(sys.argv[1], "info", None)
log = logging.getLogger("dnslb")
for number in range(20_000):
    log.info("%d %s", number, "x" * 60)
print("through", flush=True)
sys.stdin.readline()
log.info("and on")
print("on", flush=True)
sys.stdin.readline()
"""
OUTPUTS = ["a pipe", "a socket", "a terminal"]


@contextmanager
def output(kind: str) -> Iterator[tuple[int, int]]:
    """The end to write to, and the one to read."""
    match kind:
        case "a pipe":
            read, write = os.pipe()
        case "a socket":
            ends = socket.socketpair()
            read, write = (end.detach() for end in ends)
        case _:
            read, write = pty.openpty()
    try:
        yield write, read
    finally:
        os.close(read)
        os.close(write)


def drain(descriptor: int) -> str:
    os.set_blocking(descriptor, False)
    octets = b""
    try:
        while piece := os.read(descriptor, 1 << 16):
            octets += piece
    except BlockingIOError:
        pass
    return octets.decode()


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("format", ["text", "json"])
def test_lines_that_nobody_reads_are_lost_and_counted_and_nobody_waits(kind: str, format: str) -> None:
    with output(kind) as (write, read), subprocess.Popen(
        [sys.executable, "-c", WRITER, format], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=write, text=True
    ) as writer:  # fmt: skip
        assert writer.stdin is not None and writer.stdout is not None
        try:
            assert writer.stdout.readline() == "through\n"
            assert os.get_blocking(write)  # whoever else has it is not disturbed
            first = drain(read)
            print("", file=writer.stdin, flush=True)
            assert writer.stdout.readline() == "on\n"
            last = drain(read)
        finally:
            writer.kill()
    lines = (first + last).splitlines()
    # A terminal takes some now and then, so that there may be several that tell.
    told = [line.partition(" lines of the log are lost") for line in lines if "lines of the log are lost" in line]
    lost = sum(int(before.rpartition(" " if format == "text" else '"')[2]) for before, _, _ in told)
    assert "and on" in lines[-1]
    assert lost > 10_000
    assert len(lines) - len(told) + lost == 20_000 + 1
    if format == "json":
        assert all(json.loads(line)["message"] for line in lines)


def test_an_output_that_is_closed_is_no_error() -> None:
    with output("a pipe") as (write, read), subprocess.Popen(
        [sys.executable, "-c", WRITER, "text"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=write, text=True
    ) as writer:  # fmt: skip
        other = os.open(os.devnull, os.O_RDONLY)
        os.dup2(other, read)
        os.close(other)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "through\n"
        writer.kill()
