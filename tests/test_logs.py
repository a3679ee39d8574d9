"""The log: as people, the journal and programs read it; and its level, changed while the server runs."""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
import subprocess
from pathlib import Path

import pytest
from dnslb_server import DNSLB, eventually
from world import World

from dnslb.admin import client

ME = pwd.getpwuid(os.getuid()).pw_name


def test_json_has_one_object_per_line(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.server("--log-format", "json") as server:
        (world.up / "192.0.2.2").unlink()
        eventually(lambda: "192.0.2.2" in server.log, "the verdict is not logged")
        world.ask("POST", "/orders", {"mode": "drain", "addresses": ["192.0.2.1"]})
        world.ask("POST", "/reload")
    lines = {line.get("what"): line for line in map(json.loads, reversed(server.log.splitlines()))}
    verdict, order, reload = lines["down"], lines["drain"], lines["reloaded"]
    for line in (verdict, order, reload):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("at"))
    ttl = re.search(r"ttl (\d+)$", verdict["message"])
    assert verdict == {
        "level": "warning", "what": "down", "owner": "www.example.test.", "address": "192.0.2.2",
        "message": "www.example.test: 192.0.2.2 down (2 of 2 probes failed: exit status 1); serving 3 of 4, "
                   f"ttl {ttl[1] if ttl else ''}",
    }  # fmt: skip
    assert order == {
        "level": "info", "what": "drain", "owner": None, "address": "192.0.2.1",
        "message": f"all names: 192.0.2.1 drain by {ME}", "by": ME,
    }  # fmt: skip
    assert reload == {
        "level": "info", "what": "reloaded", "message": f"reloaded {tmp_path / 'zones'}: nothing has changed, by {ME}",
        "by": ME,
    }  # fmt: skip


def test_with_the_json_log_every_line_is_json_from_start_to_stop(tmp_path: Path) -> None:
    """The warnings of the start were text, and so was the announcement."""
    world = World(tmp_path)
    zone = tmp_path / "zones" / "example.test.zone"
    zone.write_text(zone.read_text() + "@ MX 10 mail.example.test\n")
    with world.server("--log-format", "json") as server:
        zone.write_text(zone.read_text() + "@ MX 20 other.example.test\nx A 192.0.2.300\n")
        client.ask(tmp_path / "control", "POST", "/reload")
    said, logged = ([json.loads(line) for line in text.splitlines()] for text in (server.said, server.log))
    assert said[0]["message"].startswith("dnslb ") and said[-1]["message"].startswith("try: dig ")
    assert {line["level"] for line in said} == {"info"}
    assert "mail.example.test.example.test." in logged[0]["message"]
    assert logged[0]["level"] == "warning"
    assert any("192.0.2.300" in line["message"] for line in logged)


@pytest.mark.parametrize("trouble", ["a mistake", "the port"])
def test_a_start_that_fails_is_told_in_json_too(tmp_path: Path, trouble: str) -> None:
    World(tmp_path)
    zones = tmp_path / "zones"
    options = ["--log-format", "json", "--state", str(tmp_path / "s"), "--control", str(tmp_path / "c")]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        if trouble == "a mistake":
            (zones / "example.test.zone").write_text("nonsense\n")
        command = [*DNSLB, "serve", str(zones), *options, "--listen", f"127.0.0.1:{taken.getsockname()[1]}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert {json.loads(line)["level"] for line in done.stderr.splitlines()} == {"error"}


def test_the_level_can_be_changed_while_the_server_runs(tmp_path: Path) -> None:
    world = World(tmp_path)
    command = [*DNSLB, "log-level", "--control", str(tmp_path / "control")]

    def say(*arguments: str) -> str:
        return subprocess.run([*command, *arguments], capture_output=True, text=True, check=True, timeout=20).stdout

    with world.server("--log-level", "warning") as server:
        assert say() == "warning\n"
        world.ask("POST", "/reload")
        assert server.log == ""
        assert say("debug") == "debug\n"
        probe = re.compile(r"exec /usr/bin/test sha256:[0-9a-f]{8} -> 192\.0\.2\.2 passed in ")
        eventually(lambda: probe.search(server.log) is not None, "the outcomes of probes are not logged")
        assert str(world.up) not in server.log  # arguments may be secrets
        assert re.search(r"DEBUG exec .* passed in \d+\.\d ms: exit status 0\n", server.log)
        assert say("error") == "error\n"
        assert world.ask("GET", "/log-level") == {"level": "error"}


def test_what_is_no_level_changes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.server():
        bodies: list[object] = [None, [], {}, {"level": "loud"}, {"level": 10}, {"level": "DEBUG"}, {"level": ["info"]}]
        for body in bodies:
            status, answer = client.ask(tmp_path / "control", "PUT", "/log-level", body)
            assert (status, answer["error"]) == (400, "the body names no level")
            assert answer["remedy"] == 'send {"level": "debug"}; known are: debug, info, warning, error'
        assert world.ask("GET", "/log-level") == {"level": "info"}


JOURNAL = """
import logging, os, sys
from dnslb.system import logs
found = os.fstat(2)
logs.begin(sys.argv[2], "debug", f"{found.st_dev}:{found.st_ino}" if sys.argv[1] == "journal" else sys.argv[1])
log = logging.getLogger("dnslb")
log.debug("a")
log.info("b")
log.warning("c")
try:
    raise ValueError("a\\nb")
except ValueError:
    log.exception("two\\nlines \\x1b[2J \\u2028")
"""
TRACEBACK = ["Traceback (most recent call last):", '  File "<string>", line 11, in <module>', "ValueError: a", "b"]
SHOWN = r"two\nlines \x1b[2J \u2028"


@pytest.mark.parametrize(("journal", "expected"), [
    ("journal", ["<7>a", "<6>b", "<4>c", f"<3>{SHOWN}", *(f"<3>{line}" for line in TRACEBACK)]),
    ("1:1", ["DEBUG a", "INFO b", "WARNING c", f"ERROR {SHOWN}", *TRACEBACK]),  # standard error was redirected since
])  # fmt: skip
def test_a_message_is_one_line_and_the_journal_gets_priorities_and_no_time(
    tmp_path: Path, journal: str, expected: list[str]
) -> None:
    assert logged(tmp_path, "text", journal) == expected


def test_whatever_is_in_a_message_json_is_one_line(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in logged(tmp_path, "json", "1:1")]
    assert [line["message"].splitlines()[0] for line in lines] == ["a", "b", "c", SHOWN]
    assert lines[-1]["message"].splitlines()[1] == TRACEBACK[0]


def logged(directory: Path, format: str, journal: str) -> list[str]:
    """The lines, without their time."""
    file = directory / "stderr"
    with file.open("wb") as stderr:
        program = [DNSLB[0], "-c", JOURNAL, journal, format]
        subprocess.run(program, stderr=stderr, check=True, env=dict(os.environ))
    return [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ", "", line) for line in file.read_text().split("\n")[:-1]]
