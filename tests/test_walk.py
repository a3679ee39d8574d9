"""The whole way of an operator, from the wheel in a clean directory: each step as it is typed."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import browsing
from dnslb_server import eventually, launched
from peers import free_port
from programs import program
from stage import alone
from test_page import LIVE, row
from test_page_orders import EFFECT, GIVE, TOKEN, give_token, open_order
from wheels import build, install

MIGRATE = Path(__file__).parent / "migrate"
CONTAINER = Path(__file__).parent.parent / "scripts/Containerfile"
HOSTS = ("127.0.1.21", "127.0.1.22")
PATIENCE = 20.0

pytestmark = pytest.mark.long


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def web_server(host: str, port: int) -> Iterator[None]:
    with ThreadingHTTPServer((host, port), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody at a shell, in a directory of one's own, with dnslb on the path and nothing else of it."""

    home: Path
    dnslb: Path
    port: int
    admin: int

    @property
    def environment(self) -> dict[str, str]:
        ours = {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home), "XDG_STATE_HOME": str(self.home / "state")}
        return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "xterm", **ours}

    def type(self, *words: object, status: int = 0) -> str:
        """What `dnslb` prints, on both streams."""
        done = subprocess.run(
            [self.dnslb, *map(str, words)], cwd=self.home, env=self.environment, text=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == status, done.stdout
        return done.stdout

    def dig(self, name: str) -> set[str]:
        words = [program("dig", "bind9-dnsutils"), "@127.0.0.1", "-p", str(self.port), name, "+short", "+timeout=2"]
        done = subprocess.run(words, cwd=self.home, env=self.environment, capture_output=True, text=True, check=False)
        return set(done.stdout.split())

    def edit(self, file: str, before: str, after: str) -> None:
        path = self.home / "zones" / file
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after))

    def sees(self, what: str, *words: object) -> None:
        """That a command soon prints it."""
        said = ""
        deadline = time.monotonic() + PATIENCE
        while what not in said:
            assert time.monotonic() < deadline, f"no {what!r} in\n{said}"
            done = subprocess.run([self.dnslb, *map(str, words)], cwd=self.home, env=self.environment,
                                  capture_output=True, text=True, timeout=60, check=False)
            said = done.stdout + done.stderr
            time.sleep(0.1)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    environment = install(build(tmp_path_factory.mktemp("wheel")), tmp_path_factory.mktemp("venv") / "dnslb")
    return Operator(tmp_path_factory.mktemp("home"), environment / "bin" / "dnslb", free_port(), free_port())


def test_the_whole_way(operator: Operator) -> None:
    begin(operator)
    with ExitStack() as stack:
        for host in HOSTS:
            stack.enter_context(web_server(host, operator.port))
        kept = ("--control", str(operator.home / "dnslb.sock"), "--state", str(operator.home / "state"))
        command = [str(operator.dnslb), "serve", str(operator.home / "zones"), *kept]
        server = stack.enter_context(launched(command, operator.home))
        eventually(lambda: "try: dig" in server.said or server.popen.poll() is not None, "silence", PATIENCE)
        assert "try: dig" in server.said, server.log
        operator.sees("status 200", "status")
        assert operator.dig("www.example.com") == set(HOSTS)
        edit_break_mend(operator)
        drain_and_undo(operator)
        drain_from_the_page(operator)
        look(operator)
        assert container_says(operator) == 0
    assert container_says(operator) != 0    # the server has ended


def begin(operator: Operator) -> None:
    """From nothing to a directory that can be served."""
    assert "dnslb init zones makes one" in operator.type("serve", status=1)
    servers = [word for host in HOSTS for word in ("--address", host)]
    made = operator.type("init", "--zone", "example.com", *servers, "--path", "/healthz", "--port", operator.port)
    assert "next: dnslb serve zones\n" in made
    operator.edit("dnslb.yaml", "127.0.0.1:5300", f"127.0.0.1:{operator.port}")
    secret = operator.home / "token"
    secret.touch(mode=0o600)
    secret.write_text(TOKEN)
    with (operator.home / "zones/dnslb.yaml").open("a") as settings:
        settings.write(f"admin: 127.0.0.1:{operator.admin}\nadmin_token_file: {secret}\n")
    operator.edit("example.com.yaml", "interval: 5s", "interval: 500ms")
    operator.edit("example.com.yaml", "timeout: 2s", "timeout: 500ms")
    operator.edit("example.com.yaml", "{min: 5s, failover: 60s}", "{min: 1s, failover: 5s}")
    assert "death     noticed within 2 s" in operator.type("check")


