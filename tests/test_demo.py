"""``dnslb demo`` as a newcomer meets it: the story in plain lines, and the live screen on a terminal of our own."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path
from termios import ECHO, ICANON, TIOCSWINSZ, tcgetattr

import pytest
from dnslb_server import eventually
from stage import alone

DEMO = (sys.executable, "-m", "dnslb", "demo")
ENVIRONMENT = os.environ | {"TERM": "xterm", "NO_COLOR": "1"}
HOSTS = ("127.0.1.11", "127.0.1.12", "127.0.1.13")
STORY = 60.0    # seconds that the quick story may take on a busy machine
PATIENCE = 20.0


@pytest.fixture(scope="module", autouse=True)
def _stage() -> Iterator[None]:
    with alone():
        yield


def left_over() -> list[str]:
    """The commands of what still runs of any demonstration."""
    commands = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:     # it has just ended
                continue
            if "dnslb-demo-" in command or re.search(rf"demonstration\.clone 127\.0\.1\.1\d {8080}", command):
                commands.append(command)
    return commands


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


# The story


@pytest.mark.long
def test_the_story_tells_who_gets_the_traffic_and_leaves_nothing_behind() -> None:
    told = subprocess.run(
        [*DEMO, "--quick"], env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=STORY,
        check=False,
    )  # fmt: skip
    assert (told.returncode, told.stderr) == (0, "")
    lines = told.stdout.splitlines()
    shares = [[int(share) for share in re.findall(r"(\d+)%", line)] for line in lines if "failed; TTL" in line]
    all_three, two_left, again, drained, ready = shares
    for even in (all_three, again, ready):
        assert all(25 <= share <= 42 for share in even)
    assert two_left[1] == 0
    assert drained[2] == 0
    for event in (f"{HOSTS[1]} is killed", f"dnslb: {HOSTS[1]} down (connection refused)", f"{HOSTS[1]} is started",
                  f"dnslb: {HOSTS[1]} up (status 200)", f"dnslb: {HOSTS[2]} drain", f"dnslb: {HOSTS[2]} ready"):
        assert event in told.stdout, event
    assert re.fullmatch(r"\d+ visits, [1-9]\d* failed; .*", lines[-1])
    assert left_over() == []


def test_a_taken_port_is_one_clear_line() -> None:
    with socket.create_server((HOSTS[1], 8080)):
        told = subprocess.run([*DEMO, "--quick"], env=ENVIRONMENT, capture_output=True, text=True, timeout=STORY,
                              stdin=subprocess.DEVNULL, check=False)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == (
        "Error: 127.0.1.12:8080: address already in use; the sample zone has its web servers there: "
        "end what listens on port 8080 (ss -ltnp 'sport = :8080')\n"
    )
    assert left_over() == []


# The live screen


@dataclass
class Terminal:
    """The other side of a pseudo-terminal: what is shown, and the keys."""

    fd: int
    popen: subprocess.Popen[bytes]
    said: bytes = field(default=b"")

    def press(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def read(self) -> None:
        while select.select([self.fd], [], [], 0)[0]:
            try:
                self.said += os.read(self.fd, 65536)
            except OSError:     # nobody has the other side open any more
                return

    def has_ended(self) -> bool:
        """Reads meanwhile: who writes to a full terminal cannot end."""
        ended = self.popen.poll() is not None
        self.read()
        return ended

    def screen(self) -> list[str]:
        """The last whole picture, line by line: one that another has followed."""
        self.read()
        whole = self.said.split(b"\x1b[H")[1:-1]
        return whole[-1].decode().replace("\x1b[K", "").split("\r\n") if whole else []

    def shows(self, pattern: str) -> None:
        eventually(lambda: any(re.search(pattern, line) for line in self.screen()),
                   f"no {pattern!r} in\n" + "\n".join(self.screen()), PATIENCE)

    def resize(self, columns: int, lines: int) -> None:
        """And wait for the picture that fits."""
        ioctl(self.fd, TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        eventually(lambda: len(self.screen()) == lines, f"not {lines} lines", PATIENCE)


@contextmanager
def live() -> Iterator[Terminal]:
    """The demonstration on a terminal of 80x24, from its first picture with visitors on."""
    ours, theirs = os.openpty()
    ioctl(ours, TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    # In a session whose terminal this is, so that Ctrl-C becomes a signal.
    popen = subprocess.Popen(DEMO, env=ENVIRONMENT, preexec_fn=lambda: os.login_tty(theirs))  # noqa: PLW1509
    terminal = Terminal(ours, popen)
    try:
        terminal.shows(r"in all: [1-9]\d* visits, 0 failed")
        yield terminal
        eventually(terminal.has_ended, "it goes on", PATIENCE)
        assert b"\x1b[?25h\x1b[?1049l" in terminal.said, "the screen is not given back"
        assert tcgetattr(theirs)[3] & (ECHO | ICANON) == ECHO | ICANON, "the keyboard is not given back"
        assert left_over() == []
    finally:
        if popen.poll() is None:
            popen.terminate()
            popen.wait(PATIENCE)
        os.close(ours)
        os.close(theirs)


@pytest.mark.long
def test_keys_kill_revive_drain_and_quit() -> None:
    with live() as terminal:
        assert len(terminal.screen()) == 24
        for key, host in enumerate(HOSTS, 1):
            terminal.shows(rf"^{key} {host} up .*status 200")
        terminal.press("2")
        terminal.shows(r"^2 127.0.1.12 up, dead")
        terminal.shows(r"^2 127.0.1.12 down, dead")
        terminal.press("2d3")
        terminal.shows(r"^3 127.0.1.13 drain")
        terminal.shows(r"^2 127.0.1.12 up ")
        terminal.press("c")
        terminal.shows("one cached answer, for [0-9]+ s more")
        terminal.press("q")
    assert terminal.popen.returncode == 0


def test_the_picture_fits_the_window() -> None:
    with live() as terminal:
        for columns, lines in ((120, 40), (60, 12), (20, 5)):
            terminal.resize(columns, lines)
            assert [line for line in terminal.screen() if len(line) > columns] == []
        terminal.press("q")


def test_the_end_of_dnslb_is_told() -> None:
    with live() as terminal:
        [server] = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()
                    and parent(int(entry.name)) == terminal.popen.pid and b"serve" in (entry / "cmdline").read_bytes()]
        os.kill(server, signal.SIGTERM)
    assert terminal.popen.returncode == 1
    assert b"dnslb has ended: no dnslb listens on " in terminal.said


@pytest.mark.parametrize("stop", ["ctrl-c", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_it_as_q_does(stop: str) -> None:
    with live() as terminal:
        if stop == "ctrl-c":
            terminal.press("\x03")
        else:
            os.kill(terminal.popen.pid, signal.Signals[stop])


def test_a_signal_while_it_starts_ends_what_has_started() -> None:
    popen = subprocess.Popen([*DEMO, "--quick"], env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    eventually(lambda: bool(left_over()), "nothing starts", PATIENCE)
    time.sleep(0.1)
    popen.terminate()
    assert popen.wait(PATIENCE) in (0, 130)
    assert left_over() == []
