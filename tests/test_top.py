"""``dnslb top`` on a terminal: what is drawn, what the keys do, and that nothing is left behind."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from dnslb_server import DNSLB, eventually
from test_cli_control import HOSTS, Scene
from test_cli_control import scene as scene  # noqa: PLC0414 - a fixture

from dnslb.cli import top_view
from dnslb.cli.terminal import Terminal
from dnslb.cli.top_view import Choice, Order, Seen, View

BACKEND: dict[str, Any] = {
    "address": "192.0.2.1", "up": True, "since": 1.0, "reason": "status 200", "unsure": "", "streak": 0,
    "mode": "ready", "order": None, "weight": 1, "backup": False, "handed_out": True, "share": 0.5, "led": 3,
    "achieved": 0.5, "expires": None,
}  # fmt: skip


def seen(*backends: dict[str, Any], name: str = "ns1") -> Seen:
    rrset = {"type": "A", "ttl": 30, "why": "zone file's TTL", "fails_open": False, "withheld": False, "empty": False}
    pools = [{"owner": f"{name}.example.net.", "rrsets": [rrset | {"backends": [BACKEND | each for each in backends]}]}]
    found = {
        "now": 100.0, "loaded": 1.0, "refused": None, "directory": "zones", "zones": [], "pools": pools, "restart": [],
        "orders": [], "secondaries": [], "replicas": [], "server": {"silent": [], "hung": 0, "held": 0, "workers": 2},
    }  # fmt: skip
    return Seen(name, found, "12:00:00  5 queries/s")


TWO = (seen({}, {"address": "192.0.2.2", "up": False, "handed_out": False, "reason": "connection refused"}),)
FIRST, SECOND = (Choice(0, "ns1.example.net.", "A", address) for address in ("192.0.2.1", "192.0.2.2"))


def pressed(*keys: str, view: View = View()) -> tuple[View, list[Order]]:  # noqa: B008 - a value
    orders = []
    for key in keys:
        view, order = top_view.press(view, key, TWO)
        orders += [order] if order is not None else []
    return view, orders


@pytest.mark.parametrize(("keys", "chosen", "orders"), [
    ("down", FIRST, []),
    ("down down", SECOND, []),
    ("down down down", SECOND, []),
    ("down down up up", FIRST, []),
    ("d", None, []),
    ("down d", FIRST, []),
    ("down d y", FIRST, [Order("drain", FIRST)]),
    ("down d n", FIRST, []),
    ("down d q", FIRST, []),
    ("down d enter y", FIRST, []),
    ("down m y", FIRST, [Order("maint", FIRST)]),
    ("down m w n e w enter", FIRST, [Order("maint", FIRST, "new")]),
    ("down d w y x erase enter", FIRST, [Order("drain", FIRST, "y")]),
    ("down d w y escape y", FIRST, []),
    ("down down r y", SECOND, [Order("ready", SECOND)]),
    ("/ 2 . 2 enter down d y", SECOND, [Order("drain", SECOND)]),
    ("/ x y enter down d y", None, []),
    ("/ d y escape down", FIRST, []),
    ("down escape", None, []),
])  # fmt: skip
def test_keys_choose_and_order(keys: str, chosen: Choice | None, orders: list[Order]) -> None:
    view, given = pressed(*keys.split())
    assert (view.chosen, given) == (chosen, orders)
    assert not view.is_over


def test_q_ends_it_but_not_while_something_is_typed() -> None:
    assert pressed("q")[0].is_over
    view, _ = pressed("/", "q")
    assert (view.is_over, view.wanted) == (False, "q")


def test_the_effect_is_said_before_the_order_is_given() -> None:
    view, _ = pressed("down", "d")
    (question,) = (text for _, text in top_view.lines(view, TWO, 80, 24)[-1])
    assert question == "drain 192.0.2.1 of ns1.example.net.? 0 of 1 left; y gives it, w with a reason, others do not"


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("height", [1, 5, 24])
def test_it_fits_the_screen(width: int, height: int) -> None:
    long = "2001:db8:1111:2222:3333:4444:5555:6666"
    many = seen(*({"address": f"192.0.2.{number}", "reason": "x" * 300} for number in range(50)), {"address": long})
    for view in (View(), View(chosen=Choice(0, "ns1.example.net.", "A", "192.0.2.40"))):
        drawn = top_view.lines(view, (many, seen({}, name="ns2")), width, height)
        assert len(drawn) <= max(height, 2)
        terminal = Terminal()
        for line in drawn:
            text = re.sub(r"\x1b\[[0-9;]*m", "", terminal._text(line, width))
            assert len(text) <= width
    if height == 24:
        assert any("> 192.0.2.40" in text for line in drawn for _, text in line)


def test_what_a_backend_says_is_no_order_to_the_terminal() -> None:
    drawn = top_view.lines(View(), (seen({"reason": "\x1b]0;gone\x07\x1b[2J\n"}),), 120, 24)
    told = "".join(Terminal()._text(line, 120) for line in drawn)
    assert "?]0;gone??[2J?" in told
    assert "\x1b[2J" not in told


@dataclass
class Screen:
    """A terminal of 80 columns, and the command on it."""

    leader: int
    process: subprocess.Popen[bytes]
    shown: str = field(default="")

    def shows(self, text: str) -> bool:
        while select.select([self.leader], [], [], 0.05)[0]:
            self.shown += os.read(self.leader, 65536).decode()
        return text in self.shown

    def press(self, keys: str) -> None:
        self.shown = ""
        os.write(self.leader, keys.encode())


@contextmanager
def on_terminal(scene: Scene, *words: str) -> Iterator[Screen]:
    leader, follower = os.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(follower)
    command = [*DNSLB, "top", "--interval", "200ms", "--control", str(scene.directory / "control"), *words]
    process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower)
    try:
        yield Screen(leader, process)
        assert termios.tcgetattr(follower) == before
    finally:
        process.kill()
        process.wait()
        os.close(leader)
        os.close(follower)


def test_an_address_is_drained_by_keys(scene: Scene) -> None:
    with scene.serving(), on_terminal(scene) as screen:
        eventually(lambda: screen.shows("\x1b[32mup"), "nothing is drawn")
        screen.press("\x1b[B")
        eventually(lambda: screen.shows(f"> {HOSTS[0]}"), "nothing is chosen")
        screen.press("/.22\r\x1b[Bd")
        eventually(lambda: screen.shows("? 2 of 3 left; y gives it"), "it does not ask")
        assert HOSTS[0] not in screen.shown.rpartition("\x1b[H")[2]
        screen.press("y")
        eventually(lambda: screen.shows(f"drain {HOSTS[1]} of www.example.test.: done"), "it was not done")
        eventually(lambda: screen.shows("last copy expires in"), "the clock is not shown")
        order = json.loads(scene.dnslb("status", "--json").stdout)["orders"]
        assert [(one["owner"], one["address"], one["mode"]) for one in order] == [
            ("www.example.test.", HOSTS[1], "drain")
        ]
        assert scene.named() == {HOSTS[0], HOSTS[2]}
        screen.press("mwnew disk\r")
        eventually(lambda: screen.shows(f"maint {HOSTS[1]} of www.example.test.: done"), "it was not done")
        (order,) = json.loads(scene.dnslb("status", "--json").stdout)["orders"]
        assert (order["mode"], order["reason"]) == ("maint", "new disk")
        screen.press("ry")
        eventually(lambda: screen.shows(f"ready {HOSTS[1]} of www.example.test.: done"), "it was not done")
        screen.press("q")
        eventually(lambda: screen.shows("\x1b[?1049l"), "the screen is not restored")
        assert screen.process.wait(5) == 0


def test_every_line_fits_80_columns(scene: Scene) -> None:
    with scene.serving(), on_terminal(scene) as screen:
        eventually(lambda: screen.shows("www.example.test."), "nothing is drawn")
        screen.press("\x1b[B")
        eventually(lambda: screen.shows("> ") and screen.shown.count("\x1b[H") > 1, "nothing is drawn")
        frame = screen.shown.split("\x1b[H")[1]
        lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", frame).splitlines()
        assert len(lines) == 24
        assert max(map(len, lines)) <= 80
        screen.press("q")
        assert screen.process.wait(5) == 0


def test_without_colours_if_they_are_not_wanted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with scene.serving(), on_terminal(scene) as screen:
        eventually(lambda: screen.shows("q quit"), "nothing is drawn")
        assert "\x1b[32m" not in screen.shown
        screen.press("q")
        assert screen.process.wait(5) == 0
