"""What has changed, and what does: history with its filters, and the stream of events."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from dnslb_server import DNSLB, eventually
from peers import STARTING, free_port
from test_admin_address import secret
from test_cli_control import HOSTS, Scene
from test_cli_control import scene as scene  # noqa: PLC0414 - a fixture

from dnslb.admin.event_stream import Followers, texts, unless_done
from dnslb.admin.render_queue import Full
from dnslb.control.change import Change, Event
from dnslb.parent.state import MOST_CHANGES
from dnslb.parent.telling.history import History

SECOND = Change(2.0, "www.example.test.", "192.0.2.1", "down", "refused")


def changes(scene: Scene, *words: str) -> list[tuple[str, str]]:
    done = scene.dnslb("history", "--json", *words)
    return [(change["address"], change["what"]) for change in json.loads(done.stdout)["changes"]]


def test_starts_stops_and_reloads_are_in_the_history(scene: Scene) -> None:
    me = scene.dnslb  # by whom
    with scene.serving():
        assert me("reload").status == 0
        scene.zone.write_text("nonsense\n")
        assert me("reload").status == 1
        lines = me("history").stdout.splitlines()
        assert re.search(r"the server +started +dnslb .*: 1 zones, 2 pools$", lines[0])
        assert re.search(r"the server +reloaded +nothing has changed, by \w+$", lines[1])
        assert re.search(r"the server +not reloaded +the files have mistakes, by \w+$", lines[2])
    scene.zone.write_text("\n".join(["$TTL 300", "@ SOA ns1 h 1 1 1 1 1", "@ NS ns1", "ns1 A 127.0.0.1"]) + "\n")
    (scene.directory / "zones" / "example.test.yaml").unlink()
    (scene.directory / "zones" / "example.test.yaml").write_text("pools: {}\n")
    with scene.serving():
        what = [what for _, what in changes(scene)]
        assert what in ([], ["started"])  # without pools there is no state directory


def test_they_survive_a_restart(scene: Scene) -> None:
    with scene.serving():
        pass
    with scene.serving():
        assert [what for _, what in changes(scene)] == ["started", "stopped", "started"]


def test_history_by_name_address_kind_and_time(scene: Scene) -> None:
    with scene.serving():
        scene.dnslb("drain", "www.example.test", HOSTS[0])
        scene.dnslb("drain", HOSTS[2], "--for", "2h")
        scene.dnslb("ready", "db.example.test", HOSTS[1])
        scene.dnslb("maint", "db.example.test", HOSTS[1])
        assert changes(scene, "www.example.test") == [(HOSTS[0], "drain"), (HOSTS[2], "drain")]
        assert changes(scene, "WWW.example.test.", HOSTS[2]) == [(HOSTS[2], "drain")]
        assert changes(scene, "*.example.test", "--kind", "maint") == [(HOSTS[1], "maint")]
        assert changes(scene, HOSTS[1]) == [(HOSTS[1], "maint")]
        assert changes(scene, "127.0.1.*", "--kind", "drain") == [(HOSTS[0], "drain"), (HOSTS[2], "drain")]
        assert changes(scene, "--kind", "server") == [("", "started")]
        assert len(changes(scene, "--kind", "order", "--since", "1h")) == 3
        assert changes(scene, "--kind", "verdict") == []
        time.sleep(0.6)
        assert changes(scene, "--since", "500ms") == []
        assert scene.dnslb("history", "gone.example.test").stdout == "nothing has changed\n"
        refused = scene.dnslb("history", "--since", "yesterday")
        assert refused.status == 2
        assert "yesterday is no time; write 2h for the last two hours, 14:00 or" in refused.stderr
        assert scene.dnslb("history", "--kind", "uo").status == 2


def connections(pid: int) -> int:
    """Sockets that the process and its children have."""
    found = 0
    with suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (str(pid), *children):
            paths = list(Path(f"/proc/{each}/fd").iterdir())
            found += sum(os.readlink(path).startswith("socket:") for path in paths)
    return found


@contextmanager
def following(scene: Scene, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [*DNSLB, *words, *(() if "--server" in words else ("--control", str(scene.directory / "control")))]
    out = scene.directory / "out"
    with out.open("w") as stdout, (scene.directory / "err").open("w") as stderr:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        child = subprocess.Popen(command, stdout=stdout, stderr=stderr, text=True, env=environment)
    try:
        wanted = max(1, words.count("--server"))
        eventually(lambda: connections(child.pid) >= wanted, "it does not connect", STARTING)
        time.sleep(0.5)  # until what it asks first is answered
        yield child
    finally:
        child.send_signal(signal.SIGINT)
        try:
            assert child.wait(10) == 0
        finally:
            child.kill()
            child.wait()


def said(scene: Scene, what: str = "out") -> list[str]:
    return (scene.directory / what).read_text().splitlines()


def test_who_follows_hears_of_each_change_also_over_a_restart(scene: Scene) -> None:
    with scene.serving():
        child = following(scene, "history", "--follow", "--kind", "order", HOSTS[0])
        child.__enter__()
        scene.dnslb("drain", HOSTS[0], "--reason", "kernel")
        scene.dnslb("drain", HOSTS[1])
        eventually(lambda: len(said(scene)) == 1, "nothing was told")
        assert re.search(rf"all names +{HOSTS[0]} +drain +kernel, by \w+$", said(scene)[0])
    eventually(lambda: len(said(scene, "err")) == 1, "the loss was not told")
    assert "is lost: " in said(scene, "err")[0]
    with scene.serving():
        eventually(lambda: len(said(scene, "err")) == 2, "the return was not told")
        assert said(scene, "err")[1].endswith("is there again")
        scene.dnslb("ready", HOSTS[0])
        eventually(lambda: len(said(scene)) == 2, "nothing was told")
        child.__exit__(None, None, None)


def test_programs_get_a_line_of_json_each_from_several_servers(scene: Scene) -> None:
    port = free_port()
    token = secret(scene.directory, "a-token\n")
    scene.options = (*scene.options, "--admin", f"127.0.0.1:{port}", "--admin-token-file", str(token))
    with scene.serving():
        urls = ("--server", f"http://127.0.0.1:{port}", "--server", f"http://localhost:{port}")
        with following(scene, "events", "--json", *urls):
            scene.dnslb("drain", HOSTS[0])
            eventually(lambda: len(said(scene)) == 2, "nothing was told")
        found = [json.loads(line) for line in said(scene)]
        assert {each["node"] for each in found} == {f"127.0.0.1:{port}", f"localhost:{port}"}
        assert {(each["address"], each["what"], each["owner"]) for each in found} == {(HOSTS[0], "drain", None)}


def stream(path: Path, headers: str = "") -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(5)
    sock.connect(str(path))
    sock.sendall(f"GET /events HTTP/1.1\r\nHost: dnslb\r\n{headers}\r\n".encode())
    return sock


def read_until(sock: socket.socket, end: bytes) -> str:
    octets = b""
    while end not in octets and (more := sock.recv(65536)):
        octets += more
    return octets.decode()


def test_the_stream_is_that_of_the_standard_and_goes_on_where_it_was_left(scene: Scene) -> None:
    control = scene.directory / "control"
    with scene.serving():
        with stream(control) as sock:
            head = read_until(sock, b": dnslb\n\n")
            assert "Content-Type: text/event-stream\r\n" in head
            assert "Cache-Control: no-store\r\n" in head
            scene.dnslb("drain", HOSTS[0])
            event = read_until(sock, b"}\n\n")
            number = re.search(r"^id: (\d+-\d+)\r?$", event, re.MULTILINE)
            assert number is not None
            told = re.search(r"^data: (.*)$", event, re.MULTILINE)
            assert told is not None
            assert json.loads(told[1])["what"] == "drain"
        scene.dnslb("ready", HOSTS[0])
        with stream(control, f"Last-Event-ID: {number[1]}\r\n") as sock:
            text = read_until(sock, b"}\n\n")
            assert '"what": "ready"' in text
            assert '"what": "drain"' not in text
        for nonsense in ("x", "1-1", "9" * 5000, f"{number[1].partition('-')[0]}-{10**19}"):
            with stream(control, f"Last-Event-ID: {nonsense}\r\n") as sock:
                assert " 200 " in read_until(sock, b"\n\n") or len(nonsense) > 4000


def test_followers_have_bounds_and_leave_their_place(scene: Scene) -> None:
    control = scene.directory / "control"
    with scene.serving() as server:
        for _ in range(3):
            socks = [stream(control) for _ in range(8)]
            for sock in socks:
                assert "200 OK" in read_until(sock, b": dnslb\n\n")
            with stream(control) as ninth:
                assert "503" in read_until(ninth, b"\r\n\r\n")
            for sock in socks:
                sock.close()
            time.sleep(0.3)
        assert "Traceback" not in server.log


@pytest.mark.long
def test_a_stream_that_is_not_read_is_dropped(scene: Scene) -> None:
    # What the kernel keeps for the reader is full soon: it has little room, and each reason is long.
    with scene.serving(), stream(scene.directory / "control") as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        for number in range(400):
            mode = ("drain", "ready")[number % 2]
            given = json.dumps({"mode": mode, "addresses": list(HOSTS), "reason": f"{number}" + "x" * 290}).encode()
            with socket.socket(socket.AF_UNIX) as other:
                other.connect(str(scene.directory / "control"))
                other.sendall(b"POST /orders HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(given) + given)
                while other.recv(65536):
                    pass
        eventually(lambda: 'reason="slow"} 1' in metrics(scene), "it was not dropped", 15)


def metrics(scene: Scene) -> str:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(scene.directory / "control"))
        sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode()


def test_who_is_too_slow_is_told_how_much_was_lost() -> None:
    async def scenario() -> list[Event | None]:
        history = History(life=7)
        coming = history.follow(None)
        first = asyncio.ensure_future(anext(coming))
        await asyncio.sleep(0)
        for _ in range(MOST_CHANGES + 10):
            history.add(SECOND)
        return [await first, await anext(coming)]

    found = asyncio.run(scenario())
    assert found == [Event("7-11", SECOND, 10), Event("7-12", SECOND, 0)]


def test_a_lost_change_is_told_in_the_stream() -> None:
    async def events() -> object:
        yield Event("7-11", SECOND, 10)
        yield None

    async def scenario() -> list[str]:
        return [text async for text in texts(events())]  # type: ignore[arg-type]

    assert asyncio.run(scenario())[1:] == [
        'event: lost\ndata: {"lost": 10}\n\n',
        'id: 7-11\ndata: {"at": 2.0, "owner": "www.example.test.", "address": "192.0.2.1", "what": "down", '
        '"reason": "refused", "by": ""}\n\n',
        ": nothing new\n\n",
    ]


def test_a_follower_counts_as_long_as_it_follows() -> None:
    async def endless() -> object:
        while True:
            yield "x"
            await asyncio.sleep(0)

    async def scenario() -> None:
        followers = Followers()
        for _ in range(20):
            leaving: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            async for _text in unless_done(leaving, followers.counted("me", endless())):  # type: ignore[arg-type]
                leaving.set_result(b"")
        streams = [followers.counted("me", endless()) for _ in range(8)]  # type: ignore[arg-type]
        for each in streams:
            await anext(each)
        with pytest.raises(Full):
            followers.counted("me", endless())  # type: ignore[arg-type]
        for each in streams:
            await each.aclose()

    asyncio.run(scenario())
