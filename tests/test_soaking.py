"""The model that scripts/soak holds answers against, and a short run of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from soaking.model import Backend, Timeline, fault

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(("start", "end", "possible"), [
    (0, 5, {1}),
    (0, 10, {1, 2}),      # it may be in force at once
    (12, 14, {1, 2}),
    (15.1, 16, {2}),      # and is, after that
    (18, 21, {2, 3}),
    (30, 31, {3}),
])  # fmt: skip
def test_a_value_changes_at_some_moment_between_two(start: float, end: float, possible: set[int]) -> None:
    timeline = Timeline(1)
    timeline.change(2, 10, 15)
    timeline.change(3, 20, 25)
    assert timeline.possible(start, end) == possible


def test_what_is_confirmed_is_certain_and_what_is_delayed_is_not() -> None:
    timeline = Timeline(1)
    timeline.change(2, 10, 30)
    timeline.confirm(12)
    assert timeline.possible(13, 14) == {2}
    timeline.change(3, 20, 22)
    timeline.delay(21, 40)
    assert timeline.possible(30, 31) == {2, 3}
    assert timeline.possible(41, 42) == {3}


def pool() -> dict[str, Backend]:
    """Of a, b and c: c has been down since 10."""
    made = {address: Backend() for address in "abc"}
    made["c"].lives.change(False, 10, 15)
    return made


@pytest.mark.parametrize(("answer", "most", "at", "wrong"), [
    ("abc", None, 5,  None),
    ("ab",  None, 5,  "c is up, and not handed out"),
    ("abc", None, 12, None),
    ("ab",  None, 12, None),
    ("ab",  None, 20, None),
    ("abc", None, 20, "c is out, and handed out"),
    ("a",   None, 20, "b is up, and not handed out"),
    ("a",   1,    20, None),
    ("ab",  1,    20, "2 addresses in place of 1"),
    ("",    None, 20, "0 addresses, of which 0 are different"),
    ("aa",  None, 20, "2 addresses, of which 1 are different"),
    ("abx", None, 20, "x is of another pool"),
])  # fmt: skip
def test_an_answer_is_held_against_the_world(answer: str, most: int | None, at: float, wrong: str | None) -> None:
    assert fault(list(answer), pool(), most, at, at + 0.1) == wrong


def test_when_perhaps_nobody_is_up_all_may_be_handed_out() -> None:
    dead = pool()
    for address in "ab":
        dead[address].serves.change(False, 10, 15)
    assert fault(list("abc"), dead, None, 20, 21) is None
    assert fault(list("x"), dead, None, 20, 21) == "x is of another pool"


@pytest.mark.long
def test_three_minutes_of_everything(tmp_path: Path) -> None:
    """Every answer was right, none was lost outside kills, nothing has grown; the picture is drawn."""
    command = [str(ROOT / "scripts" / "soak"), "--minutes", "3", "--rate", "150", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "soak.svg").stat().st_size > 10_000
