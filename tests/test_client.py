"""The commands' end of the control socket: against servers that answer slowly, much, later or never."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from dnslb_server import started
from peers import free_port
from test_cli_control import Done, Scene

from dnslb.admin import client
from dnslb.cli import control

Answer = Callable[[socket.socket], None]


@contextmanager
def listening(directory: Path, *answers: Answer, backlog: int = 8) -> Iterator[Path]:
    """A socket on which each connection gets one of the answers."""
    path = directory / "control"

    def serve() -> None:
        for answer in answers:
            sock, _ = listener.accept()
            with sock:
                sock.recv(65536)
                answer(sock)

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(backlog)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield path
        finally:
            thread.join()


def reply(body: bytes, status: bytes = b"200 OK", headers: bytes = b"") -> Answer:
    head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n" % (status, len(body), headers)
    return lambda sock: sock.sendall(head + body)


BUSY = reply(b'{"error": "busy", "remedy": "ask again"}', b"503 Service Unavailable", b"Retry-After: 0\r\n")


def test_a_reply_of_many_megabytes(tmp_path: Path) -> None:
    text = "x" * (30 << 20)
    with listening(tmp_path, reply(json.dumps({"text": text}).encode())) as path:
        began = time.monotonic()
        assert client.ask(path, "GET", "/status") == (200, {"text": text})
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(("method", "more"), [("GET", ""), ("POST", "; it may yet do what was asked")])
def test_a_server_that_never_answers_is_given_up(tmp_path: Path, method: str, more: str) -> None:
    with listening(tmp_path, lambda sock: time.sleep(1)) as path:
        with pytest.raises(client.Unreachable) as raised:
            client.ask(path, method, "/status", patience=0.3)
        fact = f"dnslb on {path} has not answered within 0.3 s"
        assert str(raised.value) == f"{fact}{more}; it hangs or is very busy: look at its log"


def test_nor_does_a_trickle_hold_a_command(tmp_path: Path) -> None:
    def trickle(sock: socket.socket) -> None:
        for octet in b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n":
            try:
                sock.send(bytes((octet,)))
            except OSError:
                return
            time.sleep(0.05)

    with listening(tmp_path, trickle) as path, pytest.raises(client.Unreachable, match=r"not answered within 0\.3 s"):
        client.ask(path, "GET", "/status", patience=0.3)


def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    with listening(tmp_path, BUSY, BUSY, reply(b"{}")) as path:
        assert client.ask(path, "GET", "/status") == (200, {})


def test_one_that_stays_busy_says_so_itself(tmp_path: Path) -> None:
    with listening(tmp_path, BUSY) as path:
        assert client.ask(path, "GET", "/status", patience=0.1) == (503, {"error": "busy", "remedy": "ask again"})


def test_what_was_given_is_not_given_again(tmp_path: Path) -> None:
    delayed = reply(b'{"error": "the order is given"}', b"503 Service Unavailable")
    with listening(tmp_path, delayed) as path:
        assert client.ask(path, "POST", "/orders", {})[0] == 503


def test_a_crowd_before_the_socket_is_waited_out(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path = tmp_path / "control"
        listener.bind(str(path))
        listener.listen(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            other.connect(str(path))
            with pytest.raises(client.Unreachable, match="not answered within"):
                client.ask(path, "GET", "/status", patience=0.5)


def test_a_command_to_a_server_that_hangs_ends_with_1_and_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(tmp_path, "--listen", f"127.0.0.1:{free_port()}", "--workers", "1") as server:
        scene = Scene(tmp_path, 0, ())
        assert scene.dnslb("status").status == 0
        os.kill(server.parent, signal.SIGSTOP)
        monkeypatch.setattr(client, "PATIENCE", 0.5)
        try:
            with pytest.raises(click.ClickException) as raised:
                control.ask(tmp_path / "control", "GET", "/status")
        finally:
            os.kill(server.parent, signal.SIGCONT)
        assert raised.value.exit_code == 1
        assert raised.value.message.startswith(f"dnslb on {tmp_path / 'control'} has not answered within 0.5 s; ")
        assert scene.dnslb("status") != Done(1, "", "")
