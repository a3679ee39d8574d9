"""What is secret is neither in the log nor in the state file, nor told to whoever asks."""

from __future__ import annotations

import http.client
import json
import os
from pathlib import Path

from dnslb_server import eventually
from peers import free_port
from test_admin_address import refused, settled
from world import World

POLICY = """\
pools:
  www:
    probe:
      http: /healthz?key=hunter2
      port: 1
      interval: 200ms
      headers: {Authorization: Bearer hunter2}
"""


def test_the_header_of_a_probe_is_neither_logged_nor_saved(tmp_path: Path) -> None:
    world = World(tmp_path)
    (tmp_path / "zones" / "example.test.yaml").write_text(POLICY)
    with world.server("--log-level", "debug") as server:
        eventually(lambda: "header=Authorization:sha256:" in world.saved(), "no verdict is saved")
        eventually(lambda: "header=Authorization:sha256:" in server.log, "no outcome is logged")
        # Another secret is another question.
        saved = world.saved()
        (tmp_path / "zones" / "example.test.yaml").write_text(POLICY.replace("Bearer hunter2", "Bearer hunter3"))
        world.ask("POST", "/reload")
        eventually(lambda: world.saved().partition("->")[0] != saved.partition("->")[0], "the key has not changed")
        assert "hunter" not in world.saved() + server.log


def status(port: int, **headers: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        connection.request("GET", "/status", headers=headers)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_what_a_file_holds_is_not_told_to_whoever_asks(tmp_path: Path) -> None:
    world, port = World(tmp_path), free_port()
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("let-me-in\n")
    foreign = tmp_path / "shadow"
    foreign.write_text("password hunter2 is it\n")
    with world.server("--no-watch", "--admin", f"127.0.0.1:{port}", "--admin-token-file", str(token)) as server:
        zone = tmp_path / "zones" / "example.test.zone"
        # Whoever may write here could have the server read anything that it can.
        zone.unlink()
        zone.symlink_to(foreign)
        os.kill(server.parent, 1)
        eventually(lambda: "not reloaded" in server.log, "nothing was read")
        told = json.loads(status(port))["refused"]
        assert told["fact"] == "the files have mistakes"
        assert told["problems"] == ["3 mistakes: see the log, or run dnslb check"]
        assert "hunter2" in status(port, Authorization="Bearer let-me-in")
        assert "hunter2" not in status(port, Authorization="Bearer guess")
        assert "hunter2" in str(world.ask("GET", "/status"))


def test_a_token_file_that_is_no_file_is_one_line_and_no_start(tmp_path: Path) -> None:
    settled(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    said = refused(tmp_path, "--admin", f"127.0.0.1:{free_port()}", "--admin-token-file", tmp_path / "fifo")
    assert "fifo: this is no regular file; make one" in said
