"""What root does for an ordinary user gives that user nothing of root's, whatever it puts in the way."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from dnslb_server import DNSLB, eventually, launched, status_field
from peers import free_port
from world import World

from dnslb.admin.control_socket import CannotControl, ControlSocket
from dnslb.system import privileges
from dnslb.system.user import is_roots

NOBODY = pwd.getpwnam("nobody")
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root acts for others")


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of nobody's; pytest's own are closed to others."""
    directory = Path(tempfile.mkdtemp())
    os.chown(directory, NOBODY.pw_uid, NOBODY.pw_gid)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def treasure(tmp_path: Path) -> Path:
    """A file of root's."""
    path = tmp_path / "shadow"
    path.write_text("secret")
    path.chmod(0o600)
    return path


def is_untouched(path: Path) -> bool:
    found = path.lstat()
    return (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600)


@as_root
def test_a_link_in_the_place_of_the_socket_gives_nothing(
    home: Path, treasure: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst moment: as soon as the socket is bound."""
    path = home / "control.sock"

    class Raced(socket.socket):
        def bind(self, address: object) -> None:
            super().bind(address)  # type: ignore[arg-type]
            path.unlink()
            path.symlink_to(treasure)

    monkeypatch.setattr(socket, "socket", Raced)
    with suppress(CannotControl):
        ControlSocket(path, {}, "nobody")
    assert is_untouched(treasure)


@as_root
def test_a_link_in_the_place_of_the_state_gives_nothing(
    home: Path, treasure: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, mkdir = home / "state", Path.mkdir

    def raced(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        mkdir(path, mode, parents, exist_ok)
        if path == directory:
            path.rmdir()
            path.symlink_to(treasure)

    monkeypatch.setattr(Path, "mkdir", raced)
    with suppress(privileges.CannotDrop):
        privileges.make_for("nobody", directory)
    assert is_untouched(treasure)


@as_root
@pytest.mark.parametrize("whose", ["root's", "nobody's", "to be made", "everybody's"])
def test_the_socket_is_the_users_wherever_it_is(home: Path, whose: str) -> None:
    directory = home
    match whose:
        case "root's":
            os.chown(home, 0, 0)
            home.chmod(0o755)
        case "everybody's":
            os.chown(home, 0, 0)
            home.chmod(0o1777)
        case "to be made":
            directory = home / "run"
    environment = {"XDG_RUNTIME_DIR": str(directory)}
    for _ in range(2):  # the second finds a dead one
        place = ControlSocket(None, environment, "nobody")
        assert place.sock is not None
        found = (directory / "dnslb.sock").lstat()
        assert (found.st_uid, found.st_gid, stat.filemode(found.st_mode)) == (*NOBODY[2:4], "srw-rw----")
        if whose == "to be made":
            assert directory.stat().st_uid == NOBODY.pw_uid
        place.sock.close()
    assert (os.geteuid(), os.getegid()) == (0, 0)


@as_root
def test_what_the_user_may_not_do_root_does_not_do_for_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = home / "daemon"
    foreign.mkdir()
    os.chown(foreign, pwd.getpwnam("daemon").pw_uid, 0)
    with pytest.raises(CannotControl, match="permission denied; give another path"):
        ControlSocket(foreign / "control.sock", {}, "nobody")
    with pytest.raises(privileges.CannotDrop, match="state cannot be made for nobody: permission denied"):
        privileges.make_for("nobody", foreign / "state")


@as_root
def test_whose_a_directory_is(home: Path, tmp_path: Path) -> None:
    roots = tmp_path / "roots"
    roots.mkdir()
    assert is_roots(roots) and is_roots(Path("/")) and is_roots(Path("/etc/.."))
    assert not is_roots(home) and not is_roots(Path("/tmp"))
    (home / "link").symlink_to(roots)
    assert not is_roots(home / "link")  # nobody can have it lead elsewhere
    (home / "up").mkdir()
    assert not is_roots(home / "up")
    (tmp_path / "link").symlink_to(home / "link")
    assert not is_roots(tmp_path / "link")
    (tmp_path / "relative").symlink_to("x/../roots")
    (tmp_path / "x").mkdir()
    assert is_roots(tmp_path / "relative")
    for mode in (0o775, 0o757, 0o1777):
        roots.chmod(mode)
        assert not is_roots(roots)
    (tmp_path / "loop").symlink_to("loop")
    assert not is_roots(tmp_path / "loop")


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is missing: apt-get install util-linux")
def test_no_probe_inherits_the_right_to_low_ports(tmp_path: Path) -> None:
    World(tmp_path)
    seen = tmp_path / "seen"
    look = f"grep CapAmb /proc/self/status >{seen}.$$; mv {seen}.$$ {seen}"
    (tmp_path / "zones" / "example.test.yaml").write_text(
        f"pools: {{www: {{probe: {{exec: [/bin/sh, -c, '{look}']}}}}}}\n"
    )
    right = "+net_bind_service"
    command = [
        *("setpriv", "--inh-caps", right, "--ambient-caps", right, "--"),
        *(*DNSLB, "serve", str(tmp_path / "zones"), "--listen", f"127.0.0.1:{free_port()}", "--workers", "1"),
        *("--state", str(tmp_path / "state"), "--control", str(tmp_path / "control")),
    ]
    with launched(command, tmp_path) as server:
        eventually(lambda: "try: dig" in server.said, "no announcement", 20)
        eventually(seen.exists, "no probe has run")
        assert int(seen.read_text().split()[1], 16) == 0
        assert all(int(status_field(pid, "CapAmb"), 16) == 0 for pid in server.processes())
