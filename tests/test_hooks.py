"""Whoever is to be told of changes is told; who hangs or fails disturbs nobody."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from backends import authority_file, certified
from dnslb_server import eventually
from world import World

from dnslb.balance.pool import HttpCheck
from dnslb.config import settings
from dnslb.config.hook import CommandHook, UrlHook
from dnslb.control.change import Change
from dnslb.parent.telling import delivery, hooks
from dnslb.parent.telling.hooks import Hooks

JSON = (("Content-Type", "application/json"),)


@pytest.mark.parametrize(("text", "expected"), [
    ("{command: /bin/true}", (CommandHook(("/bin/true",)),)),
    ("{command: [/bin/echo, -n]}", (CommandHook(("/bin/echo", "-n")),)),
    ("[{command: a}, {command: b}, {command: a}]", (CommandHook(("a",)), CommandHook(("b",)))),
    ("{url: 'http://127.0.0.1:9000/hook?a=b'}", (
        UrlHook("http://127.0.0.1:9000/hook?a=b", "127.0.0.1",
                HttpCheck(9000, "/hook?a=b", method="POST", headers=JSON), None),
    )),
    ("{url: 'https://[2001:db8::1]', ca_file: /ca, token_file: /t}", (
        UrlHook("https://[2001:db8::1]", "2001:db8::1",
                HttpCheck(443, "/", tls=True, method="POST", headers=JSON, ca_file="/ca"), "/t"),
    )),
    ("{url: 'https://example.com/x'}", (
        UrlHook("https://example.com/x", "example.com",
                HttpCheck(443, "/x", tls=True, host="example.com", method="POST", headers=JSON), None),
    )),
    ("[]", ()),
])  # fmt: skip
def test_a_hook_is_a_command_or_a_url(text: str, expected: object) -> None:
    found, problems = settings.read(f"on_change: {text}".encode(), "dnslb.yaml")
    assert problems == []
    assert found.on_change == expected


@pytest.mark.parametrize(("text", "problems"), [
    ("mail", ["1:12: a hook is no mapping; write keys and values: ca_file, command, token_file, url"]),
    ("{}", ["1:12: a hook is either a command or a url; write {command: [program]} or {url: http://...}"]),
    ("{url: 'http://a/', command: b}",
     ["1:12: a hook is either a command or a url; write {command: [program]} or {url: http://...}"]),
    ("{comand: b}", ["1:13: a hook has no key comand; did you mean command?",
                     "1:12: a hook is either a command or a url; write {command: [program]} or {url: http://...}"]),
    ("{command: b, token_file: /t}", ["1:37: a command has no token_file; remove it"]),
    ("{command: []}", ["1:22: the program is missing; write [/path/of/program, argument, ...]"]),
    *((f"{{url: '{url}'}}", [
        f"1:18: {url if '@' not in url else 'what is written here'} is no URL; write http://192.0.2.1:9000/path or https://example.com/path",
    ]) for url in ("ftp://a/", "a", "http://a:x/", "http://a:0/", "http://[::1/", "http://me:secret@a/", "http:///a", "http://a/#b")),
    ("{url: 'http://a b/'}",
     ["1:18: a b is no host name; write a name such as www.example.com, without port or final dot"]),
    ("{url: 'http://a/b c'}", ["1:18: /b c is no path; begin it with /, and write odd characters as %20"]),
])  # fmt: skip
def test_what_is_no_hook_is_a_mistake(text: str, problems: list[str]) -> None:
    _, found = settings.read(f"on_change: {text}".encode(), "dnslb.yaml")
    assert [str(problem) for problem in found] == [f"dnslb.yaml:{problem}" for problem in problems]


@dataclass
class Receiver:
    """A web server that remembers what it is sent, and answers with ``status``, after ``delay``."""

    port: int = 0
    status: int = 204
    delay: float = 0.0
    events: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def whats(self) -> list[tuple[str, str | None]]:
        return [(event["what"], event["address"]) for event in self.events]


@contextmanager
def receiver(tls: bool = False) -> Iterator[Receiver]:
    got = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = got.status
            content = self.rfile.read(int(self.headers["Content-Length"]))
            got.headers.append(dict(self.headers.items()))
            got.events.append(json.loads(content))
            time.sleep(got.delay)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *arguments: object) -> None:
            pass  # the client may leave before the answer

    with Quiet(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = certified("localhost").wrap_socket(server.socket, server_side=True)
        got.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield got
        finally:
            server.shutdown()
            thread.join()


def test_every_change_is_told_with_what_is_served_then(tmp_path: Path) -> None:
    world = World(tmp_path)
    file = tmp_path / "events"
    with receiver() as got:
        world.configure(
            f"server_id: ns1\non_change:\n- command: [/bin/sh, -c, 'cat >> {file}']\n"
            f"- url: http://127.0.0.1:{got.port}/hook\n"
        )
        with world.server():
            (world.up / "192.0.2.2").unlink()
            eventually(lambda: len(got.events) == 1, "the verdict is not told")
            world.ask("POST", "/orders", {"mode": "drain", "addresses": ["192.0.2.1"], "reason": "new kernel"})
            eventually(lambda: len(got.events) == 2, "the order is not told")
            world.ask("POST", "/reload")
            eventually(lambda: len(got.events) == 3, "the reload is not told")
            zone = tmp_path / "zones" / "example.test.zone"
            zone.write_text(zone.read_text() + "broken\n")
            eventually(lambda: len(got.events) == 4, "the refusal is not told", 10)
            eventually(lambda: file.exists() and file.read_text().count("\n") == 4, "the program was not told")
        verdict, order, done, refused = got.events
        assert {key: verdict[key] for key in verdict if key not in ("at", "answers")} == {
            "what": "down", "owner": "www.example.test.", "address": "192.0.2.2", "reason": "exit status 1",
            "by": None, "server": "ns1",
        }  # fmt: skip
        assert abs(verdict["at"] - time.time()) < 60
        answers = {"owner": "www.example.test.", "type": "A", "of": 4, "fails_open": False}
        assert verdict["answers"] == [{**answers, "serving": 3, "ttl": verdict["answers"][0]["ttl"]}]
        assert verdict["answers"][0]["ttl"] <= 300
        assert (order["what"], order["owner"], order["address"], order["reason"], order["by"]) == (
            "drain", None, "192.0.2.1", "new kernel", pwd.getpwuid(os.getuid()).pw_name,
        )  # fmt: skip
        assert [answer["serving"] for answer in order["answers"]] == [2]
        assert (done["what"], done["address"], done["reason"]) == ("reloaded", None, "nothing has changed")
        assert refused["what"] == "not reloaded"
        assert refused["reason"].startswith(f"the files have mistakes: {zone}:")
        assert [json.loads(line) for line in file.read_text().splitlines()] == got.events


def test_a_webhook_may_want_tls_and_a_token_and_be_named(tmp_path: Path) -> None:
    world = World(tmp_path)
    (tmp_path / "token").write_text("secret\n")
    with receiver(tls=True) as got:
        world.configure(
            f"on_change: {{url: 'https://localhost:{got.port}/', token_file: {tmp_path}/token, "
            f"ca_file: {authority_file(tmp_path)}}}\n"
        )
        with world.server() as server:
            world.ask("POST", "/orders", {"mode": "drain", "addresses": ["192.0.2.1"]})
            eventually(lambda: len(got.events) == 1, "it is not told")
            assert got.headers[0]["Authorization"] == "Bearer secret"
            assert got.headers[0]["Host"] == f"localhost:{got.port}"
            assert "secret" not in server.log


def test_a_webhook_that_fails_is_tried_again_and_logged_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    with receiver() as got:
        got.status = 503
        world.configure(f"on_change: {{url: http://127.0.0.1:{got.port}/}}\n")
        with world.server() as server:
            world.ask("POST", "/orders", {"mode": "drain", "addresses": ["192.0.2.1"]})
            eventually(lambda: len(got.events) == 2, "it is not tried again")
            got.status = 200
            eventually(lambda: len(got.events) == 3, "it is not tried a third time", 15)
            assert len({json.dumps(event) for event in got.events}) == 1
            world.ask("POST", "/orders", {"mode": "ready", "addresses": ["192.0.2.1"]})
            eventually(lambda: got.whats()[-1] == ("ready", "192.0.2.1"), "it is not told")
            assert "failed" not in server.log


FORKING = """\
#!/bin/sh
echo $$ >> {pids}
sleep 600 &
echo $! >> {pids}
wait
"""


def test_a_program_that_hangs_delays_nothing_and_dies_with_the_server(tmp_path: Path) -> None:
    world = World(tmp_path)
    pids, program = tmp_path / "pids", tmp_path / "program"
    program.write_text(FORKING.format(pids=pids))
    program.chmod(0o755)
    world.configure(f"on_change: {{command: {program}}}\n")
    with world.server() as server:
        began = time.monotonic()
        for mode in ("drain", "ready", "drain"):
            world.ask("POST", "/orders", {"mode": mode, "addresses": ["192.0.2.1"]})
        world.ask("POST", "/reload")
        (world.up / "192.0.2.2").unlink()
        eventually(lambda: world.backends()["192.0.2.2"]["up"] is False, "probing has stopped")
        eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2, "it was not run")
        os.kill(server.parent, signal.SIGTERM)
        server.ends_within(8)
        assert time.monotonic() - began < 20
    for pid in pids.read_text().split():
        eventually(lambda pid=pid: is_gone(int(pid)), f"{pid} is left")  # type: ignore[misc]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_program_that_fails_is_logged_once_until_it_works(tmp_path: Path) -> None:
    world = World(tmp_path)
    told, works = tmp_path / "told", tmp_path / "works"
    program = f"echo told >> {told}; echo no disk >&2; test -e {works}"
    world.configure(f"on_change: {{command: [/bin/sh, -c, '{program}']}}\n")
    with world.server() as server:
        for mode in ("drain", "ready", "drain"):
            world.ask("POST", "/orders", {"mode": mode, "addresses": ["192.0.2.1"]})
        eventually(lambda: told.exists() and told.read_text().count("told") == 3, "it is not told")
        works.touch()
        world.ask("POST", "/orders", {"mode": "ready", "addresses": ["192.0.2.1"]})
        eventually(lambda: "hook /bin/sh works again; it has missed 3 events" in server.log, "nothing is said")
        assert server.log.count("hook /bin/sh failed: exit status 1: no disk;") == 1


def test_the_hooks_of_new_files_take_over_and_what_waits_is_still_told(tmp_path: Path) -> None:
    world = World(tmp_path)
    with receiver() as old, receiver() as new:
        old.delay = 1.0
        world.configure(f"on_change: {{url: http://127.0.0.1:{old.port}/}}\n")
        with world.server("--no-watch"):
            for mode in ("drain", "ready", "drain"):
                world.ask("POST", "/orders", {"mode": mode, "addresses": ["192.0.2.1"]})
            world.configure(f"on_change: {{url: http://127.0.0.1:{new.port}/}}\n")
            world.ask("POST", "/reload")
            world.ask("POST", "/orders", {"mode": "maint", "addresses": ["192.0.2.3"]})
            eventually(lambda: len(new.events) == 2, "the new one is not told")
            eventually(lambda: len(old.events) == 3, "the old one has missed what came before")
            assert new.whats() == [("reloaded", None), ("maint", "192.0.2.3")]
            assert old.whats() == [("drain", "192.0.2.1"), ("ready", "192.0.2.1"), ("drain", "192.0.2.1")]


def test_what_was_found_by_the_first_round_is_told(tmp_path: Path) -> None:
    world = World(tmp_path)
    with receiver() as got:
        world.configure(f"on_change: {{url: http://127.0.0.1:{got.port}/}}\n")
        with world.server():
            eventually(lambda: "192.0.2.2" in world.saved(), "nothing is saved")
        (world.up / "192.0.2.2").unlink()
        with world.server():
            eventually(lambda: got.whats() == [("down", "192.0.2.2")], "it is not told")
            assert got.events[0]["answers"][0]["serving"] == 3


async def tell_many(tmp_path: Path, count: int, are_told: Callable[[], bool]) -> list[str]:
    file = tmp_path / "events"
    hook = CommandHook(("/bin/sh", "-c", f"cat >> {file}"))
    told = Hooks(lambda change: f"{change.at:.0f}\n".encode())
    told.replace([hook])
    for number in range(count):
        told.tell(Change(number, None, "192.0.2.1", "drain", ""))
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not are_told():
        await asyncio.sleep(0.01)
    await told.stop()
    return file.read_text().split()


def test_when_too_many_events_wait_the_oldest_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks, "MOST_WAITING", 5)
    told = asyncio.run(tell_many(tmp_path, 20, lambda: len(caplog.records) == 2))
    assert told == ["15", "16", "17", "18", "19"]
    assert [record.getMessage() for record in caplog.records] == [
        "hook /bin/sh: 5 events wait; the oldest are dropped",
        "hook /bin/sh: 15 events were dropped",
    ]


async def hang(tmp_path: Path) -> list[int]:
    pids, program = tmp_path / "pids", tmp_path / "program"
    program.write_text(FORKING.format(pids=pids))
    program.chmod(0o755)
    outcome = await delivery.deliver(CommandHook((str(program),)), b"{}\n")
    assert (outcome.ok, outcome.reason) == (False, "no exit within 0.5 s")
    return [int(pid) for pid in pids.read_text().split()]


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_TIMEOUT", 0.5)
    pids = asyncio.run(hang(tmp_path))
    assert len(pids) == 2
    for pid in pids:
        eventually(lambda pid=pid: is_gone(pid), f"{pid} is left")  # type: ignore[misc]


@pytest.mark.parametrize(("hook", "reason"), [
    ("{command: /nowhere/at-all}", "cannot run /nowhere/at-all: no such file or directory"),
    ("{url: 'http://no-such-host.invalid/'}", "the name no-such-host.invalid has no address"),
    ("{url: 'http://127.0.0.1:1/'}", "connection refused"),
    ("{url: 'http://127.0.0.1:1/', token_file: /nowhere/at-all}",
     "cannot read the token file /nowhere/at-all: no such file or directory"),
    ("{url: 'http://127.0.0.1:1/', token_file: /dev/zero}",
     "cannot read the token file /dev/zero: this is no regular file"),
])  # fmt: skip
def test_why_an_event_could_not_be_told(hook: str, reason: str) -> None:
    found, _ = settings.read(f"on_change: {hook}".encode(), "dnslb.yaml")
    outcome = asyncio.run(delivery.deliver(found.on_change[0], b"{}\n"))
    assert (outcome.ok, outcome.reason) == (False, reason)


def test_a_token_that_cannot_be_sent_is_not_logged_either(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("sec\nret")
    hook = f"{{url: 'http://127.0.0.1:1/', token_file: {tmp_path}/token}}"
    found, _ = settings.read(f"on_change: {hook}".encode(), "dnslb.yaml")
    outcome = asyncio.run(delivery.deliver(found.on_change[0], b"{}\n"))
    assert outcome.reason == f"the token file {tmp_path}/token holds no token in one line of ASCII"


@pytest.mark.parametrize(("url", "shown"), [
    ("https://hooks.example.com/services/T0/B0/secret", "https://hooks.example.com/…"),
    ("http://127.0.0.1:9000?key=secret", "http://127.0.0.1:9000/…"),
    ("http://[2001:db8::1]:9000", "http://[2001:db8::1]:9000/"),
    ("http://127.0.0.1:9000/", "http://127.0.0.1:9000/"),
])  # fmt: skip
def test_the_log_names_a_hook_without_its_path(url: str, shown: str) -> None:
    found, _ = settings.read(f"on_change: {{url: '{url}'}}".encode(), "dnslb.yaml")
    assert str(found.on_change[0]) == shown