def edit_break_mend(operator: Operator) -> None:
    operator.edit("example.com.zone", "ns1         A", "extra       A       192.0.2.77\nns1         A")
    eventually(lambda: operator.dig("extra.example.com") == {"192.0.2.77"}, "the edit is not served", PATIENCE)
    operator.edit("example.com.zone", "192.0.2.77", "192.0.2.777")
    operator.sees("192.0.2.777 is no IPv4 address", "status")
    assert operator.dig("extra.example.com") == {"192.0.2.77"}
    operator.edit("example.com.zone", "192.0.2.777", "192.0.2.78")
    eventually(lambda: operator.dig("extra.example.com") == {"192.0.2.78"}, "what is mended is not served", PATIENCE)
    assert "192.0.2.777" not in operator.type("status")


def drain_and_undo(operator: Operator) -> None:
    said = operator.type("drain", HOSTS[0], "--reason", "new kernel", "--wait")
    assert re.search(r"drain; the last cached copy expires at .*\n.*no cache holds it any more", said)
    assert operator.dig("www.example.com") == {HOSTS[1]}
    assert "new kernel" in operator.type("status", "www.example.com")
    operator.type("ready", HOSTS[0])
    eventually(lambda: operator.dig("www.example.com") == set(HOSTS), "it does not come back", PATIENCE)
    history = operator.type("history")
    assert re.search(rf"{re.escape(HOSTS[0])} +drain +new kernel.*\n(?:.*\n)*.*{re.escape(HOSTS[0])} +ready", history)


def drain_from_the_page(operator: Operator) -> None:
    """With the effect first, and undone there."""
    directory = operator.home / "chromium"
    directory.mkdir()
    with browsing(directory) as page:
        page.open(f"http://127.0.0.1:{operator.admin}/")
        page.eventually(LIVE)
        give_token(page)
        open_order(page, f"drain {HOSTS[1]}")
        assert "www.example.com. A: 1 of 2 left; last copy expires in" in page.value(EFFECT)
        page.value(f"{GIVE}.click()")
        page.eventually(f"/not handed out.*drain/s.test({row(HOSTS[1], 'www.example.com.-A')})")
        assert operator.dig("www.example.com") == {HOSTS[0]}
        page.eventually("document.querySelector('[data-undo]')")
        page.value("document.querySelector('[data-undo]').click()")
        eventually(lambda: operator.dig("www.example.com") == set(HOSTS), "it is not undone", PATIENCE)


def container_says(operator: Operator) -> int:
    """The exit status of what a container asks for its health, of the server at the operator's socket."""
    said = re.search(r'CMD \["python", "-c", "(.*)"\]', CONTAINER.read_text().replace("\\\n", ""))
    assert said is not None
    code = said[1].replace("/run/dnslb/control.sock", str(operator.home / "dnslb.sock"))
    command = [operator.dnslb.parent / "python", "-c", code]
    return subprocess.run(command, cwd=operator.home, capture_output=True, timeout=20, check=False).returncode


def look(operator: Operator) -> None:
    """At `dnslb top`, on a terminal, until Ctrl-C."""
    ours, theirs = os.openpty()
    os.set_blocking(ours, False)
    top = subprocess.Popen([operator.dnslb, "top"], cwd=operator.home, env=operator.environment,
                           preexec_fn=lambda: os.login_tty(theirs))  # noqa: PLW1509
    os.close(theirs)
    shown = bytearray()

    def read() -> bytearray:
        with suppress(OSError):     # nothing yet, or nobody any more
            shown.extend(os.read(ours, 1 << 16))
        return shown

    try:
        eventually(lambda: HOSTS[0].encode() in read(), "it shows no backend", PATIENCE)
        os.write(ours, b"\x03")
        eventually(lambda: bool(read()) and top.poll() is not None, "Ctrl-C does not end it", PATIENCE)
    finally:
        if top.poll() is None:
            top.kill()
        top.wait()
        os.close(ours)


@pytest.mark.parametrize(("source", "options", "zone"), [
    ("bind/named.conf", [], "example.com."),
    ("haproxy.cfg", ["--zone", "example.com"], "example.com."),
])  # fmt: skip
def test_what_one_has_is_brought_along(operator: Operator, source: str, options: list[str], zone: str) -> None:
    directory = operator.home / f"from-{Path(source).stem}"
    said = operator.type("import", MIGRATE / source, directory, *options)
    assert "not taken (" in said
    assert (directory / "import.txt").read_text() in said
    assert zone in operator.type("check", directory)


def test_the_demonstration_is_in_the_package(operator: Operator) -> None:
    with alone():
        said = operator.type("demo", "--quick")
    assert re.search(r"\d+ visits, \d+ failed; \d+ of these before .*'s death was noticed\.\n$", said)
