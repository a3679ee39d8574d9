"""A real browser: Debian's chromium without a window, told what to do over a pair of pipes (the DevTools protocol).

It can reach 127.0.0.1 only, by the name rebound.test too.  Every wait has an end, and all its processes end with the
``with``.
"""

from __future__ import annotations

import base64
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dnslb_server import in_session
from peers import STOPPING
from programs import program

PATIENCE = 30.0  # seconds for an answer of the browser on a busy machine

_OPTIONS = (
    "--headless",
    "--no-sandbox",                      # it does not run as root otherwise
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP rebound.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)
_SHELL = 'exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null'  # commands come in on 3, answers and events leave on 4


@dataclass(slots=True)
class Browser:
    """One page in it at a time, and everything that happened there."""

    popen: subprocess.Popen[bytes]
    log: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    _target: str | None = None
    _session: str | None = None
    _number: int = 0
    _buffer: bytes = b""

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """The result of a command; what else the browser says meanwhile is kept in ``events``."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        assert self.popen.stdin is not None
        self.popen.stdin.write(json.dumps(message).encode() + b"\0")
        self.popen.stdin.flush()
        deadline = time.monotonic() + PATIENCE
        while True:
            said = self._hear(deadline)
            if said.get("id") != self._number:
                self.events.append(said)
            elif "error" in said:
                pytest.fail(f"{method}: {said['error']}")
            else:
                return dict(said["result"])

    def open(self, url: str) -> None:
        """Show the page in the place of the one before; what happened there is forgotten."""
        self._session, before = None, self._target
        self._target = self.call("Target.createTarget", url="about:blank")["targetId"]
        if before is not None:
            self.call("Target.closeTarget", targetId=before)
        self._session = self.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        self.events.clear()
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """What the JavaScript is worth."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            pytest.fail(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def text(self) -> str:
        """All that can be read on the page."""
        return str(self.value("document.body.innerText"))

    def eventually(self, expression: str, seconds: float = PATIENCE) -> float:
        """How long it took until the JavaScript was true; the test fails when it is still false after that time."""
        begun = time.monotonic()
        while not self.value(f"Boolean({expression})"):
            if time.monotonic() > begun + seconds:
                pytest.fail(f"not within {seconds:g} s: {expression}\n{self.text()}")
            time.sleep(0.02)
        return time.monotonic() - begun

    def window(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def prefer(self, scheme: str) -> None:
        """``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, file: Path) -> None:
        """The whole page, however long."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def requests(self) -> list[str]:
        """The URLs that the page asked for."""
        return [
            str(event["params"]["request"]["url"])
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """Errors and warnings: of the page's script, and of the browser about the page (policy violations, say)."""
        kinds = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
        return [json.dumps(event["params"]) for event in self.events if event.get("method") in kinds]

    def _hear(self, deadline: float) -> dict[str, Any]:
        """The next thing it says."""
        assert self.popen.stdout is not None
        while b"\0" not in self._buffer:
            if not select.select([self.popen.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                pytest.fail(f"chromium does not answer within {PATIENCE:g} s\n{self.log.read_text()}")
            octets = os.read(self.popen.stdout.fileno(), 1 << 20)
            if not octets:
                pytest.fail(f"chromium has ended\n{self.log.read_text()}")
            self._buffer += octets
        said, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(said))


@contextmanager
def browsing(directory: Path) -> Iterator[Browser]:
    """A browser that nobody has used before; it keeps its files in the directory."""
    log = directory / "chromium.log"
    options = (*_OPTIONS, f"--user-data-dir={directory}/profile")
    command = ["/bin/sh", "-c", _SHELL, program("chromium", "chromium"), *options]
    with log.open("wb") as stderr:
        popen = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True, cwd=directory
        )
    try:
        yield Browser(popen, log)
    finally:
        _end(popen)


def _end(popen: subprocess.Popen[bytes]) -> None:
    """It and its children, whatever they do."""
    popen.terminate()
    with suppress(subprocess.TimeoutExpired):
        popen.wait(STOPPING / 2)
    deadline = time.monotonic() + STOPPING
    while (left := in_session(popen.pid)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        popen.poll()
        time.sleep(0.02)
    popen.wait(STOPPING)
    for pipe in (popen.stdin, popen.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
